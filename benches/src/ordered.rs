//! How soon four nodes agree on an operation, and on how many in a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rand::RngCore;
use tidings_demo::relay::Conditions;
use tidings_demo::{Network, Options, Published, Publisher};
use tidings_envelope::{AckLevel, Lane};
use tidings_types::ed25519::SigningKey;
use tidings_types::{NodeId, Position};

use crate::report::{Figure, Section, percentiles};

const RATE_PER_SECOND: u64 = 20;
const PAYLOAD_BYTES: usize = 1024;

/// How long a packet takes between two nodes, one way, when they are far apart.
const LATENCY: Duration = Duration::from_millis(50);

/// Who saturates the lane: so many connections at once, over all nodes, with so much each.
const CONNECTIONS: usize = 8;
const BATCH: usize = 128;

/// A node and its number.
type Node = (String, NodeId);

/// Measures the ordered lane, on this machine and with distance between the nodes.
///
/// # Errors
/// When a node refuses an operation.
pub async fn run(seconds: u64) -> Result<Section> {
    let near = latencies(Options::default(), Conditions::default(), seconds).await?;
    let relayed = Options { relay: Some(1), ..Options::default() };
    let far = latencies(relayed, Conditions::slow(LATENCY), seconds).await?;
    let rate = saturation(seconds).await?;
    let mut figures = percentiles("submitted → certified", near, ["< 60 ms", "", "< 250 ms"]);
    let distance = "submitted → certified, 50 ms between nodes";
    figures.extend(percentiles(distance, far, ["< 350 ms", "", ""]));
    figures.push(Figure {
        name: "operations of 1 KiB per second".into(),
        value: rate.to_string(),
        target: "2,000; goal 5,000",
    });
    Ok(Section {
        title: "Ordered lane of four nodes",
        method: format!(
            "Four nodes on one machine. Latency: commits of {PAYLOAD_BYTES} bytes to a topic each, \
             {RATE_PER_SECOND} per second for {seconds} s, at each node in turn, until the \
             submitter has the block's certificate; the distance is a relay's. Saturation: \
             proposals in batches of {BATCH} over {CONNECTIONS} connections, for {seconds} s \
             after a warm-up."
        ),
        figures,
    })
}

fn nodes(network: &Network) -> Vec<Node> {
    network.nodes().iter().map(|node| (node.http.clone(), NodeId(node.id))).collect()
}

/// The time from submitting each commit until its certificate is there, in microseconds.
async fn latencies(options: Options, links: Conditions, seconds: u64) -> Result<Vec<u64>> {
    let has_relay = options.relay.is_some();
    let network = Network::start(options).await?;
    if has_relay {
        network.relay()?.set_links(links);
    }
    let publisher = Publisher::new(&network)?;
    let nodes = nodes(&network);
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / RATE_PER_SECOND));
    let mut running = Vec::new();
    let mut period = publisher.period(&nodes[0].0).await?;
    for serial in 0..RATE_PER_SECOND * seconds {
        ticks.tick().await;
        if serial % RATE_PER_SECOND == 0 {
            period = publisher.period(&nodes[0].0).await?;
        }
        let (key, payload) = (fresh_key(), payload());
        let (publisher, (url, id)) =
            (publisher.clone(), nodes[serial as usize % nodes.len()].clone());
        running.push(tokio::spawn(async move {
            let commit =
                publisher.envelope(&key, Lane::Ordered, Some(Position(0)), period, payload)?;
            let begun = Instant::now();
            let level = AckLevel::Replicated;
            let fates = publisher.publish_unverified((&url, id), level, &[commit]).await?;
            ensure!(matches!(fates[0], Published::Ordered(_)), "refused: {fates:?}");
            Ok(u64::try_from(begun.elapsed().as_micros())?)
        }));
    }
    let mut micros = Vec::with_capacity(running.len());
    for request in running {
        micros.push(request.await??);
    }
    network.stop().await?;
    Ok(micros)
}

/// How many operations are ordered in a second when all nodes are given all they take.
async fn saturation(seconds: u64) -> Result<u128> {
    let network = Network::start(Options::default()).await?;
    let publisher = Publisher::new(&network)?;
    flood(&network, &publisher, Duration::from_secs(2)).await?;
    let (ordered, took) = flood(&network, &publisher, Duration::from_secs(seconds)).await?;
    network.stop().await?;
    Ok(u128::from(ordered) * 1000 / took.as_millis().max(1))
}

async fn flood(
    network: &Network,
    publisher: &Publisher,
    time: Duration,
) -> Result<(u64, Duration)> {
    let (begun, ordered) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let nodes = nodes(network);
    let mut running = Vec::new();
    for connection in 0..CONNECTIONS {
        let (publisher, ordered) = (publisher.clone(), ordered.clone());
        let node = nodes[connection % nodes.len()].clone();
        running.push(tokio::spawn(async move {
            let key = fresh_key();
            while begun.elapsed() < time {
                propose(&publisher, &node, &key).await?;
                ordered.fetch_add(BATCH as u64, Ordering::Relaxed);
            }
            anyhow::Ok(())
        }));
    }
    for connection in running {
        connection.await??;
    }
    Ok((ordered.load(Ordering::Relaxed), begun.elapsed()))
}

/// Has a batch of proposals ordered.
async fn propose(publisher: &Publisher, (url, id): &Node, key: &SigningKey) -> Result<()> {
    let period = publisher.period(url).await?;
    let envelopes: Result<Vec<_>> = (0..BATCH)
        .map(|_| publisher.envelope(key, Lane::Ordered, None, period, payload()))
        .collect();
    let level = AckLevel::Replicated;
    let fates = publisher.publish_unverified((url, *id), level, &envelopes?).await?;
    match fates.iter().find(|fate| !matches!(fate, Published::Ordered(_))) {
        None => Ok(()),
        Some(fate) => bail!("not ordered: {fate:?}"),
    }
}

fn payload() -> Vec<u8> {
    let mut payload = vec![0; PAYLOAD_BYTES];
    rand::thread_rng().fill_bytes(&mut payload);
    payload
}

fn fresh_key() -> SigningKey {
    let mut secret = [0; 32];
    rand::thread_rng().fill_bytes(&mut secret);
    SigningKey::from_secret(&secret)
}
