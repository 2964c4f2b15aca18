//! A whole network in one thread, under virtual time: the real replicas with simulated links,
//! disks, clocks and clients, cheats among the operators, and the invariants of the design
//! checked as it runs.
//!
//! A run is a function of its [`Scenario`], which follows from a seed; so what fails once fails
//! again. [`trial`] runs one, and makes a failing one small.

mod cheat;
mod coverage;
mod crowd;
mod disk;
mod ledger;
mod message;
#[cfg(feature = "mutants")]
pub mod mutation;
mod network;
pub mod randomness;
pub mod scenario;
mod setup;
mod time;
mod trace;
pub mod trial;
mod world;

pub use coverage::Coverage;
pub use ledger::{Invariant, Violation};
pub use scenario::{Scenario, Selection, Strain};
pub use world::{Outcome, run};
