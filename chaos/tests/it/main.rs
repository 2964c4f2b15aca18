//! Tests on real processes: clients that race each other.

mod process_races;
