//! Providers that lie, stall or are not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use alloy::providers::Provider;
use tidings_chain::{ChainError, Endpoints};
use tokio::net::TcpListener;

use crate::anvil::Anvil;

/// A server that takes connections and never answers.
async fn stalled() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

async fn chain_id(urls: &[String]) -> Result<u64, ChainError> {
    let endpoints = Endpoints::connect_within(urls, Duration::from_millis(500)).unwrap();
    endpoints.agreed(|provider| async move { provider.get_chain_id().await }).await
}

async fn genesis(urls: &[String]) -> Result<alloy::primitives::B256, ChainError> {
    let endpoints = Endpoints::connect_within(urls, Duration::from_millis(500)).unwrap();
    endpoints
        .agreed(|provider| async move {
            let block = provider.get_block_by_number(1.into()).await;
            let block = block.map_err(|error| error.to_string())?;
            block.map(|block| block.header.hash).ok_or("no such block").map_err(str::to_owned)
        })
        .await
}

#[tokio::test]
async fn a_minority_that_stalls_changes_nothing() {
    let anvil = Anvil::start();
    let (_silent, silent) = stalled().await;
    let good = anvil.url.clone();
    assert_eq!(chain_id(&[good.clone(), silent.clone(), good.clone()]).await, Ok(31_337));
    let refused = chain_id(&[good, silent.clone(), silent]).await;
    let Err(ChainError::Disagreement { asked: 3, agreed: 1, needed: 2, reason }) = refused else {
        panic!("{refused:?}");
    };
    assert!(!reason.is_empty());
}

#[tokio::test]
async fn a_minority_that_lies_changes_nothing() {
    let (honest, liar) = (Anvil::start(), Anvil::start());
    honest.mine(1).await;
    liar.tell("evm_increaseTime", serde_json::json!([1_000])).await;
    liar.mine(1).await;
    let told = genesis(std::slice::from_ref(&honest.url)).await.unwrap();
    let both = [honest.url.clone(), liar.url.clone(), honest.url.clone()];
    assert_eq!(genesis(&both).await, Ok(told));
    // Half and half is not more than half.
    let even = genesis(&both[..2]).await;
    assert!(matches!(even, Err(ChainError::Disagreement { agreed: 1, .. })), "{even:?}");
}

#[tokio::test]
async fn a_minority_neither_holds_back_the_newest_block_nor_pushes_it_on() {
    let (near, far) = (Anvil::start(), Anvil::start());
    near.mine(3).await;
    far.mine(50).await;
    for (urls, expected) in [([&near, &near, &far], 3), ([&near, &far, &far], 50)] {
        let urls: Vec<String> = urls.iter().map(|anvil| anvil.url.clone()).collect();
        let endpoints = Endpoints::connect(&urls).unwrap();
        let ask = |provider: alloy::providers::DynProvider| async move {
            provider.get_block_number().await
        };
        assert_eq!(endpoints.reached(ask).await, Ok(expected));
    }
}

#[tokio::test]
async fn what_is_said_while_a_block_is_made_is_asked_again() {
    let anvil = Anvil::start();
    anvil.mine(1).await;
    let endpoints = Endpoints::connect(std::slice::from_ref(&anvil.url)).unwrap();
    // The first answers are torn by blocks that are made meanwhile.
    let check = async |torn: usize, expected: Option<u64>, asks: usize| {
        let asked = Arc::new(AtomicUsize::new(0));
        let first = endpoints.height().await.unwrap();
        let answer = endpoints.agreed_at_newest(|provider, block| {
            let is_torn = asked.fetch_add(1, Ordering::SeqCst) < torn;
            async move {
                if !is_torn {
                    return Ok(block.as_u64().unwrap());
                }
                let mined = provider.raw_request::<_, String>("evm_mine".into(), ()).await;
                mined.map_err(|error| error.to_string())?;
                Err("an answer of two blocks".to_owned())
            }
        });
        assert_eq!(answer.await.ok().map(|block| block - first), expected);
        assert_eq!(asked.load(Ordering::SeqCst), asks);
    };
    check(0, Some(0), 1).await;
    check(1, Some(1), 2).await;
    check(2, Some(2), 3).await;
    check(9, None, 3).await;
    // Where the chain has not gone on, asking again would say the same.
    let asks = AtomicUsize::new(0);
    let refused = endpoints.agreed_at_newest(|_, _| {
        asks.fetch_add(1, Ordering::SeqCst);
        async move { Err::<u64, _>("reverted") }
    });
    assert!(refused.await.is_err());
    assert_eq!(asks.load(Ordering::SeqCst), 1);
}

#[test]
fn what_is_no_url_is_refused() {
    for url in ["", "anvil", "ws://127.0.0.1:1", "file:///etc/passwd"] {
        let refused = Endpoints::connect(&[url.to_owned()]);
        assert!(matches!(refused, Err(ChainError::Url { .. })), "{url}");
    }
    assert!(matches!(Endpoints::connect(&[]), Err(ChainError::NoEndpoint)));
}
