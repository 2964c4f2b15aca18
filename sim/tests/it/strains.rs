//! What must hold does so under every strain as well.

use std::thread;

use tidings_sim::randomness::Seed;
use tidings_sim::trial::attempt;
use tidings_sim::{Scenario, Strain};

const SEEDS: u64 = 2;

#[test]
fn no_invariant_breaks_under_a_strain() {
    let failures = |strain: Strain| {
        (0..SEEDS).filter_map(move |seed| {
            let (failure, _) = attempt(&Scenario::strained(Seed(seed), strain), false);
            failure.map(|failure| format!("{strain:?} with seed {seed}: {failure}"))
        })
    };
    let found: Vec<String> = thread::scope(|scope| {
        let runs: Vec<_> = Strain::ALL
            .iter()
            .map(|strain| scope.spawn(move || failures(*strain).collect::<Vec<_>>()))
            .collect();
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
    });
    assert!(found.is_empty(), "{found:?}");
}
