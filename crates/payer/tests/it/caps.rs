//! Nobody is billed more than its caps, whatever stands in whose log.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tidings_envelope::registry::{CapRecord, PayerRecord};
use tidings_envelope::{Operation, Outcome, Registry, Tariff, UNCONGESTED_PERMILLE};
use tidings_types::{EthereumAddress, Period, PicoDollars, Position};

use crate::lane::{Lane, SHARD, committee, header};
use crate::network::{PAYER, batch, message};

/// A registry in which the payer's cap is 500 before `from`, and 250 from then on; four nodes and
/// their lane share it.
fn capped(from: u64) -> Registry {
    let mut registry = committee();
    let (before, amount) = (PicoDollars(500), PicoDollars(250));
    let cap = CapRecord { shard: SHARD, before, from: Period(from), amount };
    registry.payers[0].caps = Some(vec![cap]);
    registry
}

fn hold(lane: &mut Lane, log: u32, size: u64) {
    for member in 1..=2 {
        lane.state(member, &[(log, size, [7; 32])], &[]);
    }
}

/// Begins the next period, in which two members hold so much of one log; what a report is made
/// of has the fees of `entries`, by log and fee period.
fn close(lane: &mut Lane, held: (u32, u64), entries: &[(u32, u64, u64, u64)]) -> u128 {
    hold(lane, held.0, held.1);
    lane.begin_period();
    let header = |(log, index, period, fee): &(u32, u64, u64, u64)| {
        let id = u8::try_from(*log * 60 + u32::try_from(*index).unwrap()).unwrap();
        (*log, header(*index, id, *period, *fee))
    };
    let before = lane.billed();
    lane.close(&entries.iter().map(header).collect::<Vec<_>>());
    lane.billed() - before
}

/// A lane whose first period is over, in which two members hold so much of a log.
fn begun(registry: Registry, held: (u32, u64)) -> Lane {
    let mut lane = Lane::of(registry);
    hold(&mut lane, held.0, held.1);
    lane.begin_period();
    lane
}

#[test]
fn a_node_has_its_part_of_a_cap_billed_and_no_more() {
    // covers: SET-026
    let mut lane = begun(capped(90), (1, 3));
    let entries = [(1, 0, 1, 60), (1, 1, 1, 50), (1, 2, 1, 40)];
    // The second does not fit into a fifth of 500, and the third does.
    assert_eq!(close(&mut lane, (2, 1), &entries), 100);
    assert_eq!(lane.earned(1) + lane.earned(2), 25 + 50 + 20, "nor does anybody earn by it");
    // What one node took in leaves the others' parts alone.
    assert_eq!(close(&mut lane, (1, 4), &[(2, 0, 2, 100)]), 100);
}

#[test]
fn what_was_not_billed_may_be_for_four_periods() {
    // covers: SET-026
    let mut lane = begun(capped(90), (1, 1));
    assert_eq!(close(&mut lane, (2, 1), &[(1, 0, 1, 10)]), 10);
    for period in 2..=5 {
        assert_eq!(close(&mut lane, (2, 1), if period == 2 { &[(2, 0, 2, 0)] } else { &[] }), 0);
    }
    // Of five periods' parts that of the first is gone, and of the others nothing was billed.
    hold(&mut lane, 1, 7);
    lane.begin_period();
    lane.close(&[]);
    let parts: Vec<_> = (1..7).map(|index| (1, index, 5, 100)).collect();
    assert_eq!(close(&mut lane, (3, 1), &parts), 500);
}

#[test]
fn a_cap_is_of_the_period_whose_report_bills_it() {
    // covers: SET-026
    let mut lane = begun(capped(3), (1, 0));
    for _ in 1..=6 {
        assert_eq!(close(&mut lane, (1, 0), &[]), 0);
    }
    hold(&mut lane, 1, 9);
    lane.begin_period();
    lane.close(&[]);
    // In the report of period 8 five parts of 50 are left, and one in the next.
    let parts: Vec<_> = (0..9).map(|index| (1, index, 7, 50)).collect();
    assert_eq!(lane.period, 9);
    assert_eq!(close(&mut lane, (1, 10), &parts), 250);
    assert_eq!(close(&mut lane, (1, 10), &[(1, 9, 8, 50)]), 50);
}

#[test]
fn who_is_not_in_the_registry_is_billed_nothing() {
    // covers: SET-026
    let mut registry = capped(90);
    registry.payers[0].address = EthereumAddress([99; 20]);
    let mut lane = begun(registry, (1, 2));
    assert_eq!(close(&mut lane, (1, 2), &[(1, 0, 1, 1), (1, 1, 1, 0)]), 0);
    assert_eq!(lane.meter.ledger().usage().count(), 0, "not even of nothing");
    let mut registry = capped(90);
    registry.payers[0] = PayerRecord::unlimited(PAYER, Vec::new());
    let mut unlimited = begun(registry, (1, 1));
    let all = close(&mut unlimited, (1, 1), &[(1, 0, 1, u64::MAX)]);
    assert_eq!(all, u128::from(u64::MAX), "where there are no caps, there is no limit");
}

#[test]
fn who_is_short_of_money_is_billed_for_the_periods_before() {
    // covers: SET-026
    let mut lane = Lane::of(capped(90));
    let mut short = capped(90);
    short.epoch.0 += 1;
    short.payers[0].is_short = true;
    lane.registries.insert(Arc::new(short)).unwrap();
    // The marker of period 2 settles of which epoch period 3 is.
    lane.begin_period();
    hold(&mut lane, 1, 2);
    lane.begin_period();
    lane.close(&[]);
    lane.begin_period();
    lane.close(&[(1, header(0, 1, 2, 80)), (1, header(1, 2, 3, 10))]);
    lane.begin_period();
    lane.close(&[]);
    assert_eq!(lane.billed(), 80);
}

#[test]
fn operations_and_entries_have_parts_of_their_own() {
    // covers: SET-026
    let envelope = batch(&[message("text")], PicoDollars(u64::MAX)).remove(0);
    let mut registry = capped(90);
    let tariff = Tariff { schedule: &registry.fees, congestion_permille: UNCONGESTED_PERMILLE };
    let fee = tariff.operation_fee(&envelope).unwrap().0;
    // What is billed with one operation and entries of three nodes.
    let mut billed = |part: u64| {
        let cap = PicoDollars(5 * part);
        registry.payers[0].caps.as_mut().unwrap()[0].before = cap;
        let mut lane = Lane::of(registry.clone());
        let operation = Operation::Envelope(envelope.clone());
        lane.block(vec![(operation, Outcome::Applied { position: Position(1) })]).unwrap();
        for member in 1..=2 {
            lane.state(member, &[1, 2, 3].map(|log| (log, 1, [7; 32])), &[]);
        }
        lane.begin_period();
        let entries: Vec<_> = (1..=3).map(|log| (log, 0, 1, part)).collect();
        close(&mut lane, (4, 0), &entries)
    };
    let (enough, less) = (u128::from(fee), u128::from(fee - 1));
    assert_eq!(billed(fee), 3 * enough + enough);
    assert_eq!(billed(fee - 1), 3 * less, "an operation beyond its part is billed to nobody");
}

/// What the vault allows, as its contract computes it (SET-010).
#[derive(Default)]
struct Vault {
    charged_through: usize,
    spare: u128,
}

impl Vault {
    /// Whether all that is wanted through a period may be taken; periods count from 1.
    fn allows(&mut self, caps: &[u128], last: usize, wanted: u128) -> bool {
        let allowed = self.spare + caps[self.charged_through..last].iter().sum::<u128>();
        let kept: u128 = caps[last.saturating_sub(4)..last].iter().sum();
        self.spare = allowed.saturating_sub(wanted).min(kept);
        self.charged_through = last;
        wanted <= allowed
    }
}

/// The lane goes on to an epoch in which the payer has another cap from the next period on.
fn set_cap(lane: &mut Lane, amount: u64) {
    let mut next = Registry::clone(lane.registries.latest());
    next.epoch.0 += 1;
    let cap = &mut next.payers[0].caps.as_mut().unwrap()[0];
    *cap = CapRecord {
        before: cap.at(Period(u64::MAX)),
        from: Period(lane.period + 1),
        amount: PicoDollars(amount),
        ..*cap
    };
    lane.registries.insert(Arc::new(next)).unwrap();
}

proptest! {
    #[test]
    fn what_is_billed_the_vault_allows(
        periods in prop::collection::vec(
            (
                prop::collection::vec((0..4u64, 0..400u64), 0..4),
                prop::option::of(0..600u64),
                any::<bool>(),
            ),
            1..14,
        ),
    ) {
        // covers: SET-026
        // covers: SET-010
        let mut lane = Lane::of(capped(1));
        let (mut caps, mut reports) = (BTreeMap::new(), Vec::new());
        let mut index = 0;
        lane.begin_period();
        let (mut held, mut waiting) = (0, Vec::new());
        for (entries, cap, is_charged) in &periods {
            // At most one change is under way, as the vault has it.
            if let Some(cap) = cap.filter(|_| lane.period.is_multiple_of(4)) {
                set_cap(&mut lane, cap);
            }
            // What is stated now is billed with the next report.
            let more = u64::try_from(entries.len()).unwrap();
            hold(&mut lane, 1, held + more);
            lane.begin_period();
            let counted: Vec<_> = std::mem::take(&mut waiting);
            let before = lane.billed();
            lane.close(&counted);
            let last = lane.period - 2;
            let payer = &lane.registries.latest().payers[0];
            caps.insert(last, payer.cap(SHARD, Period(last)).unwrap());
            waiting = entries
                .iter()
                .map(|(late, fee)| {
                    let id = u8::try_from(index).unwrap();
                    let period = (lane.period - 1).saturating_sub(*late).max(1);
                    index += 1;
                    (1, header(index - 1, id, period, *fee))
                })
                .collect::<Vec<_>>();
            held += more;
            reports.push((lane.billed() - before, *is_charged));
        }
        let caps: Vec<u128> = caps.values().map(|cap| u128::from(cap.0)).collect();
        let (mut vault, mut wanted) = (Vault::default(), 0);
        for (last, (billed, is_charged)) in (1..).zip(&reports) {
            wanted += billed;
            if *is_charged {
                prop_assert!(vault.allows(&caps, last, wanted), "{caps:?} {last} {wanted}");
                wanted = 0;
            }
        }
    }
}

proptest! {
    #[test]
    fn no_row_of_reports_bills_more_than_its_caps_and_four(
        fees in prop::collection::vec(prop::collection::vec(0..400u64, 0..4), 1..12),
    ) {
        // covers: SET-026
        let mut lane = Lane::of(capped(90));
        let mut reports = Vec::new();
        let mut index = 0;
        hold(&mut lane, 1, u64::try_from(fees[0].len()).unwrap());
        lane.begin_period();
        for (place, of_period) in fees.iter().enumerate() {
            let next = fees.get(place + 1).map_or(0, Vec::len);
            let size = index + u64::try_from(of_period.len() + next).unwrap();
            let period = lane.period - 1;
            let entries: Vec<_> = of_period
                .iter()
                .map(|fee| { index += 1; (1, index - 1, period, *fee) })
                .collect();
            reports.push(close(&mut lane, (1, size), &entries));
        }
        for first in 0..reports.len() {
            for last in first..reports.len() {
                let periods = u128::try_from(last - first + 1).unwrap();
                let billed: u128 = reports[first..=last].iter().sum();
                // Before the first period there was none.
                let allowed = periods + u128::try_from(first).unwrap().min(4);
                prop_assert!(billed <= allowed * 100, "{reports:?}");
            }
        }
        let honest: Vec<u64> = fees.iter().map(|fees| fees.iter().sum()).collect();
        if honest.iter().all(|sum| *sum <= 100) {
            let billed: u128 = reports.iter().sum();
            prop_assert_eq!(billed, u128::from(honest.iter().sum::<u64>()));
        }
    }
}
