//! Times as messages write them: RFC 3339, kept with the text that was signed.

use std::fmt;

use crate::date::Date;

/// The most digits behind the second.
const FRACTION_DIGITS_MAX: usize = 9;

/// A time and its text, of which several can say the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    text: String,
    /// Since 1970, what is less than a second left off.
    seconds: i64,
}

impl Timestamp {
    /// Reads `2026-11-29T12:00:00Z`, with an optional fraction, and an offset in place of the `Z`.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let (clock, rest) = rest.strip_prefix('T')?.split_at_checked(8)?;
        let zone = rest.find(['Z', '+', '-'])?;
        let (fraction, zone) = rest.split_at_checked(zone)?;
        let is_fraction = match fraction.strip_prefix('.') {
            Some(digits) => (1..=FRACTION_DIGITS_MAX).contains(&digits.len()) && is_number(digits),
            None => fraction.is_empty(),
        };
        let date: Date = date.parse().ok()?;
        let seconds = date.to_days() * 86_400 + seconds_of(clock)? - offset_seconds(zone)?;
        is_fraction.then(|| Self { text: text.to_owned(), seconds })
    }

    /// In seconds since 1970, rounded down.
    pub fn seconds(&self) -> i64 {
        self.seconds
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// `12:34:56`; a leap second is the second after it.
fn seconds_of(clock: &str) -> Option<i64> {
    let (minutes, second) = clock.rsplit_once(':')?;
    Some(minutes_of(minutes)? * 60 + two_digits(second, 60)?)
}

fn minutes_of(clock: &str) -> Option<i64> {
    let (hour, minute) = clock.split_once(':')?;
    Some(two_digits(hour, 23)? * 60 + two_digits(minute, 59)?)
}

fn offset_seconds(zone: &str) -> Option<i64> {
    let minutes = |clock| minutes_of(clock).map(|minutes| minutes * 60);
    match zone.split_at_checked(1)? {
        ("Z", "") => Some(0),
        ("+", clock) => minutes(clock),
        ("-", clock) => minutes(clock).map(|seconds| -seconds),
        _ => None,
    }
}

fn two_digits(text: &str, most: i64) -> Option<i64> {
    let is_good = text.len() == 2 && is_number(text);
    text.parse().ok().filter(|number| is_good && *number <= most)
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(Timestamp::parse(text).map(|time| time.seconds()), expected, "{text}");
    }

    #[test]
    fn times_are_those_of_rfc_3339() {
        // covers: GTW-019
        check("1970-01-01T00:00:00Z", Some(0));
        check("1970-01-01T00:00:00.999999999Z", Some(0));
        check("1970-01-01T01:30:00+01:30", Some(0));
        check("1969-12-31T23:00:00-01:00", Some(0));
        check("2026-11-29T12:34:56Z", Some(20_786 * 86_400 + 45_296));
        check("2016-12-31T23:59:60Z", Some(1_483_228_800));
        for text in [
            "",
            "2026-11-29",
            "2026-11-29T12:34:56",
            "2026-11-29t12:34:56Z",
            "2026-11-29 12:34:56Z",
            "2026-11-29T12:34Z",
            "2026-11-29T24:00:00Z",
            "2026-11-29T12:60:00Z",
            "2026-11-29T12:34:61Z",
            "2026-11-29T12:34:56.Z",
            "2026-11-29T12:34:56,5Z",
            "2026-11-29T12:34:56.1234567890Z",
            "2026-11-29T12:34:56Zz",
            "2026-11-29T12:34:56+1:00",
            "2026-11-29T12:34:56+01",
            "2026-11-29T12:34:56+24:00",
            "2026-11-29T+2:34:56Z",
            "2026-02-30T12:34:56Z",
            "2026-11-29T12:34:56é",
        ] {
            check(text, None);
        }
    }
}
