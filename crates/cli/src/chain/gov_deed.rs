//! Acting on proposals, each deed checked and put into words before it is signed.

use alloy_primitives::U256;
use anyhow::{Result, bail, ensure};
use serde::Serialize;
use tidings_chain::contracts::{Guardian, TidingsGovernor, TidingsToken};
use tidings_chain::{
    Deployment, GovernanceReader, Proposal, ProposalState, ProposedCall, address, proposal_id,
};
use tidings_types::EthereumAddress;

use super::account::Account;
use super::amount::{Amount, Tokens};
use super::deed::{Deed, Done, act, in_words, perform};
use super::gov::{Choice, Chosen, Propose, Stoppable, Which, choose};
use super::gov_action::words_of_all;
use super::moment::{moment, span};
use crate::output::{Output, printable};

/// The longest text that goes on the chain with a proposal or a vote, in bytes.
const TEXT_BYTES_MAX: usize = 4_096;

/// A network's governance as somebody sees it who is about to act.
struct Scene {
    deployment: Deployment,
    reader: GovernanceReader,
}

impl Scene {
    async fn open(account: &Account) -> Result<Self> {
        let deployment = account.deployment().await?;
        let endpoints = account.contracts.endpoints()?;
        let reader = GovernanceReader::at_head(endpoints, deployment).await?;
        Ok(Self { deployment, reader })
    }

    async fn time(&self) -> Result<u64> {
        Ok(self.reader.governance().await?.time)
    }

    async fn find(&self, which: Which) -> Result<Found> {
        let proposals = self.reader.proposals().await?;
        let proposal = choose(proposals, which)?;
        let words = words_of_all(&self.deployment, &proposal.calls);
        Ok(Found { proposal, words })
    }
}

/// A proposal that somebody acts on.
struct Found {
    proposal: Proposal,
    /// What it does.
    words: String,
}

/// Proposes something to all who hold tokens.
///
/// # Errors
/// When it makes no sense, or the governor refuses.
pub(super) async fn propose(options: &Propose, output: Output) -> Result<()> {
    let Propose { account, actions, why } = options;
    ensure!(why.len() <= TEXT_BYTES_MAX, "a text has at most {TEXT_BYTES_MAX} bytes");
    ensure!(!why.trim().is_empty(), "say why, so that people know what they vote on");
    let deployment = account.deployment().await?;
    let me = account.key.address()?;
    let calls = actions.calls(&deployment)?;
    // The governor lets nobody else make a proposal that ends so, which they could then cancel.
    let description = format!("{why}\n\n#proposer={me}");
    let call = TidingsGovernor::proposeCall {
        targets: targets(&calls),
        values: values(&calls),
        calldatas: data(&calls),
        description: description.clone(),
    };
    let words = format!("propose to {}: {}", words_of_all(&deployment, &calls), printable(why));
    let deeds = vec![Deed::new(words, deployment.governor, &call)];
    let done = perform(account, &deployment, deeds).await?;
    let id = proposal_id(&calls, &description);
    let number = number_of(account, deployment, id).await?;
    output.answer(&Proposed { number, id: format!("{id:#066x}"), done }, |proposed| {
        let done = in_words(&proposed.done);
        match proposed.number {
            Some(number) => format!("{done}\nIt is proposal {number}; its id is {}.", proposed.id),
            None => done,
        }
    })
}

/// What became of a proposal.
#[derive(Debug, Serialize)]
struct Proposed {
    /// Its place among all; none after a dry run.
    number: Option<u32>,
    id: String,
    done: Vec<Done>,
}

async fn number_of(account: &Account, deployment: Deployment, id: U256) -> Result<Option<u32>> {
    if account.key.dry_run {
        return Ok(None);
    }
    let reader = GovernanceReader::at_head(account.contracts.endpoints()?, deployment).await?;
    let found = reader.proposals().await?.into_iter().find(|proposal| proposal.id == id);
    Ok(found.map(|proposal| proposal.number))
}

/// Votes on a proposal, if the account can.
///
/// # Errors
/// When it cannot, with the reason, or the governor refuses.
pub(super) async fn vote(
    account: &Account,
    which: Which,
    choice: Choice,
    why: Option<String>,
    output: Output,
) -> Result<()> {
    let too_long = why.as_ref().is_some_and(|why| why.len() > TEXT_BYTES_MAX);
    ensure!(!too_long, "a text has at most {TEXT_BYTES_MAX} bytes");
    let scene = Scene::open(account).await?;
    let Found { proposal, words } = scene.find(which).await?;
    let (votes, now) = (votable(&scene, &proposal, account).await?, scene.time().await?);
    let verb = match choice {
        Choice::For => "vote for",
        Choice::Against => "vote against",
        Choice::Abstain => "abstain on",
    };
    let words = format!(
        "{verb} proposal {} with {} tokens’ votes, until {}; it would {words}",
        proposal.number,
        Tokens::to_string(&Amount(votes)),
        moment(proposal.vote_ends, now)
    );
    // As the governor numbers them.
    let support = match choice {
        Choice::Against => 0,
        Choice::For => 1,
        Choice::Abstain => 2,
    };
    let call = TidingsGovernor::castVoteWithReasonCall {
        proposalId: proposal.id,
        support,
        reason: why.unwrap_or_default(),
    };
    let deed = Deed::new(words, scene.deployment.governor, &call);
    act(account, &scene.deployment, vec![deed], output).await
}

/// What the account can vote with.
async fn votable(scene: &Scene, proposal: &Proposal, account: &Account) -> Result<U256> {
    let number = proposal.number;
    let state = scene.reader.standing(proposal).await?.state;
    let (begins, ends) = (proposal.vote_begins, proposal.vote_ends);
    let now = scene.time().await?;
    match state {
        ProposalState::Active => {}
        ProposalState::Pending => {
            bail!("the vote on proposal {number} begins after {}", moment(begins, now))
        }
        ProposalState::Canceled => bail!("proposal {number} was taken back"),
        _ => bail!("the vote on proposal {number} ended at {}", moment(ends, now)),
    }
    let me = account.key.address()?;
    let (votes, has_voted) = scene.reader.ballot(proposal, me).await?;
    ensure!(!has_voted, "{me} has voted on proposal {number} already, and a vote stands");
    ensure!(
        !votes.is_zero(),
        "{me} had no votes when the vote on proposal {number} began; `tidings gov delegate` gives \
         it those of its tokens for later proposals"
    );
    Ok(votes)
}

/// Lets a proposal that was won begin to wait.
///
/// # Errors
/// When it was not won, or the governor refuses.
pub(super) async fn queue(chosen: &Chosen, output: Output) -> Result<()> {
    let scene = Scene::open(&chosen.account).await?;
    let Found { proposal, words } = scene.find(chosen.proposal).await?;
    let state = scene.reader.standing(&proposal).await?.state;
    ensure!(
        state == ProposalState::Succeeded,
        "proposal {} is {state}; only one that was won can be queued",
        proposal.number
    );
    let waits = span(scene.reader.governance().await?.timelock);
    let words = format!("let proposal {} wait {waits}, and then: {words}", proposal.number);
    let (calls, hash) = (&proposal.calls, proposal.description_hash());
    let call = TidingsGovernor::queueCall {
        targets: targets(calls),
        values: values(calls),
        calldatas: data(calls),
        descriptionHash: hash,
    };
    let deed = Deed::new(words, scene.deployment.governor, &call);
    act(&chosen.account, &scene.deployment, vec![deed], output).await
}

/// Carries out a proposal that has waited.
///
/// # Errors
/// When it has not, or what it does is refused.
pub(super) async fn execute(chosen: &Chosen, output: Output) -> Result<()> {
    let scene = Scene::open(&chosen.account).await?;
    let Found { proposal, words } = scene.find(chosen.proposal).await?;
    let standing = scene.reader.standing(&proposal).await?;
    let number = proposal.number;
    match (standing.state, standing.executable_from) {
        (ProposalState::Queued, Some(from)) => {
            let now = scene.time().await?;
            ensure!(
                from <= now,
                "proposal {number} waits, and can be carried out from {}",
                moment(from, now)
            );
        }
        (ProposalState::Succeeded, _) => {
            bail!("proposal {number} was won and does not wait yet; `tidings gov queue {number}`")
        }
        (state, _) => bail!("proposal {number} is {state}; only one that waited is carried out"),
    }
    let (calls, hash) = (&proposal.calls, proposal.description_hash());
    let call = TidingsGovernor::executeCall {
        targets: targets(calls),
        values: values(calls),
        calldatas: data(calls),
        descriptionHash: hash,
    };
    let words = format!("carry out proposal {number}: {words}");
    let deed = Deed::new(words, scene.deployment.governor, &call);
    act(&chosen.account, &scene.deployment, vec![deed], output).await
}

/// Takes back a proposal.
///
/// # Errors
/// When it is another's, or its vote has begun.
pub(super) async fn cancel(chosen: &Chosen, output: Output) -> Result<()> {
    let scene = Scene::open(&chosen.account).await?;
    let Found { proposal, words } = scene.find(chosen.proposal).await?;
    let state = scene.reader.standing(&proposal).await?.state;
    let (number, me) = (proposal.number, chosen.account.key.address()?);
    ensure!(
        state == ProposalState::Pending && proposal.proposer == me,
        "proposal {number} is {state}, and its proposer {} alone can take it back, while it is \
         pending",
        proposal.proposer
    );
    let (calls, hash) = (&proposal.calls, proposal.description_hash());
    let call = TidingsGovernor::cancelCall {
        targets: targets(calls),
        values: values(calls),
        calldatas: data(calls),
        descriptionHash: hash,
    };
    let deed = Deed::new(
        format!("take back proposal {number}, to {words}"),
        scene.deployment.governor,
        &call,
    );
    act(&chosen.account, &scene.deployment, vec![deed], output).await
}

/// Lets somebody vote with the account's tokens.
///
/// # Errors
/// When the chain or the token refuses.
pub(super) async fn delegate(account: &Account, to: EthereumAddress, output: Output) -> Result<()> {
    let Scene { deployment, reader } = Scene::open(account).await?;
    let me = account.key.address()?;
    let tokens: Tokens = Amount(reader.votes(me).await?.tokens);
    let whose = if to == me { "itself".into() } else { to.to_string() };
    let words = format!(
        "let {whose} vote with all tokens of {me}, now {tokens}, in votes that begin from now on; \
         the tokens stay where they are"
    );
    let call = TidingsToken::delegateCall { delegatee: address(to) };
    let deed = Deed::new(words, deployment.token, &call);
    act(account, &deployment, vec![deed], output).await
}

/// Stops a contract for a while.
///
/// # Errors
/// When the account does not keep the guardian, or may not stop the contract again yet.
pub(super) async fn pause(account: &Account, contract: Stoppable, output: Output) -> Result<()> {
    let deployment = account.deployment().await?;
    let (name, target) = match contract {
        Stoppable::Registry => ("the registry of nodes", deployment.registry),
        Stoppable::Vault => ("the vault", deployment.vault),
        Stoppable::Settlement => ("the settlement", deployment.settlement),
    };
    let words = format!(
        "stop {name} for a week; who leaves and what was asked back is let go all the same"
    );
    let call = Guardian::pauseCall { target: address(target) };
    act(account, &deployment, vec![Deed::new(words, deployment.guardian, &call)], output).await
}

fn targets(calls: &[ProposedCall]) -> Vec<alloy_primitives::Address> {
    calls.iter().map(|call| address(call.to)).collect()
}

fn values(calls: &[ProposedCall]) -> Vec<U256> {
    calls.iter().map(|call| call.value).collect()
}

fn data(calls: &[ProposedCall]) -> Vec<alloy_primitives::Bytes> {
    calls.iter().map(|call| call.data.clone()).collect()
}
