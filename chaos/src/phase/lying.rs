//! One node that lies, and the evidence that it leaves.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tidings_demo::{NodeLayout, binary};

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
    stage.last(time).await;
    let found = match lie.is_provable() {
        true => Some(evidence(stage, other, &folder, &known).await?),
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

/// Waits until the ordered lane has evidence that was not known before.
async fn evidence(
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

/// What the ordered lane has on record, as an auditor of a node finds it.
fn on_record(node: &NodeLayout, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut audit = Command::new(binary("tidings")?);
    audit.args(["audit", &node.http, "--once", "--evidence"]).arg(folder);
    // The log of a liar who is not convicted yet is a fault, and as it should be.
    audit.output().context("the audit cannot be started")?;
    let Ok(files) = folder.read_dir() else { return Ok(Vec::new()) };
    let files = files.map(|file| Ok(file?.path()));
    files.collect()
}

/// Has a piece of evidence judged by a program that knows the registry and nothing else.
fn verify(file: &Path, stage: &Stage, node: usize, other: usize) -> Result<()> {
    let nodes = stage.network.nodes();
    let mut inspect = Command::new(binary("tidings")?);
    inspect.args(["inspect", "evidence"]).arg(file).args(["--registry", &nodes[other].http]);
    let output = inspect.output().context("the evidence cannot be inspected")?;
    let said = words(&output);
    let accused = format!("node {}", nodes[node].id);
    if !output.status.success() || !said.contains(&accused) {
        bail!("evidence against {accused} does not verify:\n{said}");
    }
    println!("  evidence against {accused} is on record and verifies: {}", file.display());
    Ok(())
}

fn words(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
