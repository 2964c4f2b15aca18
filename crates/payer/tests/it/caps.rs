//! Nobody is billed more than its caps, whatever stands in whose log.

use std::sync::Arc;

use tidings_envelope::registry::{CapRecord, PayerRecord};
use tidings_envelope::{Operation, Outcome, Registry, Tariff, UNCONGESTED_PERMILLE};
use tidings_types::{Period, PicoDollars, Position};

use crate::lane::{Lane, SHARD, committee, header};
use crate::network::{PAYER, batch, message};

/// A registry in which the payer's cap is 100 before period 3, and 50 from then on.
fn capped() -> Registry {
    let mut registry = committee();
    let cap = CapRecord {
        shard: SHARD,
        before: PicoDollars(100),
        from: Period(3),
        amount: PicoDollars(50),
    };
    registry.payers[0].caps = Some(vec![cap]);
    registry
}

/// A lane of which a period is over in which two members hold so much of a log.
fn lane(registry: Registry, size: u64) -> Lane {
    let mut lane = Lane::of(registry);
    hold(&mut lane, 1, size);
    lane.begin_period();
    lane
}

fn hold(lane: &mut Lane, log: u32, size: u64) {
    for member in 1..=2 {
        lane.state(member, &[(log, size, [7; 32])], &[]);
    }
}

#[test]
fn a_period_is_billed_up_to_its_cap_and_the_rest_to_nobody() {
    // covers: SET-026
    let mut lane = lane(capped(), 4);
    lane.begin_period();
    let fees = [60, 30, 20, 10];
    let entries = (0..)
        .zip(fees)
        .map(|(index, fee)| (1, header(index, u8::try_from(index).unwrap(), 1, fee)));
    let report = lane.close(&entries.collect::<Vec<_>>());
    // The third does not fit, and the fourth does.
    assert_eq!((lane.billed(), report.billed.0), (100, 100));
    assert_eq!(lane.earned(1) + lane.earned(2), 25 + 50 + 20, "nor does anybody earn by it");
}

#[test]
fn what_comes_late_shares_the_cap_of_its_period() {
    // covers: SET-026
    let mut lane = lane(capped(), 1);
    hold(&mut lane, 2, 2);
    lane.begin_period();
    lane.close(&[(1, header(0, 1, 1, 70))]);
    hold(&mut lane, 3, 3);
    lane.begin_period();
    lane.close(&[(2, header(0, 2, 1, 31)), (2, header(1, 3, 1, 30))]);
    assert_eq!(lane.billed(), 100);
    lane.begin_period();
    let entries = [(3, header(0, 4, 1, 1)), (3, header(1, 5, 3, 51)), (3, header(2, 6, 3, 50))];
    lane.close(&entries);
    assert_eq!(lane.billed(), 150, "another period has another cap");
}

#[test]
fn who_is_not_in_the_registry_is_billed_nothing() {
    // covers: SET-026
    let mut registry = capped();
    registry.payers.clear();
    let mut lane = lane(registry, 1);
    lane.begin_period();
    assert_eq!(lane.close(&[(1, header(0, 1, 1, 1))]).billed.0, 0);
    let mut registry = capped();
    registry.payers[0] = PayerRecord::unlimited(PAYER, Vec::new());
    let mut unlimited = self::lane(registry, 1);
    unlimited.begin_period();
    let report = unlimited.close(&[(1, header(0, 1, 1, u64::MAX))]);
    assert_eq!(report.billed.0, u128::from(u64::MAX), "where there are no caps, there is no limit");
}

#[test]
fn who_is_short_of_money_is_billed_for_the_periods_before() {
    // covers: SET-026
    let mut lane = Lane::of(capped());
    let mut short = capped();
    short.epoch.0 += 1;
    short.payers[0].is_short = true;
    lane.registries.insert(Arc::new(short)).unwrap();
    // The marker of period 2 settles of which epoch period 3 is.
    lane.begin_period();
    hold(&mut lane, 1, 2);
    lane.begin_period();
    lane.close(&[]);
    lane.begin_period();
    lane.close(&[(1, header(0, 1, 2, 80)), (1, header(1, 2, 3, 40))]);
    lane.begin_period();
    lane.close(&[]);
    assert_eq!(lane.billed(), 80);
}

#[test]
fn operations_count_with_the_period_that_ordered_them() {
    // covers: SET-026
    let envelope = batch(&[message("text")], PicoDollars(u64::MAX)).remove(0);
    let mut registry = capped();
    let tariff = Tariff { schedule: &registry.fees, congestion_permille: UNCONGESTED_PERMILLE };
    let fee = tariff.operation_fee(&envelope).unwrap();
    registry.payers[0].caps.as_mut().unwrap()[0].before = PicoDollars(fee.0 + 10);
    let mut lane = Lane::of(registry);
    let operation = Operation::Envelope(envelope);
    lane.block(vec![(operation, Outcome::Applied { position: Position(1) })]).unwrap();
    hold(&mut lane, 1, 2);
    lane.begin_period();
    lane.begin_period();
    lane.close(&[(1, header(0, 1, 1, 11)), (1, header(1, 2, 1, 10))]);
    assert_eq!(lane.billed(), u128::from(fee.0) + 10);
}
