//! What is final stays final, at everybody, whoever is killed when.

use proptest::prelude::*;
use tidings_envelope::Outcome;
use tidings_types::{ErrorCode, NodeId, Period, Position};

use crate::network::Committee;

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
    for node in [2, 3, 2] {
        committee.submit(NodeId(node), operation.clone());
        committee.run();
    }
    let outcomes = outcomes(&committee);
    let applied = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Applied { .. }));
    assert_eq!(applied.count(), 2, "the first marker and the envelope");
    assert!(outcomes.contains(&Outcome::Refused { code: ErrorCode::Repeated }));
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
fn an_expired_envelope_is_not_ordered() {
    // covers: ORD-007
    let mut committee = Committee::new(4);
    let operation = committee.envelope(9, None, b"late");
    committee.kill(NodeId(2));
    committee.kill(NodeId(3));
    committee.submit(NodeId(1), operation.clone());
    committee.run();
    committee.start(NodeId(2));
    committee.start(NodeId(3));
    for _ in 0..5 {
        committee.pass(10_000);
    }
    // It was proposed in time, so it is in; proposing it again after its expiry is refused.
    let count = outcomes(&committee).len();
    let judged = tidings_order::judge_operation(
        &operation,
        tidings_types::ShardId(0),
        committee.state(NodeId(1)).period(),
        committee.network,
        &committee.registry,
    );
    assert_eq!(judged, Err(ErrorCode::EnvelopeExpired));
    assert!(count >= 5);
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
    committee.start(NodeId(3));
    committee.pass(600);
    assert_eq!(outcomes(&committee).last(), Some(&Outcome::Applied { position: Position(1) }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Kills and restarts at any step leave one history, and every submission that a live
    /// sequencer took and nobody killed is in it.
    #[test]
    fn any_schedule_of_kills_leaves_one_history(schedule in prop::collection::vec((0u8..6, 1u32..5), 1..60)) {
        let mut committee = Committee::new(4);
        let mut down = std::collections::BTreeSet::new();
        let mut serial = 0u64;
        for (action, node) in schedule {
            let node = NodeId(node);
            match action {
                0 if down.is_empty() => { committee.kill(node); down.insert(node); }
                1 => for node in std::mem::take(&mut down) { committee.start(node) },
                2 | 3 if !down.contains(&node) && !down.contains(&NodeId(1)) => {
                    let operation = committee.envelope(9, None, &serial.to_be_bytes());
                    serial += 1;
                    committee.submit(node, operation);
                }
                4 => { committee.step(); }
                _ => committee.pass(700),
            }
        }
        for node in down { committee.start(node); }
        for _ in 0..4 { committee.pass(700); }
        committee.history();
        let state = committee.state(NodeId(1)).clone();
        for node in 2..=4 { prop_assert_eq!(committee.state(NodeId(node)), &state); }
    }
}
