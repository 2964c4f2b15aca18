//! `tidings operator`: what a node earned, and claiming it by hand.

use alloy_primitives::U256;
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use tidings_chain::{Proved, SettledReport, Settler, WithBefore};
use tidings_envelope::UsageReport;
use tidings_types::{EthereumAddress, NodeId, ShardId};

use super::account::{Account, Contracts};
use super::amount::{Amount, Dollars};
use super::books::Books;
use super::deed::{Deed, Done, in_words, perform};
use crate::output::Output;

/// How many reports are gone back through for one that the node has the sums of.
const REPORTS_BACK_MAX: u64 = 16;

/// What to claim.
#[derive(Debug, Args)]
pub struct Claim {
    #[command(flatten)]
    account: Account,
    /// The node's number; whoever is paid for it gets the money, whoever claims
    node: u32,
    /// The node to ask for the proofs, a base URL; it is believed only what the contract has
    /// accepted
    #[arg(long, value_name = "URL")]
    via: String,
}

/// Whose earnings.
#[derive(Debug, Args)]
pub struct EarningsOf {
    #[command(flatten)]
    contracts: Contracts,
    /// The node's number
    node: u32,
    /// The node to ask, a base URL; it is believed only what the contract has accepted
    #[arg(long, value_name = "URL")]
    via: String,
}

/// What a node earned on a shard up to a report, and what of it can be claimed.
#[derive(Debug, Serialize)]
struct Earned {
    shard: u16,
    /// The last period of the report that is filled, or being filled, with what was collected.
    period: u64,
    earned_picodollars: String,
    earned_dollars: String,
    paid_dollars: String,
    /// What a claim would pay now.
    claimable_dollars: String,
    #[serde(skip)]
    claimable: u128,
    #[serde(skip)]
    call: (EthereumAddress, Vec<u8>),
}

/// Says what a node earned, by shard.
///
/// # Errors
/// When the chain or the node cannot be asked, or the node says what does not follow from the
/// reports that the contract has accepted.
pub(super) async fn earnings(options: EarningsOf, output: Output) -> Result<()> {
    let EarningsOf { contracts, node, via } = options;
    let deployment = contracts.deployment()?;
    let settler = Settler::new(contracts.endpoints()?, deployment);
    let books = Books::at(&via, deployment.genesis().network_id())?;
    let earned = earned(&settler, &books, NodeId(node)).await?;
    output.answer(&earned, |earned| match earned.is_empty() {
        true => format!("node {node} earned nothing that can be claimed yet, says {via}"),
        false => earned.iter().map(words).collect::<Vec<_>>().join("\n"),
    })
}

/// Claims what a node earned, on every shard.
///
/// # Errors
/// When the chain or the node cannot be asked, the node says what does not follow from the reports
/// that the contract has accepted, or the contract refuses.
pub(super) async fn claim(options: Claim, output: Output) -> Result<()> {
    let Claim { account, node, via } = options;
    let deployment = account.deployment().await?;
    let settler = Settler::new(account.contracts.endpoints()?, deployment);
    let books = Books::at(&via, deployment.genesis().network_id())?;
    let earned = earned(&settler, &books, NodeId(node)).await?;
    let deeds = earned.into_iter().filter(|it| it.claimable > 0).map(|it| {
        let words = format!(
            "claim {} dollars that node {node} earned on shard {} through period {}",
            it.claimable_dollars, it.shard, it.period
        );
        Deed::of(words, it.call)
    });
    let deeds: Vec<Deed> = deeds.collect();
    let done: Vec<Done> = match deeds.is_empty() {
        true => Vec::new(),
        false => perform(&account, &deployment, deeds).await?,
    };
    output.answer(&done, |done| match done.is_empty() {
        true => format!("there is nothing to claim for node {node} now"),
        false => in_words(done),
    })
}

async fn earned(settler: &Settler, books: &Books, node: NodeId) -> Result<Vec<Earned>> {
    let mut earned = Vec::new();
    for shard in (0..settler.shard_count().await?).map(ShardId) {
        let settlement = settler.settlement(shard).await?;
        if let Some(claimable) = settlement.claimable {
            earned.extend(earned_on(settler, books, (shard, claimable), node).await?);
        }
    }
    Ok(earned)
}

async fn earned_on(
    settler: &Settler,
    books: &Books,
    (shard, claimable): (ShardId, WithBefore),
    node: NodeId,
) -> Result<Option<Earned>> {
    let found = known(settler, books, (shard, claimable), node).await?;
    let Some(((accepted, before), report, later)) = found else { return Ok(None) };
    let part = match before {
        Some(before) => earlier(books, shard, &before, node).await?,
        None => None,
    };
    let cumulative = later.cumulative;
    let part = part.as_ref().map(|(report, proved)| (report, proved.clone()));
    let call = settler.claim(node, (&report, accepted.index, later), part);
    // Refused is what pays nothing.
    let claimable = settler.foretell(&call).await?.unwrap_or_default();
    let paid = settler.paid(shard, node).await?;
    Ok(Some(Earned {
        shard: shard.0,
        period: accepted.last.0,
        earned_picodollars: cumulative.0.to_string(),
        earned_dollars: dollars(cumulative.units_rounded_down()),
        paid_dollars: dollars(paid),
        claimable_dollars: dollars(claimable),
        claimable,
        call,
    }))
}

/// The newest report from `newest` back that the node knows and under which `node` earned
/// something; none when the node says that it earned nothing.
async fn known(
    settler: &Settler,
    books: &Books,
    (shard, newest): (ShardId, WithBefore),
    node: NodeId,
) -> Result<Option<(WithBefore, UsageReport, Proved)>> {
    let mut accepted = newest;
    loop {
        if let Some(report) = books.report(shard, &accepted.0).await? {
            let proved = books.earnings(&report, node).await?;
            return Ok(proved.map(|proved| (accepted, report, proved)));
        }
        let before = accepted.0.index.checked_sub(1);
        let before = before.filter(|before| newest.0.index - before <= REPORTS_BACK_MAX);
        let before = before.context("the node knows none of these reports; ask another")?;
        accepted = settler.report_at(shard, before).await?;
    }
}

/// What the node earned under the report before.
async fn earlier(
    books: &Books,
    shard: ShardId,
    before: &SettledReport,
    node: NodeId,
) -> Result<Option<(UsageReport, Proved)>> {
    let Some(report) = books.report(shard, before).await? else { return Ok(None) };
    Ok(books.earnings(&report, node).await?.map(|proved| (report, proved)))
}

fn words(earned: &Earned) -> String {
    let Earned { shard, period, earned_dollars, paid_dollars, claimable_dollars, .. } = earned;
    format!(
        "shard {shard}: earned {earned_dollars} dollars through period {period}; \
         {paid_dollars} paid, {claimable_dollars} to be claimed"
    )
}

fn dollars(units: u128) -> String {
    Dollars::to_string(&Amount(U256::from(units)))
}
