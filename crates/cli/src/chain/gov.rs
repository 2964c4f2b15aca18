//! `tidings gov`: proposing, voting, and carrying out what was won.

use std::str::FromStr;

use alloy_primitives::U256;
use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use tidings_chain::Proposal;
use tidings_types::EthereumAddress;

use super::account::{Account, Contracts};
use super::gov_action::Actions;
use super::{gov_deed, gov_status};
use crate::failure::UsageError;
use crate::output::Output;

/// What governs the network.
#[derive(Debug, Subcommand)]
pub enum GovCommand {
    /// Propose something to all who hold tokens
    Propose(Box<Propose>),
    /// Vote on a proposal
    Vote {
        /// How to reach the chain, and who acts.
        #[command(flatten)]
        account: Account,
        /// The proposal's number or id
        proposal: Which,
        /// How to vote
        choice: Choice,
        /// Why, for all to read
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
    },
    /// Let a proposal that was won begin to wait; anybody may
    Queue(Chosen),
    /// Carry out a proposal that has waited; anybody may
    Execute(Chosen),
    /// Take back one's own proposal before its vote begins
    Cancel(Chosen),
    /// Vote with one's tokens from now on, or let somebody else do so
    Delegate {
        /// How to reach the chain, and who acts.
        #[command(flatten)]
        account: Account,
        /// Who votes [default: the account itself]
        to: Option<EthereumAddress>,
    },
    /// Say how proposals stand
    Status {
        /// The contracts.
        #[command(flatten)]
        contracts: Contracts,
        /// The proposal's number or id [default: the newest ones]
        proposal: Option<Which>,
        /// Show the old ones, too
        #[arg(long)]
        all: bool,
    },
    /// Say who admits nodes now, and how votes go
    Phase {
        /// The contracts.
        #[command(flatten)]
        contracts: Contracts,
    },
    /// List all parameters with their values and bounds
    Parameters {
        /// The contracts.
        #[command(flatten)]
        contracts: Contracts,
    },
    /// Stop a contract for a week, as the guardian's keeper
    Pause {
        /// How to reach the chain, and who acts.
        #[command(flatten)]
        account: Account,
        /// Which contract
        contract: Stoppable,
    },
}

/// What to propose.
#[derive(Debug, Args)]
pub struct Propose {
    #[command(flatten)]
    pub(super) account: Account,
    #[command(flatten)]
    pub(super) actions: Actions,
    /// Why, for all to read; proposals that do the same differ by it
    #[arg(long, value_name = "TEXT")]
    pub(super) why: String,
}

/// A proposal to act on.
#[derive(Debug, Args)]
pub struct Chosen {
    #[command(flatten)]
    pub(super) account: Account,
    /// The proposal's number or id
    pub(super) proposal: Which,
}

/// A proposal, as people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Its place among all, from 1.
    Number(u32),
    /// What the governor knows it by.
    Id(U256),
}

impl FromStr for Which {
    type Err = UsageError;

    fn from_str(text: &str) -> Result<Self, UsageError> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        let id = match text.strip_prefix("0x") {
            Some(digits) => U256::from_str_radix(digits, 16),
            None => U256::from_str_radix(text, 10),
        };
        let wrong = || UsageError("a proposal is a number, or an id of 64 hex digits".into());
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        id.ok().filter(|_| is_plain && text.len() > 2).map(Self::Id).ok_or_else(wrong)
    }
}

/// How to vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// It is to be done
    For,
    /// It is not to be done
    Against,
    /// Whatever the others decide; counts for the quorum
    Abstain,
}

/// What a guardian can stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stoppable {
    /// The registry of nodes
    Registry,
    /// The vault of payers
    Vault,
    /// The settlement of usage reports
    Settlement,
}

/// Does it.
///
/// # Errors
/// When the chain or a contract refuses.
pub async fn run(command: GovCommand, output: Output) -> Result<()> {
    match command {
        GovCommand::Propose(options) => gov_deed::propose(&options, output).await,
        GovCommand::Vote { account, proposal, choice, why } => {
            gov_deed::vote(&account, proposal, choice, why, output).await
        }
        GovCommand::Queue(chosen) => gov_deed::queue(&chosen, output).await,
        GovCommand::Execute(chosen) => gov_deed::execute(&chosen, output).await,
        GovCommand::Cancel(chosen) => gov_deed::cancel(&chosen, output).await,
        GovCommand::Delegate { account, to } => {
            let to = to.map_or_else(|| account.key.address(), Ok)?;
            gov_deed::delegate(&account, to, output).await
        }
        GovCommand::Status { contracts, proposal, all } => {
            gov_status::proposals(&contracts, proposal, all, output).await
        }
        GovCommand::Phase { contracts } => gov_status::phase(&contracts, output).await,
        GovCommand::Parameters { contracts } => gov_status::parameters(&contracts, output).await,
        GovCommand::Pause { account, contract } => {
            gov_deed::pause(&account, contract, output).await
        }
    }
}

/// The proposal of that number or id.
///
/// # Errors
/// When there is none.
pub(super) fn choose(proposals: Vec<Proposal>, which: Which) -> Result<Proposal> {
    let found = proposals.into_iter().find(|proposal| match which {
        Which::Number(number) => proposal.number == number,
        Which::Id(id) => proposal.id == id,
    });
    found.context("there is no such proposal; `tidings gov status` lists them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_is_named_by_its_number_or_its_id() {
        let check = |text: &str, expected: Option<Which>| {
            assert_eq!(text.parse::<Which>().ok(), expected, "{text}");
        };
        check("7", Some(Which::Number(7)));
        check("5000000000", Some(Which::Id(U256::from(5_000_000_000u64))));
        check("0xff", Some(Which::Id(U256::from(255))));
        check(&format!("0x{}", "f".repeat(64)), Some(Which::Id(U256::MAX)));
        for text in ["", "0x", "-1", "seven", "0x_1", "1_000_000_000_000"] {
            check(text, None);
        }
        check(&format!("0x1{}", "0".repeat(64)), None);
    }
}
