//! Two members who commit at once, again and again: both get their way, and nobody forks.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tidings_client::{
    Client, Config, ConversationId, ConversationInfo, GroupPolicy, Recipient, Unlock,
};
use tidings_demo::{Network, Options};
use tidings_types::NodeId;

/// How often two members commit at once.
const RACES: u64 = 200;

/// How often the one who only watches is compared with the others.
const WATCH_INTERVAL: u64 = 20;

/// Somebody who reads from this node first.
async fn enter(network: &Network, home: &Path, node: usize) -> Result<Client> {
    let key = std::fs::read_to_string(&network.gateway().api_key_file)?;
    let mut config = Config::new(network.gateway().http.clone(), key.trim());
    config.node = Some(NodeId(network.nodes()[node].id));
    let home = home.join(node.to_string());
    std::fs::create_dir_all(&home)?;
    let client = Client::create(&home, &Unlock::key_file(home.join("key")), &config).await?;
    client.create_inbox().await?;
    Ok(client)
}

fn recipient(client: &Client) -> Result<Recipient> {
    Ok(Recipient::Inbox(client.inbox_id()?.context("somebody has an inbox")?))
}

/// The group of members once all are in this epoch.
async fn common(
    members: &[&Client],
    id: ConversationId,
    epoch: u64,
) -> Result<Vec<ConversationInfo>> {
    let reading = async {
        loop {
            let mut groups = Vec::with_capacity(members.len());
            for member in members {
                member.sync().await?;
                groups.push(member.conversation(id).await?);
            }
            if groups.iter().all(|group| group.epoch == epoch) {
                return Ok(groups);
            }
            let newest = groups.iter().map(|group| group.epoch).max();
            ensure!(newest <= Some(epoch), "a wish was committed twice: epoch {newest:?}");
        }
    };
    let reading = tokio::time::timeout(std::time::Duration::from_secs(60), reading).await;
    reading.with_context(|| format!("the members do not meet in epoch {epoch}"))?
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_races_and_no_fork() -> Result<()> {
    let network = Network::start(Options { gateway: true, ..Options::default() }).await?;
    let homes = tempfile::tempdir()?;
    let alice = enter(&network, homes.path(), 0).await?;
    let bob = enter(&network, homes.path(), 1).await?;
    let carol = enter(&network, homes.path(), 2).await?;
    let others = [recipient(&bob)?, recipient(&carol)?];
    let id = alice.group_create("races", "", GroupPolicy::OPEN, &others).await?;
    bob.sync().await?;
    carol.sync().await?;
    let mut epoch = alice.conversation(id).await?.epoch;
    for race in 1..=RACES {
        let rename = |client: &Client, who: &str| {
            let (client, name) = (client.clone(), Some(format!("{who} {race}")));
            async move { client.group_describe(id, name, None).await }
        };
        let (one, other) = tokio::join!(rename(&alice, "alice"), rename(&bob, "bob"));
        one.with_context(|| format!("alice in race {race}"))?;
        other.with_context(|| format!("bob in race {race}"))?;
        // Each commit is an epoch, and both were applied, one after the other.
        let everybody = race % WATCH_INTERVAL == 0;
        let members = if everybody { &[&alice, &bob, &carol][..] } else { &[&alice, &bob] };
        let groups = common(members, id, epoch + 2).await?;
        let (first, others) = groups.split_first().context("somebody is a member")?;
        for other in others {
            ensure!(first.authenticator == other.authenticator, "a fork in race {race}");
            ensure!(first.conversation.name == other.conversation.name, "two names in {race}");
        }
        epoch += 2;
    }
    network.stop().await
}
