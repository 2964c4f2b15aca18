//! Trying a seed, and making a failing scenario small.

use std::collections::BTreeSet;

use crate::randomness::{Seed, on_seeded_thread};
use crate::scenario::{Scenario, Selection};
use crate::world::{Outcome, run};

/// How many smaller scenarios are tried.
const ATTEMPTS_MAX: usize = 400;

/// Why a run is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// An invariant broke.
    Violation(crate::Violation),
    /// The code panicked.
    Panic(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Violation(violation) => violation.fmt(formatter),
            Self::Panic(text) => write!(formatter, "a panic: {text}"),
        }
    }
}

impl Failure {
    /// Whether the other failure is of the same kind, so that a smaller scenario shows the same.
    fn resembles(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Violation(one), Self::Violation(other)) => one.invariant == other.invariant,
            (Self::Panic(_), Self::Panic(_)) => true,
            _ => false,
        }
    }
}

/// Runs a scenario on a thread of its own, in which all randomness follows its seed.
#[must_use]
pub fn attempt(scenario: &Scenario, with_lines: bool) -> (Option<Failure>, Option<Outcome>) {
    judge(on_seeded_thread(scenario.seed, || run(scenario, with_lines)))
}

/// As [`attempt`], with a deliberate bug switched on.
#[cfg(feature = "mutants")]
#[must_use]
pub fn attempt_with(mutant: tidings_types::mutant::Mutant, scenario: &Scenario) -> Option<Failure> {
    let work = || tidings_types::mutant::with(Some(mutant), || run(scenario, false));
    judge(on_seeded_thread(scenario.seed, work)).0
}

fn judge(ran: Result<Outcome, String>) -> (Option<Failure>, Option<Outcome>) {
    match ran {
        Err(panic) => (Some(Failure::Panic(panic)), None),
        Ok(outcome) => {
            let failure = outcome.violation.clone().map(Failure::Violation);
            (failure, Some(outcome))
        }
    }
}

/// A small scenario that fails alike.
#[derive(Debug)]
pub struct Shrunk {
    /// Which part of the seed's scenario it is.
    pub selection: Selection,
    /// The part.
    pub scenario: Scenario,
    /// How it fails.
    pub failure: Failure,
    /// The end of its trace.
    pub lines: Vec<String>,
}

/// Leaves out acts for as long as the scenario fails alike.
#[must_use]
pub fn shrink(seed: Seed, selection: &Selection, failure: &Failure) -> Shrunk {
    let whole = Scenario::draw(seed);
    let mut best = selection.clone();
    let mut attempts = 0;
    let mut fails = |candidate: &Selection| {
        attempts += 1;
        attempts <= ATTEMPTS_MAX
            && attempt(&whole.clone().select(candidate), false)
                .0
                .is_some_and(|found| found.resembles(failure))
    };
    if let Failure::Violation(violation) = failure {
        // What comes after the failure has no part in it.
        let length_ms = violation.at.as_ms() + 1;
        let shorter = Selection { length_ms: Some(length_ms), ..best.clone() };
        if length_ms < whole.shape.length_ms && fails(&shorter) {
            best = shorter;
        }
    }
    let part = whole.clone().select(&best);
    let mut kept: Vec<usize> = part.acts.iter().map(|act| act.number).collect();
    let mut chunk = kept.len().div_ceil(2);
    while chunk > 0 {
        let mut start = 0;
        while start < kept.len() {
            let end = (start + chunk).min(kept.len());
            let fewer: Vec<usize> = [&kept[..start], &kept[end..]].concat();
            let keep: BTreeSet<usize> = fewer.iter().copied().collect();
            let candidate = Selection { keep: Some(keep), ..best.clone() };
            if fails(&candidate) {
                kept = fewer;
                best = candidate;
            } else {
                start = end;
            }
        }
        chunk /= 2;
    }
    let scenario = whole.select(&best);
    let (last, outcome) = attempt(&scenario, true);
    let lines = outcome.map(|outcome| outcome.lines).unwrap_or_default();
    Shrunk { selection: best, scenario, failure: last.unwrap_or_else(|| failure.clone()), lines }
}
