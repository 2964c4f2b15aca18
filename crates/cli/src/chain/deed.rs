//! What somebody is about to sign, in words, and doing it.

use alloy_sol_types::SolCall;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tidings_chain::{Call, Deployment, SubmitError, Submitter};
use tidings_types::EthereumAddress;

use super::account::Account;
use crate::output::Output;

/// A call to a contract, and what it means.
pub(super) struct Deed {
    words: String,
    to: EthereumAddress,
    data: Vec<u8>,
}

/// What became of a deed.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    what: String,
    to: String,
    gas: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would_fail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<u64>,
}

impl Deed {
    /// A call to the contract at `to` that does what `words` say.
    pub(super) fn new<C: SolCall>(words: impl Into<String>, to: EthereumAddress, call: &C) -> Self {
        Self::of(words, (to, call.abi_encode()))
    }

    /// A call that is encoded already.
    pub(super) fn of(words: impl Into<String>, (to, data): (EthereumAddress, Vec<u8>)) -> Self {
        Self { words: words.into(), to, data }
    }
}

/// Says what is signed and does it, one deed after the other; says only, for a dry run.
pub(super) async fn act(
    account: &Account,
    deployment: &Deployment,
    deeds: Vec<Deed>,
    output: Output,
) -> Result<()> {
    let done = perform(account, deployment, deeds).await?;
    output.answer(&done, |done| in_words(done))
}

/// Does deeds, one after the other, or finds out what they would come to.
pub(super) async fn perform(
    account: &Account,
    deployment: &Deployment,
    deeds: Vec<Deed>,
) -> Result<Vec<Done>> {
    let mut submitter = account.submitter(deployment.chain_id)?;
    // What was sent before, perhaps by a command that was interrupted, would be done twice.
    let waiting = submitter.waiting().await?;
    ensure!(
        waiting == 0,
        "{waiting} transactions of {} wait in the chain's pool; try again when they are through",
        submitter.address()
    );
    let mut done = Vec::new();
    for (index, deed) in deeds.into_iter().enumerate() {
        let call = Call::new(index.to_string(), deed.to, deed.data);
        done.push(match account.key.dry_run {
            true => {
                let is_possible = done.iter().all(|it: &Done| it.would_fail.is_none());
                foretell(&submitter, deed.words, &call, index > 0 && is_possible).await?
            }
            false => carry_out(&mut submitter, deed.words, &call).await?,
        });
    }
    Ok(done)
}

/// What became of deeds, a line each.
pub(super) fn in_words(done: &[Done]) -> String {
    done.iter().map(words).collect::<Vec<_>>().join("\n")
}

/// What a deed would come to; of one that presupposes another nobody knows before that is done.
async fn foretell(
    submitter: &Submitter,
    words: String,
    call: &Call,
    presupposes: bool,
) -> Result<Done> {
    let (gas, would_fail) = match submitter.estimate(call).await {
        Ok(gas) => (Some(gas), None),
        Err(SubmitError::Refused(_)) if presupposes => (None, None),
        Err(SubmitError::Refused(reason)) => (None, Some(reason)),
        Err(error) => return Err(error.into()),
    };
    Ok(Done { what: words, to: to(call), gas, would_fail, transaction: None, block: None })
}

async fn carry_out(submitter: &mut Submitter, words: String, call: &Call) -> Result<Done> {
    // Said before it is signed, and apart from the answer.
    eprintln!("tidings: about to sign for {}: {words}", to(call));
    let confirmed = submitter.submit(call).await.with_context(|| format!("not done: {words}"))?;
    Ok(Done {
        what: words,
        to: to(call),
        gas: None,
        would_fail: None,
        transaction: Some(confirmed.hash.to_string()),
        block: Some(confirmed.block),
    })
}

fn to(call: &Call) -> String {
    call.to.map(|to| to.to_string()).unwrap_or_default()
}

fn words(done: &Done) -> String {
    let Done { what, to, gas, would_fail, transaction, block } = done;
    match (transaction, would_fail) {
        (Some(transaction), _) => {
            format!("{what}: transaction {transaction} in block {}", block.unwrap_or_default())
        }
        (None, Some(reason)) => {
            format!("would sign for {to}: {what}; as things are it fails: {reason}")
        }
        (None, None) => match gas {
            Some(gas) => format!("would sign for {to}: {what}; up to {gas} gas"),
            None => format!("then would sign for {to}: {what}; its gas shows once that is done"),
        },
    }
}
