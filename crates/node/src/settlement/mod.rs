//! Usage reports as this node comes to them, and what is proved from them.

mod book;
mod metering;

pub use book::{AttestedReport, SettlementBook};
pub use metering::{MeteringInputs, run};
