//! What happens in the demo, told as it happens, and checked at the end.

use std::path::Path;

use anyhow::{Result, ensure};
use tidings_client::{ConversationId, GroupPolicy, Message, MessageId};

use crate::cast::Person;
use crate::stage::Stage;

/// What is wrong with one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The last one is killed while people talk, and comes back.
    Dies,
    /// This one is dead all the time.
    Dead(usize),
    /// The last one lies all the time, in the way that has this name.
    Lies(String),
}

/// The lie that leaves nothing signed behind.
const WITHHOLD: &str = "withhold";

/// Plays the whole demo.
///
/// # Errors
/// The first thing that is not as it should be.
pub async fn play(mut stage: Stage, messages: usize, trouble: &Trouble) -> Result<()> {
    let homes = tempfile::tempdir()?;
    let faulty = begin(&mut stage, trouble).await?;
    let (mut people, group) = gather(&stage, homes.path()).await?;
    tell("They talk.");
    talk(&mut people, group, messages).await?;

    if *trouble == Trouble::Dies {
        lose_a_node(&mut stage, &mut people, group, messages).await?;
    }

    let removed = remove_the_last(&mut people, group).await?;
    tell("The two who stay talk about it.");
    talk(&mut people, group, messages).await?;

    compare(&people, &removed, group)?;
    if let (Trouble::Lies(lie), Some(liar)) = (trouble, faulty) {
        expose(&stage, lie, liar, homes.path()).await?;
    }
    for node in (0..stage.nodes().len()).filter(|node| Some(*node) != faulty) {
        stage.audit(node)?;
    }
    tell(
        "Every log of every honest node was audited: checkpoints, entries and blocks are in order.",
    );
    Ok(())
}

/// Makes the node faulty that is so from the beginning, and names it.
async fn begin(stage: &mut Stage, trouble: &Trouble) -> Result<Option<usize>> {
    match trouble {
        Trouble::Dies => Ok(None),
        Trouble::Dead(node) => {
            ensure!(*node < stage.nodes().len(), "there is no node {node}");
            stage.kill(*node)?;
            tell(&format!("{} is dead and stays so.", stage.nodes()[*node].name));
            Ok(Some(*node))
        }
        Trouble::Lies(lie) => {
            let node = stage.victim()?;
            stage.kill(node)?;
            stage.lie(node, lie).await?;
            tell(&format!("{} lies from now on: {lie}.", stage.nodes()[node].name));
            Ok(Some(node))
        }
    }
}

/// Shows what a lie led to: evidence that anybody can judge, or, where nothing was signed, that
/// nobody lacks anything.
async fn expose(stage: &Stage, lie: &str, liar: usize, folder: &Path) -> Result<()> {
    let name = &stage.nodes()[liar].name;
    if lie == WITHHOLD {
        for node in (1..stage.nodes().len()).filter(|node| *node != liar) {
            stage.catches_up(node, 0).await?;
        }
        tell(&format!("What {name} kept from the others they have from each other."));
        return Ok(());
    }
    stage.tempt(liar).await?;
    tell(&format!("Somebody else publishes through {name}."));
    let file = stage.evidence_against(liar, &folder.join("evidence")).await?;
    let size = std::fs::metadata(file)?.len();
    tell(&format!("{name} is convicted in the ordered lane: {size} bytes of evidence verify."));
    Ok(())
}

/// A node is killed while people talk, and comes back.
async fn lose_a_node(
    stage: &mut Stage,
    people: &mut [Person],
    group: ConversationId,
    messages: usize,
) -> Result<()> {
    let victim = stage.victim()?;
    let name = stage.nodes()[victim].name.clone();
    let pid = stage.kill(victim)?;
    tell(&format!("{name} (process {pid}) is killed with SIGKILL. They go on talking."));
    talk(people, group, messages).await?;

    stage.revive(victim).await?;
    let other = usize::from(victim == 0);
    let held = stage.catches_up(victim, other).await?;
    tell(&format!("{name} is back and has caught up: it holds {held} entries. They go on."));
    talk(people, group, messages).await
}

/// Three people enter through different nodes and form a group.
pub async fn gather(
    stage: &Stage,
    homes: &std::path::Path,
) -> Result<(Vec<Person>, ConversationId)> {
    let mut people = Vec::new();
    for (index, name) in ["Alice", "Bob", "Carol"].into_iter().enumerate() {
        let node = &stage.nodes()[(index + 1) % stage.nodes().len()];
        let person = Person::enter(name, homes, stage, node).await?;
        let address = person.client.wallet_address()?.unwrap_or_default();
        tell(&format!("{name} makes an inbox with wallet {address} and reads from {}.", node.name));
        people.push(person);
    }
    let invited = [people[1].address()?, people[2].address()?];
    let policy = GroupPolicy::OPEN;
    let group = people[0].client.group_create("Friends", "", policy, &invited).await?;
    tell("Alice makes the group “Friends” and invites Bob and Carol.");
    for person in &people[1..] {
        person.joins(group).await?;
        tell(&format!("{} has joined.", person.name));
    }
    Ok((people, group))
}

/// Everybody says something in turn, and everybody hears it.
pub async fn talk(people: &mut [Person], group: ConversationId, rounds: usize) -> Result<()> {
    let count = people.len() * rounds;
    for round in 0..rounds {
        for person in people.iter_mut() {
            let number = person.acknowledged.len() + 1;
            let text = format!("{} says something for the {number}. time", person.name);
            person.say(group, &text).await?;
            if round == 0 {
                println!("    {}: {text}", person.name);
            }
        }
    }
    let said: Vec<MessageId> =
        people.iter().flat_map(|person| person.acknowledged.iter().copied()).collect();
    for person in people.iter() {
        person.has_heard(group, &said).await?;
    }
    tell(&format!("{count} messages were acknowledged by two replicas each, and all heard all."));
    Ok(())
}

/// Alice removes Carol, who can then neither write nor read.
async fn remove_the_last(people: &mut Vec<Person>, group: ConversationId) -> Result<Removed> {
    let Some(carol) = people.pop() else { anyhow::bail!("nobody is left") };
    let heard = carol.transcript(group)?.len();
    people[0].client.group_remove(group, &[carol.address()?]).await?;
    tell(&format!("Alice removes {}.", carol.name));
    carol.is_out(group).await?;
    let refused = carol.client.send_text(group, "may I?").await.is_err();
    ensure!(refused, "{} can still write after the removal", carol.name);
    tell(&format!("{} has learned of it and can no longer write.", carol.name));
    Ok(Removed { person: carol, heard })
}

/// Somebody who was put out, and how much they had heard by then.
struct Removed {
    person: Person,
    heard: usize,
}

/// Compares what everybody ended with against what was acknowledged.
fn compare(people: &[Person], removed: &Removed, group: ConversationId) -> Result<()> {
    let everybody: Vec<&Person> = people.iter().chain([&removed.person]).collect();
    for reader in people {
        let transcript = reader.transcript(group)?;
        for writer in &everybody {
            check(reader, writer, &transcript)?;
        }
        let acknowledged: usize = everybody.iter().map(|it| it.acknowledged.len()).sum();
        ensure!(
            transcript.len() == acknowledged,
            "{} holds {} messages, {acknowledged} were acknowledged",
            reader.name,
            transcript.len()
        );
        tell(&format!(
            "{}'s transcript holds all {acknowledged} acknowledged messages, each once, each \
             writer's in order.",
            reader.name
        ));
    }
    let late = removed.person.transcript(group)?.len();
    ensure!(late == removed.heard, "{} heard more after the removal", removed.person.name);
    tell(&format!("{} has heard nothing since the removal.", removed.person.name));
    Ok(())
}

/// A writer's messages stand in a reader's transcript once each and in the writer's order.
fn check(reader: &Person, writer: &Person, transcript: &[Message]) -> Result<()> {
    let found: Vec<MessageId> = transcript
        .iter()
        .filter_map(|message| message.id)
        .filter(|id| writer.acknowledged.contains(id))
        .collect();
    ensure!(
        found == writer.acknowledged,
        "{}'s messages are missing, repeated or out of order at {}:\nacknowledged {:?}\nfound {:?}",
        writer.name,
        reader.name,
        writer.acknowledged,
        found
    );
    Ok(())
}

pub fn tell(what: &str) {
    println!("• {what}");
}
