//! A registry with what is computed from it over and over, and how busy its shards are.

use std::collections::BTreeMap;

use tidings_envelope::{Registry, Tariff, Topic, UNCONGESTED_PERMILLE};
use tidings_types::{NodeId, ShardId};

use super::agreement::quorum;

/// A validated registry, its committees, and the factors of its shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The registry.
    pub registry: Registry,
    /// By shard number, best node first.
    committees: Vec<Vec<NodeId>>,
    /// In thousandths, of shards that are busy.
    congestion: BTreeMap<ShardId, u32>,
}

/// What nodes say of the factors of their shards, in thousandths (FEE-010).
pub(super) type FactorTable = BTreeMap<(ShardId, NodeId), u32>;

impl Snapshot {
    /// Computes the committees.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        let shards = 0..registry.shard_count;
        let committees = shards.map(|shard| registry.committee(ShardId(shard))).collect();
        Self { registry, committees, congestion: BTreeMap::new() }
    }

    /// The same with the factors that nodes have named: for each shard the largest one that so many
    /// members of its committee say or exceed that an honest one is among them.
    #[must_use]
    pub(super) fn with_factors(&self, named: &FactorTable) -> Self {
        Self { congestion: self.factors(named), ..self.clone() }
    }

    /// Whether that changes anything.
    #[must_use]
    pub(super) fn has_other_factors(&self, named: &FactorTable) -> bool {
        self.congestion != self.factors(named)
    }

    fn factors(&self, named: &FactorTable) -> BTreeMap<ShardId, u32> {
        let factor = |shard: ShardId| {
            let committee = self.committee(shard);
            let named = committee.iter().filter_map(|node| named.get(&(shard, *node)).copied());
            let mut named: Vec<u32> = named.collect();
            named.sort_unstable_by(|one, other| other.cmp(one));
            let agreed = named.get(quorum(committee.len()).checked_sub(1)?).copied()?;
            (agreed > UNCONGESTED_PERMILLE).then_some((shard, agreed))
        };
        self.shards().filter_map(factor).collect()
    }

    /// What envelopes cost now in a shard, at most.
    #[must_use]
    pub fn tariff(&self, shard: ShardId) -> Tariff<'_> {
        let busy = self.congestion.get(&shard).copied();
        let congestion_permille = busy.unwrap_or(UNCONGESTED_PERMILLE);
        Tariff { schedule: &self.registry.fees, congestion_permille }
    }

    /// What envelopes cost now in the busiest shard.
    #[must_use]
    pub fn dearest_tariff(&self) -> Tariff<'_> {
        let busiest = self.congestion.iter().max_by_key(|(_, permille)| **permille);
        self.tariff(busiest.map(|(shard, _)| *shard).unwrap_or_default())
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

#[cfg(test)]
mod tests {
    use tidings_envelope::registry::{FeeSchedule, NodeRecord};
    use tidings_types::ed25519::PublicKey;
    use tidings_types::{EthereumAddress, Genesis, RegistryEpoch};

    use super::*;

    const SHARD: ShardId = ShardId(0);

    fn snapshot() -> Snapshot {
        let node = |id: u8| NodeRecord {
            id: NodeId(id.into()),
            name: String::new(),
            signing: EthereumAddress([id; 20]),
            transport: PublicKey([id; 32]),
            quic: String::new(),
            http: String::new(),
            weight: 1,
            active: true,
        };
        Snapshot::new(Registry {
            genesis: Genesis::without_chain([1; 32].into()),
            epoch: RegistryEpoch(1),
            shard_count: 1,
            replication_factor: 4,
            period_ms: 10_000,
            mailbox_buckets: 1,
            nodes: (1..=5).map(node).collect(),
            payers: Vec::new(),
            edges: Vec::new(),
            fees: FeeSchedule::default(),
        })
    }

    fn check(named: &[u32], expected: u32) {
        let snapshot = snapshot();
        let nodes = snapshot.committee(SHARD).iter().zip(named);
        let mut table: FactorTable =
            nodes.map(|(node, permille)| ((SHARD, *node), *permille)).collect();
        // Who is not in the committee says nothing about the shard.
        let strangers = (1..=5).map(NodeId).filter(|it| !snapshot.committee(SHARD).contains(it));
        table.extend(strangers.map(|stranger| ((SHARD, stranger), 9_000)));
        let found = snapshot.with_factors(&table);
        assert_eq!(found.tariff(SHARD).congestion_permille, expected, "{named:?}");
        assert_eq!(found.dearest_tariff(), found.tariff(SHARD));
    }

    #[test]
    fn one_liar_makes_nothing_dearer_or_cheaper() {
        // covers: GTW-005
        check(&[], 1_000);
        check(&[100_000], 1_000);
        check(&[100_000, 1_000, 1_000, 1_000], 1_000);
        check(&[1_125, 1_125, 1_125, 1_000], 1_125);
        check(&[100_000, 1_125, 1_000, 1_000], 1_125);
        check(&[0, 0, 0, 0], 1_000);
    }
}
