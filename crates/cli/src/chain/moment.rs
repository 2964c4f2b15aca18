//! Times of the chain in words.

/// Seconds in a day, and days in 400 years of the Gregorian calendar.
const DAY: u64 = 86_400;
const ERA_DAYS: u64 = 146_097;

/// Days from the first of March of the year 0 to the first of January of 1970.
const EPOCH_DAYS: u64 = 719_468;

/// The last second that is written as a date, the end of the year 9999.
const LAST: u64 = 253_402_300_799;

/// A time in UTC and how far it is from `now`, both in seconds since 1970.
pub(super) fn moment(at: u64, now: u64) -> String {
    if at > LAST {
        return "never".into();
    }
    let distance = match at.checked_sub(now) {
        Some(0) => "now".into(),
        Some(ahead) => format!("in {}", span(ahead)),
        None => format!("{} ago", span(now - at)),
    };
    format!("{} ({distance})", date(at))
}

/// A length of time by its two largest units.
pub(super) fn span(seconds: u64) -> String {
    let units = [(DAY, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, name) in units {
        let count = rest / unit;
        rest %= unit;
        match count {
            0 if parts.is_empty() => {}
            0 => break,
            1 => parts.push(format!("1 {name}")),
            _ => parts.push(format!("{count} {name}s")),
        }
        if parts.len() == 2 {
            break;
        }
    }
    match parts.is_empty() {
        true => "0 seconds".into(),
        false => parts.join(" "),
    }
}

/// Year, month, day and time of day. Years begin in March, so that the day that leap years add is
/// the last of a year.
fn date(at: u64) -> String {
    let (days, second) = (at / DAY + EPOCH_DAYS, at % DAY);
    let (era, day) = (days / ERA_DAYS, days % ERA_DAYS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Five months have 153 days, wherever they begin.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, years) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!(
        "{:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        era * 400 + year + years,
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (at, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_709_164_800, "2024-02-29 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (LAST, "9999-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(date(at), expected);
        }
    }

    #[test]
    fn moments_say_how_far_they_are() {
        assert_eq!(moment(90_061, 0), "1970-01-02 01:01:01 UTC (in 1 day 1 hour)");
        assert_eq!(moment(0, 7), "1970-01-01 00:00:00 UTC (7 seconds ago)");
        assert_eq!(moment(7, 7), "1970-01-01 00:00:07 UTC (now)");
        assert_eq!(moment(u64::MAX, 0), "never");
        assert_eq!(span(0), "0 seconds");
        assert_eq!(span(86_401), "1 day");
        assert_eq!(span(172_800 + 7_200 + 60), "2 days 2 hours");
    }
}
