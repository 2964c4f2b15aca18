//! The congestion factor: what a shard's load makes of the fees of later periods.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidings_types::{Period, RegistryEpoch, ShardId};

use crate::Registry;

/// The factor of a shard that is not busy, in thousandths.
pub const UNCONGESTED_PERMILLE: u32 = 1_000;

const PERMILLE: u128 = 1_000;

const MS_PER_SECOND: u128 = 1_000;

/// How the factor moves, as governance sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CongestionRule {
    /// The load at which it stays, in bytes per second, above zero.
    pub target_bytes: u64,
    /// The most that it moves at once, in thousandths of itself.
    pub step_permille: u32,
    /// What it never exceeds, in thousandths, at least 1000.
    pub max_permille: u32,
}

/// The rule that governance begins with.
impl Default for CongestionRule {
    fn default() -> Self {
        Self { target_bytes: 4_194_304, step_permille: 125, max_permille: 100_000 }
    }
}

impl CongestionRule {
    /// Whether anybody can compute with it: a target above zero, and a largest factor of one at
    /// least.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.target_bytes > 0 && self.max_permille >= UNCONGESTED_PERMILLE
    }

    /// The factor that follows `current_permille` when a shard took `used_bytes` in a period of
    /// `period_ms` (FEE-008).
    ///
    /// It moves by `step` × (used − target) ÷ target of itself, at most by `step` up or down,
    /// rounded towards staying but by at least one thousandth when the load is above the target;
    /// it never falls below one.
    #[must_use]
    pub fn next_permille(&self, current_permille: u32, used_bytes: u64, period_ms: u64) -> u32 {
        let target = self.target_of(period_ms);
        let distance = used_bytes.abs_diff(target).min(target);
        // Each falls short of 2³², 2³² and 2⁶⁴.
        let exact =
            u128::from(current_permille) * u128::from(self.step_permille) * u128::from(distance);
        let change = exact / PERMILLE / u128::from(target);
        let current = u128::from(current_permille);
        let next = match used_bytes.cmp(&target) {
            std::cmp::Ordering::Greater => current + change.max(1),
            std::cmp::Ordering::Equal => current,
            std::cmp::Ordering::Less => current.saturating_sub(change),
        };
        let (least, most) = (UNCONGESTED_PERMILLE, self.max_permille);
        u32::try_from(next).unwrap_or(u32::MAX).clamp(least, most.max(least))
    }

    /// The target for a period, in bytes, one at least.
    fn target_of(&self, period_ms: u64) -> u64 {
        let exact = u128::from(self.target_bytes) * u128::from(period_ms) / MS_PER_SECOND;
        u64::try_from(exact).unwrap_or(u64::MAX).max(1)
    }
}

/// The factors of one shard's periods, as far as its ordered lane has come: a marker settles the
/// one of the period after that which it begins (FEE-010).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CongestionHistory {
    /// The period that the last marker began.
    current: Period,
    /// The factors that differ from the one before, by the period that they begin with.
    changes: BTreeMap<Period, u32>,
    /// The epochs that differ from the one before, by the period that they begin with.
    epochs: BTreeMap<Period, RegistryEpoch>,
}

/// What a marker changes for the period after the one that it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settled {
    /// The factor, in thousandths.
    pub permille: Option<u32>,
    /// The registry epoch that its entries are held to.
    pub epoch: Option<RegistryEpoch>,
}

impl CongestionHistory {
    /// The period that the shard is in.
    #[must_use]
    pub fn current(&self) -> Period {
        self.current
    }

    /// The last period whose factor is settled.
    #[must_use]
    pub fn settled(&self) -> Period {
        self.current.plus(1)
    }

    /// The factor of a period, in thousandths; none before it is settled.
    #[must_use]
    pub fn permille(&self, period: Period) -> Option<u32> {
        (period <= self.settled()).then(|| self.last_permille(period))
    }

    /// The registry epoch of the block whose marker settled the factor of a period; none before.
    #[must_use]
    pub fn epoch(&self, period: Period) -> Option<RegistryEpoch> {
        (period <= self.settled()).then(|| self.last_epoch(period))
    }

    /// The larger of the factors of the current period and of the next: what somebody has to
    /// expect who sends now, in thousandths.
    #[must_use]
    pub fn foreseen_permille(&self) -> u32 {
        self.last_permille(self.current).max(self.last_permille(self.settled()))
    }

    /// What changes for the period after the one that the next marker begins, in a block of
    /// `registry`'s epoch: the factor by what members of the shard's committee stated to have taken
    /// in the current one, in bytes, of which the median counts, the lower of the two middle ones,
    /// and nothing when fewer than 2f+1 said so (FEE-010).
    #[must_use]
    pub fn change(&self, registry: &Registry, shard: ShardId, stated: &[u64]) -> Settled {
        let before = self.last_epoch(self.settled());
        Settled {
            permille: self.next_permille(registry, shard, stated),
            epoch: Some(registry.epoch).filter(|epoch| *epoch != before),
        }
    }

    fn next_permille(&self, registry: &Registry, shard: ShardId, stated: &[u64]) -> Option<u32> {
        let before = self.last_permille(self.settled());
        let mut stated = stated.to_vec();
        stated.sort_unstable();
        let median = stated.len().checked_sub(1).and_then(|last| stated.get(last / 2));
        let used = median.filter(|_| stated.len() >= registry.speakers_needed(shard))?;
        let next = registry.fees.congestion.next_permille(before, *used, registry.period_ms);
        (next != before).then_some(next)
    }

    /// The history whose last marker began `current`, with these factors and epochs from these
    /// periods on.
    #[must_use]
    pub fn restore(
        current: Period,
        changes: BTreeMap<Period, u32>,
        epochs: BTreeMap<Period, RegistryEpoch>,
    ) -> Self {
        Self { current, changes, epochs }
    }

    /// A marker has begun a period, and this changes with the next.
    pub fn begin(&mut self, begun: Period, change: Settled) {
        self.current = begun;
        let next = self.settled();
        self.changes.extend(change.permille.map(|permille| (next, permille)));
        self.epochs.extend(change.epoch.map(|epoch| (next, epoch)));
    }

    /// The first epoch has no entry, like the plain factor.
    fn last_epoch(&self, period: Period) -> RegistryEpoch {
        let change = self.epochs.range(..=period).next_back();
        change.map_or(RegistryEpoch::FIRST, |(_, epoch)| *epoch)
    }

    fn last_permille(&self, period: Period) -> u32 {
        let change = self.changes.range(..=period).next_back();
        change.map_or(UNCONGESTED_PERMILLE, |(_, permille)| *permille)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(0);

    const RULE: CongestionRule =
        CongestionRule { target_bytes: 100, step_permille: 125, max_permille: 100_000 };

    /// A period of ten seconds.
    fn check(current_permille: u32, used_bytes: u64, expected: u32) {
        assert_eq!(RULE.next_permille(current_permille, used_bytes, 10_000), expected);
    }

    #[test]
    fn load_moves_the_factor_by_a_bounded_step() {
        // covers: FEE-008
        check(1_000, 1_000, 1_000);
        check(1_000, 2_000, 1_125);
        check(1_000, u64::MAX, 1_125);
        check(1_000, 1_500, 1_062);
        check(1_000, 1_001, 1_001);
        check(8_000, 0, 7_000);
        check(1_000, 0, 1_000);
        check(99_999, 2_000, 100_000);
        check(u32::MAX, u64::MAX, 100_000);
    }

    #[test]
    fn no_rule_and_no_load_is_too_large_to_compute_with() {
        // covers: FEE-008
        let largest = CongestionRule {
            target_bytes: u64::MAX,
            step_permille: u32::MAX,
            max_permille: u32::MAX,
        };
        assert_eq!(largest.next_permille(u32::MAX, 0, u64::MAX), 1_000);
        assert_eq!(largest.next_permille(u32::MAX, u64::MAX, u64::MAX), u32::MAX);
        let least = CongestionRule { target_bytes: 0, step_permille: 0, max_permille: 0 };
        assert_eq!(least.next_permille(u32::MAX, u64::MAX, 0), 1_000);
    }

    #[test]
    fn a_rule_needs_a_target_and_room() {
        // covers: FEE-008
        assert!(RULE.is_possible() && CongestionRule::default().is_possible());
        assert!(!CongestionRule { target_bytes: 0, ..RULE }.is_possible());
        assert!(!CongestionRule { max_permille: 999, ..RULE }.is_possible());
    }

    /// The history after markers, before each of which members of a committee of four stated so
    /// much.
    fn history(stated: &[&[u64]]) -> CongestionHistory {
        let mut registry = crate::registry::tests::registry(4, 1, 4);
        (registry.period_ms, registry.fees.congestion) = (10_000, RULE);
        let mut history = CongestionHistory::default();
        for (period, stated) in (1..).map(Period).zip(stated) {
            let change = history.change(&registry, SHARD, stated);
            history.begin(period, change);
        }
        history
    }

    #[test]
    fn a_factor_is_settled_one_period_ahead() {
        // covers: FEE-010
        let before = CongestionHistory::default();
        assert_eq!(before.permille(Period(0)), Some(1_000));
        assert_eq!((before.permille(Period(1)), before.permille(Period(2))), (Some(1_000), None));
        // What was taken in period 1 is on record when the second marker comes, and moves period 3.
        let flooded = history(&[&[], &[2_000; 4], &[0; 4]]);
        let factors: Vec<_> = (0..6).map(|period| flooded.permille(Period(period))).collect();
        let expected = [1_000, 1_000, 1_000, 1_125, 1_000].map(Some);
        assert_eq!(factors, [&expected[..], &[None]].concat());
        assert_eq!(flooded.foreseen_permille(), 1_125);
    }

    #[test]
    fn the_epoch_of_a_period_is_that_of_the_marker_that_settled_its_factor() {
        // covers: ENV-013
        let mut registry = crate::registry::tests::registry(4, 1, 4);
        let mut history = CongestionHistory::default();
        for (period, epoch) in (1..).map(Period).zip([1, 1, 3, 3, 4]) {
            registry.epoch = RegistryEpoch(epoch);
            let change = history.change(&registry, SHARD, &[]);
            history.begin(period, change);
        }
        let epochs = (0..7).map(|period| history.epoch(Period(period)).map(|epoch| epoch.0));
        let epochs: Vec<_> = epochs.map(Option::unwrap).collect();
        assert_eq!(epochs, [1, 1, 1, 1, 3, 3, 4]);
        assert_eq!(history.epoch(Period(7)), None);
        assert_eq!(history.epochs.len(), 2, "only changes are kept");
    }

    #[test]
    fn no_minority_says_how_busy_a_shard_is() {
        // covers: FEE-010
        let factor = |stated: &[u64]| history(&[&[], stated]).permille(Period(3)).unwrap();
        assert_eq!(factor(&[0, 2_000, 2_000, u64::MAX]), 1_125);
        assert_eq!(factor(&[0, 0, 1_000, u64::MAX]), 1_000);
        assert_eq!(factor(&[0, 1_500, u64::MAX]), 1_062);
        // Too few say nothing.
        assert_eq!(factor(&[u64::MAX, u64::MAX]), 1_000);
    }
}
