//! The time a client claims, and how the signed text shows it.

use std::fmt;

use super::{AssociationError, TIMESTAMP_NS_MAX};

const SECONDS_PER_DAY: u64 = 86_400;

/// When a client says that it made an update, in nanoseconds since 1970 (UTC).
///
/// Shown in the signed text and compared with no clock; written in whole seconds, as RFC 3339 does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimestampNs(u64);

impl TimestampNs {
    /// The time `ns` nanoseconds after the start of 1970.
    ///
    /// # Errors
    /// [`AssociationError::TimestampTooLate`] above [`TIMESTAMP_NS_MAX`].
    pub const fn new(ns: u64) -> Result<Self, AssociationError> {
        if ns > TIMESTAMP_NS_MAX {
            return Err(AssociationError::TimestampTooLate { timestamp_ns: ns });
        }
        Ok(Self(ns))
    }

    /// Nanoseconds since 1970.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for TimestampNs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000_000;
        let (year, month, day) = civil(seconds / SECONDS_PER_DAY);
        let of_day = seconds % SECONDS_PER_DAY;
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        write!(formatter, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Year, month and day of the Gregorian calendar, `days` after 1 January 1970.
const fn civil(days: u64) -> (u64, u64, u64) {
    let (mut year, mut left) = (1970, days);
    while left >= days_in_year(year) {
        left -= days_in_year(year);
        year += 1;
    }
    let mut month = 1;
    while left >= days_in_month(year, month) {
        left -= days_in_month(year, month);
        month += 1;
    }
    (year, month, left + 1)
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_in_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: u64, expected: &str) {
        let time = TimestampNs::new(seconds * 1_000_000_000 + 999_999_999).unwrap();
        assert_eq!(time.to_string(), expected);
    }

    #[test]
    fn times_are_shown_in_seconds() {
        check(0, "1970-01-01T00:00:00Z");
        check(59, "1970-01-01T00:00:59Z");
        check(951_782_399, "2000-02-28T23:59:59Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(1_712_750_400, "2024-04-10T12:00:00Z");
        check(1_735_689_599, "2024-12-31T23:59:59Z");
        check(1_735_689_600, "2025-01-01T00:00:00Z");
        check(4_107_542_399, "2100-02-28T23:59:59Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
    }

    #[test]
    fn the_latest_time_is_in_2262() {
        let latest = TimestampNs::new(TIMESTAMP_NS_MAX).unwrap();
        assert_eq!(latest.to_string(), "2262-04-11T23:47:16Z");
        let timestamp_ns = TIMESTAMP_NS_MAX + 1;
        let error = AssociationError::TimestampTooLate { timestamp_ns };
        assert_eq!(TimestampNs::new(timestamp_ns), Err(error));
    }
}
