//! Talking to the settlement chain: where the contracts are, what they say, and how to act on them.
//!
//! [`Endpoints`] asks several providers and believes what most of them say; [`Watcher`] follows the
//! registry with a depth of finality and turns each epoch into the [`Registry`] that nodes compute
//! with, which a [`RegistryKeeper`] keeps in a file; [`Submitter`] gets a call onto the chain
//! exactly once, through crashes and lost answers; [`deploy`] puts a whole network there; a
//! [`GovernanceReader`] says what is voted on there, and [`read_funds`] what a payer has;
//! a [`Settler`] makes the calls that bring reports and evidence, charge and claim.
//!
//! Bindings are made from the committed artifacts, so no Solidity tools are needed.
//!
//! [`Registry`]: tidings_envelope::Registry

pub mod contracts;
mod convert;
mod deploy;
mod deployment;
mod durable_file;
mod endpoints;
mod error;
mod funds;
mod governance;
mod journal;
mod keeper;
mod parameter;
mod payers;
mod possession;
mod settled;
mod settler;
mod snapshot;
mod submitter;
mod wallet;
mod watcher;

pub use alloy::contract::Error as ContractError;
pub use convert::{address, ethereum_address};
pub use deploy::{DeployError, Plan, Voting, deploy};
pub use deployment::{Deployment, DeploymentMismatch};
pub use endpoints::{Endpoints, chain_id};
pub use error::ChainError;
pub use funds::read_funds;
pub use governance::{
    Governance, GovernanceReader, Phase, Proposal, ProposalStanding, ProposalState, ProposedCall,
    Votes, proposal_id,
};
pub use journal::{Entries, FileJournal, Journal, JournalError, MemoryJournal};
pub use keeper::{KeepError, RegistryKeeper};
pub use parameter::{DEFINITIONS, Definition, Parameter};
pub use possession::possession;
pub use settled::{SettledReport, Settlement, WithBefore};
pub use settler::{Proved, Settler, prove_measurement, proved_earnings, proved_usage};
pub use submitter::{Call, Confirmed, SubmitError, Submitter, SubmitterConfig};
pub use wallet::{Wallet, WalletError};
pub use watcher::{WatchError, Watcher, WatcherConfig};
