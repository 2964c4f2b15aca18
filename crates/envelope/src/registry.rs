//! The registry as everybody computes with it: nodes, committees, payers, parameters.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tidings_types::constants::{COMMITTEE_MEMBERS_MAX, RETENTION_DAYS_MAX};
use tidings_types::ed25519::PublicKey;
use tidings_types::{
    EdgeId, EthereumAddress, Genesis, Hash, NetworkId, NodeId, Period, PicoDollars, RegistryEpoch,
    ShardId, labelled_hash,
};

use crate::{CongestionRule, EntryHeader};

pub use crate::payer_record::{CapRecord, PayerRecord, cap_part};

const MS_PER_DAY: u64 = 86_400_000;

/// One operator's node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The node's number.
    pub id: NodeId,
    /// A short name for people.
    pub name: String,
    /// Address of the secp256k1 key that signs checkpoints, acknowledgements and votes.
    pub signing: EthereumAddress,
    /// The Ed25519 key of the node's TLS certificate.
    pub transport: PublicKey,
    /// Where peers connect, `host:port`, QUIC.
    pub quic: String,
    /// Where clients connect, a base URL.
    pub http: String,
    /// Share in the choice of committees, 1 or more.
    pub weight: u32,
    /// Whether the node may be chosen for committees.
    pub active: bool,
}

/// A server of the XMTP edge, which alone writes to `xmtp` topics (TOP-010).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeRecord {
    /// The edge's number.
    pub id: EdgeId,
    /// The Ed25519 key under which it writes.
    pub key: PublicKey,
    /// Where XMTP clients and other edges connect, a base URL.
    pub url: String,
    /// Whether it may write.
    pub active: bool,
}

/// The governed numbers that fees follow from; see `spec/11-fees.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeeSchedule {
    /// Owed for any envelope.
    pub base: PicoDollars,
    /// Owed per payload byte and day of retention.
    pub byte_day: PicoDollars,
    /// Factor for the ordered lane, in thousandths.
    pub ordered_permille: u32,
    /// Factor for stamped mailbox entries, in thousandths.
    pub stamp_permille: u32,
    /// How a busy shard makes fees dearer.
    #[serde(default)]
    pub congestion: CongestionRule,
    /// Who is paid for what.
    #[serde(default)]
    pub shares: FeeShares,
}

/// Which part of an uncongested fee each kind of work earns, in thousandths; what is left is the
/// protocol's (SET-006).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeeShares {
    /// For taking an envelope in.
    pub originate_permille: u32,
    /// For keeping it.
    pub store_permille: u32,
    /// For ordering.
    pub order_permille: u32,
}

/// The shares add up to more than a fee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shares exceed 1000 thousandths")]
pub struct SharesTooLarge;

impl FeeShares {
    /// Shares that leave the protocol nothing less than nothing.
    ///
    /// # Errors
    /// [`SharesTooLarge`] when they add up to more than 1000.
    pub fn new(originate: u32, store: u32, order: u32) -> Result<Self, SharesTooLarge> {
        let shares =
            Self { originate_permille: originate, store_permille: store, order_permille: order };
        match shares.leave_enough() {
            true => Ok(shares),
            false => Err(SharesTooLarge),
        }
    }

    fn leave_enough(self) -> bool {
        let parts = [self.originate_permille, self.store_permille, self.order_permille];
        parts.into_iter().map(u64::from).sum::<u64>() <= 1_000
    }
}

impl Default for FeeShares {
    fn default() -> Self {
        Self { originate_permille: 250, store_permille: 500, order_permille: 200 }
    }
}

impl Default for FeeSchedule {
    fn default() -> Self {
        Self {
            base: PicoDollars(2_000_000),
            byte_day: PicoDollars(100),
            ordered_permille: 4_000,
            stamp_permille: 10_000,
            congestion: CongestionRule::default(),
            shares: FeeShares::default(),
        }
    }
}

/// A snapshot of the registry at one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    /// What the network id hashes.
    pub genesis: Genesis,
    /// The snapshot's version; rises with every change.
    pub epoch: RegistryEpoch,
    /// How many shards there are, a power of two.
    pub shard_count: u16,
    /// How many nodes keep a shard.
    pub replication_factor: u16,
    /// How long a period lasts, in milliseconds.
    pub period_ms: u64,
    /// How many mailbox buckets there are.
    pub mailbox_buckets: u32,
    /// Every node, by rising id.
    pub nodes: Vec<NodeRecord>,
    /// Everybody who may pay.
    pub payers: Vec<PayerRecord>,
    /// Every server of the XMTP edge, by rising id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<EdgeRecord>,
    /// What things cost.
    pub fees: FeeSchedule,
}

impl Registry {
    /// The network's id.
    #[must_use]
    pub fn network_id(&self) -> NetworkId {
        self.genesis.network_id()
    }

    /// The node with this number.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&NodeRecord> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The node with this transport key.
    #[must_use]
    pub fn node_by_transport(&self, key: &PublicKey) -> Option<&NodeRecord> {
        self.nodes.iter().find(|node| node.transport == *key)
    }

    /// Whether `key` signs batches for `payer`.
    #[must_use]
    pub fn session_key_is_known(&self, payer: EthereumAddress, key: &PublicKey) -> bool {
        self.payer(payer).is_some_and(|record| record.session_keys.contains(key))
    }

    /// The payer with this address.
    #[must_use]
    pub fn payer(&self, address: EthereumAddress) -> Option<&PayerRecord> {
        self.payers.iter().find(|record| record.address == address)
    }

    /// Whether `key` is that of an edge that may write to `xmtp` topics (TOP-010).
    #[must_use]
    pub fn edge_key_is_known(&self, key: &PublicKey) -> bool {
        self.edges.iter().any(|edge| edge.active && edge.key == *key)
    }

    /// The shard's committee, best first, by weighted rendezvous hashing (TOP-005).
    ///
    /// The choice depends on nothing but this snapshot: lowest `-log2(hash) / weight` wins,
    /// in fixed point, ties by id.
    #[must_use]
    pub fn committee(&self, shard: ShardId) -> Vec<NodeId> {
        self.best(shard, |node| node.active)
    }

    /// The nodes that are not active and that the shard's members measure, best first: as many as
    /// a committee has, by the order of TOP-005 (SET-007).
    #[must_use]
    pub fn on_trial(&self, shard: ShardId) -> Vec<NodeId> {
        self.best(shard, |node| !node.active)
    }

    fn best(&self, shard: ShardId, counts: impl Fn(&NodeRecord) -> bool) -> Vec<NodeId> {
        let counted = self.nodes.iter().filter(|node| counts(node) && node.weight > 0);
        let mut scored: Vec<_> = counted
            .map(|node| (neg_log2(rendezvous(shard, node.id)), node.weight, node.id))
            .collect();
        scored.sort_by(|(cost, weight, id), (other_cost, other_weight, other_id)| {
            let one = u128::from(*cost) * u128::from(*other_weight);
            let other = u128::from(*other_cost) * u128::from(*weight);
            one.cmp(&other).then(id.cmp(other_id))
        });
        scored.truncate(usize::from(self.replication_factor));
        scored.into_iter().map(|(_, _, id)| id).collect()
    }

    /// The shards in whose committees a node is.
    pub fn shards_of(&self, node: NodeId) -> impl Iterator<Item = ShardId> {
        let shards = (0..self.shard_count).map(ShardId);
        shards.filter(move |shard| self.committee(*shard).contains(&node))
    }

    /// How many faulty members the shard's committee tolerates: f of 3f+1 (TOP-008).
    #[must_use]
    pub fn faults_tolerated(&self, shard: ShardId) -> usize {
        self.committee(shard).len().saturating_sub(1) / 3
    }

    /// How many replicas make an entry `replicated`: f+1 (TOP-008).
    #[must_use]
    pub fn durability_quorum(&self, shard: ShardId) -> usize {
        self.faults_tolerated(shard) + 1
    }

    /// How many members' words make a median that no f of them decide: 2f+1.
    #[must_use]
    pub fn speakers_needed(&self, shard: ShardId) -> usize {
        2 * self.faults_tolerated(shard) + 1
    }

    /// How many votes make a block final: more than two thirds of the committee (TOP-008).
    #[must_use]
    pub fn certificate_quorum(&self, shard: ShardId) -> usize {
        self.committee(shard).len() * 2 / 3 + 1
    }

    /// A digest of the shard's committee, as blocks name it (ORD-011).
    #[must_use]
    pub fn committee_hash(&self, shard: ShardId) -> Hash {
        let mut members = self.committee(shard);
        members.sort_unstable();
        let bytes: Vec<u8> = members.iter().flat_map(|id| id.0.to_be_bytes()).collect();
        labelled_hash("committee", &[&shard.0.to_be_bytes(), &bytes])
    }

    /// How many periods a payload is kept for so many days of retention, rounded up (LOG-018).
    #[must_use]
    pub fn retention_periods(&self, days: u16) -> u64 {
        // A faulty originator may write any number; nobody paid for more than the most.
        let days = u64::from(days.min(RETENTION_DAYS_MAX));
        (days * MS_PER_DAY).div_ceil(self.period_ms.max(1))
    }

    /// The last period in which the payload of an entry must be held (LOG-018).
    #[must_use]
    pub fn payload_kept_through(&self, header: &EntryHeader) -> Period {
        header.fee_period.plus(self.retention_periods(header.retention_days))
    }

    /// Whether the payload of an entry must still be held in `period` (LOG-018).
    #[must_use]
    pub fn keeps_payload(&self, header: &EntryHeader, period: Period) -> bool {
        self.payload_kept_through(header) >= period
    }

    /// Checks what a snapshot must satisfy before anybody computes with it (TOP-007).
    ///
    /// # Errors
    /// [`RegistryInvalid`] names the first rule broken.
    pub fn validate(&self) -> Result<(), RegistryInvalid> {
        if !self.shard_count.is_power_of_two() {
            return Err(RegistryInvalid::ShardCount(self.shard_count));
        }
        if usize::from(self.replication_factor) > COMMITTEE_MEMBERS_MAX {
            return Err(RegistryInvalid::Replication(self.replication_factor));
        }
        let (mut ids, mut signers) = (BTreeSet::new(), BTreeSet::new());
        for node in &self.nodes {
            if !ids.insert(node.id) {
                return Err(RegistryInvalid::RepeatedNode(node.id));
            }
            if !signers.insert(node.signing) {
                return Err(RegistryInvalid::RepeatedSigner(node.id));
            }
        }
        let mut edges = BTreeSet::new();
        if let Some(twice) = self.edges.iter().find(|edge| !edges.insert(edge.id)) {
            return Err(RegistryInvalid::RepeatedEdge(twice.id));
        }
        if self.epoch < RegistryEpoch::FIRST {
            return Err(RegistryInvalid::Epoch);
        }
        // Committees are taken from the active nodes alike, so one empty means all are.
        if self.committee(ShardId(0)).is_empty() {
            return Err(RegistryInvalid::NoNode);
        }
        if !self.fees.shares.leave_enough() {
            return Err(RegistryInvalid::Shares);
        }
        if !self.fees.congestion.is_possible() {
            return Err(RegistryInvalid::Congestion);
        }
        match (self.period_ms, self.mailbox_buckets) {
            (0, _) | (_, 0) => Err(RegistryInvalid::Zero),
            _ => Ok(()),
        }
    }
}

/// A registry that nobody can compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegistryInvalid {
    /// The number of shards is not a power of two.
    #[error("shard count {0} is not a power of two")]
    ShardCount(u16),
    /// Committees would be larger than a certificate can be.
    #[error("replication factor {0} exceeds {COMMITTEE_MEMBERS_MAX}")]
    Replication(u16),
    /// Two nodes have one signing key, so that one would count as two.
    #[error("node {0} has the signing key of another node")]
    RepeatedSigner(NodeId),
    /// Two nodes have one number.
    #[error("node {0} is listed twice")]
    RepeatedNode(NodeId),
    /// Two edges have one number.
    #[error("edge {0} is listed twice")]
    RepeatedEdge(EdgeId),
    /// The epoch is before the first.
    #[error("registry epochs count from {}", RegistryEpoch::FIRST)]
    Epoch,
    /// Nobody would keep a shard.
    #[error("no node is active")]
    NoNode,
    /// More would be paid out of a fee than it is.
    #[error("the shares exceed 1000 thousandths")]
    Shares,
    /// A busy shard has no target, or would cost less than one that is not.
    #[error("the rule of congestion has no target or a factor below one")]
    Congestion,
    /// The period length or the number of buckets is zero.
    #[error("period and buckets must not be zero")]
    Zero,
}

fn rendezvous(shard: ShardId, node: NodeId) -> u64 {
    let hash = labelled_hash("rendezvous", &[&shard.0.to_be_bytes(), &node.0.to_be_bytes()]);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(bytes)
}

/// `-log2((hash + 1) / 2^64)` with 32 fractional bits, by repeated squaring (TOP-005).
fn neg_log2(hash: u64) -> u64 {
    let value = u128::from(hash) + 1;
    let exponent = 127 - value.leading_zeros();
    // The mantissa in [1, 2) with 63 fractional bits; 64-bit hashes lose at most one bit.
    let mut mantissa =
        if exponent > 63 { value >> (exponent - 63) } else { value << (63 - exponent) };
    let mut fraction = 0u64;
    for _ in 0..32 {
        mantissa = (mantissa * mantissa) >> 63;
        fraction <<= 1;
        if mantissa >> 64 != 0 {
            fraction |= 1;
            mantissa >>= 1;
        }
    }
    (64u64 << 32) - ((u64::from(exponent) << 32) | fraction)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A registry of `nodes` equal nodes.
    pub(crate) fn registry(nodes: u32, shards: u16, replication: u16) -> Registry {
        let record = |id: u32| NodeRecord {
            id: NodeId(id),
            name: format!("node-{id}"),
            signing: EthereumAddress([u8::try_from(id).unwrap(); 20]),
            transport: PublicKey([u8::try_from(id).unwrap(); 32]),
            quic: String::new(),
            http: String::new(),
            weight: 1,
            active: true,
        };
        Registry {
            genesis: Genesis::without_chain([1; 32].into()),
            epoch: RegistryEpoch(1),
            shard_count: shards,
            replication_factor: replication,
            period_ms: 10_000,
            mailbox_buckets: 1,
            nodes: (1..=nodes).map(record).collect(),
            payers: Vec::new(),
            edges: Vec::new(),
            fees: FeeSchedule::default(),
        }
    }

    #[test]
    fn payloads_are_kept_for_their_days_and_no_less() {
        // covers: LOG-018
        let mut registry = registry(4, 1, 4);
        for (period_ms, days, expected) in [
            (10_000, 1, 8_640),
            (86_400_000, 3, 3),
            (86_399_999, 1, 2),
            (7_000, 2, 24_686),
            (10_000, u16::MAX, 8_640 * u64::from(RETENTION_DAYS_MAX)),
        ] {
            registry.period_ms = period_ms;
            assert_eq!(registry.retention_periods(days), expected, "{days} days of {period_ms} ms");
        }
    }

    #[test]
    fn logarithms_are_exact_at_powers_of_two_and_monotone() {
        // covers: TOP-005
        for exponent in 0..64u32 {
            let expected = u64::from(64 - exponent) << 32;
            assert_eq!(neg_log2((1u64 << exponent) - 1), expected);
        }
        assert_eq!(neg_log2(u64::MAX), 0);
        assert!((1..1000u64).all(|hash| neg_log2(hash << 40) <= neg_log2((hash - 1) << 40)));
    }

    #[derive(Deserialize)]
    struct Suite {
        cases: Vec<Cost>,
    }

    #[derive(Deserialize)]
    struct Cost {
        comment: String,
        hash: String,
        cost: String,
    }

    #[test]
    fn costs_are_those_of_exact_arithmetic() {
        // covers: TOP-005
        let text = include_str!("../../../spec/vectors/topics/costs.json");
        for case in serde_json::from_str::<Suite>(text).unwrap().cases {
            let hash = u64::from_str_radix(&case.hash, 16).unwrap();
            assert_eq!(neg_log2(hash).to_string(), case.cost, "{}", case.comment);
        }
    }

    #[test]
    fn committees_are_stable_and_follow_weight() {
        // covers: TOP-005
        let mut registry = registry(8, 4, 4);
        assert_eq!(registry.validate(), Ok(()));
        let before = registry.committee(ShardId(2));
        assert_eq!(before.len(), 4);
        // Removing a node outside the committee moves nobody.
        let outside = (1..=8).map(NodeId).find(|id| !before.contains(id)).unwrap();
        registry.nodes.retain(|node| node.id != outside);
        assert_eq!(registry.committee(ShardId(2)), before);
        // A heavy node is chosen nearly everywhere.
        registry.nodes.iter_mut().for_each(|node| {
            node.weight = if node.id == NodeId(3) { 1000 } else { 1 };
        });
        let led = (0..100).filter(|shard| registry.committee(ShardId(*shard))[0] == NodeId(3));
        assert!(led.count() > 95);
    }

    #[test]
    fn who_is_not_active_is_on_trial() {
        // covers: SET-007
        let mut registry = registry(6, 1, 6);
        assert_eq!(registry.on_trial(ShardId(0)), []);
        registry.replication_factor = 2;
        let all = Registry { replication_factor: 6, ..registry.clone() }.committee(ShardId(0));
        registry.nodes.iter_mut().for_each(|node| node.active = false);
        assert_eq!(registry.on_trial(ShardId(0)), all[..2], "the best of them");
        registry.nodes.iter_mut().for_each(|node| node.active = node.id == all[0]);
        assert_eq!(registry.on_trial(ShardId(0)), all[1..3]);
        assert_eq!(registry.committee(ShardId(0)), all[..1]);
    }

    #[test]
    fn quorums_follow_committee_size() {
        // covers: TOP-008
        let quorums = |nodes: u32| {
            let registry = registry(nodes, 1, 31);
            let shard = ShardId(0);
            (registry.durability_quorum(shard), registry.certificate_quorum(shard))
        };
        assert_eq!(quorums(1), (1, 1));
        assert_eq!(quorums(3), (1, 3));
        assert_eq!(quorums(4), (2, 3));
        assert_eq!(quorums(7), (3, 5));
    }
}
