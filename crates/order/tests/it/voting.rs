//! A replica votes for one block per height, after it is on disk, and never for another.

use std::collections::BTreeSet;

use tidings_envelope::{Block, Operation};
use tidings_order::{
    LaneContext, LaneState, OrderContext, OrderEffect, OrderMessage, Orderer, Sequencer,
};
use tidings_types::{BlockHash, ErrorCode, NodeId, Round, ShardId};

use crate::lane::marker;
use crate::network::{Committee, node_key, registry};

fn block(committee: &Committee, operations: Vec<Operation>) -> Block {
    let context = LaneContext {
        network: committee.network,
        registry: &committee.registry,
        shard: ShardId(0),
    };
    committee.state(NodeId(2)).stage(operations, context).0.block
}

fn propose(committee: &mut Committee, from: u32, block: &Block) {
    let message = OrderMessage::Propose { round: Round(0), block: block.clone() };
    committee.inject(NodeId(from), NodeId(2), message);
}

/// The blocks that node 2 has voted for since the last time.
fn voted(committee: &mut Committee) -> Vec<BlockHash> {
    let sent = committee.sent_by(NodeId(2)).into_iter();
    sent.map(|message| match message {
        OrderMessage::Vote { block, .. } => block,
        other => panic!("{other:?}"),
    })
    .collect()
}

#[test]
fn of_two_proposals_for_one_height_the_first_gets_the_vote() {
    // covers: ORD-015
    let mut committee = Committee::new(4);
    let one = block(&committee, vec![committee.envelope(9, None, b"one")]);
    let two = block(&committee, vec![committee.envelope(9, None, b"two")]);
    let mut votes = BTreeSet::new();
    for _ in 0..2 {
        propose(&mut committee, 1, &one);
        propose(&mut committee, 1, &two);
        votes.extend(voted(&mut committee));
    }
    assert_eq!(votes, BTreeSet::from([one.header.hash()]));
    // Nor does a restart make it forget.
    committee.kill(NodeId(2));
    committee.start(NodeId(2));
    propose(&mut committee, 1, &two);
    let votes: BTreeSet<_> = voted(&mut committee).into_iter().collect();
    assert_eq!(votes, BTreeSet::from([one.header.hash()]));
}

#[test]
fn a_vote_waits_for_the_disk() {
    // covers: ORD-015
    let registry = registry(4);
    let (network, key) = (registry.network_id(), node_key(NodeId(2)));
    let context =
        OrderContext { network, registry: &registry, node: NodeId(2), key: &key, now_ms: 0 };
    let lane = LaneContext { network, registry: &registry, shard: ShardId(0) };
    let mut orderer = Sequencer::new(ShardId(0), LaneState::default(), None);
    let begins = |operation| LaneState::default().stage(vec![operation], lane).0.block;
    let (lost, kept) = (begins(marker(1)), begins(marker(2)));
    let propose = |orderer: &mut Sequencer, block: &Block| {
        let message = OrderMessage::Propose { round: Round(0), block: block.clone() };
        orderer.receive(NodeId(1), message, context);
        assert_eq!(orderer.poll_effect(), Some(OrderEffect::Persist(block.clone())));
        assert_eq!(orderer.poll_effect(), None);
    };
    propose(&mut orderer, &lost);
    orderer.proposal_is_lost(lost.header.hash());
    orderer.proposal_is_durable(lost.header.hash(), context);
    assert_eq!(orderer.poll_effect(), None);
    // Nothing was voted for, so another block may come.
    propose(&mut orderer, &kept);
    orderer.proposal_is_durable(kept.header.hash(), context);
    let vote = orderer.poll_effect();
    let hash = kept.header.hash();
    let is_vote = matches!(
        vote,
        Some(OrderEffect::Send(NodeId(1), OrderMessage::Vote { block, .. })) if block == hash
    );
    assert!(is_vote, "{vote:?}");
}

#[test]
fn only_the_sequencer_proposes() {
    // covers: ORD-016
    let mut committee = Committee::new(4);
    let block = block(&committee, vec![committee.envelope(9, None, b"text")]);
    for from in [2, 3, 4, 99] {
        propose(&mut committee, from, &block);
        assert_eq!(voted(&mut committee), []);
    }
    let other = OrderMessage::Propose { round: Round(1), block: block.clone() };
    committee.inject(NodeId(1), NodeId(2), other);
    assert_eq!(voted(&mut committee), []);
    propose(&mut committee, 1, &block);
    assert_eq!(voted(&mut committee), [block.header.hash()]);
}

#[test]
fn a_block_that_comes_before_its_parent_waits_for_it() {
    // covers: ORD-012
    let mut committee = Committee::new(4);
    committee.kill(NodeId(2));
    let operation = committee.envelope(9, None, b"one");
    committee.submit(NodeId(1), operation);
    committee.run();
    let ahead = committee.history();
    let context = LaneContext {
        network: committee.network,
        registry: &committee.registry,
        shard: ShardId(0),
    };
    let operations = vec![committee.envelope(9, None, b"two")];
    let next = committee.state(NodeId(1)).stage(operations, context).0.block;
    committee.start(NodeId(2));
    propose(&mut committee, 1, &next);
    assert_eq!(voted(&mut committee), []);
    committee.run();
    assert_eq!(committee.state(NodeId(2)).height(), ahead.last().unwrap().block.header.height);
}

#[test]
fn what_is_invalid_is_neither_taken_nor_passed_on() {
    // covers: ORD-007
    let mut committee = Committee::new(4);
    let Operation::Envelope(mut envelope) = committee.envelope(9, None, b"text") else {
        unreachable!()
    };
    envelope.batch.header.max_fee.0 -= 1;
    let operation = Operation::Envelope(envelope);
    for node in [1, 2] {
        let refused = committee.try_submit(NodeId(node), operation.clone());
        assert_eq!(refused, Err(ErrorCode::BatchSignatureInvalid));
    }
    let before = committee.history().len();
    committee.inject(NodeId(3), NodeId(1), OrderMessage::Order(operation));
    committee.run();
    assert_eq!(committee.history().len(), before);
}

#[test]
fn a_vote_counts_for_who_signed_it() {
    // covers: ORD-003
    let mut committee = Committee::new(4);
    committee.kill(NodeId(3));
    committee.kill(NodeId(4));
    let before = committee.history().len();
    let operation = committee.envelope(9, None, b"text");
    committee.submit(NodeId(1), operation);
    // Node 2 votes, and its vote is passed off as node 3's.
    while committee.step() {
        for message in committee.sent_by(NodeId(2)) {
            for from in [NodeId(2), NodeId(3)] {
                committee.inject(from, NodeId(1), message.clone());
            }
        }
    }
    assert_eq!(committee.history().len(), before);
}
