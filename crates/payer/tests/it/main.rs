//! Fees, usage and verdicts, as nodes and gateways use them.

mod fees;
mod metering;
mod network;
mod price_list;
mod settlement;
mod usage;
mod verdicts;
