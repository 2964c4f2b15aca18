//! Tests on real processes: clients that race each other, and nodes that lie.

mod process_lies;
mod process_races;
