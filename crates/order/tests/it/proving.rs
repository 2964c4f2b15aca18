//! Proofs of what the state holds and of what it does not, and what becomes of altered ones.

use proptest::prelude::*;
use tidings_envelope::{
    BlockHeader, Certificate, CommitSignature, Registry, StateBranch, StateContent, StateKey,
    StateLeaf, StatePath, StateProof, StateProofInvalid, Topic, TopicHead, state_value_hash,
};
use tidings_identity::AssociationState;
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{
    BoundedBytes, BoundedVec, EnvelopeId, EthereumAddress, InboxId, Incarnation, NodeId, Period,
    Position, RegistryEpoch, Round, ShardId, Wire,
};

use crate::lane::Lane;
use crate::network::{node_key, signing_key};

fn topic(key: u8) -> Topic {
    Topic::group(&signing_key(key).public_key())
}

/// A lane with something under most kinds of keys, and the header of its last block.
fn lane() -> (Lane, BlockHeader) {
    let mut lane = Lane::new();
    lane.apply(vec![lane.opening(1, 0, 1), lane.opening(2, 0, 2)]);
    for key in 1..20 {
        lane.apply_one(lane.commit_at(key, 0, b"commit"));
    }
    lane.open_inbox(1);
    lane.open_inbox(2);
    let staged = lane.stage(vec![lane.envelope(1, |_| {})]);
    let header = staged.block.header;
    lane.commit(staged);
    (lane, header)
}

fn certificate(lane: &Lane, header: &BlockHeader, nodes: std::ops::Range<u32>) -> Certificate {
    let vote = |node| CommitSignature::sign(node, header, Round(0), &node_key(node), lane.network);
    let votes: Vec<_> = nodes.map(NodeId).map(vote).collect();
    Certificate { round: Round(0), signatures: BoundedVec::new(votes).unwrap() }
}

fn proof(lane: &Lane, header: BlockHeader, key: StateKey) -> StateProof {
    let branch = lane.state.prove(&key).unwrap();
    let certificate = certificate(lane, &header, 1..4);
    StateProof { version: PROTOCOL_VERSION, key, branch, header, certificate }
}

#[test]
fn whatever_the_state_holds_is_proved() {
    // covers: ORD-032
    let (mut lane, header) = lane();
    let inbox = lane.open_inbox_id(1);
    let account = crate::identity::address(1);
    let state: AssociationState = lane.state.inbox(inbox).unwrap().clone();
    let digest = lane.state.prove(&StateKey::Decisions(Period(2))).unwrap();
    let StateLeaf::Value(digest) = digest.leaf else { panic!("{digest:?}") };
    let check = |key, expected: StateContent| {
        let proof = proof(&lane, header, key);
        assert_eq!(proof.verify(lane.network, &lane.registry), Ok(expected));
        assert_eq!(StateProof::from_wire(&proof.to_wire()).as_ref(), Ok(&proof));
    };
    check(StateKey::Period, StateContent::Period(Period(1)));
    for key in 1..20 {
        let head: TopicHead = lane.state.topic(topic(key));
        assert_eq!(head.position, Position(if key == 1 { 2 } else { 1 }));
        check(StateKey::Topic(topic(key)), StateContent::Topic(head));
    }
    check(StateKey::Inbox(inbox), StateContent::Inbox(state_value_hash(&state.to_wire())));
    check(StateKey::Account(account), StateContent::Account(inbox));
    check(StateKey::Incarnation(NodeId(2)), StateContent::Incarnation(Incarnation(1), [2; 32]));
    let digest = digest.to_vec().try_into().unwrap();
    check(StateKey::Decisions(Period(2)), StateContent::Decisions(digest));
    // Absence is proved for any other key, wherever in the tree it would be.
    for number in 0..100u8 {
        check(StateKey::Topic(topic(200 - number)), StateContent::Absent);
        check(StateKey::Inbox(InboxId([number; 32])), StateContent::Absent);
        check(StateKey::Account(EthereumAddress([number; 20])), StateContent::Absent);
        check(StateKey::Incarnation(NodeId(10 + u32::from(number))), StateContent::Absent);
    }
    // Single decisions have no proof.
    let decided = StateKey::Decided(Period(2), EnvelopeId([1; 32]));
    assert_eq!(lane.state.prove(&decided), None);
    let mut forged = proof(&lane, header, StateKey::Period);
    forged.key = decided;
    assert_eq!(forged.verify(lane.network, &lane.registry), Err(StateProofInvalid::Key));
    // The state before is proved no more by the block after.
    lane.apply_one(lane.commit_at(1, 2, b"more"));
    let later = proof(&lane, header, StateKey::Topic(topic(1)));
    assert_eq!(later.verify(lane.network, &lane.registry), Err(StateProofInvalid::Path));
}

#[test]
fn an_empty_state_proves_that_it_is() {
    // covers: ORD-032
    let branch = tidings_order::LaneState::default().prove(&StateKey::Period).unwrap();
    let root = *b"SPARSE_MERKLE_PLACEHOLDER_HASH__";
    assert_eq!(branch.read(&StateKey::Period, root), Ok(StateContent::Absent));
    assert_eq!(branch.read(&StateKey::Period, [0; 32]), Err(StateProofInvalid::Path));
}

#[test]
fn what_is_altered_proves_nothing() {
    // covers: ORD-032
    let (lane, header) = lane();
    let inbox = lane.open_inbox_id(1);
    let (absent, present) = (StateKey::Inbox(InboxId([7; 32])), StateKey::Inbox(inbox));
    let check = |key, alter: &dyn Fn(&mut StateProof), expected| {
        let mut altered = proof(&lane, header, key);
        alter(&mut altered);
        assert_eq!(altered.verify(lane.network, &lane.registry), Err(expected));
    };
    use StateProofInvalid as Invalid;
    // An inbox is hidden, or made up, or given another state.
    check(present, &|it| it.branch.leaf = StateLeaf::Empty, Invalid::Path);
    let hide = |it: &mut StateProof| {
        let StateLeaf::Digest(value) = it.branch.leaf else { panic!("{it:?}") };
        it.branch.leaf = StateLeaf::Other { path: it.key.path().unwrap(), value };
    };
    check(present, &hide, Invalid::Path);
    check(present, &|it| it.key = absent, Invalid::Path);
    check(absent, &|it| it.branch.leaf = StateLeaf::Digest([1; 32]), Invalid::Path);
    check(present, &|it| it.branch.leaf = StateLeaf::Digest([1; 32]), Invalid::Path);
    let other = lane.state.prove(&StateKey::Period).unwrap();
    check(absent, &|it| it.branch = other.clone(), Invalid::Value);
    // A neighbour further away than the path is long says nothing about the key.
    let stranger = |it: &mut StateProof| {
        let period = StateKey::Period.path().unwrap();
        let value = state_value_hash(&Period(1).to_wire());
        it.branch = other.clone();
        it.branch.leaf = StateLeaf::Other { path: period, value };
    };
    let shared = tidings_types::sparse_merkle::shared_depth(
        &absent.path().unwrap(),
        &StateKey::Period.path().unwrap(),
    );
    assert!(shared < other.path.siblings().unwrap().len());
    check(absent, &stranger, Invalid::Path);
    // A value stands for its own kind of key, and inboxes have none in proofs.
    let value = |bytes: &[u8]| StateLeaf::Value(BoundedBytes::new(bytes.to_vec()).unwrap());
    check(present, &|it| it.branch.leaf = value(&[1; 32]), Invalid::Value);
    check(StateKey::Period, &|it| it.branch.leaf = value(&[1; 9]), Invalid::Value);
    check(StateKey::Period, &|it| it.branch.leaf = value(&[0; 8]), Invalid::Path);
    check(StateKey::Period, &|it| it.branch.leaf = StateLeaf::Digest([0; 32]), Invalid::Value);
    // The block is another one, or not certified.
    check(present, &|it| it.header.state_root = [0; 32], Invalid::Path);
    check(present, &|it| it.header.height = it.header.height.plus(1), Invalid::Certificate);
    check(present, &|it| it.certificate = certificate(&lane, &header, 1..3), Invalid::Certificate);
    check(present, &|it| it.certificate.round = Round(1), Invalid::Certificate);
    check(present, &|it| it.version = 2, Invalid::Version);
    let mut later: Registry = lane.registry.clone();
    later.epoch = RegistryEpoch(2);
    let verdict = proof(&lane, header, present).verify(lane.network, &later);
    assert_eq!(verdict, Err(Invalid::Epoch(RegistryEpoch(1))));
}

#[test]
fn a_proof_from_a_lane_of_one_shard_names_it() {
    let (lane, header) = lane();
    assert_eq!(proof(&lane, header, StateKey::Period).header.shard, ShardId(0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// A branch has one encoding, and no bit of it can be changed.
    #[test]
    fn no_bit_of_a_branch_is_loose(at in any::<prop::sample::Index>(), bit in 0u8..8, which in 0u8..4) {
        // covers: ORD-032
        thread_local! {
            static LANE: (Lane, BlockHeader) = lane();
        }
        LANE.with(|(lane, header)| {
            let key = match which {
                0 => StateKey::Topic(topic(3)),
                1 => StateKey::Topic(topic(99)),
                2 => StateKey::Inbox(lane.open_inbox_id(2)),
                _ => StateKey::Account(EthereumAddress([9; 20])),
            };
            let mut bytes = lane.state.prove(&key).unwrap().to_wire();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(altered) = StateBranch::from_wire(&bytes) {
                prop_assert!(altered.read(&key, header.state_root).is_err());
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_path_has_one_form(kept in prop::collection::vec(prop::option::of(any::<u8>()), 0..300)) {
        // covers: ORD-032
        let empty = *b"SPARSE_MERKLE_PLACEHOLDER_HASH__";
        let siblings: Vec<_> = kept.iter().map(|it| it.map_or(empty, |byte| [byte; 32])).collect();
        let path = StatePath::new(&siblings);
        prop_assert_eq!(path.is_some(), siblings.len() <= 256);
        if let Some(path) = path {
            prop_assert_eq!(path.siblings(), Some(siblings));
            let hashes = kept.iter().flatten().count();
            prop_assert!(path.to_wire().len() <= 2 + 33 + 4 + 32 * hashes);
        }
    }
}
