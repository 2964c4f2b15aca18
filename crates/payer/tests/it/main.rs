//! Fees, usage and verdicts, as nodes and gateways use them.

mod caps;
mod lane;
mod metering;
mod network;
mod settlement;
mod usage;
mod verdicts;
