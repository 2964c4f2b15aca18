//! Tests on real processes and real sockets, one network at a time.

mod process_faults;
mod process_kills;
mod process_network;
mod process_snapshot;
mod relay;
