//! When the core is to be told that it waited long enough.

use malachitebft_core_types::{Timeout, TimeoutKind};

/// How long a member waits for a proposal in round 0 before it votes for none.
const PROPOSE_MS: u64 = 400;

/// How long it waits for more votes after a quorum that does not agree.
const VOTE_MS: u64 = 200;

/// How much longer each further round waits, so that any delay is outgrown.
const ROUND_DELTA_MS: u64 = 200;

/// How long a round lasts without progress before votes are sent once more.
const REBROADCAST_MS: u64 = 1_000;

/// No wait is longer, however many rounds have passed.
const WAIT_MS_MAX: u64 = 10_000;

const _: () = assert!(PROPOSE_MS < WAIT_MS_MAX && REBROADCAST_MS < WAIT_MS_MAX);

/// The timeouts that the core has asked for at the height under way.
#[derive(Debug, Default)]
pub(super) struct Timers {
    waiting: Vec<(u64, Timeout)>,
}

impl Timers {
    /// Replaces an equal timeout that is pending.
    pub(super) fn schedule(&mut self, timeout: Timeout, now_ms: u64) {
        self.cancel(timeout);
        self.waiting.push((now_ms.saturating_add(duration_ms(timeout)), timeout));
    }

    pub(super) fn cancel(&mut self, timeout: Timeout) {
        self.waiting.retain(|(_, pending)| *pending != timeout);
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// When the next one is due.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.waiting.iter().map(|(due, _)| *due).min()
    }

    /// Takes the earliest that is due.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<Timeout> {
        let due = self.next_due_ms().filter(|due| *due <= now_ms)?;
        let place = self.waiting.iter().position(|(at, _)| *at == due)?;
        Some(self.waiting.remove(place).1)
    }
}

fn duration_ms(timeout: Timeout) -> u64 {
    let base = match timeout.kind {
        TimeoutKind::Propose => PROPOSE_MS,
        TimeoutKind::Prevote | TimeoutKind::Precommit => VOTE_MS,
        TimeoutKind::Rebroadcast => REBROADCAST_MS,
        // Heights end with their decision; nothing asks for a period of grace.
        TimeoutKind::FinalizeHeight(_) => 0,
    };
    let round = u64::from(timeout.round.as_u32().unwrap_or(0));
    base.saturating_add(ROUND_DELTA_MS.saturating_mul(round)).min(WAIT_MS_MAX)
}

#[cfg(test)]
mod tests {
    use malachitebft_core_types::Round;

    use super::*;

    #[test]
    fn later_rounds_wait_longer_and_never_for_ever() {
        let wait = |round| duration_ms(Timeout::propose(Round::new(round)));
        assert_eq!((wait(0), wait(1), wait(u32::MAX)), (400, 600, 10_000));
    }

    #[test]
    fn an_equal_timeout_replaces_the_pending_one() {
        let mut timers = Timers::default();
        let propose = Timeout::propose(Round::new(0));
        timers.schedule(propose, 0);
        timers.schedule(propose, 100);
        assert_eq!(timers.take_due(400), None);
        assert_eq!(timers.next_due_ms(), Some(500));
        assert_eq!(timers.take_due(500), Some(propose));
        assert_eq!(timers.take_due(u64::MAX), None);
    }
}
