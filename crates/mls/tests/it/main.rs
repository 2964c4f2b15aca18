//! The crate's tests over its public API.

mod convergence;
mod dm;
mod joining;
mod lifecycle;
mod manifests;
mod racing;
mod rejoin;
mod rotation;
mod scale;
mod world;
