//! Providers that lie, stall or are not there.

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

#[test]
fn what_is_no_url_is_refused() {
    for url in ["", "anvil", "ws://127.0.0.1:1", "file:///etc/passwd"] {
        let refused = Endpoints::connect(&[url.to_owned()]);
        assert!(matches!(refused, Err(ChainError::Url { .. })), "{url}");
    }
    assert!(matches!(Endpoints::connect(&[]), Err(ChainError::NoEndpoint)));
}
