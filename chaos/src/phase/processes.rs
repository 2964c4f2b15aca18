//! Processes that are killed, halted and restarted, one at a time.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand_chacha::rand_core::RngCore;

use super::Stage;

/// How long a killed node stays dead, and a halted one stands still, in milliseconds.
const AWAY_MS: (u32, u32) = (200, 1_800);

/// SIGKILL of any node, again and again.
pub(super) async fn kills(stage: &mut Stage, time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        let node = stage.some_node();
        stage.network.kill_node(node)?;
        away(stage).await;
        stage.network.spawn_node(node)?;
        stage.network.node_is_ready(node).await?;
    }
    Ok(())
}

/// SIGSTOP of any node and SIGCONT, again and again.
pub(super) async fn halts(stage: &mut Stage, time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        let node = stage.some_node();
        stage.network.halt_node(node, true)?;
        // Longer than a link's patience now and then, so that peers give it up.
        away(stage).await;
        away(stage).await;
        stage.network.halt_node(node, false)?;
        stage.network.node_is_ready(node).await?;
    }
    Ok(())
}

/// Every node is stopped in order and started again.
pub(super) async fn restarts(stage: &mut Stage) -> Result<()> {
    for node in 0..stage.network.nodes().len() {
        stage.network.stop_node(node).await?;
        stage.network.spawn_node(node)?;
        stage.network.node_is_ready(node).await?;
    }
    Ok(())
}

async fn away(stage: &mut Stage) {
    let ms = AWAY_MS.0 + stage.rng.next_u32() % (AWAY_MS.1 - AWAY_MS.0);
    stage.last(Duration::from_millis(u64::from(ms))).await;
}
