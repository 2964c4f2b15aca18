//! The client through its public API, against a small network that signs everything for real and
//! can be told to misbehave.

mod conversations;
mod faults;
mod ledger;
mod looking_up;
mod network;
mod people;
mod strangers;
