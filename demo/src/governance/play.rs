//! The acts: deployment, the council, votes of those who hold tokens, and nobody.

use std::path::Path;

use anyhow::{Result, ensure};

use super::attempts::all_refused;
use super::chamber::{Chamber, Person};

/// Short times, so that it is clear what waits for what: a vote begins after a minute and lasts
/// five; what is won waits longer than leaving takes.
const VOTE_BEGINS_SECONDS: u64 = 60;
const VOTE_SECONDS: u64 = 300;
const TIMELOCK_SECONDS: u64 = 700;
const LEAVING_SECONDS: u64 = 600;
const PROBATION_SECONDS: u64 = 120;
const EPOCH_SECONDS: u64 = 60;
/// How long the guardian's keeper can stop a contract.
const PAUSE_SECONDS: u64 = 7 * 86_400;

/// What a node's bond must be, in tokens.
const BOND: &str = "1000";

/// Everybody who has a part.
struct People {
    /// Deploys the contracts.
    dana: Person,
    /// Is the council.
    cora: Person,
    /// Keeps the guardian.
    kim: Person,
    /// Has 40 percent of all tokens.
    ada: Person,
    /// Has 35 percent.
    ben: Person,
    /// Has the rest.
    cem: Person,
    /// Pays for messages.
    pia: Person,
    /// Operate a node each.
    olga: Person,
    otto: Person,
    oona: Person,
}

/// Walks a network on the anvil at `url` through all phases.
///
/// # Errors
/// The first thing that is not as it should be.
pub async fn play(url: &str, folder: &Path) -> Result<()> {
    let mut chamber = Chamber::open(url, folder)?;
    let people = gather(&chamber).await?;
    found(&mut chamber, &people).await?;
    first_phase(&mut chamber, &people).await?;
    second_phase(&mut chamber, &people).await?;
    third_phase(&mut chamber, &people).await?;
    tell("Nobody runs it");
    chamber.look(&["gov", "status", "--all"])?;
    chamber.look(&["operator", "status"])?;
    println!("\n{} checks hold: the network has no owner any more.", chamber.checks());
    Ok(())
}

async fn gather(chamber: &Chamber) -> Result<People> {
    Ok(People {
        dana: chamber.person("dana").await?,
        cora: chamber.person("cora").await?,
        kim: chamber.person("kim").await?,
        ada: chamber.person("ada").await?,
        ben: chamber.person("ben").await?,
        cem: chamber.person("cem").await?,
        pia: chamber.person("pia").await?,
        olga: chamber.person("olga").await?,
        otto: chamber.person("otto").await?,
        oona: chamber.person("oona").await?,
    })
}

/// The contracts are deployed, tokens are handed out, and somebody pays.
async fn found(chamber: &mut Chamber, people: &People) -> Result<()> {
    tell("Dana deploys the contracts; Cora is the council, Kim the guardian's keeper");
    let plan = format!(
        "holder = \"{}\"\ncouncil = \"{}\"\nkeeper = \"{}\"\nkeeper_until = 4000000000\n\
         timelock_seconds = {TIMELOCK_SECONDS}\nvoting_delay_seconds = {VOTE_BEGINS_SECONDS}\n\
         voting_period_seconds = {VOTE_SECONDS}\n[parameters]\nBondMin = {BOND}\n\
         UnbondingSeconds = {LEAVING_SECONDS}\nWithdrawalSeconds = {LEAVING_SECONDS}\n\
         ProbationSeconds = {PROBATION_SECONDS}\nEpochSeconds = {EPOCH_SECONDS}\n",
        people.ada.address, people.cora.address, people.kim.address
    );
    chamber.deploy(&people.dana, &plan)?;
    chamber.look(&["chain", "check"])?;
    chamber.look(&["gov", "phase"])?;
    let phase = chamber.phase()?;
    chamber.check(phase == 1, "the network begins in phase 1 of 3")?;

    tell("All tokens were Ada's; Ben and Cem get their parts, each votes for themselves");
    chamber.give(&people.ada, people.ben.address, 350_000_000).await?;
    chamber.give(&people.ada, people.cem.address, 249_000_000).await?;
    for operator in [&people.olga, &people.otto, &people.oona] {
        chamber.give(&people.ada, operator.address, 5_000).await?;
    }
    let treasury = chamber.deployment()?.timelock;
    chamber.give(&people.ada, treasury, 100_000).await?;
    for holder in [&people.ada, &people.ben, &people.cem] {
        chamber.act(holder, &["gov", "delegate"])?;
    }
    chamber.pass(1, "votes count from the second after they were delegated").await?;

    tell("Pia puts money in, to pay for messages");
    let pia = people.pia.address.to_string();
    chamber.act(&people.pia, &["chain", "mint", &pia, "25"])?;
    chamber.act(&people.pia, &["payer", "deposit", "25"])
}

/// The council admits.
async fn first_phase(chamber: &mut Chamber, people: &People) -> Result<()> {
    tell("Phase 1: Olga comes with a node, and the council lets it in");
    join(chamber, &people.olga, "0")?;
    let admit = ["operator", "admit", "0"];
    let means = "an operator cannot let their own node in";
    chamber.refused(&people.olga, &admit, "NotAllowed", means)?;
    chamber.act(&people.cora, &admit)?;
    serve_probation(chamber, &people.olga, "0").await?;

    tell("The holders of tokens vote to take admission over; Cem would rather not");
    let why = "the founders have admitted long enough";
    let propose = ["gov", "propose", "--advance-phase", "--why", why];
    chamber.refused(
        &people.cora,
        &propose,
        "GovernorInsufficientProposerVotes",
        "the council has no say in votes",
    )?;
    chamber.act(&people.ada, &propose)?;
    let number = chamber.newest_proposal()?;
    vote(chamber, &number, &[(&people.ada, "for"), (&people.ben, "for"), (&people.cem, "against")])
        .await?;
    chamber.act(&people.pia, &["gov", "queue", &number])?;
    chamber.refused(
        &people.ada,
        &["gov", "execute", &number],
        "can be carried out from",
        "nobody carries it out before it has waited",
    )?;

    tell("It waits longer than leaving takes: whoever disagrees is gone with their money before");
    chamber.act(&people.pia, &["payer", "request-withdrawal", "5"])?;
    chamber.pass(LEAVING_SECONDS, "what payers asked back is theirs").await?;
    chamber.act(&people.pia, &["payer", "withdraw"])?;
    let state = chamber.state(&number)?;
    chamber.check(state == "queued", "Pia has her money, and the vote is not yet carried out")?;
    chamber.pass(TIMELOCK_SECONDS - LEAVING_SECONDS, "the vote has waited").await?;
    chamber.act(&people.pia, &["gov", "execute", &number])?;
    let phase = chamber.phase()?;
    chamber.check(phase == 2, "the network is in phase 2 of 3")
}

/// Votes admit, and set parameters.
async fn second_phase(chamber: &mut Chamber, people: &People) -> Result<()> {
    tell("Phase 2: Otto comes with a node; the council lets nobody in any more");
    join(chamber, &people.otto, "1")?;
    let means = "the council's key admits nothing in phase 2";
    chamber.refused(&people.cora, &["operator", "admit", "1"], "NotAllowed", means)?;

    tell("No key alone moves funds, changes a parameter, or lets a node in");
    let People { dana, cora, kim, ada, .. } = people;
    all_refused(chamber, &[dana, cora, kim, ada], Some(1)).await?;

    tell("Ada, who has most tokens, wants the treasury for herself");
    let payment = format!("{}=100000", ada.address);
    let propose = ["gov", "propose", "--pay", &payment, "--why", "I have earned it"];
    chamber.act(ada, &propose)?;
    let number = chamber.newest_proposal()?;
    vote(
        chamber,
        &number,
        &[(&people.ada, "for"), (&people.ben, "against"), (&people.cem, "against")],
    )
    .await?;
    let state = chamber.state(&number)?;
    chamber.check(state == "defeated", "forty percent do not decide against sixty")?;
    let means = "what was lost is never queued";
    chamber.refused(ada, &["gov", "queue", &number], "only one that was won", means)?;

    tell("One vote lets Otto's node in and makes periods ten minutes long");
    let why = "Otto is known, and an hour is long";
    let propose = ["gov", "propose", "--admit", "1", "--set", "PeriodMs=600000", "--why", why];
    let number = decide(chamber, people, &propose).await?;
    let (status, period) = (chamber.node_status("1")?, chamber.parameter("PeriodMs")?);
    chamber.check(status == "probation", "Otto's node is in probation")?;
    chamber.check(period == 600_000, "a period is 600000 milliseconds")?;
    chamber.refused(
        &people.ada,
        &["gov", "execute", &number],
        "is executed",
        "a vote is carried out once",
    )?;
    serve_probation(chamber, &people.otto, "1").await
}

/// Whoever has a bond joins.
async fn third_phase(chamber: &mut Chamber, people: &People) -> Result<()> {
    tell("The last vote on who may join: whoever has a bond");
    let why = "nobody needs to be asked";
    decide(chamber, people, &["gov", "propose", "--advance-phase", "--why", why]).await?;
    let phase = chamber.phase()?;
    chamber.check(phase == 3, "the network is in phase 3 of 3")?;

    tell("Phase 3: Oona comes with a node and asks nobody");
    register(chamber, &people.oona)?;
    let admit = ["operator", "admit", "2"];
    let means = "without a bond nobody joins";
    chamber.refused(&people.oona, &admit, "BondTooSmall", means)?;
    chamber.act(&people.oona, &["operator", "bond", "2", BOND])?;
    chamber.act(&people.oona, &admit)?;
    let means = "probation has to be served";
    chamber.refused(&people.oona, &["operator", "graduate", "2"], "TooEarly", means)?;
    serve_probation(chamber, &people.oona, "2").await?;

    tell("There is no way back, even by a vote that is won");
    let People { dana, cora, kim, ada, .. } = people;
    let why = "let us see what comes after the last phase";
    chamber.act(ada, &["gov", "propose", "--advance-phase", "--why", why])?;
    let number = chamber.newest_proposal()?;
    vote(chamber, &number, &[(&people.ada, "for"), (&people.ben, "for"), (&people.cem, "for")])
        .await?;
    chamber.act(ada, &["gov", "queue", &number])?;
    chamber.pass(TIMELOCK_SECONDS, "the vote has waited").await?;
    let means = "the registry knows no step but forward, and none after the last";
    chamber.refused(ada, &["gov", "execute", &number], "WrongPhase", means)?;
    let phase = chamber.phase()?;
    chamber.check(phase == 3, "the network stays in phase 3")?;
    all_refused(chamber, &[dana, cora, kim, ada], None).await?;

    tell("What is left to Kim: to stop the registry for a week, which holds nobody");
    chamber.act(kim, &["gov", "pause", "registry"])?;
    let means = "while it is stopped nobody joins";
    chamber.refused(ada, &["operator", "bond", "2", "1"], "Stopped", means)?;
    chamber.act(&people.olga, &["operator", "exit", "0"])?;
    chamber.act(ada, &["operator", "advance-epoch"])?;
    let status = chamber.node_status("0")?;
    chamber.check(status == "exiting", "Olga leaves all the same")?;
    let means = "nor can it be stopped again at once";
    chamber.refused(kim, &["gov", "pause", "registry"], "PausedLately", means)?;
    chamber.pass(PAUSE_SECONDS, "the pause ends by itself").await?;
    chamber.act(&people.olga, &["operator", "withdraw-bond", "0"])?;
    let status = chamber.node_status("0")?;
    chamber.check(status == "gone", "Olga has her bond back")
}

/// Registers a node with a bond, and checks that it waits to be let in.
fn join(chamber: &mut Chamber, who: &Person, node: &str) -> Result<()> {
    register(chamber, who)?;
    chamber.act(who, &["operator", "bond", node, BOND])?;
    let status = chamber.node_status(node)?;
    chamber.check(status == "candidate", &format!("node {node} is a candidate, with a bond"))
}

fn register(chamber: &Chamber, who: &Person) -> Result<()> {
    let folder = chamber.node_folder(&format!("node-of-{}", who.name))?;
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let name = format!("{}'s node", who.name);
    let (signing, transport) = (file("signing.key"), file("transport.key"));
    let keys = ["--signing-key-file", &signing, "--transport-key-file", &transport];
    let at = ["--http", "https://node.example", "--quic", "node.example:9080"];
    let words = ["operator", "register", "--name", &name];
    chamber.act(who, &[words.as_slice(), &keys, &at].concat())
}

/// A node that was let in serves its probation and joins the committees.
async fn serve_probation(chamber: &mut Chamber, who: &Person, node: &str) -> Result<()> {
    let status = chamber.node_status(node)?;
    ensure!(status == "probation", "node {node} is {status}, and not in probation");
    chamber.pass(PROBATION_SECONDS, "probation").await?;
    chamber.act(who, &["operator", "graduate", node])?;
    chamber.act(who, &["operator", "advance-epoch"])?;
    let status = chamber.node_status(node)?;
    chamber.check(status == "active", &format!("node {node} is active, and in committees"))
}

/// Ada proposes, all agree, and it is carried out; the proposal's number.
async fn decide(chamber: &mut Chamber, people: &People, propose: &[&str]) -> Result<String> {
    let People { ada, ben, cem, .. } = people;
    chamber.act(ada, propose)?;
    let number = chamber.newest_proposal()?;
    vote(chamber, &number, &[(ada, "for"), (ben, "for"), (cem, "for")]).await?;
    chamber.act(cem, &["gov", "queue", &number])?;
    chamber.pass(TIMELOCK_SECONDS, "the vote has waited").await?;
    chamber.act(cem, &["gov", "execute", &number])?;
    Ok(number)
}

/// Holds the vote on a proposal that was just made.
async fn vote(chamber: &mut Chamber, number: &str, ballots: &[(&Person, &str)]) -> Result<()> {
    chamber.pass(VOTE_BEGINS_SECONDS + 1, "the vote begins").await?;
    for (who, choice) in ballots {
        chamber.act(who, &["gov", "vote", number, choice])?;
    }
    if let Some((who, _)) = ballots.first() {
        let means = "nobody votes twice";
        chamber.refused(who, &["gov", "vote", number, "for"], "has voted", means)?;
    }
    chamber.pass(VOTE_SECONDS + 1, "the vote ends").await
}

fn tell(what: &str) {
    println!("\n• {what}.");
}
