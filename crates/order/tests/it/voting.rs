//! What a member votes for, and what it finds of those who vote twice.

use tidings_envelope::{Block, Operation, Proposal, SignedProposal, SignedVote, Step, Vote};
use tidings_order::OrderMessage;
use tidings_types::{BlockHash, ErrorCode, Height, NodeId, Round, ShardId};

use crate::network::{Committee, node_key};

/// Who proposes at a height of a committee of four, in round 0.
fn proposer(height: u64) -> NodeId {
    NodeId(1 + u32::try_from(height % 4).unwrap())
}

pub fn block(committee: &Committee, operations: Vec<Operation>) -> Block {
    let state = committee.state(NodeId(2));
    state.stage(operations, committee.lane()).unwrap().0.block
}

pub fn proposal(committee: &Committee, by: NodeId, block: &Block) -> SignedProposal {
    let proposal = Proposal {
        shard: ShardId(0),
        height: block.header.height,
        round: Round(0),
        valid_round: None,
        block: block.header.hash(),
    };
    proposal.sign(by, &node_key(by), committee.network)
}

fn vote(committee: &Committee, by: NodeId, step: Step, block: Option<BlockHash>) -> SignedVote {
    let vote = Vote { shard: ShardId(0), height: Height(2), round: Round(0), step, block };
    vote.sign(by, &node_key(by), committee.network)
}

/// Has `by` propose the block to node 2; answers node 2's prevotes.
pub fn prevotes(committee: &mut Committee, by: NodeId, block: &Block) -> Vec<Option<BlockHash>> {
    let signed = proposal(committee, by, block);
    committee.inject(by, NodeId(2), OrderMessage::Proposal(signed));
    committee.inject(by, NodeId(2), OrderMessage::Block(block.clone()));
    prevotes_of_two(committee)
}

/// What node 2 has prevoted for since the last time, each once.
fn prevotes_of_two(committee: &mut Committee) -> Vec<Option<BlockHash>> {
    let sent = committee.sent_by(NodeId(2)).into_iter();
    let own = sent.filter_map(|(_, message)| match message {
        OrderMessage::Vote(signed) if signed.node == NodeId(2) => Some(signed.vote),
        _ => None,
    });
    let mut blocks: Vec<_> =
        own.filter(|vote| vote.step == Step::Prevote).map(|vote| vote.block).collect();
    blocks.dedup();
    blocks
}

#[test]
fn of_two_proposals_in_one_round_the_first_gets_the_vote() {
    // covers: ORD-015
    let mut committee = Committee::new(4);
    let one = block(&committee, vec![committee.envelope(9, None, b"one")]);
    let two = block(&committee, vec![committee.envelope(9, None, b"two")]);
    let by = proposer(2);
    assert_eq!(prevotes(&mut committee, by, &one), [Some(one.header.hash())]);
    assert_eq!(prevotes(&mut committee, by, &two), []);
    // And both together are evidence.
    assert_eq!(committee.evidence.len(), 1);
    let evidence = &committee.evidence[0];
    assert_eq!(evidence.accused(), by);
    assert_eq!(evidence.verify(committee.network, node_key(by).address()), Ok(()));
}

#[test]
fn members_propose_in_turn() {
    // covers: ORD-016
    let mut committee = Committee::new(4);
    let block = block(&committee, vec![committee.envelope(9, None, b"text")]);
    for by in (1..=4).map(NodeId).filter(|node| *node != proposer(2)) {
        assert_eq!(prevotes(&mut committee, by, &block), []);
    }
    // Nor does a stranger propose in somebody's name.
    let mut forged = proposal(&committee, NodeId(4), &block);
    forged.node = proposer(2);
    committee.inject(proposer(2), NodeId(2), OrderMessage::Proposal(forged));
    committee.inject(proposer(2), NodeId(2), OrderMessage::Block(block.clone()));
    assert_eq!(prevotes_of_two(&mut committee), []);
    let votes = prevotes(&mut committee, proposer(2), &block);
    assert_eq!(votes, [Some(block.header.hash())]);
}

#[test]
fn an_invalid_block_gets_a_vote_for_none() {
    // covers: ORD-004
    let mut committee = Committee::new(4);
    let mut wrong = block(&committee, vec![committee.envelope(9, None, b"text")]);
    wrong.header.state_root = [0; 32];
    assert_eq!(prevotes(&mut committee, proposer(2), &wrong), [None]);
}

#[test]
fn a_block_that_comes_before_its_parent_waits_for_it() {
    // covers: ORD-012
    let mut committee = Committee::new(4);
    committee.cut.extend((1..=4).map(|from| (NodeId(from), NodeId(2))));
    let operation = committee.envelope(9, None, b"one");
    committee.submit(NodeId(1), operation);
    committee.run();
    let parent = committee.history().remove(1);
    let operations = vec![committee.envelope(9, None, b"two")];
    let next = committee.state(NodeId(1)).stage(operations, committee.lane()).unwrap().0.block;
    let by = proposer(3);
    committee.sent_by(NodeId(2));
    assert_eq!(prevotes(&mut committee, by, &next), []);
    assert!(committee.learn(NodeId(2), parent));
    assert_eq!(prevotes_of_two(&mut committee), [Some(next.header.hash())]);
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
fn two_votes_in_one_step_are_seen_by_all_and_count_once() {
    // covers: EVD-003
    let mut committee = Committee::new(4);
    let cheat = NodeId(4);
    let blocks = [BlockHash([1; 32]), BlockHash([2; 32])];
    // Each of two members hears another vote; what they pass on shows it to everybody.
    for (to, block) in [NodeId(1), NodeId(2)].into_iter().zip(blocks) {
        let signed = vote(&committee, cheat, Step::Prevote, Some(block));
        committee.inject(cheat, to, OrderMessage::Vote(signed));
    }
    committee.run();
    assert!(!committee.evidence.is_empty());
    for evidence in &committee.evidence {
        assert_eq!(evidence.accused(), cheat);
        assert_eq!(evidence.verify(committee.network, node_key(cheat).address()), Ok(()));
    }
}

#[test]
fn a_forged_vote_changes_nothing() {
    // covers: ORD-003
    let mut committee = Committee::new(4);
    let before = committee.history().len();
    for step in [Step::Prevote, Step::Precommit] {
        let mut forged = vote(&committee, NodeId(4), step, Some(BlockHash([1; 32])));
        forged.node = NodeId(3);
        committee.inject(NodeId(4), NodeId(1), OrderMessage::Vote(forged));
        assert_eq!(committee.sent_by(NodeId(1)), []);
    }
    committee.run();
    assert_eq!(committee.history().len(), before);
    assert_eq!(committee.evidence, []);
}

#[test]
fn who_is_one_height_behind_for_long_asks_for_the_block() {
    // covers: ORD-020
    let mut committee = Committee::new(4);
    let ahead = NodeId(1);
    let vote = Vote {
        shard: ShardId(0),
        height: Height(3),
        round: Round(0),
        step: Step::Prevote,
        block: Some(BlockHash([7; 32])),
    };
    let vote = vote.sign(ahead, &node_key(ahead), committee.network);
    // Another member may be a little faster.
    committee.inject(ahead, NodeId(2), OrderMessage::Vote(vote));
    assert_eq!(committee.ahead, []);
    committee.inject(ahead, NodeId(2), OrderMessage::Vote(vote));
    assert_eq!(committee.ahead, [(NodeId(2), ahead)]);
}
