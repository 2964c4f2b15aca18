//! The play of the economy: money moves because messages moved, a cheat loses its bond with no
//! human in between, and a newcomer takes over its share of the data.

mod accounts;
mod newcomer;
mod purse;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidings_types::NodeId;

use crate::stage::Stage;
use crate::story::{gather, talk, tell};
use accounts::Accounts;
use purse::Statement;

/// How long the chain and the nodes have for one step: some periods of ten seconds.
const PATIENCE: Duration = Duration::from_secs(240);

/// How often the chain is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Plays it on a network that is on a chain.
///
/// # Errors
/// The first thing that is not as it should be.
pub async fn play(mut stage: Stage, messages: usize) -> Result<()> {
    let homes = tempfile::tempdir()?;
    let accounts = Accounts::open(&stage)?;
    let begun = accounts.statement().await?;
    tell(&format!("The payer begins with {}.", begun.dollars(begun.balance)));
    let (mut people, group) = gather(&stage, homes.path()).await?;
    tell("They talk.");
    talk(&mut people, group, messages).await?;

    tell("Every committee member comes to the same usage reports; the chain takes them.");
    let settled = settle(&accounts, &begun, "").await?;
    show(&settled);

    let liar = stage.victim()?;
    slash(&mut stage, &accounts, liar).await?;
    tell("They go on talking.");
    talk(&mut people, group, messages).await?;

    let newcomer = newcomer::join(&stage, &accounts, homes.path()).await?;
    tell("They go on talking.");
    talk(&mut people, group, messages).await?;
    let held = newcomer.holds_all(&stage, liar).await?;
    tell(&format!("The newcomer holds all {held} entries, and votes."));
    let earned = newcomer.earns(&stage).await?;
    tell(&format!("It has earned {earned} picodollars for its part."));

    let ended = settle(&accounts, &settled, newcomer::NAME).await?;
    show(&ended);
    tell("Every unit of the token is accounted for.");
    Ok(())
}

/// Waits until all that was used is charged and paid out, to `newest` too, and checks the sums.
async fn settle(accounts: &Accounts, before: &Statement, newest: &str) -> Result<Statement> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = accounts.statement().await?;
        now.check_conservation()?;
        if now.collected > before.collected && now.is_settled() && now.pays(newest) {
            return Ok(now);
        }
        ensure!(Instant::now() < deadline, "nothing is settled in time: {now:?}");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// The last node signs two histories, and loses its bond and its seat.
async fn slash(stage: &mut Stage, accounts: &Accounts, liar: usize) -> Result<()> {
    let name = stage.nodes()[liar].name.clone();
    let id = NodeId(stage.nodes()[liar].id);
    stage.kill(liar)?;
    stage.lie(liar, "equivocate").await?;
    tell(&format!("{name} signs two histories of its log from now on."));
    let deadline = Instant::now() + PATIENCE;
    let conviction = loop {
        // It lies about what it takes in, so something is given to it.
        stage.tempt(liar).await?;
        if let Some(conviction) = accounts.conviction(id).await? {
            break conviction;
        }
        ensure!(Instant::now() < deadline, "{name} was not convicted in time");
        tokio::time::sleep(LOOK_INTERVAL).await;
    };
    tell(&format!(
        "The court has convicted {name} in transaction {}: {} tokens of its bond are gone, {} of \
         them to {}, who brought the evidence first.",
        conviction.transaction, conviction.taken, conviction.bounty, conviction.reporter
    ));
    let deadline = Instant::now() + PATIENCE;
    while stage.committee(0).await?.contains(&id.0) {
        ensure!(Instant::now() < deadline, "{name} keeps its seat");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    tell(&format!("The committee is without {name}: {:?}.", stage.committee(0).await?));
    Ok(())
}

fn show(statement: &Statement) {
    println!("{statement}");
}
