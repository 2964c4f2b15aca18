//! One seed is one run, in this process and in any other.

use std::collections::{HashMap, HashSet};
use std::process::Command;

use tidings_sim::randomness::{Seed, on_seeded_thread};
use tidings_sim::{Scenario, run};

fn hash_of(seed: u64) -> String {
    let scenario = Scenario::draw(Seed(seed));
    on_seeded_thread(Seed(seed), || run(&scenario, false)).unwrap().hash
}

fn hash_elsewhere(seed: u64) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings-sim"));
    let output = command.args(["--seed", &seed.to_string(), "--hash"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn one_seed_run_twice_leaves_the_same_trace() {
    let first = hash_of(1);
    assert_eq!(first, hash_of(1), "twice in one process");
    assert_eq!(first, hash_elsewhere(1), "in another process");
    assert_ne!(first, hash_of(2), "another seed is another run");
}

/// What the system gives by every road that a library takes.
fn drawn() -> Vec<[u8; 8]> {
    let mut drawn = vec![[0; 8]; 3];
    getrandom_02::getrandom(&mut drawn[0]).unwrap();
    getrandom_03::fill(&mut drawn[1]).unwrap();
    getrandom_04::fill(&mut drawn[2]).unwrap();
    drawn
}

/// The order in which a hash map gives what is in it.
fn order() -> Vec<u32> {
    let map: HashMap<u32, ()> = (0..64).map(|number| (number, ())).collect();
    map.into_keys().collect()
}

#[test]
fn the_systems_randomness_follows_the_seed() {
    let on = |seed| on_seeded_thread(Seed(seed), || (drawn(), order())).unwrap();
    assert_eq!(on(1), on(1));
    let ((one, order_one), (two, order_two)) = (on(1), on(2));
    assert!(one.iter().all(|bytes| !two.contains(bytes)));
    assert_ne!(order_one, order_two);
    assert_eq!(one.iter().collect::<HashSet<_>>().len(), one.len());
}

#[test]
fn other_threads_get_what_the_system_gives() {
    let elsewhere = || std::thread::spawn(drawn).join().unwrap();
    assert_ne!(elsewhere(), elsewhere());
}
