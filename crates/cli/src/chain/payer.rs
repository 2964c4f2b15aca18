//! `tidings payer`: money for messages.

use alloy_primitives::U256;
use anyhow::{Context, Result};
use clap::Subcommand;
use serde::Serialize;
use tidings_chain::contracts::{DevnetDollar, PayerVault};
use tidings_chain::{Deployment, Endpoints, address};
use tidings_types::EthereumAddress;
use tidings_types::ed25519::PublicKey;

use super::account::{Account, Contracts};
use super::amount::Dollars;
use super::deed::{Deed, act};
use super::payer_status::{self, Caps, UsageOf};
use crate::output::Output;

/// What a payer does.
#[derive(Debug, Subcommand)]
pub enum PayerCommand {
    /// Put money into the vault
    Deposit {
        /// How to reach the chain, and who acts.
        #[command(flatten)]
        account: Account,
        /// How many dollars
        amount: Dollars,
        /// Whose money it is to be [default: the account's]
        #[arg(long)]
        payer: Option<EthereumAddress>,
    },
    /// Ask for money back; it can be fetched once what was used before is settled
    RequestWithdrawal {
        /// How to reach the chain, and who acts.
        #[command(flatten)]
        account: Account,
        /// How many dollars
        amount: Dollars,
    },
    /// Leave money that was asked for where it is
    CancelWithdrawal {
        /// How to reach the chain, and who acts.
        #[command(flatten)]
        account: Account,
    },
    /// Fetch money that was asked for long enough ago
    Withdraw {
        /// How to reach the chain, and who acts.
        #[command(flatten)]
        account: Account,
        /// Who gets it [default: the account]
        #[arg(long)]
        to: Option<EthereumAddress>,
    },
    /// Set the most that may be taken per period for a shard
    Cap {
        /// How to reach the chain, and who acts.
        #[command(flatten)]
        account: Account,
        /// The shard's number
        shard: u16,
        /// How many dollars a period
        amount: Dollars,
    },
    /// Free what was kept for a larger cap, once reports have reached the smaller one
    ReleaseCap {
        /// How to reach the chain, and who acts.
        #[command(flatten)]
        account: Account,
        /// The shard's number
        shard: u16,
        /// Whose cap [default: the account's]
        #[arg(long)]
        payer: Option<EthereumAddress>,
    },
    /// Let a key sign batches for the payer until it expires
    AddSessionKey {
        /// How to reach the chain, and who acts.
        #[command(flatten)]
        account: Account,
        /// The Ed25519 public key in hex
        key: String,
        /// When it expires, in seconds since 1970
        expires: u64,
    },
    /// Let a key sign no more
    RemoveSessionKey {
        /// How to reach the chain, and who acts.
        #[command(flatten)]
        account: Account,
        /// The Ed25519 public key in hex
        key: String,
    },
    /// Say what caps a payer has, by shard
    Caps(Caps),
    /// Say what a payer was billed, by shard, as reports have it that the contract has accepted
    Usage(UsageOf),
    /// Say what a payer has and what is kept of it
    Status {
        /// The contracts.
        #[command(flatten)]
        contracts: Contracts,
        /// Whose money
        payer: EthereumAddress,
    },
}

/// Does it.
///
/// # Errors
/// When the chain or a contract refuses.
pub async fn run(command: PayerCommand, output: Output) -> Result<()> {
    match command {
        PayerCommand::Deposit { account, amount, payer } => {
            let deployment = account.deployment().await?;
            let payer = payer.map_or_else(|| account.key.address(), Ok)?;
            act(&account, &deployment, deposit(&deployment, payer, amount), output).await
        }
        PayerCommand::RequestWithdrawal { account, amount } => {
            let call = PayerVault::requestWithdrawalCall { amount: amount.0 };
            on_vault(&account, format!("ask for {amount} dollars back"), &call, output).await
        }
        PayerCommand::CancelWithdrawal { account } => {
            let words = "leave what was asked for in the vault".to_owned();
            on_vault(&account, words, &PayerVault::cancelWithdrawalCall {}, output).await
        }
        PayerCommand::Withdraw { account, to } => {
            let to = to.map_or_else(|| account.key.address(), Ok)?;
            let call = PayerVault::withdrawCall { to: address(to) };
            on_vault(&account, format!("fetch what was asked for, to {to}"), &call, output).await
        }
        PayerCommand::Cap { account, shard, amount } => {
            let units = u128::try_from(amount.0).context("a cap is below 2¹²⁸ units")?;
            let call = PayerVault::setCapCall { shard, amount: units };
            let words = format!("let {amount} dollars a period be taken for shard {shard}");
            on_vault(&account, words, &call, output).await
        }
        PayerCommand::ReleaseCap { account, shard, payer } => {
            let payer = payer.map_or_else(|| account.key.address(), Ok)?;
            let call = PayerVault::releaseCapCall { payer: address(payer), shard };
            let words = format!("free what was kept for a larger cap of {payer} for shard {shard}");
            on_vault(&account, words, &call, output).await
        }
        PayerCommand::AddSessionKey { account, key, expires } => {
            let key = session_key(&key)?;
            let call = PayerVault::setSessionKeyCall { key: key.0.into(), expires };
            let words = format!("let key {} sign until {expires}", hex::encode(key.0));
            on_vault(&account, words, &call, output).await
        }
        PayerCommand::RemoveSessionKey { account, key } => {
            let key = session_key(&key)?;
            let call = PayerVault::removeSessionKeyCall { key: key.0.into() };
            let words = format!("let key {} sign no more", hex::encode(key.0));
            on_vault(&account, words, &call, output).await
        }
        PayerCommand::Caps(options) => payer_status::caps(options, output).await,
        PayerCommand::Usage(options) => payer_status::usage(options, output).await,
        PayerCommand::Status { contracts, payer } => {
            let deployment = contracts.deployment()?;
            let purse = purse(&deployment, &contracts.endpoints()?, payer).await?;
            output.answer(&purse, words)
        }
    }
}

async fn on_vault<C: alloy_sol_types::SolCall>(
    account: &Account,
    words: String,
    call: &C,
    output: Output,
) -> Result<()> {
    let deployment = account.deployment().await?;
    let deed = Deed::new(words, deployment.vault, call);
    act(account, &deployment, vec![deed], output).await
}

fn deposit(deployment: &Deployment, payer: EthereumAddress, amount: Dollars) -> Vec<Deed> {
    let vault = address(deployment.vault);
    // Every ERC-20 has this function.
    let approve = DevnetDollar::approveCall { spender: vault, value: amount.0 };
    let deposit = PayerVault::depositCall { payer: address(payer), amount: amount.0 };
    vec![
        Deed::new(format!("let the vault take {amount} dollars"), deployment.dollar, &approve),
        Deed::new(format!("deposit {amount} dollars for {payer}"), deployment.vault, &deposit),
    ]
}

fn session_key(text: &str) -> Result<PublicKey> {
    let mut key = [0; 32];
    hex::decode_to_slice(text.trim_start_matches("0x"), &mut key)
        .context("a key is 64 hex digits")?;
    Ok(PublicKey(key))
}

/// What a payer has.
#[derive(Debug, Serialize)]
struct Purse {
    payer: EthereumAddress,
    balance_dollars: String,
    reserved_dollars: String,
    asked_back_dollars: String,
    asked_back_from: u64,
    session_keys: Vec<String>,
}

async fn purse(
    deployment: &Deployment,
    endpoints: &Endpoints,
    payer: EthereumAddress,
) -> Result<Purse> {
    let (contract, whose) = (address(deployment.vault), address(payer));
    let (balance, reserved, asked, keys) = endpoints
        .agreed(move |provider| async move {
            let vault = PayerVault::new(contract, provider);
            let asked = vault.withdrawalOf(whose).call().await?;
            let keys = vault.sessionKeysOf(whose).call().await?.keys;
            Ok::<_, tidings_chain::ContractError>((
                vault.balanceOf(whose).call().await?,
                vault.reservedOf(whose).call().await?,
                (asked.amount, asked.from),
                keys,
            ))
        })
        .await?;
    let dollars = |units: U256| Dollars::to_string(&super::amount::Amount(units));
    Ok(Purse {
        payer,
        balance_dollars: dollars(balance),
        reserved_dollars: dollars(reserved),
        asked_back_dollars: dollars(asked.0),
        asked_back_from: asked.1,
        session_keys: keys.iter().map(hex::encode).collect(),
    })
}

fn words(purse: &Purse) -> String {
    format!(
        "{} has {} dollars, {} of them kept for caps; {} asked back; {} session keys",
        purse.payer,
        purse.balance_dollars,
        purse.reserved_dollars,
        purse.asked_back_dollars,
        purse.session_keys.len()
    )
}
