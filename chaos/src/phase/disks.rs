//! Bad disks and wrong clocks of single nodes.

use std::time::Duration;

use anyhow::Result;

use super::Stage;

/// How much longer a sync takes on a slow disk.
const FSYNC_DELAY: Duration = Duration::from_millis(150);

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// One node's disk is slow.
pub(super) async fn slow(stage: &mut Stage, time: Duration) -> Result<()> {
    let node = stage.some_node();
    stage.network.faults(node)?.delay_fsync(FSYNC_DELAY)?;
    stage.last(time).await;
    stage.network.faults(node)?.clear()
}

/// One node's disk fails, and recovers.
pub(super) async fn failing(stage: &mut Stage, time: Duration) -> Result<()> {
    let node = stage.some_node();
    stage.network.faults(node)?.fail_fsync(true)?;
    stage.last(time / 2).await;
    stage.network.faults(node)?.clear()?;
    stage.network.node_is_ready(node).await?;
    stage.last(time / 2).await;
    Ok(())
}

/// Two clocks are off by a day, and change sides.
pub(super) async fn skew(stage: &mut Stage, time: Duration) -> Result<()> {
    let one = stage.some_node();
    let other = (one + 1) % stage.network.nodes().len();
    for ahead in [DAY_SECONDS, -DAY_SECONDS] {
        stage.network.faults(one)?.skew_clock(ahead)?;
        stage.network.faults(other)?.skew_clock(-ahead)?;
        stage.last(time / 2).await;
    }
    stage.network.faults(one)?.clear()?;
    stage.network.faults(other)?.clear()
}
