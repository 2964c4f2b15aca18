//! A lane without agreement: every block is staged, checked as a peer would, and committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tidings_envelope::{
    Block, ClientEnvelope, EnvelopeBody, IncarnationRequest, Operation, Outcome, PeriodMarker,
    PeriodStatement, Registry, RegistryHistory, Topic,
};
use tidings_order::{JudgingContext, LaneContext, LaneState, Staged, judge_operation};
use tidings_types::{
    BoundedVec, Incarnation, NetworkId, NodeId, Period, Position, ShardId, sha256,
};

use crate::network::{node_key, ordered, paid, registry, signing_key};

pub struct Lane {
    pub registry: Registry,
    pub registries: RegistryHistory,
    pub network: NetworkId,
    pub state: LaneState,
    stored: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Lane {
    /// A lane in its first period.
    pub fn new() -> Self {
        Self::of(registry(4))
    }

    /// A lane of these nodes in its first period.
    pub fn of(registry: Registry) -> Self {
        let mut lane = Self {
            network: registry.network_id(),
            registries: RegistryHistory::new(Arc::new(registry.clone())),
            registry,
            state: LaneState::default(),
            stored: BTreeMap::new(),
        };
        assert_eq!(lane.apply(vec![marker(1)]), [applied(1)]);
        lane
    }

    pub fn context(&self) -> LaneContext<'_> {
        LaneContext { network: self.network, registries: &self.registries, shard: ShardId(0) }
    }

    /// What the next operations of a shard are judged by.
    pub fn judging(&self, shard: ShardId) -> JudgingContext<'_> {
        self.state.judging(LaneContext { shard, ..self.context() }, &self.registry)
    }

    /// The next block with these operations, which are valid.
    pub fn stage(&self, operations: Vec<Operation>) -> Staged {
        for operation in &operations {
            assert_eq!(judge_operation(operation, &self.judging(ShardId(0))), Ok(()));
        }
        let (staged, waiting) = self.state.stage(operations, self.context()).unwrap();
        assert!(waiting.is_empty());
        staged
    }

    /// Makes the next block final; answers the outcomes in the block's order.
    pub fn apply(&mut self, operations: Vec<Operation>) -> Vec<Outcome> {
        let staged = self.stage(operations);
        assert_eq!(
            self.state.check(&staged.block, |_| false, self.context()).as_ref(),
            Ok(&staged)
        );
        assert_eq!(self.state.restage(&staged.block, self.context()).as_ref(), Ok(&staged));
        let block = staged.block.clone();
        self.commit(staged);
        block.operations.iter().map(|decided| decided.outcome).collect()
    }

    /// Makes one operation final in a block of its own.
    pub fn apply_one(&mut self, operation: Operation) -> Outcome {
        self.apply(vec![operation]).remove(0)
    }

    /// Commits, and reads the same state back from what storage would hold.
    pub fn commit(&mut self, staged: Staged) {
        for (key, value) in staged.stored_changes() {
            match value {
                Some(value) => self.stored.insert(key, value),
                None => self.stored.remove(&key),
            };
        }
        let header = staged.block.header;
        self.state.commit(staged);
        let restored = LaneState::restore(Some(&header), &self.stored);
        assert_eq!(restored.as_ref(), Ok(&self.state));
        assert_eq!(header.period, self.state.period());
        assert_eq!(header.state_root, root(&self.stored));
    }

    /// The members state, from node 1 on, to have taken so many bytes.
    pub fn say_taken(&mut self, taken: &[u64]) {
        for (node, taken) in (1..).zip(taken) {
            let statement = self.statement(node, *taken);
            assert_eq!(self.apply_one(statement), applied(self.state.period().0));
        }
    }

    /// A member states to have taken so many bytes.
    pub fn statement(&self, node: u32, taken: u64) -> Operation {
        let (held, measured) = (BoundedVec::default(), BoundedVec::default());
        let (about, key) =
            ((NodeId(node), ShardId(0), self.state.period()), node_key(NodeId(node)));
        let said = PeriodStatement::sign(about, held, measured, taken, &key, self.network);
        Operation::Statement(Box::new(said))
    }

    pub fn begin_period(&mut self) -> Period {
        let next = self.state.period().plus(1);
        assert_eq!(self.apply_one(marker(next.0)), applied(next.0));
        next
    }

    pub fn pay(&self, envelope: ClientEnvelope) -> Operation {
        Operation::Envelope(paid(envelope, self.network, |_| {}))
    }

    /// An envelope of the group with key `key`, changed before it was signed.
    pub fn envelope(&self, key: u8, change: impl FnOnce(&mut EnvelopeBody)) -> Operation {
        let key = signing_key(key);
        let topic = Topic::group(&key.public_key());
        let mut body = ordered(topic, self.state.period().plus(1), b"text");
        change(&mut body);
        self.pay(body.sign(&key, self.network))
    }

    /// A commit at `expected` to the group with key `key`.
    pub fn commit_at(&self, key: u8, expected: u64, text: &[u8]) -> Operation {
        self.envelope(key, |body| {
            body.expected_position = Some(Position(expected));
            body.payload = text.to_vec().try_into().unwrap();
        })
    }

    pub fn opening(&self, node: u32, previous: u32, nonce: u8) -> Operation {
        let node = NodeId(node);
        Operation::OpenIncarnation(IncarnationRequest::sign(
            node,
            ShardId(0),
            Incarnation(previous),
            [nonce; 32],
            &node_key(node),
            self.network,
        ))
    }
}

/// The root over what storage holds, by the words of ORD-030.
fn root(stored: &BTreeMap<Vec<u8>, Vec<u8>>) -> [u8; 32] {
    const DECIDED: u8 = 6;
    let leaves = stored.iter().filter(|(key, _)| key[0] != DECIDED).map(|(key, value)| {
        let key = sha256(&[b"Tidings 1.0 state key\0", &key[..]].concat());
        (key, sha256(&[b"Tidings 1.0 state value\0", &value[..]].concat()))
    });
    subtree(&leaves.collect::<Vec<_>>(), 0)
}

fn subtree(leaves: &[([u8; 32], [u8; 32])], depth: usize) -> [u8; 32] {
    match leaves {
        [] => *b"SPARSE_MERKLE_PLACEHOLDER_HASH__",
        [(key, value)] => sha256(&[&b"JMT::LeafNode"[..], key, value].concat()),
        _ => {
            let bit = |key: &[u8; 32]| key[depth / 8] >> (7 - depth % 8) & 1;
            let half = |side| leaves.iter().filter(move |(key, _)| bit(key) == side).copied();
            let hash = |side| subtree(&half(side).collect::<Vec<_>>(), depth + 1);
            sha256(&[&b"JMT::IntrnalNode"[..], &hash(0), &hash(1)].concat())
        }
    }
}

pub fn marker(period: u64) -> Operation {
    Operation::PeriodMarker(PeriodMarker::new(Period(period)))
}

pub fn applied(position: u64) -> Outcome {
    Outcome::Applied { position: Position(position) }
}

pub fn conflict(position: u64) -> Outcome {
    Outcome::Conflict { position: Position(position) }
}

/// The operations of a block, in its order.
pub fn operations(block: &Block) -> Vec<Operation> {
    block.operations.iter().map(|decided| decided.operation.clone()).collect()
}

/// One block's worth of what a lane may be asked.
#[derive(Debug, Clone)]
enum Wish {
    Marker(u64),
    Opening(u32, u32),
    Commit(u8, u64, u8),
    Proposal(u8, u8, u64),
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        (0u64..3).prop_map(Wish::Marker),
        (1u32..5, 0u32..3).prop_map(|(node, previous)| Wish::Opening(node, previous)),
        (1u8..4, 0u64..4, any::<u8>()).prop_map(|(key, at, text)| Wish::Commit(key, at, text)),
        (1u8..4, 0u8..4, 0u64..3).prop_map(|(key, text, ahead)| Wish::Proposal(key, text, ahead)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A replica that executes the blocks, one that restores its state from storage at every
    /// step, and the proposer hold the same state, byte for byte.
    #[test]
    fn every_replica_holds_one_state_however_it_came_to_it(
        wishes in prop::collection::vec(prop::collection::vec(wish(), 0..5), 1..12),
    ) {
        // covers: ORD-004
        let mut lane = Lane::new();
        let mut replica = lane.state.clone();
        for wishes in wishes {
            let period = lane.state.period();
            let operations = wishes.iter().map(|wish| match wish {
                Wish::Marker(ahead) => marker(period.plus(*ahead).0),
                Wish::Opening(node, previous) => lane.opening(*node, *previous, 1),
                Wish::Commit(key, at, text) => lane.commit_at(*key, *at, &[*text]),
                Wish::Proposal(key, text, ahead) => lane.envelope(*key, |body| {
                    body.payload = vec![*text].try_into().unwrap();
                    body.not_after = period.plus(*ahead);
                }),
            });
            let (staged, waiting) = lane.state.stage(operations.collect(), lane.context()).unwrap();
            prop_assert_eq!(operations_of(&staged) + waiting.len(), wishes.len());
            let checked = replica.check(&staged.block, |_| false, lane.context()).unwrap();
            replica.commit(checked);
            lane.commit(staged);
            prop_assert_eq!(&replica, &lane.state);
        }
    }
}

fn operations_of(staged: &Staged) -> usize {
    staged.block.operations.len()
}

#[test]
fn damaged_storage_is_noticed() {
    // covers: ORD-004
    // covers: ORD-031
    let mut lane = Lane::new();
    lane.apply(vec![lane.opening(1, 0, 1), lane.commit_at(1, 0, b"commit")]);
    let staged = lane.stage(vec![lane.envelope(1, |_| {})]);
    let header = staged.block.header;
    lane.commit(staged);
    let restored = |stored: &BTreeMap<_, _>| LaneState::restore(Some(&header), stored);
    for (key, value) in &lane.stored {
        for length in 0..value.len() {
            let mut damaged = lane.stored.clone();
            damaged.insert(key.clone(), value[..length].to_vec());
            assert!(restored(&damaged).is_err());
        }
        // Every bit of every value counts, under the root or under a digest; so does every key.
        for byte in 0..value.len() {
            let mut damaged = lane.stored.clone();
            damaged.get_mut(key).unwrap()[byte] ^= 1;
            assert!(restored(&damaged).is_err());
        }
        let mut missing = lane.stored.clone();
        missing.remove(key);
        assert!(restored(&missing).is_err());
        let mut moved = missing;
        moved.insert(key[..key.len() - 1].to_vec(), value.clone());
        assert!(restored(&moved).is_err());
    }
    // A state without a block to certify it is no state.
    assert!(LaneState::restore(None, &lane.stored).is_err());
    assert_eq!(LaneState::restore(None, &BTreeMap::new()), Ok(LaneState::default()));
}
