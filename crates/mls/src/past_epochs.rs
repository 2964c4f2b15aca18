//! How many past epochs can still be read.
//!
//! An envelope is admitted at most two periods after it was signed, so that whoever keeps the
//! keys of the epochs that ended within two periods reads every message of the group's, however
//! late it comes. What that costs grows with the group, and so there is a bound.

use std::collections::VecDeque;

use openmls::group::PastEpochDeletion;
use tidings_types::Period;

use crate::record::GENERATION_GRACE_PERIODS;

/// The most past epochs that can still be read. Unit: epochs.
pub const PAST_EPOCHS_MAX: usize = 64;

/// So many past epochs can be read however long ago they ended. Unit: epochs.
pub const PAST_EPOCHS_MIN: usize = 5;

/// The most leaves of all past epochs together, but for the least number of epochs: what each
/// message writes to the disk grows with it. Unit: leaves.
const PAST_LEAVES_MAX: usize = 8_192;

/// When the epochs that can still be read ended.
#[derive(Debug, Default)]
pub(crate) struct PastEpochs {
    /// By rising epoch.
    ended: VecDeque<Period>,
    /// Epochs of which only the order is known, since they ended before this was loaded.
    earlier: usize,
}

impl PastEpochs {
    /// `count` epochs ended at a time that is not known.
    pub(crate) fn loaded(count: usize) -> Self {
        Self { ended: VecDeque::new(), earlier: count }
    }

    /// Notes that an epoch ended in `now`; how many of the last can still be read (MLS-037).
    pub(crate) fn end(&mut self, now: Period, leaves: usize) -> usize {
        // What is not known is taken to have ended just now.
        self.ended.extend(std::iter::repeat_n(now, std::mem::take(&mut self.earlier)));
        self.ended.push_back(now);
        let recent = |ended: &&Period| ended.plus(GENERATION_GRACE_PERIODS) >= now;
        let most = (PAST_LEAVES_MAX / leaves.max(1)).clamp(PAST_EPOCHS_MIN, PAST_EPOCHS_MAX);
        let kept = self.ended.iter().filter(recent).count().clamp(PAST_EPOCHS_MIN, most);
        self.ended.drain(..self.ended.len().saturating_sub(kept));
        kept
    }
}

/// Deletes the keys of all past epochs but the newest `kept`.
pub(crate) fn all_but(kept: usize) -> PastEpochDeletion {
    // No keys are older than the beginning of time, so that nothing but the number counts.
    PastEpochDeletion::before_timestamp(std::time::UNIX_EPOCH).max_past_epochs(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_kept_for_two_periods_and_some_for_longer() {
        // covers: MLS-037
        let mut past = PastEpochs::default();
        for count in 1..=20 {
            assert_eq!(past.end(Period(7), 4), count.max(PAST_EPOCHS_MIN));
        }
        assert_eq!(past.end(Period(9), 4), 21);
        assert_eq!(past.end(Period(10), 4), PAST_EPOCHS_MIN);
        assert_eq!(past.end(Period(400), 4), PAST_EPOCHS_MIN);
    }

    #[test]
    fn large_groups_keep_fewer() {
        // covers: MLS-037
        let storm = |leaves| {
            let mut past = PastEpochs::default();
            (0..100).map(|_| past.end(Period(7), leaves)).last().unwrap()
        };
        assert_eq!(storm(2), PAST_EPOCHS_MAX);
        assert_eq!(storm(128), PAST_EPOCHS_MAX);
        assert_eq!(storm(1_000), 8);
        assert_eq!(storm(3_000), PAST_EPOCHS_MIN);
    }

    #[test]
    fn what_ended_before_loading_is_kept_for_two_periods_more() {
        // covers: MLS-037
        let mut past = PastEpochs::loaded(12);
        assert_eq!(past.end(Period(7), 4), 13);
        assert_eq!(past.end(Period(10), 4), PAST_EPOCHS_MIN);
    }
}
