//! What one node takes: verified, on disk, answered.

use std::time::Duration;

use anyhow::Result;
use tidings_demo::{Network, Options};
use tidings_envelope::AckLevel;

use crate::load::{Amount, Load};
use crate::report::{Figure, Section};

const CONNECTIONS: usize = 4;
const BATCH: usize = 256;
const PAYLOAD_BYTES: usize = 256;

/// Loads a single node on SQLite with full fsync from this process.
///
/// # Errors
/// When the node does not start or refuses an envelope.
pub async fn run(seconds: u64) -> Result<Section> {
    let options = Options { nodes: 1, replication: 1, ..Options::default() };
    let network = Network::start(options).await?;
    let load = Load::new(&network, 0, PAYLOAD_BYTES)?;
    load.run(Amount::For(Duration::from_secs(2)), CONNECTIONS, BATCH, AckLevel::Local).await?;
    let time = Duration::from_secs(seconds);
    let (sent, took) = load.run(Amount::For(time), CONNECTIONS, BATCH, AckLevel::Local).await?;
    let rate = u128::from(sent) * 1000 / took.as_millis().max(1);
    network.stop().await?;
    Ok(Section {
        title: "Ingest of one node",
        method: format!(
            "One node, SQLite with full fsync, {PAYLOAD_BYTES}-byte payloads in batches of \
             {BATCH} over {CONNECTIONS} connections from another process, which also signs them; \
             every envelope verified, durable and acknowledged; {seconds} s after a warm-up."
        ),
        figures: vec![Figure {
            name: "envelopes per second".into(),
            value: rate.to_string(),
            target: "10,000; goal 25,000",
        }],
    })
}
