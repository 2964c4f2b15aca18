//! The mutation check: whether the simulator notices each of the deliberate bugs.
//!
//! A simulator that notices nothing passes every seed; that it would notice is what this shows.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use tidings_types::mutant::Mutant;

use crate::randomness::Seed;
use crate::scenario::{Scenario, Strain};
use crate::trial::{Failure, attempt, attempt_with};

/// The seeds that every bug is looked for in, in order.
pub const SEEDS: Range<u64> = 0..60;

/// What the columns of a [`Finding`] are.
pub const COLUMNS: &str = "bug                seed  runs  caught by";

/// What became of one bug.
#[derive(Debug)]
pub struct Finding {
    /// Which.
    pub mutant: Mutant,
    /// How many seeds were run.
    pub runs: usize,
    /// The first seed that fails with the bug and not without it, and how it fails; none when the
    /// bug went unnoticed.
    pub caught: Option<(Seed, Failure)>,
}

impl Finding {
    /// Whether an invariant noticed the bug: a panic is the code's own doing.
    #[must_use]
    pub fn is_caught(&self) -> bool {
        matches!(self.caught, Some((_, Failure::Violation(_))))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mutant, runs, caught } = self;
        let under = strain(*mutant).map(|strain| format!(", under {strain:?}")).unwrap_or_default();
        match caught {
            Some((seed, failure)) => {
                write!(formatter, "{mutant:18} {:>4} {runs:>5}  {failure}{under}", seed.0)
            }
            None => write!(formatter, "{mutant:18}    - {runs:>5}  not caught"),
        }
    }
}

/// The seeds in which bugs that need a rare condition were noticed; they are tried first, and
/// when the code has changed so that one passes, all of [`SEEDS`] are.
const HINTS: [(Mutant, u64); 7] = [
    (Mutant::SkipRecall, 6),
    (Mutant::TrustBlocks, 4),
    (Mutant::OrderExpired, 6),
    (Mutant::AnyWriter, 4),
    (Mutant::NewestRegistry, 13),
    (Mutant::HushHistories, 31),
    (Mutant::HushVotes, 20),
];

/// The strain that a bug is looked for under, when what it needs comes too seldom by chance.
const fn strain(mutant: Mutant) -> Option<Strain> {
    match mutant {
        Mutant::BlameOriginator | Mutant::KeepSource => Some(Strain::Garbling),
        Mutant::StayBehind => Some(Strain::Silence),
        Mutant::HurryPeriods => Some(Strain::Hurry),
        _ => None,
    }
}

/// The bugs with these names, or all.
///
/// # Errors
/// When there is none with a name.
pub fn named(names: Option<&[String]>) -> Result<Vec<Mutant>> {
    let Some(names) = names else { return Ok(Mutant::ALL.to_vec()) };
    let find = |name: &String| {
        let found = Mutant::ALL.iter().find(|mutant| mutant.name() == name);
        found.copied().with_context(|| format!("no deliberate bug is called {name}"))
    };
    names.iter().map(find).collect()
}

/// Looks for each bug, so many at a time; answers what became of each, in order.
///
/// The seeds are the bug's own hint and then [`SEEDS`], or `seeds` alone.
pub fn check(mutants: &[Mutant], jobs: usize, seeds: Option<Range<u64>>) -> Vec<Finding> {
    let next = AtomicUsize::new(0);
    let findings = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let finding = look_for(*mutant, seeds.clone());
                    findings.lock().unwrap_or_else(PoisonError::into_inner).push(finding);
                }
            });
        }
    });
    let mut findings = findings.into_inner().unwrap_or_else(PoisonError::into_inner);
    findings.sort_by_key(|finding| finding.mutant);
    findings
}

fn look_for(mutant: Mutant, seeds: Option<Range<u64>>) -> Finding {
    let hints = HINTS.iter().filter(|(of, _)| *of == mutant && seeds.is_none());
    let hints: Vec<u64> = hints.map(|(_, seed)| *seed).collect();
    let mut runs = 0;
    for seed in hints.into_iter().chain(seeds.unwrap_or(SEEDS)) {
        runs += 1;
        let scenario = match strain(mutant) {
            Some(strain) => Scenario::strained(Seed(seed), strain),
            None => Scenario::draw(Seed(seed)),
        };
        // A seed that fails without the bug as well says nothing about it.
        if let Some(failure) = attempt_with(mutant, &scenario)
            && attempt(&scenario, false).0.is_none()
        {
            return Finding { mutant, runs, caught: Some((Seed(seed), failure)) };
        }
    }
    Finding { mutant, runs, caught: None }
}
