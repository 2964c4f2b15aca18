//! The invariants of the design, by their numbers, and what breaks one.

use std::fmt;

use crate::time::VirtualTime;

/// What must hold in every run; the numbers are those of the design.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// What is acknowledged survives f faulty nodes and reaches every correct replica.
    NoAcknowledgedLoss = 1,
    /// Each envelope of a topic is delivered once, and none is left out.
    NoDuplicatesNoGaps = 2,
    /// After any schedule all correct replicas and members are in one state.
    Convergence = 3,
    /// Nothing malformed or hostile blocks what is behind it, and faults that pass leave nothing
    /// behind that blocks.
    NoWedge = 4,
    /// Contradictions yield evidence, and honest nodes are never accused.
    Accountability = 5,
    /// Nothing comes back by replay.
    NoReplay = 6,
    /// Wall clocks change no verdict.
    Skew = 7,
    /// The same inputs give the same bytes on every replica.
    Determinism = 9,
    /// A killed process resumes where it was.
    Restart = 10,
    /// Only holders of a topic's key put a byte on it.
    OnlyWriters = 11,
    /// No height has two certificates, or the lane stops and says so.
    SafetyFirst = 13,
}

impl Invariant {
    /// Its number in the design.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its name in the design.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoAcknowledgedLoss => "no acknowledged loss",
            Self::NoDuplicatesNoGaps => "no duplicates, no gaps",
            Self::Convergence => "convergence",
            Self::NoWedge => "no wedge",
            Self::Accountability => "accountability",
            Self::NoReplay => "no replay",
            Self::Skew => "skew",
            Self::Determinism => "determinism",
            Self::Restart => "restart",
            Self::OnlyWriters => "only holders of a topic key write",
            Self::SafetyFirst => "beyond f, safety first",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "invariant {} ({})", self.number(), self.name())
    }
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// When it was seen.
    pub at: VirtualTime,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} at {}: {}", self.invariant, self.at, self.what)
    }
}

/// What a check answers: nothing, or the invariant and what was seen.
pub type Check = Result<(), (Invariant, String)>;

/// Breaks an invariant unless a condition holds.
///
/// # Errors
/// The invariant and what was seen.
pub fn demand(holds: bool, invariant: Invariant, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err((invariant, what())) }
}
