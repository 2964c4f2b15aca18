//! Fees, usage and verdicts, as nodes and gateways use them.

mod fees;
mod network;
mod usage;
mod verdicts;
