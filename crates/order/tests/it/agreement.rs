//! What is final stays final, at everybody, whoever is killed when.

use tidings_envelope::{Certificate, CommitSignature, Outcome};
use tidings_order::OrderMessage;
use tidings_types::{BoundedVec, ErrorCode, Height, NodeId, Period, Position, Round};

use crate::network::{Committee, node_key};

fn outcomes(committee: &Committee) -> Vec<Outcome> {
    let blocks = committee.history().into_iter();
    let operations = blocks.flat_map(|certified| certified.block.operations.into_vec());
    operations.map(|decided| decided.outcome).collect()
}

#[test]
fn certificates_verify_and_states_agree() {
    // covers: ORD-003
    // covers: ORD-004
    let mut committee = Committee::new(4);
    for number in 0..5 {
        let operation = committee.envelope(9, Some(number), &number.to_be_bytes());
        committee.submit(NodeId(1 + u32::try_from(number).unwrap() % 4), operation);
        committee.run();
    }
    let history = committee.history();
    for certified in &history {
        let (network, registry) = (committee.network, &committee.registry);
        certified.certificate.verify(&certified.block.header, network, registry).unwrap();
    }
    let state = committee.state(NodeId(1));
    assert!((2..=4).all(|node| committee.state(NodeId(node)) == state));
    assert!(history.len() >= 6);
}

#[test]
fn a_repeated_envelope_is_decided_once() {
    // covers: ORD-008
    let mut committee = Committee::new(4);
    let operation = committee.envelope(9, None, b"once");
    committee.submit(NodeId(2), operation.clone());
    committee.run();
    // It would cost its payer nothing a second time, and is proposed for nobody.
    for node in [2, 3] {
        let again = committee.try_submit(NodeId(node), operation.clone());
        assert_eq!(again, Err(ErrorCode::Repeated));
        committee.run();
    }
    let outcomes = outcomes(&committee);
    let applied = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Applied { .. }));
    assert_eq!(applied.count(), 2, "the first marker and the envelope");
    assert!(!outcomes.contains(&Outcome::Refused { code: ErrorCode::Repeated }));
}

#[test]
fn periods_advance_by_one() {
    // covers: ORD-006
    let mut committee = Committee::new(4);
    assert_eq!(committee.state(NodeId(2)).period(), Period(1));
    committee.pass(10_000);
    assert_eq!(committee.state(NodeId(2)).period(), Period(2));
    committee.pass(3_000);
    assert_eq!(committee.state(NodeId(2)).period(), Period(2));
}

#[test]
fn an_operation_that_expired_while_it_waited_is_not_ordered() {
    // covers: ORD-007
    let mut committee = Committee::new(4);
    let operation = committee.envelope(9, None, b"late");
    for node in [2, 3] {
        committee.kill(NodeId(node));
    }
    // Members cut off from each other take it and cannot order it.
    committee.submit(NodeId(1), operation.clone());
    committee.run();
    committee.kill(NodeId(1));
    committee.kill(NodeId(4));
    for node in 1..=4 {
        committee.start(NodeId(node));
    }
    committee.pass_until(|committee| committee.state(NodeId(1)).period() >= Period(4));
    let judging = committee.state(NodeId(1)).judging(committee.lane(), &committee.registry);
    let judged = tidings_order::judge_operation(&operation, &judging);
    assert_eq!(judged, Err(ErrorCode::EnvelopeExpired));
    let before = committee.history().len();
    assert_eq!(committee.try_submit(NodeId(2), operation), Err(ErrorCode::EnvelopeExpired));
    committee.pass(1_000);
    assert_eq!(committee.history().len(), before);
}

#[test]
fn an_idle_lane_says_nothing() {
    // covers: ORD-020
    let mut committee = Committee::new(4);
    let operation = committee.envelope(9, None, b"text");
    committee.submit(NodeId(2), operation);
    committee.run();
    let before = committee.history().len();
    for _ in 0..20 {
        committee.now_ms += 100;
        committee.pass(0);
        assert!(!committee.step());
    }
    assert_eq!(committee.history().len(), before);
}

#[test]
fn a_dead_proposer_costs_a_round() {
    // covers: ORD-016
    for dead in 1..=4 {
        let mut committee = Committee::new(4);
        committee.kill(NodeId(dead));
        let alive = NodeId(if dead == 1 { 2 } else { 1 });
        for number in 0..5u8 {
            let operation = committee.envelope(9, Some(number.into()), &[number]);
            committee.submit(alive, operation.clone());
            committee.run();
            committee.pass_until(|committee| !committee.outcomes_of(&operation).is_empty());
            let position = Position(u64::from(number) + 1);
            assert_eq!(committee.outcomes_of(&operation), [Outcome::Applied { position }]);
        }
    }
}

#[test]
fn an_operation_that_one_member_knows_is_ordered() {
    // covers: ORD-019
    let mut committee = Committee::new(4);
    let operation = committee.envelope(9, None, b"text");
    // What node 3 tells the others of it is lost; its vote begins the height all the same.
    committee.submit(NodeId(3), operation.clone());
    let sent = committee.sent_by(NodeId(3));
    assert!(sent.iter().any(|(_, message)| matches!(message, OrderMessage::Order(_))));
    for (to, message) in sent {
        if !matches!(message, OrderMessage::Order(_)) {
            committee.inject(NodeId(3), to, message);
        }
    }
    committee.run();
    committee.pass_until(|committee| !committee.outcomes_of(&operation).is_empty());
}

#[test]
fn nothing_is_ordered_below_the_quorum_and_nothing_is_lost() {
    let mut committee = Committee::new(4);
    committee.kill(NodeId(3));
    committee.kill(NodeId(4));
    let before = committee.history().len();
    let operation = committee.envelope(9, Some(0), b"waits");
    committee.submit(NodeId(1), operation);
    committee.run();
    assert_eq!(committee.history().len(), before);
    committee.pass(5_000);
    assert_eq!(committee.history().len(), before);
    committee.start(NodeId(3));
    committee.pass_until(|committee| committee.history().len() > before);
    let applied = Outcome::Applied { position: Position(1) };
    assert!(outcomes(&committee).contains(&applied));
}

#[test]
fn a_member_that_was_cut_off_fetches_what_it_missed() {
    let mut committee = Committee::new(4);
    for other in 1..=3 {
        committee.cut.insert((NodeId(4), NodeId(other)));
        committee.cut.insert((NodeId(other), NodeId(4)));
    }
    for number in 0..6u64 {
        let operation = committee.envelope(9, Some(number), b"text");
        committee.submit(NodeId(1), operation);
        committee.run();
        committee.pass_until(|committee| committee.state(NodeId(1)).height().0 > number + 1);
    }
    assert_eq!(committee.state(NodeId(4)).height(), Height(1));
    committee.cut.clear();
    committee.pass(100);
    let state = committee.state(NodeId(1)).clone();
    assert_eq!(committee.state(NodeId(4)), &state);
}

#[test]
fn a_second_certificate_for_one_height_stops_the_lane() {
    // covers: ORD-022
    let mut committee = Committee::new(4);
    let known = committee.history().remove(0);
    let mut other = known.clone();
    other.block.header.period = Period(9);
    let (header, network) = (other.block.header, committee.network);
    let signed = |node: u32| {
        let node = NodeId(node);
        CommitSignature::sign(node, &header, Round(0), &node_key(node), network)
    };
    let quorum = |count| BoundedVec::new((1..=count).map(signed).collect()).unwrap();
    other.certificate = Certificate { round: Round(0), signatures: quorum(2) };
    committee.learn(NodeId(2), other.clone());
    assert!(!committee.is_halted(NodeId(2)));
    other.certificate.signatures = quorum(3);
    assert!(!committee.learn(NodeId(2), other));
    assert!(committee.is_halted(NodeId(2)));
    assert_eq!(committee.forked.len(), 1);
    let operation = committee.envelope(9, None, b"text");
    let refused = committee.try_submit(NodeId(2), operation);
    assert_eq!(refused, Err(ErrorCode::OrderingHalted));
    // The same block once more stops nobody.
    committee.learn(NodeId(3), known);
    assert!(!committee.is_halted(NodeId(3)));
}
