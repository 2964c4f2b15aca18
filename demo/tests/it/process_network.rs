//! Four processes replicate what one of them takes.

use anyhow::{Context, Result, ensure};
use tidings_demo::{Network, Options, Published, Publisher, Store};
use tidings_envelope::{AckLevel, Lane, Outcome, Topic};
use tidings_types::ed25519::SigningKey;
use tidings_types::{ErrorCode, NodeId, Position};

fn node(network: &Network, index: usize) -> (String, NodeId) {
    let layout = &network.nodes()[index];
    (layout.http.clone(), NodeId(layout.id))
}

async fn everybody_reads_what_one_took(options: Options) -> Result<()> {
    let network = Network::start(options).await?;
    let publisher = Publisher::new(&network)?;
    let key = SigningKey::from_secret(&[9; 32]);
    let (url, id) = node(&network, 1);
    let period = publisher.period(&url).await?;
    let envelopes = (0..50u8)
        .map(|text| publisher.envelope(&key, Lane::Broadcast, None, period, vec![text; 300]))
        .collect::<Result<Vec<_>>>()?;
    let fates = publisher.publish((&url, id), AckLevel::Replicated, &envelopes).await?;
    ensure!(fates.iter().all(|fate| matches!(fate, Published::Stored(_))), "{fates:?}");
    let topic = Topic::group(&key.public_key());
    // A repeat, here or at another node, is no second entry at the first one.
    let again = publisher.publish((&url, id), AckLevel::Replicated, &envelopes[..3]).await?;
    ensure!(again.iter().all(|fate| matches!(fate, Published::Stored(_))), "{again:?}");
    for index in 0..network.nodes().len() {
        let (url, _) = node(&network, index);
        let seen = wait_for(&publisher, &url, topic, 50).await?;
        ensure!(seen == 50, "node {index} holds {seen}");
    }
    network.stop().await
}

/// Reads until a node holds `count` entries of a topic; replicas beyond the quorum come later.
async fn wait_for(publisher: &Publisher, url: &str, topic: Topic, count: usize) -> Result<usize> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let pages = publisher.read(url, topic).await?;
        let seen = pages.iter().map(|page| page.broadcast.len()).sum();
        if seen >= count || std::time::Instant::now() > deadline {
            return Ok(seen);
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_nodes_on_sqlite() -> Result<()> {
    everybody_reads_what_one_took(Options::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn four_nodes_on_postgres() -> Result<()> {
    let url = std::env::var("TIDINGS_TEST_POSTGRES_URL")
        .context("no PostgreSQL: run the tests by `cargo xtask test`, which starts one")?;
    let _databases = Databases::create(&url, 4)?;
    everybody_reads_what_one_took(Options { store: Store::Postgres(url), ..Options::default() })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_nodes_in_four_shards() -> Result<()> {
    let options = Options { nodes: 8, shards: 4, ..Options::default() };
    let network = Network::start(options).await?;
    let publisher = Publisher::new(&network)?;
    for number in 0..8u8 {
        let key = SigningKey::from_secret(&[number + 1; 32]);
        let topic = Topic::group(&key.public_key());
        let shard = topic.shard(publisher.registry().shard_count);
        let committee = publisher.registry().committee(shard);
        let index = network.nodes().iter().position(|node| NodeId(node.id) == committee[1]);
        let (url, id) = node(&network, index.context("a committee member runs")?);
        let period = publisher.period(&url).await?;
        let envelope = publisher.envelope(&key, Lane::Broadcast, None, period, vec![1; 300])?;
        let commit =
            publisher.envelope(&key, Lane::Ordered, Some(Position(0)), period, vec![2; 300])?;
        for (envelope, ordered) in [(envelope, false), (commit, true)] {
            let fates = publisher.publish((&url, id), AckLevel::Replicated, &[envelope]).await?;
            match &fates[0] {
                Published::Stored(_) => ensure!(!ordered),
                Published::Ordered(receipt) => {
                    ensure!(receipt.decided.outcome == Outcome::Applied { position: Position(1) })
                }
                Published::Refused(code) => anyhow::bail!("refused: {code}"),
            }
        }
        let outside = network.nodes().iter().find(|node| !committee.contains(&NodeId(node.id)));
        let outside = outside.context("four of eight nodes keep a shard")?;
        let stray = publisher.envelope(&key, Lane::Broadcast, None, period, vec![3; 300])?;
        let fates = publisher
            .publish((&outside.http, NodeId(outside.id)), AckLevel::Replicated, &[stray])
            .await?;
        ensure!(matches!(fates[0], Published::Refused(ErrorCode::WrongShard)), "{fates:?}");
    }
    network.stop().await
}

/// The databases that `devnet-init` expects, dropped at the end.
struct Databases {
    url: String,
    count: usize,
}

impl Databases {
    fn create(url: &str, count: usize) -> Result<Self> {
        let databases = Self { url: url.into(), count };
        databases.run("DROP DATABASE IF EXISTS tidings_node_{} WITH (FORCE)")?;
        databases.run("CREATE DATABASE tidings_node_{}")?;
        Ok(databases)
    }

    fn run(&self, statement: &str) -> Result<()> {
        for index in 0..self.count {
            let statement = statement.replace("{}", &index.to_string());
            let psql = std::process::Command::new("psql")
                .args([&format!("{}/postgres", self.url), "-qc", &statement])
                .output()?;
            ensure!(psql.status.success(), "{}", String::from_utf8_lossy(&psql.stderr));
        }
        Ok(())
    }
}
