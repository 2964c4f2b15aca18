//! Whose key signs a log: the one that its node had when the log was opened.

use std::sync::Arc;

use tidings_envelope::{
    Checkpoint, Evidence, IncarnationRequest, LogId, Operation, Outcome, PeriodStatement,
    SignedCheckpoint, Step, Vote,
};
use tidings_order::judge_operation;
use tidings_types::node_key::NodeKey;
use tidings_types::{
    BlockHash, BoundedVec, ErrorCode, EthereumAddress, Height, Incarnation, LogSize, NodeId,
    Period, Round, ShardId,
};

use crate::lane::{Lane, applied};
use crate::network::node_key;

const NODE: NodeId = NodeId(2);

fn new_key() -> NodeKey {
    NodeKey::from_secret(&[77; 32]).unwrap()
}

fn log(incarnation: u32) -> LogId {
    LogId { node: NODE, shard: ShardId(0), incarnation: Incarnation(incarnation) }
}

fn open(lane: &mut Lane, previous: u32, key: &NodeKey) -> Outcome {
    let (previous, nonce) = (Incarnation(previous), [9; 32]);
    let request = IncarnationRequest::sign(NODE, ShardId(0), previous, nonce, key, lane.network);
    lane.apply_one(Operation::OpenIncarnation(request))
}

/// The lane moves on to an epoch in which the node has another key, or is gone.
fn change(lane: &mut Lane, key: Option<&NodeKey>) {
    lane.registry.epoch.0 += 1;
    match key {
        Some(key) => lane.registry.nodes[1].signing = key.address(),
        None => lane.registry.nodes.retain(|node| node.id != NODE),
    }
    lane.registries.insert(Arc::new(lane.registry.clone())).unwrap();
    lane.apply(Vec::new());
}

/// A lane in which the node opened two logs under its first key and one under its second.
fn lane() -> Lane {
    let mut lane = Lane::new();
    assert_eq!(open(&mut lane, 0, &node_key(NODE)), applied(1));
    assert_eq!(open(&mut lane, 1, &node_key(NODE)), applied(2));
    change(&mut lane, Some(&new_key()));
    assert_eq!(open(&mut lane, 2, &new_key()), applied(3));
    lane
}

fn signers(lane: &Lane) -> Vec<Option<EthereumAddress>> {
    let of = |incarnation| lane.state.signers(&lane.registries).of_log(log(incarnation));
    (0..=4).map(of).collect()
}

fn signed(lane: &Lane, incarnation: u32, root: u8, key: &NodeKey) -> SignedCheckpoint {
    let checkpoint = Checkpoint::new(log(incarnation), LogSize(7), [root; 32], Period(1));
    checkpoint.sign(key, lane.network)
}

fn judge(lane: &Lane, operation: &Operation) -> Result<(), ErrorCode> {
    judge_operation(operation, &lane.judging(ShardId(0)))
}

#[test]
fn a_log_is_held_to_the_key_that_opened_it() {
    // covers: ORD-033
    let mut lane = lane();
    let [old, new] = [node_key(NODE), new_key()].map(|key| Some(key.address()));
    assert_eq!(signers(&lane), [None, old, old, new, None]);
    // Whoever left is known by what it signed.
    change(&mut lane, None);
    assert_eq!(signers(&lane), [None, old, old, new, None]);
}

#[test]
fn what_holds_older_logs_can_be_stated() {
    // covers: ORD-033
    // covers: SET-023
    let lane = lane();
    let state = |incarnation, key: &NodeKey| {
        let held = signed(&lane, incarnation, 1, key);
        let about = (NodeId(1), ShardId(0), lane.state.period());
        let (held, measured) = (vec![held].try_into().unwrap(), BoundedVec::default());
        let key = node_key(NodeId(1));
        let said = PeriodStatement::sign(about, held, measured, 0, &key, lane.network);
        judge(&lane, &Operation::Statement(Box::new(said)))
    };
    let wrong = Err(ErrorCode::OperationInvalid);
    let (old, new) = (node_key(NODE), new_key());
    assert_eq!([state(1, &old), state(3, &new)], [Ok(()), Ok(())]);
    assert_eq!([state(1, &new), state(3, &old), state(4, &new)], [wrong, wrong, wrong]);
}

#[test]
fn a_node_answers_for_what_it_signed_under_an_earlier_key() {
    // covers: ORD-033
    // covers: EVD-001
    let mut lane = lane();
    let (old, new) = (node_key(NODE), new_key());
    let forked = |lane: &Lane, incarnation, key: &NodeKey| {
        let [one, two] = [1, 2].map(|root| signed(lane, incarnation, root, key));
        Operation::Evidence(Box::new(Evidence::Checkpoints(one, two)))
    };
    let voted = |lane: &Lane, key: &NodeKey| {
        let [one, two] = [1, 2].map(|block| {
            let (shard, block) = (ShardId(0), Some(BlockHash([block; 32])));
            let (height, round, step) = (Height(4), Round(0), Step::Prevote);
            Vote { shard, height, round, step, block }.sign(NODE, key, lane.network)
        });
        Operation::Evidence(Box::new(Evidence::Votes(one, two)))
    };
    let wrong = Err(ErrorCode::OperationInvalid);
    for is_gone in [false, true] {
        assert_eq!(judge(&lane, &forked(&lane, 1, &old)), Ok(()), "gone: {is_gone}");
        assert_eq!(judge(&lane, &forked(&lane, 3, &new)), Ok(()));
        assert_eq!(judge(&lane, &forked(&lane, 3, &old)), wrong, "a key that was given up");
        assert_eq!(judge(&lane, &forked(&lane, 1, &new)), wrong);
        for key in [&old, &new] {
            assert_eq!(judge(&lane, &voted(&lane, key)), Ok(()));
        }
        assert_eq!(judge(&lane, &voted(&lane, &node_key(NodeId(3)))), wrong);
        if !is_gone {
            change(&mut lane, None);
        }
    }
}
