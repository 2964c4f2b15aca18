//! How the network is governed, in words.

use alloy_primitives::U256;
use anyhow::Result;
use serde::Serialize;
use tidings_chain::{
    DEFINITIONS, Deployment, Governance, GovernanceReader, Phase, Proposal, ProposalStanding,
    ProposalState,
};
use tidings_types::EthereumAddress;

use super::account::Contracts;
use super::amount::{Amount, Tokens};
use super::gov::{Which, choose};
use super::gov_action::words_of;
use super::moment::{moment, span};
use crate::output::{Output, aligned, printable};

/// How many proposals are shown unless all are asked for.
const SHOWN_MAX: usize = 10;
/// How much of what a proposer says is shown, in characters.
const WHY_CHARACTERS_MAX: usize = 300;

/// A proposal as it stands.
#[derive(Debug, Serialize)]
struct Standing {
    number: u32,
    id: String,
    state: String,
    /// What it does, read from its calls.
    does: Vec<String>,
    /// What the proposer says of it.
    why: String,
    proposer: EthereumAddress,
    votes_for: String,
    votes_against: String,
    votes_abstaining: String,
    /// How many votes for or abstaining it needs, once the vote has begun.
    quorum: Option<String>,
    /// In seconds since 1970.
    vote_begins: u64,
    vote_ends: u64,
    /// From when on it can be carried out, once it is queued.
    executable_from: Option<u64>,
    /// What can be done now, and until when.
    next: String,
}

/// How the network is governed.
#[derive(Debug, Serialize)]
struct Rules {
    phase: u8,
    admits: &'static str,
    voting_delay_seconds: u64,
    voting_period_seconds: u64,
    proposal_threshold_tokens: String,
    quorum_percent: u64,
    timelock_seconds: u64,
}

/// A governed number.
#[derive(Debug, Serialize)]
struct Number {
    name: &'static str,
    value: u64,
    unit: &'static str,
    min: u64,
    max: u64,
}

/// Says how proposals stand.
///
/// # Errors
/// When the chain cannot be asked, or there is no such proposal.
pub(super) async fn proposals(
    contracts: &Contracts,
    which: Option<Which>,
    all: bool,
    output: Output,
) -> Result<()> {
    let (deployment, reader) = open(contracts).await?;
    let mut chosen = reader.proposals().await?;
    let count = chosen.len();
    match which {
        Some(which) => chosen = vec![choose(chosen, which)?],
        None if !all => chosen = chosen.split_off(count.saturating_sub(SHOWN_MAX)),
        None => {}
    }
    let now = reader.governance().await?.time;
    let mut standings = Vec::new();
    for proposal in chosen {
        let standing = reader.standing(&proposal).await?;
        standings.push(describe(&deployment, proposal, &standing, now));
    }
    output.answer(&standings, |standings| {
        let words: Vec<String> = standings.iter().map(words).collect();
        match (words.is_empty(), which.is_none() && count > standings.len()) {
            (true, _) => "Nothing was proposed yet.".into(),
            (false, true) => {
                format!("{}\n\nThere are {count}; --all shows the old ones.", words.join("\n\n"))
            }
            (false, false) => words.join("\n\n"),
        }
    })
}

/// Says who admits nodes now, and how votes go.
///
/// # Errors
/// When the chain cannot be asked.
pub(super) async fn phase(contracts: &Contracts, output: Output) -> Result<()> {
    let (_, reader) = open(contracts).await?;
    let found = reader.governance().await?;
    output.answer(&rules(&found), |rules| {
        let next = match found.phase {
            Phase::Open => "It is the last.",
            _ => "A vote can go to the next (`tidings gov propose --advance-phase`), never back.",
        };
        format!(
            "Phase {} of 3: {}. {next}\n\
             Who has {} tokens’ votes may propose. A vote begins {} after a proposal, lasts {}, and \
             needs {} percent of all tokens.\n\
             What was won waits {}, and then anybody can have it carried out.",
            rules.phase,
            rules.admits,
            rules.proposal_threshold_tokens,
            span(rules.voting_delay_seconds),
            span(rules.voting_period_seconds),
            rules.quorum_percent,
            span(rules.timelock_seconds),
        )
    })
}

/// Lists all parameters.
///
/// # Errors
/// When the chain cannot be asked.
pub(super) async fn parameters(contracts: &Contracts, output: Output) -> Result<()> {
    let (_, reader) = open(contracts).await?;
    let values = reader.parameters().await?;
    let numbers: Vec<Number> = DEFINITIONS
        .iter()
        .zip(values)
        .map(|(it, value)| Number { name: it.name, value, unit: it.unit, min: it.min, max: it.max })
        .collect();
    output.answer(&numbers, |numbers| {
        let row = |it: &Number| {
            let bounds = format!("{} to {}", it.min, it.max);
            vec![it.name.to_owned(), it.value.to_string(), it.unit.to_owned(), bounds]
        };
        let head = ["name", "value", "unit", "bounds"].map(str::to_owned).to_vec();
        let rows: Vec<_> = [head].into_iter().chain(numbers.iter().map(row)).collect();
        aligned(&rows)
    })
}

async fn open(contracts: &Contracts) -> Result<(Deployment, GovernanceReader)> {
    let deployment = contracts.deployment()?;
    let reader = GovernanceReader::at_head(contracts.endpoints()?, deployment).await?;
    Ok((deployment, reader))
}

fn rules(found: &Governance) -> Rules {
    Rules {
        phase: found.phase.number(),
        admits: match found.phase {
            Phase::Council => "the council admits nodes",
            Phase::TokenVote => "a vote of all who hold tokens admits nodes",
            Phase::Open => "whoever has a bond joins, through probation",
        },
        voting_delay_seconds: found.voting_delay,
        voting_period_seconds: found.voting_period,
        proposal_threshold_tokens: tokens(found.proposal_threshold),
        quorum_percent: found.quorum_percent,
        timelock_seconds: found.timelock,
    }
}

fn describe(
    deployment: &Deployment,
    proposal: Proposal,
    standing: &ProposalStanding,
    now: u64,
) -> Standing {
    Standing {
        number: proposal.number,
        id: format!("{:#066x}", proposal.id),
        state: standing.state.to_string(),
        does: proposal.calls.iter().map(|call| words_of(deployment, call)).collect(),
        why: why(&proposal.description),
        proposer: proposal.proposer,
        votes_for: tokens(standing.votes_for),
        votes_against: tokens(standing.votes_against),
        votes_abstaining: tokens(standing.votes_abstaining),
        quorum: standing.quorum.map(tokens),
        vote_begins: proposal.vote_begins,
        vote_ends: proposal.vote_ends,
        executable_from: standing.executable_from,
        next: next(&proposal, standing, now),
    }
}

/// What the proposer says, without the mark that nobody else may use.
fn why(description: &str) -> String {
    let text = description.rsplit_once("#proposer=").map_or(description, |(text, _)| text);
    printable(text.trim()).chars().take(WHY_CHARACTERS_MAX).collect()
}

fn next(proposal: &Proposal, standing: &ProposalStanding, now: u64) -> String {
    match (standing.state, standing.executable_from) {
        (ProposalState::Pending, _) => {
            format!("the vote begins after {}", moment(proposal.vote_begins, now))
        }
        (ProposalState::Active, _) => {
            format!("the vote ends after {}", moment(proposal.vote_ends, now))
        }
        (ProposalState::Succeeded, _) => "it was won; anybody can queue it".into(),
        (ProposalState::Queued, Some(from)) if from > now => {
            format!("it was won and waits; it can be carried out from {}", moment(from, now))
        }
        (ProposalState::Queued, _) => "it was won and has waited; anybody can execute it".into(),
        (ProposalState::Defeated, _) => "it was not won".into(),
        (ProposalState::Canceled, _) => "it was taken back".into(),
        (ProposalState::Expired, _) => "it was not carried out in time".into(),
        (ProposalState::Executed, _) => "it was carried out".into(),
    }
}

fn words(it: &Standing) -> String {
    let needed = it
        .quorum
        .as_ref()
        .map_or_else(String::new, |quorum| format!("; {quorum} for or abstaining are needed"));
    format!(
        "proposal {} is {}: {}\n  does: {}\n  why: {}\n  votes: {} for, {} against, {} \
         abstaining{needed}\n  by {}, id {}",
        it.number,
        it.state,
        it.next,
        it.does.join("; then "),
        it.why.replace('\n', " "),
        it.votes_for,
        it.votes_against,
        it.votes_abstaining,
        it.proposer,
        it.id
    )
}

fn tokens(units: U256) -> String {
    Tokens::to_string(&Amount(units))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_proposer_says_cannot_spoil_the_screen() {
        assert_eq!(why("for speed\n\n#proposer=0x12"), "for speed");
        assert_eq!(why("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
        assert_eq!(why(&"x".repeat(100_000)).len(), WHY_CHARACTERS_MAX);
    }
}
