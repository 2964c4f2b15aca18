//! How fast a node that lost its disk gets everything back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tidings_demo::{Network, Options};
use tidings_envelope::AckLevel;

use crate::load::{Amount, Load};
use crate::report::{Figure, Section};

const ENVELOPES: u64 = 200_000;

/// Fills three of four nodes, then starts the fourth empty.
///
/// # Errors
/// When a node does not start.
pub async fn run() -> Result<Section> {
    let mut network = Network::start(Options::default()).await?;
    network.kill_node(3)?;
    let load = Load::new(&network, 1, 256)?;
    let (sent, _) = load.run(Amount::Envelopes(ENVELOPES), 2, 256, AckLevel::Replicated).await?;
    for suffix in ["", "-wal", "-shm"] {
        let file = network.nodes()[3].data_dir.join(format!("node.db{suffix}"));
        if file.exists() {
            std::fs::remove_file(file)?;
        }
    }
    let begun = Instant::now();
    network.spawn_node(3)?;
    network.node_is_ready(3).await?;
    while held(&network, 3).await? < sent {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = begun.elapsed();
    network.stop().await?;
    Ok(Section {
        title: "Catch-up of an empty node",
        method: format!(
            "Four nodes; {sent} envelopes of 256 bytes published at the second while the fourth \
             is away; the fourth then starts without its disk, and the time until it holds \
             everything durably is taken from the start of its process."
        ),
        figures: vec![Figure {
            name: "envelopes per second".into(),
            value: (u128::from(sent) * 1000 / took.as_millis().max(1)).to_string(),
            target: "20,000; goal 100,000",
        }],
    })
}

async fn held(network: &Network, node: usize) -> Result<u64> {
    let url = format!("{}/v1/status", network.nodes()[node].http);
    let bytes = network.http().get(url).send().await?.bytes().await?;
    let status: serde_json::Value = serde_json::from_slice(&bytes)?;
    let logs = status["logs"].as_array().context("the status lists no logs")?;
    Ok(logs.iter().filter_map(|log| log["size"].as_u64()).sum())
}
