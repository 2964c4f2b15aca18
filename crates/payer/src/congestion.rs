//! The congestion factor: what a shard's load makes of the next period's fees.

use tidings_types::ErrorCode;

/// The factor of a shard that is not busy, in thousandths.
pub const UNCONGESTED_PERMILLE: u32 = 1_000;

const PERMILLE: u128 = 1_000;

/// How the factor moves, as governance sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CongestionRule {
    /// The load at which it stays, in bytes per period, above zero.
    pub target_bytes: u64,
    /// The most that it moves at once, in thousandths of itself.
    pub step_permille: u32,
    /// What it never exceeds, in thousandths, at least 1000.
    pub max_permille: u32,
}

impl CongestionRule {
    /// A rule with numbers that make sense.
    ///
    /// # Errors
    /// [`ErrorCode::Malformed`] when the target is zero or the largest factor below one.
    pub fn new(
        target_bytes: u64,
        step_permille: u32,
        max_permille: u32,
    ) -> Result<Self, ErrorCode> {
        match target_bytes > 0 && max_permille >= UNCONGESTED_PERMILLE {
            true => Ok(Self { target_bytes, step_permille, max_permille }),
            false => Err(ErrorCode::Malformed),
        }
    }

    /// The next period's factor after a period with `used_bytes` (FEE-008).
    ///
    /// It moves by `step` × (used − target) ÷ target of itself, at most by `step` up or down,
    /// rounded towards staying but by at least one thousandth when the load is above the target;
    /// it never falls below one.
    #[must_use]
    pub fn next_permille(&self, current_permille: u32, used_bytes: u64) -> u32 {
        let distance = used_bytes.abs_diff(self.target_bytes).min(self.target_bytes);
        let exact =
            u128::from(current_permille) * u128::from(self.step_permille) * u128::from(distance);
        let change = exact / (PERMILLE * u128::from(self.target_bytes));
        let current = u128::from(current_permille);
        let next = match used_bytes.cmp(&self.target_bytes) {
            std::cmp::Ordering::Greater => current + change.max(1),
            std::cmp::Ordering::Equal => current,
            std::cmp::Ordering::Less => current.saturating_sub(change),
        };
        let (least, most) = (UNCONGESTED_PERMILLE, self.max_permille);
        u32::try_from(next).unwrap_or(u32::MAX).clamp(least, most.max(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(current_permille: u32, used_bytes: u64, expected: u32) {
        let rule = CongestionRule::new(1_000, 125, 100_000).unwrap();
        assert_eq!(rule.next_permille(current_permille, used_bytes), expected);
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
    fn rules_without_a_target_are_refused() {
        // covers: FEE-008
        assert!(CongestionRule::new(0, 125, 2_000).is_err());
        assert!(CongestionRule::new(1, 125, 999).is_err());
    }
}
