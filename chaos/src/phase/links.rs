//! Bad links between nodes.

use std::time::Duration;

use anyhow::Result;
use tidings_demo::relay::Conditions;

use super::Stage;

/// How long every packet takes in the latency phase, one way.
const LATENCY: Duration = Duration::from_millis(200);

/// One node is alone; clients reach it all the same.
pub(super) async fn isolated(stage: &mut Stage, time: Duration) -> Result<()> {
    let node = stage.some_node();
    stage.network.relay()?.partition(&[node]);
    over(stage, time).await
}

/// One node hears nobody and is heard by all.
pub(super) async fn deaf(stage: &mut Stage, time: Duration) -> Result<()> {
    let node = stage.some_node();
    for from in (0..stage.network.nodes().len()).filter(|from| *from != node) {
        stage.network.relay()?.set_link(from, node, Conditions::CUT);
    }
    over(stage, time).await
}

/// Two nodes and two nodes.
pub(super) async fn halves(stage: &mut Stage, time: Duration) -> Result<()> {
    let one = stage.some_node();
    let other = (one + 1) % stage.network.nodes().len();
    stage.network.relay()?.partition(&[one, other]);
    over(stage, time).await
}

/// Everything is far away.
pub(super) async fn latency(stage: &mut Stage, time: Duration) -> Result<()> {
    stage.network.relay()?.set_links(Conditions::slow(LATENCY));
    over(stage, time).await
}

/// Packets are lost, repeated and late, on all links, those of clients included.
pub(super) async fn loss(stage: &mut Stage, time: Duration) -> Result<()> {
    let rough = Conditions {
        duplicate_permille: 10,
        reorder_permille: 10,
        jitter: Duration::from_millis(2),
        ..Conditions::lossy(50)
    };
    let relay = stage.network.relay()?;
    relay.set_links(rough);
    for node in 0..stage.network.nodes().len() {
        relay.set_http(node, rough);
    }
    over(stage, time).await
}

async fn over(stage: &Stage, time: Duration) -> Result<()> {
    stage.last(time).await;
    stage.network.relay()?.heal();
    Ok(())
}
