//! Fees, usage and verdicts, as nodes and gateways use them.

mod metering;
mod network;
mod settlement;
mod usage;
mod verdicts;
