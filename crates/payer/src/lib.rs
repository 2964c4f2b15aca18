//! What messaging costs, who used how much of it, and which entries may be billed.
//!
//! [`fee`] is the one formula, in integers; [`UsageTally`] adds up what entry headers say;
//! [`judge`] gives the verdict that originator, replica, report and audit share; and [`Ledger`]
//! closes periods into the reports that the settlement contract takes.
//! [`Funds`] is what a payer has, as others read it on the chain; nothing here moves money.
#![deny(clippy::disallowed_methods)]

mod congestion;
mod earnings;
mod fee;
mod funds;
mod ledger;
mod measurement;
mod settlement_tree;
mod usage;
mod verdict;

pub use congestion::{CongestionRule, UNCONGESTED_PERMILLE};
pub use earnings::{PROTOCOL, Shares, SharesTooLarge, Work};
pub use fee::{FeeClass, entry_fee, fee};
pub use funds::{Cap, Funds, ShardFunds};
pub use ledger::{Closing, Ledger, earnings_leaf, usage_leaf};
pub use measurement::{Measurement, Service, measurement_tree, medians};
pub use settlement_tree::{SettlementTree, Word, leaf_hash, root_from_proof, word};
pub use usage::{Usage, UsageTally};
pub use verdict::{Verdict, VerdictContext, judge};
