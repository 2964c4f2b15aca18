//! `tidings gateway`: run a payer gateway, let users in, and see what they spend.

mod spend;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use tidings_gateway::{Database, GatewayConfig, Quota, Terms};
use tidings_types::{EthereumAddress, PicoDollars};

use crate::chain::Dollars;
use crate::output::Output;
use crate::{chain, logging, secret_file, shutdown};

/// What to do with a gateway.
#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// Run the gateway until SIGTERM or Ctrl-C
    Run {
        /// Its configuration file; `TIDINGS_GATEWAY_` and a field wins over what it says
        #[arg(long, env = "TIDINGS_GATEWAY_CONFIG", value_name = "FILE")]
        config: PathBuf,
    },
    /// Let a user in and print the API key, which is stored nowhere
    AddUser {
        /// The gateway's configuration file
        #[arg(long, env = "TIDINGS_GATEWAY_CONFIG", value_name = "FILE")]
        config: PathBuf,
        /// The user's name: letters, digits, dots, dashes and underscores
        name: String,
        /// What the user may use.
        #[command(flatten)]
        quota: QuotaWords,
        /// Which of the gateway's payers pays for the user [default: its first]
        #[arg(long, value_name = "ADDRESS")]
        payer: Option<EthereumAddress>,
        /// Write the key to this file, mode 0600, instead of printing it
        #[arg(long, value_name = "FILE")]
        api_key_file: Option<PathBuf>,
    },
    /// Give a user another quota
    SetQuota {
        /// The gateway's configuration file
        #[arg(long, env = "TIDINGS_GATEWAY_CONFIG", value_name = "FILE")]
        config: PathBuf,
        /// The user's name
        name: String,
        /// What the user may use.
        #[command(flatten)]
        quota: QuotaWords,
    },
    /// Have another of the gateway's payers pay for a user from now on
    SetPayer {
        /// The gateway's configuration file
        #[arg(long, env = "TIDINGS_GATEWAY_CONFIG", value_name = "FILE")]
        config: PathBuf,
        /// The user's name
        name: String,
        /// Which of the gateway's payers
        payer: EthereumAddress,
    },
    /// Say what every user sent and what it cost
    Spend {
        /// The gateway's configuration file
        #[arg(long, env = "TIDINGS_GATEWAY_CONFIG", value_name = "FILE")]
        config: PathBuf,
        /// Of the last days in UTC, today included
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=400))]
        days: u16,
    },
}

/// What a user may use in each window.
#[derive(Debug, Clone, Copy, Args)]
pub struct QuotaWords {
    /// Envelopes that the user may send in each window
    #[arg(long, default_value_t = 10_000)]
    quota: u64,
    /// Dollars that the user may spend in each window [default: as much as the envelopes cost]
    #[arg(long, value_name = "DOLLARS")]
    money_quota: Option<Dollars>,
}

/// Does it.
///
/// # Errors
/// When the configuration cannot be used, the name is taken, or the gateway stops by a fault.
pub async fn run(command: GatewayCommand, output: Output) -> Result<()> {
    match command {
        GatewayCommand::Run { config } => {
            let config = load(&config)?;
            logging::start(&config.log_format)?;
            let funds = chain::watch_funds(&config)?;
            tidings_gateway::run(config, funds, shutdown::signalled()?).await?;
            Ok(())
        }
        GatewayCommand::AddUser { config, name, quota, payer, api_key_file } => {
            let config = load(&config)?;
            check_payer(&config, payer)?;
            let envelopes = quota.quota;
            let terms = Terms { quota: quota.quota()?, payer };
            let key = tidings_gateway::add_user(&config.database, &name, terms).await?.reveal();
            if let Some(file) = api_key_file {
                secret_file::create(&file, key.as_bytes())?;
                let answer = json!({ "name": name, "quota": envelopes, "api_key_file": file });
                return output.answer(&answer, |_| {
                    format!("{name} may send; the API key is in {}", file.display())
                });
            }
            let answer = json!({ "name": name, "quota": envelopes, "api_key": key.as_str() });
            output.answer(&answer, |_| key.to_string())
        }
        GatewayCommand::SetQuota { config, name, quota } => {
            let database = Database::open(&load(&config)?.database).await?;
            let set = database.set_quota(&name, quota.quota()?).await;
            database.close().await;
            set?;
            let answer = json!({ "name": name, "quota": quota.quota });
            output.answer(&answer, |_| format!("{name} has another quota"))
        }
        GatewayCommand::SetPayer { config, name, payer } => {
            let config = load(&config)?;
            check_payer(&config, Some(payer))?;
            let database = Database::open(&config.database).await?;
            let set = database.set_payer(&name, payer).await;
            database.close().await;
            set?;
            let answer = json!({ "name": name, "payer": payer });
            output.answer(&answer, |_| {
                format!("{payer} pays for {name}, in a few seconds at the latest")
            })
        }
        GatewayCommand::Spend { config, days } => spend::run(&load(&config)?, days, output).await,
    }
}

impl QuotaWords {
    fn quota(&self) -> Result<Quota> {
        let money = self.money_quota.map(|dollars| {
            let units = u64::try_from(dollars.0).ok();
            let money = units.and_then(|units| units.checked_mul(PICODOLLARS_PER_UNIT));
            money.map(PicoDollars).context("so much money is no limit")
        });
        Ok(Quota { envelopes: self.quota, money: money.transpose()? })
    }
}

/// Whoever is not the gateway's pays for nobody.
fn check_payer(config: &GatewayConfig, payer: Option<EthereumAddress>) -> Result<()> {
    let stranger = payer.filter(|payer| !config.has_payer(*payer));
    match stranger {
        None => Ok(()),
        Some(payer) => {
            bail!("{payer} is none of the gateway's payers; its configuration names them")
        }
    }
}

/// A unit of the token with six decimals.
const PICODOLLARS_PER_UNIT: u64 = 1_000_000;

fn load(path: &std::path::Path) -> Result<GatewayConfig> {
    Ok(GatewayConfig::load(path, |name| std::env::var(name).ok())?)
}
