//! Days by name: the proleptic Gregorian calendar, in UTC.

use std::fmt;
use std::str::FromStr;

/// Days in 400 years, after which the calendar repeats itself.
const ERA_DAYS: i64 = 146_097;

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;

/// 0000-01-01.
const FIRST_DAYS: i64 = -719_528;

/// 9999-12-31.
const LAST_DAYS: i64 = 2_932_896;

/// A day, written as in RFC 3339: year, month and day with dashes; years 0 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

/// The text is no day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a day is written as 2026-11-29")]
pub struct DateInvalid;

impl Date {
    /// The day so many days after 1970-01-01; the first or last one there is for any beyond.
    #[must_use]
    pub fn from_days(days: i64) -> Self {
        // Years begin in March here, so that the day that is not always there is the last one.
        let days = days.clamp(FIRST_DAYS, LAST_DAYS) + EPOCH_DAYS;
        let (era, day_of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_of_year = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_of_year + 2) / 5 + 1;
        let month = if month_of_year < 10 { month_of_year + 3 } else { month_of_year - 9 };
        let year = 400 * era + year_of_era + i64::from(month <= 2);
        let small = |number: i64| u8::try_from(number).unwrap_or_default();
        Self { year: u16::try_from(year).unwrap_or_default(), month: small(month), day: small(day) }
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub fn to_days(self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = i64::from(self.year) - i64::from(month <= 2);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let month_of_year = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * month_of_year + 2) / 5 + day - 1;
        let day_of_era = 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * ERA_DAYS + day_of_era - EPOCH_DAYS
    }
}

impl fmt::Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl FromStr for Date {
    type Err = DateInvalid;

    fn from_str(text: &str) -> Result<Self, DateInvalid> {
        let mut parts = text.split('-');
        let mut number = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits).ok_or(DateInvalid)?;
            let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<u16>().ok().filter(|_| is_number).ok_or(DateInvalid)
        };
        let (year, month, day) = (number(4)?, number(2)?, number(2)?);
        let small = |number: u16| u8::try_from(number).map_err(|_| DateInvalid);
        let date = Self { year, month: small(month)?, day: small(day)? };
        // A day that the month does not have comes back as another one.
        let is_there = (1..=12).contains(&month) && day > 0 && date.day <= 31;
        match parts.next().is_none() && is_there && Self::from_days(date.to_days()) == date {
            true => Ok(date),
            false => Err(DateInvalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_names_and_names_have_days() {
        for (days, name) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (20_786, "2026-11-29"),
            (2_932_896, "9999-12-31"),
            (-719_528, "0000-01-01"),
        ] {
            assert_eq!(Date::from_days(days).to_string(), name);
            assert_eq!(name.parse::<Date>().unwrap().to_days(), days);
        }
        assert_eq!(Date::from_days(i64::MAX).to_string(), "9999-12-31");
        assert_eq!(Date::from_days(i64::MIN).to_string(), "0000-01-01");
    }

    #[test]
    fn every_day_is_the_one_after_the_day_before() {
        let mut before = Date::from_days(-1);
        for days in 0..60_000 {
            let date = Date::from_days(days);
            assert!(date > before && date.to_days() == days, "{date}");
            assert_eq!(date.to_string().parse(), Ok(date));
            before = date;
        }
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in [
            "",
            "2026-11-31",
            "2026-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-01-00",
            "2026-1-01",
            "26-01-01",
            "2026-01-01-",
            "2026-01-01-01",
            "+026-01-01",
            "2026-01-999",
            "２０２６-01-01",
        ] {
            assert_eq!(text.parse::<Date>(), Err(DateInvalid), "{text}");
        }
    }
}
