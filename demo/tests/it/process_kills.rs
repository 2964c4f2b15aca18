//! SIGKILL of any node at any moment, fifty times: nothing acknowledged is lost or there twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use tidings_demo::{Network, Options, Published, Publisher};
use tidings_envelope::{AckLevel, Lane, Topic};
use tidings_types::ed25519::SigningKey;
use tidings_types::{EnvelopeId, NodeId};
use tokio::sync::Notify;

/// How often a node is killed.
const KILLS: usize = 50;

/// What publishers and killer share.
#[derive(Default)]
struct Progress {
    acknowledged: AtomicU64,
    moved: Notify,
    stop: AtomicBool,
}

/// Publishes one envelope at a time, at whichever node takes it, until told to stop.
async fn publish_on(
    publisher: Publisher,
    nodes: Vec<(String, NodeId)>,
    key: SigningKey,
    progress: Arc<Progress>,
) -> Result<Vec<EnvelopeId>> {
    let mut acknowledged = Vec::new();
    let mut serial = 0u64;
    let mut at = 0;
    while !progress.stop.load(Ordering::Relaxed) {
        let (url, id) = &nodes[at % nodes.len()];
        let Ok(period) = publisher.period(url).await else {
            at += 1;
            continue;
        };
        serial += 1;
        let payload = serial.to_be_bytes().repeat(40);
        let envelope = publisher.envelope(&key, Lane::Broadcast, None, period, payload)?;
        let id_sent = envelope.body.id();
        match publisher.publish((url, *id), AckLevel::Replicated, &[envelope]).await {
            Ok(fates) if matches!(fates[0], Published::Stored(_)) => {
                acknowledged.push(id_sent);
                progress.acknowledged.fetch_add(1, Ordering::Relaxed);
                progress.moved.notify_waiters();
            }
            _ => at += 1,
        }
    }
    Ok(acknowledged)
}

/// Waits until `count` more envelopes are acknowledged.
async fn wait_for_progress(progress: &Progress, count: u64) -> Result<()> {
    let target = progress.acknowledged.load(Ordering::Relaxed) + count;
    let moving = async {
        loop {
            let moved = progress.moved.notified();
            if progress.acknowledged.load(Ordering::Relaxed) >= target {
                return;
            }
            moved.await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), moving).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_in_fifty_kills() -> Result<()> {
    let mut network = Network::start(Options::default()).await?;
    let publisher = Publisher::new(&network)?;
    let nodes: Vec<(String, NodeId)> =
        network.nodes().iter().map(|node| (node.http.clone(), NodeId(node.id))).collect();
    let progress = Arc::new(Progress::default());
    let keys: Vec<SigningKey> = (1..=4u8).map(|key| SigningKey::from_secret(&[key; 32])).collect();
    let publishing: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(index, key)| {
            let mut nodes = nodes.clone();
            nodes.rotate_left(index);
            tokio::spawn(publish_on(publisher.clone(), nodes, key.clone(), progress.clone()))
        })
        .collect();
    let seed = 7;
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    for _ in 0..KILLS {
        wait_for_progress(&progress, u64::from(rng.next_u32() % 12)).await?;
        let victim = rng.next_u32() as usize % nodes.len();
        network.kill_node(victim)?;
        network.spawn_node(victim)?;
        network.node_is_ready(victim).await?;
    }
    progress.stop.store(true, Ordering::Relaxed);
    for (key, publishing) in keys.iter().zip(publishing) {
        let acknowledged = publishing.await??;
        let topic = Topic::group(&key.public_key());
        for (url, _) in &nodes {
            check(&publisher, url, topic, &acknowledged).await?;
        }
    }
    network.stop().await
}

/// Waits until a node holds every acknowledged envelope of a topic, and none of them twice.
async fn check(
    publisher: &Publisher,
    url: &str,
    topic: Topic,
    acknowledged: &[EnvelopeId],
) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let mut seen: BTreeMap<EnvelopeId, usize> = BTreeMap::new();
        for page in publisher.read(url, topic).await? {
            for entry in page.broadcast.iter() {
                *seen.entry(entry.entry.header.envelope_id).or_default() += 1;
            }
        }
        ensure!(seen.values().all(|count| *count == 1), "an envelope is there twice at {url}");
        let missing = acknowledged.iter().filter(|id| !seen.contains_key(id)).count();
        if missing == 0 {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{missing} of {} are missing at {url}",
            acknowledged.len()
        );
        tokio::task::yield_now().await;
    }
}
