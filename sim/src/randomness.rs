//! Every random choice of a run, derived from its seed by purpose.
//!
//! Purposes have streams of their own, so that leaving out one fault leaves every other choice
//! as it was, which is what makes a failing run small.

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

/// What a run is determined by, together with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seed(pub u64);

impl Seed {
    /// The stream of choices for one purpose, and for one of several things it is needed for.
    #[must_use]
    pub fn stream(self, purpose: &str, which: u64) -> ChaCha20Rng {
        let mut hasher = Sha256::new();
        hasher.update(self.0.to_be_bytes());
        hasher.update(which.to_be_bytes());
        hasher.update(purpose.as_bytes());
        ChaCha20Rng::from_seed(hasher.finalize().into())
    }
}

/// Draws that stay the same on every platform and with every version of a library.
pub trait Draw {
    /// A number below `bound`; 0 when `bound` is 0.
    fn below(&mut self, bound: u64) -> u64;

    /// A number in a range.
    fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = range.into_inner();
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// Whether something happens that happens so often in a thousand times.
    fn chance(&mut self, permille: u64) -> bool {
        self.below(1_000) < permille
    }

    /// One of `items`; `None` when there is none.
    fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let place = usize::try_from(self.below(items.len() as u64)).unwrap_or(usize::MAX);
        items.get(place)
    }
}

impl<R: RngCore> Draw for R {
    fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(u64::MAX)
    }
}

/// Runs `work` on a thread of its own, in which the system's randomness follows the seed too:
/// keys drawn by a library, the seeds of hash maps.
///
/// # Errors
/// What a panic said.
pub fn on_seeded_thread<T: Send>(seed: Seed, work: impl FnOnce() -> T + Send) -> Result<T, String> {
    // A thread's name has 15 bytes; hooks/seeded.c takes its seed from them.
    let folded = (seed.0 ^ (seed.0 >> 44)) & ((1 << 44) - 1);
    let builder = thread::Builder::new().name(format!("sim:{folded:011x}"));
    thread::scope(|scope| {
        let spawned = builder.spawn_scoped(scope, || catch_unwind(AssertUnwindSafe(work)));
        let joined = spawned.map_err(|error| error.to_string())?.join();
        joined.flatten().map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            text.unwrap_or_else(|| "a panic without words".to_owned())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_purpose_and_number() {
        let first = |seed: u64, purpose: &str, which| Seed(seed).stream(purpose, which).next_u64();
        assert_eq!(first(1, "a", 0), first(1, "a", 0));
        for (seed, purpose, which) in [(2, "a", 0), (1, "b", 0), (1, "a", 1)] {
            assert_ne!(first(seed, purpose, which), first(1, "a", 0));
        }
    }

    #[test]
    fn draws_stay_in_their_bounds() {
        let mut rng = Seed(1).stream("draws", 0);
        let drawn: Vec<u64> = (0..1_000).map(|_| rng.between(3..=6)).collect();
        for expected in 3..=6 {
            assert!(drawn.contains(&expected));
        }
        assert!(drawn.iter().all(|value| (3..=6).contains(value)));
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.pick::<u8>(&[]), None);
        assert!((0..1_000).all(|_| rng.chance(1_000)) && !(0..1_000).any(|_| rng.chance(0)));
    }

    #[test]
    fn a_panic_is_told_in_its_words() {
        let told = on_seeded_thread(Seed(1), || -> u8 { panic!("seven {}", 7) });
        assert_eq!(told, Err("seven 7".to_owned()));
        assert_eq!(on_seeded_thread(Seed(1), || 7), Ok(7));
    }
}
