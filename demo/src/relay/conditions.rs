//! What a link does to what passes through it.

use std::time::Duration;

/// The conditions of one direction of a link; the default passes everything at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Whether nothing passes at all.
    pub cut: bool,
    /// How long everything takes at least.
    pub latency: Duration,
    /// How much longer it may take; drawn for each packet, so that packets overtake each other.
    pub jitter: Duration,
    /// How many packets of a thousand are lost.
    pub loss_permille: u32,
    /// How many packets of a thousand come twice.
    pub duplicate_permille: u32,
    /// How many packets of a thousand are held back by [`HELD_BACK`], behind later ones.
    pub reorder_permille: u32,
    /// How many bytes pass in a second; as many as come without a number.
    pub bandwidth_bytes_per_second: Option<u64>,
}

/// How long a reordered packet is held back: several packets of a busy link.
pub const HELD_BACK: Duration = Duration::from_millis(10);

/// How much may wait for bandwidth before packets are dropped, as a router's buffer does.
pub const BACKLOG_MAX: Duration = Duration::from_millis(500);

impl Conditions {
    /// A link that passes nothing.
    pub const CUT: Self = Self {
        cut: true,
        latency: Duration::ZERO,
        jitter: Duration::ZERO,
        loss_permille: 0,
        duplicate_permille: 0,
        reorder_permille: 0,
        bandwidth_bytes_per_second: None,
    };

    /// A link that takes so long one way.
    #[must_use]
    pub fn slow(latency: Duration) -> Self {
        Self { latency, ..Self::default() }
    }

    /// A link that loses so many packets of a thousand.
    #[must_use]
    pub fn lossy(loss_permille: u32) -> Self {
        Self { loss_permille, ..Self::default() }
    }

    /// How long `bytes` occupy the link.
    pub(super) fn transmission(&self, bytes: usize) -> Duration {
        let Some(rate) = self.bandwidth_bytes_per_second else { return Duration::ZERO };
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(rate.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
