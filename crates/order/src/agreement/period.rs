//! When a period is over, by this member's own monotonic clock.

use tidings_envelope::{Block, Operation, PeriodMarker};
use tidings_types::mutant;

use super::Agreement;
use crate::orderer::OrderContext;

/// How much sooner than its own clock says a proposer marks a period, at most: members who start
/// a height for it measure a little differently.
const TOLERANCE_MS_MAX: u64 = 250;

/// How long a period lasts in a shard: while another one is ahead three quarters of what the
/// registry says, so that all stay together (ORD-014).
#[must_use]
pub fn period_length_ms(registered_ms: u64, is_behind: bool) -> u64 {
    match is_behind {
        true => registered_ms - registered_ms / 4,
        false => registered_ms,
    }
}

impl Agreement {
    /// When the period is over; none while nothing is there to measure from.
    pub(super) fn marker_due_ms(&self, period_ms: u64) -> Option<u64> {
        match self.marked_at_ms {
            Some(marked_at_ms) => Some(marked_at_ms.saturating_add(period_ms)),
            None => (self.state.period().0 == 0).then_some(0),
        }
    }

    /// Begins to measure when nothing was measured yet.
    pub(super) fn measure_period(&mut self, context: OrderContext<'_>) {
        if self.state.period().0 > 0 {
            self.marked_at_ms.get_or_insert(context.now_ms);
        }
    }

    /// Whether a height is to be begun for a marker.
    pub(super) fn marker_is_due(&self, context: OrderContext<'_>) -> bool {
        let due = self.marker_due_ms(self.length_ms(context));
        due.is_some_and(|due| due <= context.now_ms)
    }

    /// The marker that a block built now has (ORD-017).
    pub(super) fn marker(&self, context: OrderContext<'_>) -> Option<Operation> {
        let period_ms = self.length_ms(context);
        let tolerance_ms = TOLERANCE_MS_MAX.min(period_ms / 4);
        let due = self.marker_due_ms(period_ms)?.saturating_sub(tolerance_ms);
        let marker = PeriodMarker::new(self.state.period().plus(1));
        (due <= context.now_ms).then_some(Operation::PeriodMarker(marker))
    }

    fn length_ms(&self, context: OrderContext<'_>) -> u64 {
        let period_ms = context.latest().period_ms;
        period_length_ms(period_ms, context.latest_period > self.state.period())
    }

    /// Whether a period would begin before five eighths of the last one have passed here (ORD-014):
    /// members state at half of it what is counted in it (SET-023).
    pub(super) fn is_premature(&self, block: &Block, context: OrderContext<'_>) -> bool {
        let Some(marked_at_ms) = self.marked_at_ms else {
            return false;
        };
        let lasted_ms = context.now_ms.saturating_sub(marked_at_ms);
        let is_early = begins_period(block) && lasted_ms < context.latest().period_ms / 8 * 5;
        is_early && !mutant!(HurryPeriods)
    }
}

pub(super) fn begins_period(block: &Block) -> bool {
    block.operations.iter().any(|decided| {
        matches!(decided.operation, Operation::PeriodMarker(_)) && decided.outcome.is_applied()
    })
}
