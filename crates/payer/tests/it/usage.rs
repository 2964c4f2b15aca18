//! Usage tallies: order, grouping and overflow.

use proptest::collection::vec;
use proptest::prelude::*;
use tidings_envelope::EntryHeader;
use tidings_payer::{Usage, UsageTally};
use tidings_types::{EthereumAddress, MoneyOverflow, Period, PicoDollars};

use crate::network::{PAYER, PERIOD, entries};

fn header(period: u64, payer: u8, length: u32, fee: u64) -> EntryHeader {
    EntryHeader {
        fee_period: Period(period),
        payer: EthereumAddress([payer; 20]),
        payload_length: length,
        fee: PicoDollars(fee),
        ..entries(1)[0].header
    }
}

fn tally(headers: &[EntryHeader]) -> UsageTally {
    let mut tally = UsageTally::new();
    headers.iter().for_each(|header| tally.count(header).unwrap());
    tally
}

#[test]
fn entries_add_up_by_period_and_payer() {
    // covers: FEE-007
    let headers: Vec<_> = entries(3).iter().map(|entry| entry.header).collect();
    let mut tally = tally(&headers);
    let usage = tally.usage(PERIOD, PAYER);
    assert_eq!(usage.envelopes, 3);
    assert_eq!(usage.bytes, headers.iter().map(|one| u64::from(one.payload_length)).sum::<u64>());
    assert_eq!(usage.fee.0, headers.iter().map(|one| one.fee.0).sum::<u64>());
    tally.count(&header(51, 255, 10, 4)).unwrap();
    tally.count(&header(51, 0, 10, 4)).unwrap();
    let payers: Vec<_> = tally.payers(Period(51)).map(|(payer, _)| payer.0[0]).collect();
    assert_eq!(payers, vec![0, 255]);
    let closed = tally.take_before(Period(51));
    assert_eq!(closed.iter().collect::<Vec<_>>(), vec![(PERIOD, PAYER, usage)]);
    assert_eq!(tally.usage(PERIOD, PAYER), Usage::default());
    assert_eq!(tally.iter().count(), 2);
}

#[test]
fn sums_that_do_not_fit_count_nothing() {
    // covers: FEE-003
    let mut tally = tally(&[header(1, 1, 10, u64::MAX)]);
    let before = tally.clone();
    assert_eq!(tally.count(&header(1, 1, 10, 1)), Err(MoneyOverflow));
    assert_eq!(tally, before);
}

proptest! {
    #[test]
    fn order_and_grouping_do_not_matter(
        entries in vec((0u64..4, 0u8..4, any::<u32>(), 0u64..1_000_000), 0..40),
        cut in any::<prop::sample::Index>(),
    ) {
        // covers: FEE-007
        let headers: Vec<_> = entries
            .into_iter()
            .map(|(period, payer, length, fee)| header(period, payer, length, fee))
            .collect();
        let whole = tally(&headers);
        let reversed: Vec<_> = headers.iter().rev().copied().collect();
        prop_assert_eq!(&tally(&reversed), &whole);
        let (left, right) = headers.split_at(cut.index(headers.len() + 1));
        let mut merged = tally(left);
        for (period, payer, usage) in tally(right).iter() {
            merged.add(period, payer, usage).unwrap();
        }
        prop_assert_eq!(merged, whole);
    }
}
