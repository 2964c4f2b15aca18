//! A registry with what is computed from it over and over.

use tidings_envelope::{Registry, Topic};
use tidings_types::{NodeId, ShardId};

/// A validated registry and its committees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The registry.
    pub registry: Registry,
    /// By shard number, best node first.
    committees: Vec<Vec<NodeId>>,
}

impl Snapshot {
    /// Computes the committees.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        let shards = 0..registry.shard_count;
        let committees = shards.map(|shard| registry.committee(ShardId(shard))).collect();
        Self { registry, committees }
    }

    /// The shard's committee, best first.
    #[must_use]
    pub fn committee(&self, shard: ShardId) -> &[NodeId] {
        self.committees.get(usize::from(shard.0)).map(Vec::as_slice).unwrap_or_default()
    }

    /// Every shard.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.registry.shard_count).map(ShardId)
    }

    /// The shard that keeps `topic`.
    #[must_use]
    pub fn shard_of(&self, topic: &Topic) -> ShardId {
        topic.shard(self.registry.shard_count)
    }

    /// The node's base URL, unless it is unknown or has none.
    #[must_use]
    pub fn http(&self, node: NodeId) -> Option<&str> {
        let record = self.registry.node(node)?;
        Some(record.http.as_str()).filter(|url| !url.is_empty())
    }
}
