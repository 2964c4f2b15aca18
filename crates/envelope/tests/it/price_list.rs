//! The tables in `spec/11-fees.md` are what the formula gives for the numbers in
//! `spec/parameters.toml`.

use std::path::Path;
use std::sync::LazyLock;

use tidings_envelope::registry::FeeSchedule;
use tidings_envelope::{CongestionRule, FeeClass, Tariff, UNCONGESTED_PERMILLE};
use tidings_types::PicoDollars;

const MESSAGES: u128 = 100_000;

/// What batch, proofs and seal add to a ciphertext.
const AROUND_BYTES: u32 = 700;

const KIB: u32 = 1_024;

/// One hour.
const HOUR_SECONDS: u64 = 3_600;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec").join(file);
    std::fs::read_to_string(path).unwrap()
}

/// The first value of a governed parameter.
fn parameter(name: &str) -> u64 {
    let file = read("parameters.toml");
    let (_, after) = file.split_once(&format!("name = \"{name}\"")).unwrap();
    let line = after.lines().find_map(|line| line.strip_prefix("initial = ")).unwrap();
    line.replace('_', "").parse().unwrap()
}

fn narrow(name: &str) -> u32 {
    u32::try_from(parameter(name)).unwrap()
}

static SCHEDULE: LazyLock<FeeSchedule> = LazyLock::new(|| FeeSchedule {
    base: PicoDollars(parameter("FeeBase")),
    byte_day: PicoDollars(parameter("FeeByteDay")),
    ordered_permille: narrow("OrderedPermille"),
    stamp_permille: narrow("StampPermille"),
    congestion: CongestionRule {
        target_bytes: parameter("CongestionTargetBytes"),
        step_permille: narrow("CongestionStepPermille"),
        max_permille: narrow("CongestionPermilleMax"),
    },
    ..FeeSchedule::default()
});

fn price(size: u32, days: u16, class: FeeClass, congestion_permille: u32) -> u128 {
    let tariff = Tariff { schedule: &SCHEDULE, congestion_permille };
    tariff.fee(size + AROUND_BYTES, days, class).unwrap().0.into()
}

fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Dollars with four places, rounded up.
fn dollars(picodollars: u128) -> String {
    let units = picodollars.div_ceil(100_000_000);
    format!("{}.{:04}", grouped(units / 10_000), units % 10_000)
}

/// The rows of the document's table whose first column is headed so.
fn rows(heading: &str) -> Vec<String> {
    let document = read("11-fees.md");
    let mut lines = document.lines().skip_while(|line| !line.starts_with(heading));
    assert!(lines.next().is_some(), "no table {heading}");
    lines.skip(1).take_while(|line| line.starts_with('|')).map(Into::into).collect()
}

fn row(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

#[test]
fn the_default_schedule_has_the_governed_numbers() {
    // covers: FEE-001
    assert_eq!(*SCHEDULE, FeeSchedule::default());
}

#[test]
fn messages_cost_what_the_table_says() {
    // covers: FEE-001
    let sizes = [("256 B", 256), ("1 KiB", KIB), ("16 KiB", 16 * KIB), ("1 MiB", KIB * KIB)];
    let expected = sizes.map(|(name, size)| {
        let prices = [1, 30, 90, 365].map(|days| {
            dollars(MESSAGES * price(size, days, FeeClass::Broadcast, UNCONGESTED_PERMILLE))
        });
        let stored = grouped((size + AROUND_BYTES).into());
        row(&[vec![name.into(), stored], prices.to_vec()].concat())
    });
    assert_eq!(rows("| size |"), expected);
    // The sentence below the table: five dollars.
    let day = |days| MESSAGES * price(16 * KIB, days, FeeClass::Broadcast, UNCONGESTED_PERMILLE);
    let five = 5_000_000_000_000;
    assert!(day(28) < five && day(29) > five);
}

#[test]
fn classes_cost_what_the_table_says() {
    // covers: FEE-002
    let classes = [
        ("message", 1, FeeClass::Broadcast),
        ("mailbox stamp", 10, FeeClass::Stamped),
        ("ordered commit", 4, FeeClass::Ordered),
    ];
    let expected = classes.map(|(name, factor, class)| {
        let price = dollars(MESSAGES * price(KIB, 90, class, UNCONGESTED_PERMILLE));
        row(&[name.into(), factor.to_string(), price])
    });
    assert_eq!(rows("| class |"), expected);
}

/// What a flood costs in each of its first 24 hours.
fn flood(size: u32, period_seconds: u64) -> Vec<u128> {
    let target = parameter("CongestionTargetBytes") * period_seconds;
    let messages = u128::from(2 * target / u64::from(size + AROUND_BYTES));
    let mut hours = vec![0; 24];
    let mut factors = [UNCONGESTED_PERMILLE; 2];
    for period in 0..24 * HOUR_SECONDS / period_seconds {
        let hour = usize::try_from(period * period_seconds / HOUR_SECONDS).unwrap();
        hours[hour] += messages * price(size, 1, FeeClass::Broadcast, factors[0]);
        // A period moves the factor of the second after it (FEE-010).
        let next =
            SCHEDULE.congestion.next_permille(factors[1], 2 * target, period_seconds * 1_000);
        factors = [factors[1], next];
    }
    hours
}

#[test]
fn a_flood_costs_what_the_table_says() {
    // covers: FEE-008
    let mut expected = Vec::new();
    for (name, size) in [("1 KiB", KIB), ("1 MiB", KIB * KIB)] {
        for period_seconds in [parameter("PeriodMs") / 1_000, 10] {
            let hours = flood(size, period_seconds);
            let prices = [hours[0], hours[23], hours.iter().sum()].map(dollars);
            let period = format!("{} s", grouped(period_seconds.into()));
            expected.push(row(&[vec![name.into(), period], prices.to_vec()].concat()));
        }
    }
    assert_eq!(rows("| messages of |"), expected);
}
