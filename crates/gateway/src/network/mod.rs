//! What the gateway knows of the network: its registry, its nodes' health, and the period.

mod agreement;
mod node_client;
mod route;
mod snapshot;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tidings_types::{NetworkId, NodeId, Period, RegistryEpoch, ShardId};
use tokio::sync::watch;

pub use node_client::{CallError, NodeClient};
pub use route::HealthTable;
pub use snapshot::Snapshot;

use node_client::ShardFactor;
use snapshot::FactorTable;

/// The network as this gateway sees it; kept up to date by [`Network::watch`].
#[derive(Debug)]
pub struct Network {
    id: NetworkId,
    bootstrap: Vec<String>,
    client: NodeClient,
    distrust: Duration,
    snapshot: watch::Sender<Option<Arc<Snapshot>>>,
    health: Mutex<HealthTable>,
    /// What nodes said last of how busy their shards are.
    factors: Mutex<FactorTable>,
    /// How often all nodes have been looked at.
    looks: watch::Sender<u64>,
    /// Held while the registry is fetched, so that many callers cause one fetch.
    fetching: tokio::sync::Mutex<()>,
    /// How many fetches have begun.
    fetches: AtomicU64,
}

impl Network {
    /// A network of which nothing is known but its id and some nodes' URLs.
    #[must_use]
    pub fn new(
        id: NetworkId,
        bootstrap: Vec<String>,
        client: NodeClient,
        distrust: Duration,
    ) -> Self {
        Self {
            id,
            bootstrap,
            client,
            distrust,
            snapshot: watch::Sender::new(None),
            health: Mutex::default(),
            factors: Mutex::default(),
            looks: watch::Sender::new(0),
            fetching: tokio::sync::Mutex::default(),
            fetches: AtomicU64::new(0),
        }
    }

    /// The network's id.
    #[must_use]
    pub fn id(&self) -> NetworkId {
        self.id
    }

    /// The client for its nodes.
    #[must_use]
    pub fn client(&self) -> &NodeClient {
        &self.client
    }

    /// The registry in force; none before the first was agreed on.
    #[must_use]
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.borrow().clone()
    }

    /// Every node's health.
    #[must_use]
    pub fn health(&self) -> HealthTable {
        self.table().clone()
    }

    /// The period that the node named last, or else the one that most nodes have reached.
    #[must_use]
    pub fn period_of(&self, node: NodeId) -> Option<Period> {
        let table = self.table();
        let own = table.get(&node).and_then(|seen| seen.period);
        own.or_else(|| route::median_period(&table))
    }

    /// The period that most nodes have reached.
    #[must_use]
    pub fn period(&self) -> Option<Period> {
        route::median_period(&self.table())
    }

    /// The node that is to carry a batch for `shard` next (GTW-006).
    #[must_use]
    pub fn choose(
        &self,
        snapshot: &Snapshot,
        shard: ShardId,
        tried: &BTreeSet<NodeId>,
    ) -> Option<NodeId> {
        route::choose(snapshot.committee(shard), &self.table(), tried, Instant::now())
    }

    /// The first shard that no healthy node serves.
    #[must_use]
    pub fn unserved_shard(&self, snapshot: &Snapshot) -> Option<ShardId> {
        let (table, now) = (self.table(), Instant::now());
        let serves = |node: &NodeId| {
            table.get(node).is_some_and(|seen| seen.healthy && !seen.is_distrusted(now))
        };
        snapshot.shards().find(|shard| !snapshot.committee(*shard).iter().any(serves))
    }

    /// Remembers that a call to the node failed, until it answers a look-up again.
    pub fn failed(&self, node: NodeId) {
        self.table().entry(node).or_default().healthy = false;
    }

    /// Leaves a node alone that said what is not so (GTW-007).
    pub fn lied(&self, node: NodeId) {
        self.table().entry(node).or_default().distrusted_until =
            Some(Instant::now() + self.distrust);
    }

    /// Looks at every node every `interval` and follows the registry, for ever.
    pub async fn watch(&self, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
            self.looks.send_modify(|looks| *looks += 1);
        }
    }

    /// Changes with every look at all nodes.
    #[must_use]
    pub fn looks(&self) -> watch::Receiver<u64> {
        self.looks.subscribe()
    }

    /// Looks at every node once; fetches the registry when there is none or a node names another
    /// epoch.
    pub async fn look(&self) {
        let Some(snapshot) = self.snapshot() else {
            if self.refresh_registry().await
                && let Some(snapshot) = self.snapshot()
            {
                self.probe_all(&snapshot).await;
            }
            return;
        };
        let newest = self.probe_all(&snapshot).await;
        if newest.is_some_and(|epoch| epoch > snapshot.registry.epoch) {
            self.refresh_registry().await;
        }
    }

    /// Probes every node of the registry; answers with the newest epoch named.
    pub async fn probe_all(&self, snapshot: &Snapshot) -> Option<RegistryEpoch> {
        let nodes = snapshot.registry.nodes.iter();
        let probes = nodes.map(|node| self.probe(snapshot, node.id));
        let newest = join_all(probes).await.into_iter().flatten().max();
        self.table().retain(|node, _| snapshot.registry.node(*node).is_some());
        self.factors().retain(|(_, node), _| snapshot.registry.node(*node).is_some());
        newest
    }

    /// Asks one node how it is; answers with the epoch that it names.
    pub async fn probe(&self, snapshot: &Snapshot, node: NodeId) -> Option<RegistryEpoch> {
        let base = snapshot.http(node)?;
        let answer = self.client.status(base).await;
        let mut table = self.table();
        let health = table.entry(node).or_default();
        match answer {
            Ok((status, took)) if status.network == self.id && status.node == node => {
                health.answered(status.ready, status.period, took);
                drop(table);
                self.hear_factors(node, &status.shards);
                Some(status.registry_epoch)
            }
            Ok(_) => {
                health.healthy = false;
                tracing::warn!(%node, "the node says that it is another one");
                None
            }
            Err(error) => {
                health.healthy = false;
                tracing::debug!(%node, %error, "a look at the node failed");
                None
            }
        }
    }

    /// Asks the nodes of the registry in force, or those configured, for a newer one; answers
    /// whether there is one now (GTW-008).
    pub async fn refresh_registry(&self) -> bool {
        let before = self.snapshot().map(|snapshot| snapshot.registry.epoch);
        let fetches_before = self.fetches.load(Ordering::SeqCst);
        let _fetching = self.fetching.lock().await;
        let current = self.snapshot();
        let has_changed = current.as_ref().map(|now| now.registry.epoch) != before;
        // A fetch that began after this call says all there is to know.
        if has_changed || self.fetches.load(Ordering::SeqCst) != fetches_before {
            return has_changed;
        }
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let voters = match &current {
            None => self.bootstrap.clone(),
            Some(current) => {
                let nodes = current.registry.nodes.iter().filter(|node| node.active);
                nodes.map(|node| node.http.clone()).filter(|url| !url.is_empty()).collect()
            }
        };
        let answers = join_all(voters.iter().map(|base| self.client.registry(base))).await;
        let answers: Vec<_> = answers.into_iter().flatten().collect();
        let needed = agreement::quorum(voters.len());
        let current = current.as_ref().map(|snapshot| &snapshot.registry);
        match agreement::agreed(&answers, needed, self.id, current) {
            Some(registry) => {
                tracing::info!(epoch = %registry.epoch, "the registry is in force");
                let snapshot = Snapshot::new(registry).with_factors(&self.factors());
                self.snapshot.send_replace(Some(Arc::new(snapshot)));
                true
            }
            None => {
                let (asked, answered) = (voters.len(), answers.len());
                tracing::debug!(asked, answered, needed, "no newer registry is agreed on");
                false
            }
        }
    }

    /// Takes over what a node says of how busy its shards are.
    fn hear_factors(&self, node: NodeId, shards: &[ShardFactor]) {
        let mut factors = self.factors();
        factors.extend(shards.iter().map(|it| ((it.shard, node), it.congestion_permille)));
        self.snapshot.send_if_modified(|current| {
            let changed = current.as_mut().filter(|it| it.has_other_factors(&factors));
            changed.map(|snapshot| *snapshot = Arc::new(snapshot.with_factors(&factors))).is_some()
        });
    }

    fn factors(&self) -> MutexGuard<'_, FactorTable> {
        self.factors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, HealthTable> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
