//! How long a decision is remembered: until nobody can present the envelope again.

use tidings_envelope::{Operation, Outcome};
use tidings_order::judge_operation;
use tidings_types::{EnvelopeId, ErrorCode, Height, Period, ShardId};

use crate::lane::{Lane, applied, conflict};

fn id_of(operation: &Operation) -> EnvelopeId {
    match operation {
        Operation::Envelope(envelope) => envelope.envelope.body.id(),
        _ => unreachable!(),
    }
}

#[test]
fn a_decision_outlives_its_expiry_by_two_periods() {
    // covers: ENV-010
    let mut lane = Lane::new();
    let operation = lane.envelope(9, |body| body.not_after = Period(2));
    let id = id_of(&operation);
    assert_eq!(lane.apply_one(operation.clone()), applied(1));
    let decision = Some((Height(2), 0));
    while lane.state.period() < Period(4) {
        assert_eq!(lane.state.decision(Period(2), id), decision);
        lane.begin_period();
    }
    assert_eq!(lane.state.decision(Period(2), id), decision);
    lane.begin_period();
    assert_eq!(lane.state.decision(Period(2), id), None);
    // By then nobody can present it any more.
    let verdict = judge_operation(&operation, &lane.judging(ShardId(0)));
    assert_eq!(verdict, Err(ErrorCode::EnvelopeExpired));
}

#[test]
fn what_can_still_be_presented_is_still_known() {
    // covers: ENV-010
    // covers: ORD-008
    let mut lane = Lane::new();
    let operation = lane.envelope(9, |body| body.not_after = Period(3));
    assert_eq!(lane.apply_one(operation.clone()), applied(1));
    let repeated = Outcome::Refused { code: ErrorCode::Repeated };
    for _ in 0..3 {
        assert_eq!(lane.apply_one(operation.clone()), repeated);
        if lane.state.period() < Period(3) {
            lane.begin_period();
        }
    }
}

#[test]
fn a_conflict_is_a_decision_too() {
    // covers: ORD-008
    let mut lane = Lane::new();
    let late = lane.commit_at(9, 7, b"late");
    assert_eq!(lane.apply_one(late.clone()), conflict(0));
    assert_eq!(lane.state.decision(Period(2), id_of(&late)), Some((Height(2), 0)));
    let repeated = Outcome::Refused { code: ErrorCode::Repeated };
    assert_eq!(lane.apply_one(late), repeated);
}
