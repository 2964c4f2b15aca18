//! One order of reading for the entries of several logs.

use std::collections::BTreeMap;

use tidings_envelope::LogId;
use tidings_types::{Period, TimestampSeconds};

use crate::verify::Broadcast;

/// When an entry was taken, and how many of its log were by then, in that second.
///
/// It never falls within a log, whatever its node says of the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Moment {
    period: Period,
    at: TimestampSeconds,
    place: u32,
}

impl Moment {
    fn next(self, period: Period, at: TimestampSeconds) -> Self {
        // A clock that was ahead for a moment counts for no longer than the period.
        if period > self.period {
            return Self { period, at, place: 0 };
        }
        match at > self.at {
            true => Self { at, place: 0, ..self },
            false => Self { place: self.place.saturating_add(1), ..self },
        }
    }
}

/// Puts entries into the order in which nodes took them, and keeps that of each log (MLS-038).
///
/// One author's messages may be in several logs. Read log by log, those of the last one would
/// come later than a sender's ratchet bears, and could not be opened any more. Periods count
/// before timestamps because an envelope bounds the period in which it can be admitted.
pub(super) fn in_time(entries: Vec<Broadcast>) -> Vec<Broadcast> {
    let mut last = BTreeMap::<LogId, Moment>::new();
    let mut timed: Vec<(Moment, Broadcast)> = Vec::with_capacity(entries.len());
    for entry in entries {
        let moment = last.entry(entry.entry.log).or_default();
        *moment = moment.next(entry.admitted, entry.entry.entry.header.timestamp);
        timed.push((*moment, entry));
    }
    timed.sort_by_key(|(moment, _)| *moment);
    timed.into_iter().map(|(_, entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_a_log_never_fall_and_take_turns_within_a_second() {
        // covers: MLS-038
        let said = [(3, 50), (3, 50), (2, 90), (3, 10), (4, 10), (4, 90)];
        let mut moment = Moment::default();
        let moments: Vec<_> = said
            .iter()
            .map(|(period, at)| {
                moment = moment.next(Period(*period), TimestampSeconds(*at));
                (moment.period.0, moment.at.0, moment.place)
            })
            .collect();
        assert_eq!(
            moments,
            [(3, 50, 0), (3, 50, 1), (3, 90, 0), (3, 90, 1), (4, 10, 0), (4, 90, 0)]
        );
        assert!(moments.is_sorted());
    }
}
