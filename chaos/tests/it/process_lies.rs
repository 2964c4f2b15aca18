//! A node that lies is found out from outside, by an auditor who compares what two nodes hold.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tidings_chaos::byzantine::Lie;
use tidings_demo::{Network, Options, Publisher, binary, evidence};
use tidings_envelope::{AckLevel, Lane};
use tidings_types::NodeId;
use tidings_types::ed25519::SigningKey;

/// The node that lies; the last of its peers is told another history than the others.
const LIAR: usize = 1;

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_finds_two_histories_of_a_log() -> Result<()> {
    let mut network = Network::start(Options::default()).await?;
    network.stop_node(LIAR).await?;
    let variables = [("TIDINGS_LIE", Lie::Equivocate.name())];
    network.spawn_node_as(LIAR, &binary("tidings-byzantine")?, &variables)?;
    network.node_is_ready(LIAR).await?;
    let publisher = Publisher::new(&network)?;
    let (liar, url) = (network.nodes()[LIAR].id, network.nodes()[LIAR].http.clone());
    let period = publisher.period(&url).await?;
    let key = SigningKey::from_secret(&[9; 32]);
    let envelope = publisher.envelope(&key, Lane::Broadcast, None, period, vec![1; 300])?;
    publisher.publish((&url, NodeId(liar)), AckLevel::Replicated, &[envelope]).await?;

    let (one, other) = (&network.nodes()[0].http, &network.nodes()[3].http);
    let folder = network.folder().join("evidence");
    let until = Instant::now() + Duration::from_secs(60);
    let file = loop {
        let mut audit = Command::new(binary("tidings")?);
        audit.args(["audit", one, "--compare", other, "--once", "--evidence"]).arg(&folder);
        audit.output()?;
        let found = folder.read_dir().ok().and_then(|mut files| files.next());
        if let Some(file) = found {
            break file?.path();
        }
        if Instant::now() > until {
            bail!("nothing was found");
        }
    };
    evidence::verify(&binary("tidings")?, &file, one, liar)?;
    ensure!(evidence::verify(&binary("tidings")?, &file, one, liar + 1).is_err());
    network.stop().await
}
