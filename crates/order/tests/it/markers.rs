//! Periods: the next one begins in its turn, and not before its time.

use tidings_envelope::{Block, Operation};
use tidings_order::OrderMessage;
use tidings_types::{ErrorCode, Height, NodeId, Period};

use crate::lane::{Lane, applied, conflict, marker};
use crate::network::Committee;
use crate::voting::{block, prevotes};

#[test]
fn only_the_next_period_begins() {
    // covers: ORD-006
    let mut lane = Lane::new();
    for (period, outcome) in
        [(1, conflict(1)), (3, conflict(1)), (0, conflict(1)), (2, applied(2)), (2, conflict(2))]
    {
        assert_eq!(lane.apply_one(marker(period)), outcome);
    }
    assert_eq!(lane.state.period(), Period(2));
}

/// What a proposer in a hurry makes: a block that begins the next period.
fn hurried(committee: &Committee) -> Block {
    let next = marker(committee.state(NodeId(2)).period().plus(1).0);
    block(committee, vec![next])
}

#[test]
fn a_period_has_to_last_before_the_next_one_gets_votes() {
    // covers: ORD-014
    let began_ms = 250;
    for (passed_ms, expected) in [(0, false), (1, false), (6_249, false), (6_250, true)] {
        let mut committee = Committee::new(4);
        let block = hurried(&committee);
        committee.now_ms = began_ms + passed_ms;
        let votes = prevotes(&mut committee, NodeId(3), &block);
        assert_eq!(votes.contains(&Some(block.header.hash())), expected, "{passed_ms}");
    }
}

#[test]
fn a_hurry_does_not_hold_up_other_blocks() {
    // covers: ORD-014
    let mut committee = Committee::new(4);
    let hurried = hurried(&committee);
    assert_eq!(prevotes(&mut committee, NodeId(3), &hurried), []);
    let operation = committee.envelope(9, None, b"meanwhile");
    committee.submit(NodeId(2), operation.clone());
    committee.run();
    committee.pass_until(|committee| !committee.outcomes_of(&operation).is_empty());
    assert_eq!(committee.state(NodeId(2)).period(), Period(1));
}

#[test]
fn nobody_else_makes_a_period_begin() {
    // covers: ORD-017
    let mut committee = Committee::new(4);
    committee.now_ms = 6_000;
    for node in [1, 2] {
        let refused = committee.try_submit(NodeId(node), marker(2));
        assert_eq!(refused, Err(ErrorCode::OperationInvalid));
    }
    committee.inject(NodeId(3), NodeId(1), OrderMessage::Order(marker(2)));
    committee.run();
    assert_eq!(committee.state(NodeId(1)).period(), Period(1));
    assert_eq!(committee.state(NodeId(1)).height(), Height(1));
}

#[test]
fn a_late_marker_does_not_shorten_the_period_after_it() {
    // covers: ORD-014
    let mut committee = Committee::new(4);
    committee.kill(NodeId(3));
    committee.kill(NodeId(4));
    for _ in 0..3 {
        committee.pass(9_000);
    }
    assert_eq!(committee.state(NodeId(1)).period(), Period(1));
    committee.start(NodeId(3));
    committee.pass_until(|committee| committee.state(NodeId(1)).period() == Period(2));
    let history = committee.history();
    let decided = history.iter().flat_map(|certified| certified.block.operations.iter());
    let marked = decided.filter(|it| matches!(it.operation, Operation::PeriodMarker(_)));
    assert_eq!(marked.count(), 2, "each period was marked once");
    // The periods that were missed are not made up for.
    committee.pass(9_000);
    assert_eq!(committee.state(NodeId(1)).period(), Period(2));
    committee.pass(1_000);
    committee.pass_until(|committee| committee.state(NodeId(1)).period() == Period(3));
}

#[test]
fn a_shard_that_is_behind_others_catches_up() {
    // covers: ORD-014
    let lasted_ms = |latest_period| {
        let mut committee = Committee::new(4);
        committee.latest_period = latest_period;
        let began_ms = committee.now_ms;
        while committee.state(NodeId(1)).period() == Period(1) {
            committee.pass(50);
        }
        committee.now_ms - began_ms
    };
    let (alone, behind) = (lasted_ms(Period(1)), lasted_ms(Period(2)));
    assert!((9_500..=10_500).contains(&alone), "{alone}");
    assert!((7_000..=8_000).contains(&behind), "{behind}");
}
