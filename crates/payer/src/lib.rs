//! What messaging costs, who used how much of it, and which entries may be billed.
//!
//! [`fee`] is the one formula, in integers; [`UsageTally`] adds up what entry headers say; and
//! [`judge`] gives the verdict that originator, replica, report and audit share.
//! Nothing here holds a balance or moves money.
#![deny(clippy::disallowed_methods)]

mod fee;
mod usage;
mod verdict;

pub use fee::{FeeClass, entry_fee, fee};
pub use usage::{Usage, UsageTally};
pub use verdict::{Verdict, VerdictContext, judge};
