//! One node that lies, and the evidence that it leaves.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidings_demo::{NodeLayout, Publisher, binary, evidence};
use tidings_types::NodeId;

use super::Stage;
use crate::byzantine::Lie;

/// How long evidence may take from the deed into the ordered lane.
const EVIDENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often the lane is read anew for it.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// One node runs as a program that lies, and then honestly again.
///
/// # Errors
/// When a process does not come back, or a lie that can be proved leaves no evidence that
/// verifies.
pub(super) async fn strike(stage: &mut Stage, lie: Lie, time: Duration) -> Result<()> {
    let node = stage.some_node();
    let other = (node + 1) % stage.network.nodes().len();
    let folder = stage.network.folder().join("evidence").join(lie.name());
    let known = on_record(&stage.network.nodes()[other], &folder)?;
    stage.network.stop_node(node).await?;
    let liar = binary("tidings-byzantine")?;
    stage.network.spawn_node_as(node, &liar, &[("TIDINGS_LIE", lie.name())])?;
    stage.network.node_is_ready(node).await?;
    tempt(stage, node).await;
    stage.last(time).await;
    let found = match lie.is_provable() {
        true => Some(new_evidence(stage, other, &folder, &known).await?),
        false => None,
    };
    stage.network.stop_node(node).await?;
    stage.network.spawn_node(node)?;
    stage.network.node_is_ready(node).await?;
    match found {
        Some(file) => verify(&file, stage, node, other),
        None => Ok(()),
    }
}

/// Has the node take something in. Who lies about votes or keeps its log to itself may not answer,
/// and needs no temptation.
async fn tempt(stage: &Stage, node: usize) {
    let layout = &stage.network.nodes()[node];
    let tempted = match Publisher::new(&stage.network) {
        Ok(publisher) => publisher.tempt((&layout.http, NodeId(layout.id))).await,
        Err(error) => Err(error),
    };
    if let Err(error) = tempted {
        println!("  node {} was not tempted: {error:#}", layout.id);
    }
}

/// Waits until the ordered lane has evidence that was not known before.
async fn new_evidence(
    stage: &Stage,
    other: usize,
    folder: &Path,
    known: &[PathBuf],
) -> Result<PathBuf> {
    let until = Instant::now() + EVIDENCE_TIMEOUT;
    loop {
        let found = on_record(&stage.network.nodes()[other], folder)?;
        if let Some(new) = found.into_iter().find(|file| !known.contains(file)) {
            return Ok(new);
        }
        ensure!(Instant::now() < until, "the lie has left no evidence in the ordered lane");
        stage.last(LOOK_INTERVAL).await;
    }
}

/// Has a piece of evidence judged from outside, and says so.
fn verify(file: &Path, stage: &Stage, node: usize, other: usize) -> Result<()> {
    let (accused, url) = (stage.network.nodes()[node].id, &stage.network.nodes()[other].http);
    evidence::verify(&binary("tidings")?, file, url, accused)?;
    println!("  evidence against node {accused} is on record and verifies: {}", file.display());
    Ok(())
}

fn on_record(node: &NodeLayout, folder: &Path) -> Result<Vec<PathBuf>> {
    evidence::on_record(&binary("tidings")?, &node.http, folder)
}
