//! What markers make of what members state to have taken.

use tidings_envelope::UNCONGESTED_PERMILLE;
use tidings_types::Period;

use crate::lane::{Lane, marker};
use crate::network::registry;

/// A lane in which a thousand bytes in a period is the target.
fn lane() -> Lane {
    let mut registry = registry(4);
    registry.fees.congestion.target_bytes = 100;
    Lane::of(registry)
}

fn factor(lane: &Lane, period: u64) -> Option<u32> {
    lane.state.congestion().permille(Period(period))
}

#[test]
fn a_marker_settles_the_period_after_the_next_one() {
    // covers: FEE-010
    let mut lane = lane();
    assert_eq!((factor(&lane, 2), factor(&lane, 3)), (Some(UNCONGESTED_PERMILLE), None));
    lane.say_taken(&[2_000, 2_000, 2_000, 0]);
    assert_eq!(factor(&lane, 3), None);
    lane.begin_period();
    assert_eq!((factor(&lane, 3), factor(&lane, 4)), (Some(1_125), None));
    // Nobody says anything of the next one, so that it stays; then it falls again.
    lane.begin_period();
    assert_eq!(factor(&lane, 4), Some(1_125));
    lane.say_taken(&[0; 4]);
    lane.begin_period();
    assert_eq!((factor(&lane, 3), factor(&lane, 5)), (Some(1_125), Some(UNCONGESTED_PERMILLE)));
}

#[test]
fn too_few_say_nothing() {
    // covers: FEE-010
    let mut lane = lane();
    lane.say_taken(&[u64::MAX; 2]);
    lane.begin_period();
    assert_eq!(factor(&lane, 3), Some(UNCONGESTED_PERMILLE));
    // What was said of an earlier period does not count.
    lane.begin_period();
    lane.say_taken(&[u64::MAX; 1]);
    lane.begin_period();
    assert_eq!(factor(&lane, 5), Some(UNCONGESTED_PERMILLE));
}

#[test]
fn a_statement_beside_the_marker_comes_too_late() {
    // covers: FEE-010
    let mut lane = lane();
    lane.say_taken(&[2_000; 2]);
    let late = lane.statement(3, 2_000);
    lane.apply(vec![marker(2), late]);
    assert_eq!(factor(&lane, 3), Some(UNCONGESTED_PERMILLE));
}
