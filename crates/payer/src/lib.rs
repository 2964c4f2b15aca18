//! Who used how much of what messaging costs, and which entries may be billed.
//!
//! [`UsageTally`] adds up what entry headers say; [`judge`] gives the verdict that originator,
//! replica, report and audit share; [`Meter`] reads blocks and pinned entries, and [`Ledger`] closes
//! periods into the reports that the settlement contract takes.
//! [`Funds`] is what a payer has, as others read it on the chain, and [`Allowance`] what it may
//! still broadcast at one node; nothing here moves money.
#![deny(clippy::disallowed_methods)]

mod allowance;
mod attestations;
mod caps;
mod counting;
mod earnings;
mod funds;
mod holdings;
mod ledger;
mod measurement;
mod meter;
mod rooms;
mod settlement_tree;
mod usage;
mod verdict;

pub use allowance::{Allowance, Due};
pub use attestations::Attestations;
pub use counting::billable_through;
pub use earnings::{PROTOCOL, Work};
pub use funds::{Funds, ShardFunds};
pub use holdings::Pin;
pub use ledger::{Closing, Ledger, earnings_leaf, usage_leaf};
pub use measurement::{Measurement, measurement_leaf, measurement_tree, medians};
pub use meter::{Meter, MeterError};
pub use settlement_tree::{SettlementTree, Word, leaf_hash, root_from_proof, word};
pub use usage::{Usage, UsageTally};
pub use verdict::{Missing, Verdict, VerdictContext, judge};
