//! The crate's API, as originators, replicas and auditors use it.

mod acknowledgements;
mod divergence;
mod following;
mod originator;
mod proofs;
mod receipts;
mod subscriptions;
mod vectors;
