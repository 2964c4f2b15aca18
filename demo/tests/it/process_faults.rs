//! Disks that fill up: a clear refusal, nothing lost, and back to work when there is room.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use tidings_demo::{Network, Options, Published, Publisher};
use tidings_envelope::{AckLevel, Lane, Topic};
use tidings_types::ed25519::SigningKey;
use tidings_types::{EnvelopeId, ErrorCode, NodeId};

/// What an attempt to publish led to.
enum Attempt {
    Stored(EnvelopeId),
    Refused(ErrorCode),
}

struct Writer {
    publisher: Publisher,
    key: SigningKey,
    serial: u64,
}

impl Writer {
    async fn write(&mut self, url: &str, node: NodeId) -> Result<Attempt> {
        self.serial += 1;
        let period = self.publisher.period(url).await?;
        let payload = self.serial.to_be_bytes().repeat(2_000);
        let envelope =
            self.publisher.envelope(&self.key, Lane::Broadcast, None, period, payload)?;
        let id = envelope.body.id();
        let fates = self.publisher.publish((url, node), AckLevel::Local, &[envelope]).await?;
        Ok(match &fates[0] {
            Published::Stored(_) => Attempt::Stored(id),
            Published::Refused(code) => Attempt::Refused(*code),
            Published::Ordered(_) => bail!("a broadcast envelope was ordered"),
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_recovers() -> Result<()> {
    let network = Network::start(Options::default()).await?;
    let key = SigningKey::from_secret(&[9; 32]);
    let topic = Topic::group(&key.public_key());
    let mut writer = Writer { publisher: Publisher::new(&network)?, key, serial: 0 };
    let layout = network.nodes()[2].clone();
    let (url, node) = (layout.http.as_str(), NodeId(layout.id));
    let mut stored = BTreeSet::new();
    let wal = std::fs::metadata(layout.data_dir.join("node.db-wal"))?.len();
    network.limit_files(2, Some(wal + 256 * 1024))?;
    loop {
        match writer.write(url, node).await? {
            Attempt::Stored(id) => stored.insert(id),
            Attempt::Refused(ErrorCode::StorageUnavailable) => break,
            Attempt::Refused(code) => bail!("refused with {code}"),
        };
        ensure!(writer.serial < 10_000, "the disk never fills");
    }
    ensure!(!stored.is_empty(), "there was room for some");
    let ready = network.http().get(format!("{url}/readyz")).send().await?;
    ensure!(ready.status() == 503, "a node with a full disk says it is ready");
    network.limit_files(2, None)?;
    network.node_is_ready(2).await?;
    match writer.write(url, node).await? {
        Attempt::Stored(id) => stored.insert(id),
        Attempt::Refused(code) => bail!("refused after recovery: {code}"),
    };
    holds_each_once(&writer.publisher, url, topic, &stored).await?;
    network.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_fsync_refuses_and_recovers() -> Result<()> {
    let options = Options { nodes: 1, replication: 1, faults: true, ..Options::default() };
    let network = Network::start(options).await?;
    let key = SigningKey::from_secret(&[9; 32]);
    let topic = Topic::group(&key.public_key());
    let mut writer = Writer { publisher: Publisher::new(&network)?, key, serial: 0 };
    let layout = network.nodes()[0].clone();
    let (url, node) = (layout.http.as_str(), NodeId(layout.id));
    let mut stored = BTreeSet::new();
    for failing in [false, true, false] {
        network.faults(0)?.fail_fsync(failing)?;
        if !failing {
            network.node_is_ready(0).await?;
        }
        match (writer.write(url, node).await?, failing) {
            (Attempt::Stored(id), false) => stored.insert(id),
            (Attempt::Refused(ErrorCode::StorageUnavailable), true) => continue,
            (Attempt::Stored(_), true) => bail!("acknowledged what no disk has confirmed"),
            (Attempt::Refused(code), _) => bail!("refused with {code}"),
        };
    }
    holds_each_once(&writer.publisher, url, topic, &stored).await?;
    network.stop().await
}

/// Checks that a node holds every acknowledged envelope, and nothing twice.
async fn holds_each_once(
    publisher: &Publisher,
    url: &str,
    topic: Topic,
    stored: &BTreeSet<EnvelopeId>,
) -> Result<()> {
    let pages = publisher.read(url, topic).await?;
    let held: Vec<EnvelopeId> = pages
        .iter()
        .flat_map(|page| page.broadcast.iter().map(|entry| entry.entry.header.envelope_id))
        .collect();
    let distinct: BTreeSet<EnvelopeId> = held.iter().copied().collect();
    ensure!(distinct.len() == held.len(), "an envelope is there twice");
    ensure!(stored.is_subset(&distinct), "an acknowledged envelope is gone");
    Ok(())
}
