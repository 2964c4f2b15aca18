//! Networks of real processes on one machine, for the demo, the tests and the benchmarks.
//!
//! Nothing here is part of the product: it starts `tidings`, talks to it over its sockets,
//! and kills it.

mod network;
mod ports;
mod publisher;

pub use network::{Network, NodeLayout, Options, Store, binary};
pub use ports::PortLease;
pub use publisher::{Published, Publisher};
