//! Load: batches of signed envelopes, published by several connections at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::RngCore;
use tidings_demo::{Network, Published, Publisher};
use tidings_envelope::{AckLevel, Lane};
use tidings_types::ed25519::SigningKey;
use tidings_types::{NodeId, Period};

/// A publisher and the node that it loads.
#[derive(Clone)]
pub struct Load {
    publisher: Publisher,
    url: String,
    node: NodeId,
    payload_bytes: usize,
}

/// How much to publish.
#[derive(Debug, Clone, Copy)]
pub enum Amount {
    /// For so long.
    For(Duration),
    /// So many envelopes.
    Envelopes(u64),
}

impl Load {
    /// Load on a node of `network`.
    ///
    /// # Errors
    /// When the network's keys cannot be read.
    pub fn new(network: &Network, node: usize, payload_bytes: usize) -> Result<Self> {
        let layout = &network.nodes()[node];
        Ok(Self {
            publisher: Publisher::new(network)?,
            url: layout.http.clone(),
            node: NodeId(layout.id),
            payload_bytes,
        })
    }

    /// Publishes batches over `connections` at once; answers how many envelopes got a receipt,
    /// and in what time.
    ///
    /// # Errors
    /// When a request fails or an envelope is refused.
    pub async fn run(
        &self,
        amount: Amount,
        connections: usize,
        batch: usize,
        level: AckLevel,
    ) -> Result<(u64, Duration)> {
        let begun = Instant::now();
        let sent = Arc::new(AtomicU64::new(0));
        let mut running = Vec::new();
        for _ in 0..connections {
            let (load, sent) = (self.clone(), sent.clone());
            running.push(tokio::spawn(async move {
                load.publish(amount, begun, &sent, batch, level).await
            }));
        }
        for connection in running {
            connection.await??;
        }
        Ok((sent.load(Ordering::Relaxed), begun.elapsed()))
    }

    async fn publish(
        &self,
        amount: Amount,
        begun: Instant,
        sent: &AtomicU64,
        batch: usize,
        level: AckLevel,
    ) -> Result<()> {
        let mut secret = [0; 32];
        rand::thread_rng().fill_bytes(&mut secret);
        let key = SigningKey::from_secret(&secret);
        let (mut period, mut asked) = (self.publisher.period(&self.url).await?, Instant::now());
        loop {
            let done = match amount {
                Amount::For(time) => begun.elapsed() >= time,
                Amount::Envelopes(count) => sent.load(Ordering::Relaxed) >= count,
            };
            if done {
                return Ok(());
            }
            if asked.elapsed() > Duration::from_secs(1) {
                (period, asked) = (self.publisher.period(&self.url).await?, Instant::now());
            }
            let fates = self.batch(&key, period, batch, level).await?;
            let refused = fates.iter().find(|fate| !matches!(fate, Published::Stored(_)));
            ensure!(refused.is_none(), "an envelope was refused: {refused:?}");
            sent.fetch_add(fates.len() as u64, Ordering::Relaxed);
        }
    }

    async fn batch(
        &self,
        key: &SigningKey,
        period: Period,
        count: usize,
        level: AckLevel,
    ) -> Result<Vec<Published>> {
        let envelopes: Result<Vec<_>> = (0..count)
            .map(|_| {
                let mut payload = vec![0; self.payload_bytes];
                rand::thread_rng().fill_bytes(&mut payload);
                self.publisher.envelope(key, Lane::Broadcast, None, period, payload)
            })
            .collect();
        // Whoever measures a node does not measure its own check of every receipt.
        self.publisher.publish_unverified((&self.url, self.node), level, &envelopes?).await
    }
}
