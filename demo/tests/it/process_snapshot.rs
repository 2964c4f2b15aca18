//! A node's database is copied, verified, damaged, and put back.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidings_demo::{Network, Options, Published, Publisher, binary};
use tidings_envelope::{AckLevel, Lane, Topic};
use tidings_types::NodeId;
use tidings_types::ed25519::SigningKey;

/// The node that is restored.
const NODE: usize = 2;

/// How many envelopes are published before the copy, and as many after it.
const HALF: usize = 20;

fn key() -> SigningKey {
    SigningKey::from_secret(&[9; 32])
}

async fn publish(network: &Network, publisher: &Publisher, node: usize, salt: u8) -> Result<()> {
    let layout = &network.nodes()[node];
    let period = publisher.period(&layout.http).await?;
    let envelopes = (0..HALF)
        .map(|number| {
            let payload = vec![salt.wrapping_add(u8::try_from(number)?); 300];
            publisher.envelope(&key(), Lane::Broadcast, None, period, payload)
        })
        .collect::<Result<Vec<_>>>()?;
    let target = (layout.http.as_str(), NodeId(layout.id));
    let fates = publisher.publish(target, AckLevel::Replicated, &envelopes).await?;
    ensure!(fates.iter().all(|fate| matches!(fate, Published::Stored(_))), "{fates:?}");
    Ok(())
}

/// Reads until a node holds `count` entries of the topic.
async fn holds(publisher: &Publisher, url: &str, count: usize) -> Result<()> {
    let topic = Topic::group(&key().public_key());
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let pages = publisher.read(url, topic).await?;
        let seen: usize = pages.iter().map(|page| page.broadcast.len()).sum();
        if seen >= count {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{url} holds {seen} of {count}");
        tokio::task::yield_now().await;
    }
}

fn tidings(words: &[&str], config: &Path, more: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary("tidings")?);
    Ok(command.args(words).arg("--config").arg(config).args(more).output()?)
}

fn words(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The database of a node, as its configuration names it.
fn database(config: &Path) -> Result<PathBuf> {
    let table: toml::Table = std::fs::read_to_string(config)?.parse()?;
    let url = table["database"].as_str().context("a database is named")?;
    let file = url.strip_prefix("sqlite:").context("it is SQLite")?;
    Ok(config.parent().context("a file is in a folder")?.join(file))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_on_from_an_old_snapshot_and_nobody_is_accused() -> Result<()> {
    let mut network = Network::start(Options::default()).await?;
    let publisher = Publisher::new(&network)?;
    let config = network.nodes()[NODE].config.clone();
    let url = network.nodes()[NODE].http.clone();
    publish(&network, &publisher, NODE, 0).await?;
    let copy = network.folder().join("snapshot.db");
    let to = copy.to_string_lossy().into_owned();
    let taken = tidings(&["node", "snapshot"], &config, &["--to", &to])?;
    ensure!(taken.status.success(), "{}", words(&taken));
    let again = tidings(&["node", "snapshot"], &config, &["--to", &to])?;
    ensure!(!again.status.success(), "a copy was overwritten");
    // What the node writes from here on, the copy does not know.
    publish(&network, &publisher, NODE, 100).await?;
    holds(&publisher, &url, 2 * HALF).await?;
    network.stop_node(NODE).await?;
    let verified = tidings(&["node", "verify"], &config, &[])?;
    ensure!(verified.status.success(), "{}", words(&verified));

    let database = database(&config)?;
    for end in ["", "-wal", "-shm"] {
        let file = PathBuf::from(format!("{}{end}", database.display()));
        if file.exists() {
            std::fs::remove_file(file)?;
        }
    }
    std::fs::rename(&copy, &database)?;
    let verified = tidings(&["node", "verify"], &config, &[])?;
    ensure!(verified.status.success(), "{}", words(&verified));
    network.spawn_node(NODE)?;
    network.node_is_ready(NODE).await?;
    // It writes again, gets back what it had forgotten, and nobody takes it for a cheat.
    publish(&network, &publisher, NODE, 200).await?;
    for node in network.nodes() {
        holds(&publisher, &node.http, 3 * HALF).await?;
    }
    let mut audit = Command::new(binary("tidings")?);
    let audit = audit.args(["audit", &url, "--once", "--json"]).output()?;
    ensure!(audit.status.success(), "{}", words(&audit));
    ensure!(words(&audit).contains("\"evidence\": 0"), "{}", words(&audit));
    network.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_rots_is_found() -> Result<()> {
    let mut network = Network::start(Options::default()).await?;
    let publisher = Publisher::new(&network)?;
    publish(&network, &publisher, NODE, 0).await?;
    let config = network.nodes()[NODE].config.clone();
    network.stop_node(NODE).await?;
    let database = database(&config)?;
    let mut bytes = std::fs::read(&database)?;
    // The payloads are the only runs of one byte that are as long.
    let place = bytes.windows(200).position(|window| window.iter().all(|byte| *byte == 7));
    bytes[place.context("a payload is in the file")? + 100] ^= 1;
    std::fs::write(&database, bytes)?;
    let verified = tidings(&["node", "verify"], &config, &[])?;
    ensure!(!verified.status.success(), "{}", words(&verified));
    ensure!(words(&verified).contains("FAULT"), "{}", words(&verified));
    network.stop().await
}
