//! `tidings payer`: what caps there are, and what was billed for what was used.

use alloy_primitives::U256;
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use tidings_chain::contracts::{PayerVault, UsageSettlement};
use tidings_chain::{ContractError, Deployment, Endpoints, SettledReport, Settler, address};
use tidings_envelope::UsageReport;
use tidings_types::{EthereumAddress, ShardId};

use super::account::Contracts;
use super::amount::{Amount, Dollars};
use super::books::Books;
use crate::output::Output;

/// How many accepted reports are gone back through for one that the node knows: a node that is
/// behind by more is of no use.
const REPORTS_BACK_MAX: u64 = 16;

/// What a payer is told that is short of money.
const SHORT: &str =
    "less than an eighth of that is left: nodes take nothing of this payer until it deposits more";

/// Whose caps.
#[derive(Debug, Args)]
pub struct Caps {
    #[command(flatten)]
    contracts: Contracts,
    /// Whose money
    payer: EthereumAddress,
}

/// Whose bill, and who says it.
#[derive(Debug, Args)]
pub struct UsageOf {
    #[command(flatten)]
    contracts: Contracts,
    /// Whose money
    payer: EthereumAddress,
    /// The node to ask, a base URL; it is believed only what the contract has accepted
    #[arg(long, value_name = "URL")]
    node: String,
}

/// A payer's cap for one shard.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct CapOf {
    shard: u16,
    /// The next period that a report will cover.
    period: u64,
    /// The cap in that period.
    dollars: String,
    /// Another cap that was set and is not in force by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    coming: Option<Coming>,
    /// What stays in the vault for the cap that was set last.
    kept_dollars: String,
    /// The last period for which money was taken, or could have been.
    charged_through: u64,
    /// What caps allow and could not be taken yet.
    carried_dollars: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Coming {
    from: u64,
    dollars: String,
}

/// All caps of a payer.
#[derive(Debug, Serialize)]
struct AllCaps {
    payer: EthereumAddress,
    /// What is kept for all caps, those before the last ones too.
    reserved_dollars: String,
    /// Whether less than an eighth of that is left, so that nodes take nothing (SET-026).
    is_short: bool,
    shards: Vec<CapOf>,
}

/// Says what caps a payer has.
///
/// # Errors
/// When the chain cannot be asked.
pub(super) async fn caps(options: Caps, output: Output) -> Result<()> {
    let Caps { contracts, payer } = options;
    let (deployment, endpoints) = (contracts.deployment()?, contracts.endpoints()?);
    let count = Settler::new(endpoints.clone(), deployment).shard_count().await?;
    let mut shards = Vec::new();
    for shard in 0..count {
        shards.push(cap_of(&deployment, &endpoints, payer, shard).await?);
    }
    let (vault, whose) = (address(deployment.vault), address(payer));
    let (reserved, is_covered) = endpoints
        .agreed(move |provider| async move {
            let vault = PayerVault::new(vault, provider);
            let reserved = vault.reservedOf(whose).call().await?;
            Ok::<_, ContractError>((reserved, vault.isCovered(whose).call().await?))
        })
        .await?;
    let caps =
        AllCaps { payer, reserved_dollars: dollars(reserved), is_short: !is_covered, shards };
    output.answer(&caps, |caps| {
        let mut lines: Vec<String> = caps.shards.iter().map(cap_in_words).collect();
        lines.push(format!("{} dollars are kept for caps in all", caps.reserved_dollars));
        if caps.is_short {
            lines.push(SHORT.into());
        }
        lines.join("\n")
    })
}

async fn cap_of(
    deployment: &Deployment,
    endpoints: &Endpoints,
    payer: EthereumAddress,
    shard: u16,
) -> Result<CapOf> {
    let (vault, whose) = (address(deployment.vault), address(payer));
    let settlement = address(deployment.settlement);
    endpoints
        .agreed(move |provider| async move {
            let settlement = UsageSettlement::new(settlement, provider.clone());
            let vault = PayerVault::new(vault, provider);
            let period = settlement.lastPeriod(shard).call().await?.saturating_add(1);
            let now = vault.capAt(whose, shard, period).call().await?;
            let latest = vault.latestCapOf(whose, shard).call().await?;
            let kept = U256::from(latest.amount).saturating_mul(U256::from(latest.window));
            let is_coming = latest.from > period;
            let coming = Coming { from: latest.from, dollars: dollars(U256::from(latest.amount)) };
            Ok::<_, ContractError>(CapOf {
                shard,
                period,
                dollars: dollars(U256::from(now)),
                coming: is_coming.then_some(coming),
                kept_dollars: dollars(kept),
                charged_through: vault.chargedThrough(whose, shard).call().await?,
                carried_dollars: dollars(vault.carriedOf(whose, shard).call().await?),
            })
        })
        .await
        .map_err(Into::into)
}

fn cap_in_words(cap: &CapOf) -> String {
    let CapOf { shard, period, dollars, coming, kept_dollars, charged_through, carried_dollars } =
        cap;
    let mut words = format!("shard {shard}: {dollars} dollars a period, as of period {period}");
    if let Some(Coming { from, dollars }) = coming {
        words.push_str(&format!(", and {dollars} from period {from} on"));
    }
    words.push_str(&format!("; {kept_dollars} kept; charged through period {charged_through}"));
    if carried_dollars != "0" {
        words.push_str(&format!("; {carried_dollars} could not be taken yet"));
    }
    words
}

/// What a payer was billed for a shard, up to an accepted report.
#[derive(Debug, Serialize)]
struct Bill {
    shard: u16,
    /// The last period of the report.
    period: u64,
    /// The report's place among the shard's, and its digest.
    index: u64,
    digest: String,
    /// Whether the time for challenges is over, so that it can be charged.
    matured: bool,
    billed_picodollars: String,
    /// What is taken for it: what is less than a unit of the token left off.
    billed_dollars: String,
    charged_dollars: String,
}

/// Says what a payer was billed, by shard.
///
/// # Errors
/// When the chain or the node cannot be asked, or the node says what does not follow from the
/// reports that the contract has accepted.
pub(super) async fn usage(options: UsageOf, output: Output) -> Result<()> {
    let UsageOf { contracts, payer, node } = options;
    let deployment = contracts.deployment()?;
    let settler = Settler::new(contracts.endpoints()?, deployment);
    let books = Books::at(&node, deployment.genesis().network_id())?;
    let mut bills = Vec::new();
    for shard in (0..settler.shard_count().await?).map(ShardId) {
        bills.extend(bill(&settler, &books, shard, payer).await?);
    }
    output.answer(&bills, |bills| match bills.is_empty() {
        true => format!("no report that is accepted has a bill of {payer}, says {node}"),
        false => bills.iter().map(bill_in_words).collect::<Vec<_>>().join("\n"),
    })
}

async fn bill(
    settler: &Settler,
    books: &Books,
    shard: ShardId,
    payer: EthereumAddress,
) -> Result<Option<Bill>> {
    let settlement = settler.settlement(shard).await?;
    let Some(newest) = settlement.newest else { return Ok(None) };
    let (accepted, report) = known(settler, books, shard, newest).await?;
    let Some(billed) = books.usage(&report, payer).await? else { return Ok(None) };
    let charged = settler.charged(shard, &[payer]).await?.pop().unwrap_or_default();
    let billed = billed.cumulative;
    Ok(Some(Bill {
        shard: shard.0,
        period: accepted.last.0,
        index: accepted.index,
        digest: accepted.digest.to_string(),
        matured: settlement.matured.is_some_and(|matured| matured.index >= accepted.index),
        billed_picodollars: billed.0.to_string(),
        billed_dollars: dollars(U256::from(billed.units_rounded_down())),
        charged_dollars: dollars(U256::from(charged)),
    }))
}

/// The newest accepted report that the node knows, from `newest` back.
async fn known(
    settler: &Settler,
    books: &Books,
    shard: ShardId,
    newest: SettledReport,
) -> Result<(SettledReport, UsageReport)> {
    let mut accepted = newest;
    loop {
        if let Some(report) = books.report(shard, &accepted).await? {
            return Ok((accepted, report));
        }
        let before = accepted.index.checked_sub(1);
        let before = before.filter(|before| newest.index - before <= REPORTS_BACK_MAX);
        let before = before.context("the node knows none of the newest reports; ask another")?;
        accepted = settler.report_at(shard, before).await?.0;
        ensure!(accepted.index == before, "the contract answers with another report");
    }
}

fn bill_in_words(bill: &Bill) -> String {
    let Bill { shard, period, billed_dollars, charged_dollars, matured, digest, .. } = bill;
    let when = match matured {
        true => "can be charged",
        false => "can still be challenged",
    };
    format!(
        "shard {shard}: billed {billed_dollars} dollars through period {period}, and charged \
         {charged_dollars}; report {digest}, which {when}"
    )
}

fn dollars(units: U256) -> String {
    Dollars::to_string(&Amount(units))
}
