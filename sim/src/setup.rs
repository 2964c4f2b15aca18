//! The network that is simulated: keys, registry, who runs where.

use std::fmt;
use std::sync::Arc;

use tidings_envelope::registry::{FeeSchedule, NodeRecord, PayerRecord, Registry};
use tidings_envelope::{BlockHeader, Certificate, CongestionRule, OrderedReceipt, RegistryHistory};
use tidings_types::ed25519::SigningKey;
use tidings_types::node_key::NodeKey;
use tidings_types::{
    EthereumAddress, Genesis, GenesisSalt, NetworkId, NodeId, RegistryEpoch, ShardId, labelled_hash,
};

use crate::scenario::{Change, Shape};

/// Who pays for everything.
pub const PAYER: EthereumAddress = EthereumAddress([7; 20]);

/// A place where a node's process runs.
///
/// A node has one, unless it is a cheat that runs two processes with one key and shows each of
/// them to a part of its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seat {
    /// Whose process.
    pub node: NodeId,
    /// 0 for the first process with the node's key, 1 for the other.
    pub twin: u8,
}

impl Seat {
    /// The first seat of a node.
    #[must_use]
    pub const fn of(node: NodeId) -> Self {
        Self { node, twin: 0 }
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.twin == 0 { "" } else { "'" };
        write!(formatter, "n{}{mark}", self.node)
    }
}

/// The network, and every registry that it has had.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The newest registry.
    pub registry: Arc<Registry>,
    /// The network's id.
    pub network: NetworkId,
    /// Every registry, by epoch.
    registries: Vec<Arc<Registry>>,
}

/// What a few people write is a flood under this rule, so that factors rise and fall.
const BUSY_RULE: CongestionRule =
    CongestionRule { target_bytes: 300, step_permille: 125, max_permille: 3_000 };

impl Setup {
    /// A network of the given shape.
    #[must_use]
    pub fn new(shape: &Shape) -> Self {
        let registry = Registry {
            genesis: Genesis::without_chain(GenesisSalt([1; 32])),
            epoch: RegistryEpoch(1),
            shard_count: shape.shards,
            replication_factor: shape.replication,
            period_ms: shape.period_ms,
            mailbox_buckets: 1,
            nodes: (1..=shape.nodes).map(|node| record(NodeId(node))).collect(),
            payers: vec![PayerRecord::unlimited(PAYER, vec![session_key().public_key()])],
            edges: Vec::new(),
            fees: FeeSchedule { congestion: BUSY_RULE, ..FeeSchedule::default() },
        };
        let network = registry.network_id();
        let registry = Arc::new(registry);
        Self { registries: vec![registry.clone()], registry, network }
    }

    /// Changes the registry; the new one is of the next epoch.
    pub fn change(&mut self, change: Change) {
        let mut registry = Registry::clone(&self.registry);
        registry.epoch = registry.epoch.plus(1);
        match change {
            Change::Weight { node, weight } => {
                let records = registry.nodes.iter_mut().filter(|record| record.id == node);
                records.for_each(|record| record.weight = weight);
            }
            Change::Payer => {
                let count = registry.payers.len() as u64;
                let session_keys = vec![key("other session", count).public_key()];
                let byte = u8::try_from(count).unwrap_or(u8::MAX);
                let address = EthereumAddress([byte; 20]);
                registry.payers.push(PayerRecord::unlimited(address, session_keys));
            }
        }
        self.registry = Arc::new(registry);
        self.registries.push(self.registry.clone());
    }

    /// The registries after an epoch, oldest first.
    #[must_use]
    pub fn since(&self, epoch: RegistryEpoch) -> Vec<Arc<Registry>> {
        self.registries.iter().filter(|registry| registry.epoch > epoch).cloned().collect()
    }

    /// All registries.
    #[must_use]
    pub fn history(&self) -> RegistryHistory {
        let mut history = RegistryHistory::new(self.first());
        for registry in self.since(RegistryEpoch::FIRST) {
            // Those of one run never contradict each other.
            let _ = history.insert(registry);
        }
        history
    }

    /// The first registry.
    #[must_use]
    pub fn first(&self) -> Arc<Registry> {
        self.registries.first().unwrap_or(&self.registry).clone()
    }

    /// Checks an ordered receipt against the committee of its block's epoch.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_ordered(&self, receipt: &OrderedReceipt) -> Result<(), String> {
        let mut registries = self.registries.iter();
        let registry = registries.find(|it| it.epoch == receipt.header.registry_epoch);
        let registry = registry.ok_or("the registry's epoch is unknown")?;
        receipt.verify(self.network, registry).map_err(|error| error.to_string())
    }

    /// Whether the committee of the block's epoch has certified it.
    #[must_use]
    pub fn is_certified(&self, header: &BlockHeader, certificate: &Certificate) -> bool {
        let mut registries = self.registries.iter();
        let registry = registries.find(|registry| registry.epoch == header.registry_epoch);
        registry.is_some_and(|it| certificate.verify(header, self.network, it).is_ok())
    }

    /// Every node, by number.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.registry.nodes.iter().map(|record| record.id)
    }

    /// Every shard.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> {
        (0..self.registry.shard_count).map(ShardId)
    }
}

fn record(node: NodeId) -> NodeRecord {
    NodeRecord {
        id: node,
        name: format!("node-{node}"),
        signing: node_key(node).address(),
        transport: key("transport", u64::from(node.0)).public_key(),
        quic: String::new(),
        http: String::new(),
        weight: 1,
        active: true,
    }
}

/// The key that a node signs with.
///
/// # Panics
/// Never: a hash is a secret but for a chance that no run meets.
#[must_use]
pub fn node_key(node: NodeId) -> NodeKey {
    let secret = labelled_hash("sim node key", &[&node.0.to_be_bytes()]);
    NodeKey::from_secret(&secret).expect("a hash is a secret key")
}

/// The key that the payer's gateway signs batches with.
#[must_use]
pub fn session_key() -> SigningKey {
    key("session", 0)
}

/// An Ed25519 key for a purpose.
#[must_use]
pub fn key(purpose: &str, which: u64) -> SigningKey {
    let label = format!("sim {purpose} key");
    SigningKey::from_secret(&labelled_hash(&label, &[&which.to_be_bytes()]))
}
