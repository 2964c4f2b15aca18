//! The chain crate against a real EVM node; `cargo xtask test` says where it is.

mod anvil;
mod endpoints;
mod funds;
mod judging;
mod settling;
mod submitting;
mod watching;
