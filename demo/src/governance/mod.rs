//! The play of governance: a network on a chain walks from the council of its founders to nobody's.
//!
//! Every deed is a `tidings` command as a person would type it; what is tried and must fail is a
//! call that the contracts answer themselves. Time passes on the chain, not here.

mod attempts;
mod chamber;
mod play;

pub use play::play;
