//! `tidings chain`: putting a network on a chain.

use std::collections::BTreeMap;
use std::path::PathBuf;

use alloy_primitives::U256;
use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use serde::Deserialize;
use tidings_chain::contracts::DevnetDollar;
use tidings_chain::{
    DEFINITIONS, Deployment, Endpoints, FileJournal, Parameter, Plan, Voting, address, deploy,
};
use tidings_types::{EthereumAddress, GenesisSalt};

use super::account::{Account, Contracts, Key, Providers};
use super::amount::Dollars;
use super::deed::{Deed, act};
use super::setting::Setting;
use crate::output::Output;
use crate::secret_file;

/// What to do on a chain as a whole.
#[derive(Debug, Subcommand)]
pub enum ChainCommand {
    /// Deploy the contracts of a new network; one that was interrupted goes on
    Deploy {
        /// How to reach the chain, and who acts.
        #[command(flatten)]
        providers: Providers,
        /// Whose key signs.
        #[command(flatten)]
        key: Key,
        /// What the network is to be, a TOML file [default: as in production, all for the deployer]
        #[arg(long, value_name = "FILE")]
        plan: Option<PathBuf>,
        /// Where to write where the contracts are
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Check that a chain has the contracts of a file
    Check {
        /// The contracts.
        #[command(flatten)]
        contracts: Contracts,
    },
    /// Make devnet dollars, on a chain that has no stable token
    Mint {
        /// How to reach the chain, and who acts.
        #[command(flatten)]
        account: Account,
        /// Who gets them
        to: EthereumAddress,
        /// How many dollars
        amount: Dollars,
    },
}

/// What a plan's file says; whatever it leaves out is the deployer's, or as in production.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PlanFile {
    salt: Option<GenesisSalt>,
    holder: Option<EthereumAddress>,
    council: Option<EthereumAddress>,
    keeper: Option<EthereumAddress>,
    keeper_until: Option<u64>,
    dollar: Option<EthereumAddress>,
    timelock_seconds: Option<u64>,
    voting_delay_seconds: Option<u32>,
    voting_period_seconds: Option<u32>,
    proposal_threshold_tokens: Option<u64>,
    quorum_percent: Option<u8>,
    parameters: BTreeMap<String, u64>,
}

const DAY_SECONDS: u32 = 86_400;
/// Longer than bonds and deposits take to leave by the parameters' first values (SET-022).
const TIMELOCK_SECONDS: u64 = 29 * DAY_SECONDS as u64;

/// Does it.
///
/// # Errors
/// When the chain or a contract refuses.
pub async fn run(command: ChainCommand, output: Output) -> Result<()> {
    match command {
        ChainCommand::Deploy { providers, key, plan, out } => {
            ensure!(!key.dry_run, "a deployment has no dry run; try it on a chain of your own");
            let deployment = make(providers.endpoints()?, &key, plan.as_deref(), &out).await?;
            output.answer(&deployment, |deployment| {
                let network = deployment.genesis().network_id();
                format!(
                    "Network {network} is on chain {}; see {}.",
                    deployment.chain_id,
                    out.display()
                )
            })
        }
        ChainCommand::Check { contracts } => {
            let deployment = contracts.deployment()?;
            deployment.check(&contracts.endpoints()?).await?;
            output.answer(&deployment, |_| "The chain has these contracts.".into())
        }
        ChainCommand::Mint { account, to, amount } => {
            let deployment = account.deployment().await?;
            let call = DevnetDollar::mintCall { to: address(to), amount: amount.0 };
            let deed =
                Deed::new(format!("make {amount} dollars for {to}"), deployment.dollar, &call);
            act(&account, &deployment, vec![deed], output).await
        }
    }
}

/// Deploys what the file `plan` says, on the account of `key`, and writes to `out` where it is; one
/// that was interrupted goes on.
///
/// # Errors
/// When the plan makes no sense, `out` is there already, or the chain refuses.
pub(crate) async fn make(
    endpoints: Endpoints,
    key: &Key,
    plan: Option<&std::path::Path>,
    out: &std::path::Path,
) -> Result<Deployment> {
    ensure!(!out.exists(), "{} is there already", out.display());
    let chain_id = endpoints.agreed(tidings_chain::chain_id).await?;
    let file: PlanFile = match plan {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            toml::from_str(&text).with_context(|| format!("{} is no plan", path.display()))?
        }
        None => PlanFile::default(),
    };
    // The same salt when a deployment goes on: the network's id depends on it.
    let salt = match file.salt {
        Some(salt) => salt,
        None => {
            let kept = out.with_extension("salt");
            GenesisSalt(*secret_file::read_or_create(&kept, secret_file::random)?)
        }
    };
    let plan = file.plan(key.address()?, salt)?;
    // Beside the result, so that a deployment that was interrupted goes on.
    let journal = Box::new(FileJournal::new(out.with_extension("journal")));
    let mut submitter = key.submitter(endpoints, chain_id, journal)?;
    let deployment = deploy(&mut submitter, chain_id, &plan).await?;
    deployment.check(submitter.endpoints()).await?;
    std::fs::write(out, serde_json::to_string_pretty(&deployment)? + "\n")
        .with_context(|| format!("cannot write {}", out.display()))?;
    Ok(deployment)
}

impl PlanFile {
    fn plan(self, deployer: EthereumAddress, salt: GenesisSalt) -> Result<Plan> {
        let parameters = self.parameters.into_iter().map(|(name, value)| {
            let setting = Setting::new(&name, value)?;
            Ok((setting.parameter, setting.value))
        });
        let parameters = parameters.collect::<Result<Vec<_>>>()?;
        let timelock_seconds = self.timelock_seconds.unwrap_or(TIMELOCK_SECONDS);
        // Who disagrees with a vote must be able to leave before it is carried out (SET-022).
        for leaving in [Parameter::UnbondingSeconds, Parameter::WithdrawalSeconds] {
            let takes = first_value(&parameters, leaving);
            ensure!(
                timelock_seconds > takes,
                "what is voted must wait longer than the {takes} seconds of {leaving:?}"
            );
        }
        let tokens = self.proposal_threshold_tokens.unwrap_or(1_000_000);
        Ok(Plan {
            salt,
            holder: self.holder.unwrap_or(deployer),
            council: self.council.unwrap_or(deployer),
            keeper: self.keeper.unwrap_or(deployer),
            keeper_until: self.keeper_until.unwrap_or_default(),
            dollar: self.dollar,
            timelock_seconds,
            voting: Voting {
                delay_seconds: self.voting_delay_seconds.unwrap_or(DAY_SECONDS),
                period_seconds: self.voting_period_seconds.unwrap_or(7 * DAY_SECONDS),
                proposal_threshold: U256::from(tokens).saturating_to::<u128>() * 10u128.pow(18),
                quorum_percent: self.quorum_percent.unwrap_or(4),
            },
            parameters,
        })
    }
}

/// What a parameter begins with.
fn first_value(changed: &[(Parameter, u64)], which: Parameter) -> u64 {
    let changed = changed.iter().find(|(changed, _)| *changed == which);
    changed.map_or(DEFINITIONS[which as usize].initial, |(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_what_differs() {
        let file: PlanFile =
            toml::from_str("quorum_percent = 9\n[parameters]\nPeriodMs = 10000").unwrap();
        let me = EthereumAddress([1; 20]);
        let plan = file.plan(me, GenesisSalt([3; 32])).unwrap();
        assert_eq!((plan.holder, plan.voting.quorum_percent), (me, 9));
        assert_eq!(plan.parameters, [(Parameter::PeriodMs, 10_000)]);
        assert_eq!(plan.voting.proposal_threshold, 10u128.pow(24));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in ["colour = 1", "[parameters]\nPeriodMs = \"x\""] {
            assert!(toml::from_str::<PlanFile>(text).is_err(), "{text}");
        }
        for text in
            ["[parameters]\nColour = 1", "[parameters]\nPeriodMs = 1", "timelock_seconds = 604800"]
        {
            let file: PlanFile = toml::from_str(text).unwrap();
            assert!(
                file.plan(EthereumAddress::default(), GenesisSalt::default()).is_err(),
                "{text}"
            );
        }
    }
}
