//! Tests of the simulator itself.

mod determinism;
mod models;
mod strains;
