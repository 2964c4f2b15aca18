//! The fee formula against its vectors, and what holds for any numbers.

use proptest::prelude::*;
use serde::Deserialize;
use tidings_envelope::registry::FeeSchedule;
use tidings_envelope::{FeeClass, Tariff};
use tidings_types::PicoDollars;

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    schedule: Schedule,
    bytes: u32,
    retention_days: u16,
    class: String,
    /// None when the fee does not fit.
    fee: Option<PicoDollars>,
}

/// A schedule as another implementation writes it, with the factor of a busy shard.
#[derive(Deserialize)]
struct Schedule {
    #[serde(flatten)]
    governed: FeeSchedule,
    congestion_permille: u32,
}

fn class(name: &str) -> FeeClass {
    match name {
        "broadcast" => FeeClass::Broadcast,
        "stamped" => FeeClass::Stamped,
        "ordered" => FeeClass::Ordered,
        other => panic!("no fee class {other}"),
    }
}

#[test]
fn vectors() {
    // covers: FEE-001
    // covers: FEE-002
    // covers: FEE-003
    let json = include_str!("../../../../spec/vectors/fees/formula.json");
    for case in serde_json::from_str::<File>(json).unwrap().cases {
        let Schedule { governed, congestion_permille } = &case.schedule;
        let tariff = Tariff { schedule: governed, congestion_permille: *congestion_permille };
        let owed = tariff.fee(case.bytes, case.retention_days, class(&case.class));
        assert_eq!(owed.ok(), case.fee);
    }
}

fn schedules() -> impl Strategy<Value = FeeSchedule> {
    (any::<u32>(), any::<u16>(), 0u32..20_000, 0u32..20_000).prop_map(
        |(base, byte_day, ordered_permille, stamp_permille)| FeeSchedule {
            base: PicoDollars(base.into()),
            byte_day: PicoDollars(byte_day.into()),
            ordered_permille,
            stamp_permille,
            ..FeeSchedule::default()
        },
    )
}

fn classes() -> impl Strategy<Value = FeeClass> {
    prop_oneof![Just(FeeClass::Broadcast), Just(FeeClass::Stamped), Just(FeeClass::Ordered)]
}

proptest! {
    #[test]
    fn more_bytes_or_days_never_cost_less(
        schedule in schedules(), class in classes(), congestion_permille in 0u32..20_000,
        bytes in 0u32..2_000_000, days in 0u16..366, more in 0u32..1_000,
    ) {
        // covers: FEE-001
        let tariff = Tariff { schedule: &schedule, congestion_permille };
        let cost = |bytes, days| tariff.fee(bytes, days, class).unwrap();
        prop_assert!(cost(bytes + more, days) >= cost(bytes, days));
        prop_assert!(cost(bytes, days + 1) >= cost(bytes, days));
    }

    #[test]
    fn rounding_never_adds_a_whole_picodollar(
        schedule in schedules(), congestion_permille in 0u32..20_000,
        bytes in 0u32..2_000_000, days in 0u16..366,
    ) {
        // covers: FEE-001
        let plain = u128::from(schedule.base.0)
            + u128::from(schedule.byte_day.0) * u128::from(bytes) * u128::from(days);
        let exact = plain
            * u128::from(schedule.ordered_permille)
            * u128::from(congestion_permille);
        let tariff = Tariff { schedule: &schedule, congestion_permille };
        let owed = tariff.fee(bytes, days, FeeClass::Ordered).unwrap();
        let millionths = u128::from(owed.0) * 1_000_000;
        prop_assert!((exact..exact + 1_000_000).contains(&millionths));
    }

    #[test]
    fn no_numbers_make_it_panic(
        base in any::<u64>(), byte_day in any::<u64>(), ordered_permille in any::<u32>(),
        congestion_permille in any::<u32>(), bytes in any::<u32>(), days in any::<u16>(),
    ) {
        // covers: FEE-003
        let schedule = FeeSchedule {
            base: PicoDollars(base),
            byte_day: PicoDollars(byte_day),
            ordered_permille,
            stamp_permille: 1_000,
            ..FeeSchedule::default()
        };
        let tariff = Tariff { schedule: &schedule, congestion_permille };
        let stamped = tariff.fee(bytes, days, FeeClass::Stamped);
        let plain = tariff.fee(bytes, days, FeeClass::Broadcast);
        prop_assert_eq!(stamped, plain);
    }
}
