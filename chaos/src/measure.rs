//! How available the network was in a stretch of a history, and how fast.

use std::time::Duration;

use crate::history::{At, Change, History, Send};

/// A call that is not answered after this long counts as unanswered, whatever comes later.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A stretch of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// When it began.
    pub from: At,
    /// When it ended.
    pub to: At,
}

/// How calls of one kind fared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Service {
    /// How many were made.
    pub calls: usize,
    /// How many of them succeeded within [`PATIENCE`].
    pub served: usize,
    /// Of those that succeeded, however late: the time that half of them took at most.
    pub p50: Duration,
    /// The time that 99 of 100 took at most.
    pub p99: Duration,
    /// The longest time in which none succeeded.
    pub outage: Duration,
}

impl Service {
    /// The share of calls that were served, in thousandths.
    #[must_use]
    pub fn availability_permille(&self) -> usize {
        (self.served * 1000).checked_div(self.calls).unwrap_or(1000)
    }

    fn of(calls: impl Iterator<Item = (At, Option<At>)>, window: Window) -> Self {
        let calls: Vec<_> =
            calls.filter(|(began, _)| (window.from..window.to).contains(began)).collect();
        let took =
            calls.iter().filter_map(|(began, ended)| Some(ended.as_ref()?.saturating_sub(*began)));
        let mut took: Vec<Duration> = took.collect();
        took.sort_unstable();
        let at = |permille: usize| {
            let place = (took.len() * permille / 1000).min(took.len().saturating_sub(1));
            took.get(place).copied().unwrap_or_default()
        };
        let mut ends: Vec<At> = calls.iter().filter_map(|(_, ended)| *ended).collect();
        ends.retain(|ended| *ended <= window.to);
        ends.extend([window.from, window.to]);
        ends.sort_unstable();
        Self {
            calls: calls.len(),
            served: took.iter().filter(|took| **took <= PATIENCE).count(),
            p50: at(500),
            p99: at(990),
            outage: ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default(),
        }
    }
}

/// How messages fared: from the call to the acknowledgement.
#[must_use]
pub fn sends(history: &History, window: Window) -> Service {
    Service::of(history.sends.iter().map(|send| (send.began, send.acknowledged)), window)
}

/// How changes fared: from the call to the answer that the group is as wished.
#[must_use]
pub fn changes(history: &History, window: Window) -> Service {
    let ended = |change: &Change| change.returned.filter(|_| change.done);
    Service::of(history.changes.iter().map(|change| (change.began, ended(change))), window)
}

/// How soon others had messages: from the call until each of them told of it.
#[must_use]
pub fn deliveries(history: &History, window: Window) -> Service {
    let sent: std::collections::BTreeMap<_, &Send> =
        history.sends.iter().map(|send| (send.key, send)).collect();
    let told =
        history.told.iter().filter_map(|told| Some((sent.get(&told.key)?.began, Some(told.at))));
    Service::of(told, window)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn service(calls: &[(u32, Option<u32>)]) -> Service {
        let window = Window { from: S * 10, to: S * 20 };
        Service::of(calls.iter().map(|(began, ended)| (S * *began, ended.map(|at| S * at))), window)
    }

    #[test]
    fn calls_count_where_they_begin() {
        let found = service(&[(9, Some(11)), (10, Some(11)), (19, Some(21)), (20, Some(21))]);
        assert_eq!((found.calls, found.served), (2, 2));
        assert_eq!((found.p50, found.p99), (S * 2, S * 2));
    }

    #[test]
    fn late_and_lost_calls_are_not_served() {
        let found = service(&[(10, Some(11)), (11, None), (12, Some(18)), (13, Some(14))]);
        assert_eq!((found.calls, found.served), (4, 2));
        assert_eq!(found.availability_permille(), 500);
        assert_eq!((found.p50, found.p99), (S, S * 6));
    }

    #[test]
    fn an_outage_is_the_longest_time_without_success() {
        assert_eq!(service(&[(10, Some(11)), (12, Some(17)), (18, Some(30))]).outage, S * 6);
        assert_eq!(service(&[]).outage, S * 10);
        assert_eq!(service(&[]).availability_permille(), 1000);
    }
}
