//! Talking to gateways and nodes: one HTTP client, typed refusals, fail-over and back-off.

mod call;
mod gateway;
mod node;
mod socket;

pub(crate) use call::{CallError, Http};
pub(crate) use gateway::{Gateway, Sent};
pub(crate) use node::{NodeAddress, Nodes, worse};
pub(crate) use socket::Socket;

use std::time::Duration;

/// How often a call is tried anew when everybody who was asked failed in passing.
pub(crate) const ROUNDS_MAX: u32 = 4;

/// The pause before the second round; each further one is twice as long.
const BACKOFF: Duration = Duration::from_millis(150);

/// The pause before round `round`, counted from 0; none before the first.
pub(crate) fn backoff(round: u32) -> Duration {
    match round.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => BACKOFF.saturating_mul(1 << doublings.min(6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_stay_bounded() {
        assert_eq!(backoff(0), Duration::ZERO);
        assert_eq!(backoff(1), BACKOFF);
        assert_eq!(backoff(3), BACKOFF * 4);
        assert_eq!(backoff(u32::MAX), BACKOFF * 64);
    }
}
