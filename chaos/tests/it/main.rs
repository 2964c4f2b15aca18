//! Tests on real processes: clients that race each other, and the relay's sockets.

mod process_races;
