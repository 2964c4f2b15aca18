//! A registry of four nodes with keys that benchmarks in one process sign with.

use anyhow::Result;
use tidings_envelope::Registry;
use tidings_envelope::registry::{FeeSchedule, NodeRecord};
use tidings_types::ed25519::PublicKey;
use tidings_types::node_key::NodeKey;
use tidings_types::{Genesis, NodeId, RegistryEpoch};

/// How many nodes there are, with numbers from 1.
pub const NODES: u8 = 4;

/// The key of a node.
///
/// # Errors
/// When the number is zero.
pub fn node_key(number: u8) -> Result<NodeKey> {
    Ok(NodeKey::from_secret(&[number; 32])?)
}

/// The nodes as one committee.
///
/// # Errors
/// None but those of [`node_key`].
pub fn registry() -> Result<Registry> {
    let mut nodes = Vec::new();
    for number in 1..=NODES {
        nodes.push(NodeRecord {
            id: NodeId(number.into()),
            name: format!("node-{number}"),
            signing: node_key(number)?.address(),
            transport: PublicKey([number; 32]),
            quic: String::new(),
            http: String::new(),
            weight: 1,
            active: true,
        });
    }
    Ok(Registry {
        genesis: Genesis::without_chain([1; 32].into()),
        epoch: RegistryEpoch(1),
        shard_count: 1,
        replication_factor: NODES.into(),
        period_ms: 10_000,
        mailbox_buckets: 1,
        nodes,
        payers: Vec::new(),
        edges: Vec::new(),
        fees: FeeSchedule::default(),
    })
}
