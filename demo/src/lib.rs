//! Networks of real processes on one machine, for the demo, the tests and the benchmarks.
//!
//! Nothing here is part of the product: it starts `tidings`, talks to it over its sockets,
//! makes its links, disks and clocks bad, and kills it.

pub mod evidence;
mod faults;
mod layout;
mod network;
mod ports;
mod process;
mod publisher;
pub mod relay;

pub use faults::NodeFaults;
pub use layout::{GatewayLayout, NodeLayout, Options, Store};
pub use network::Network;
pub use ports::PortLease;
pub use process::binary;
pub use publisher::{Published, Publisher};
