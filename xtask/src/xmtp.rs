//! `cargo xtask test --xmtp`: the official XMTP client, unmodified, on a network of ours.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::devnet::{self, Network};
use crate::process;
use crate::tally::Tally;

/// The project with the official client, pinned by its lock file.
const EXAMPLE: &str = "examples/xmtp-node";

/// The node that is killed while a thousand messages are under way.
const KILLED: usize = 1;

/// Builds what is needed and runs the example.
///
/// # Errors
/// When something cannot be built, or a scenario fails.
pub fn test(root: &Path, tally: &mut Tally) -> Result<()> {
    devnet::build(root, &["tidings"], false)?;
    check(root, None, tally)
}

/// Runs the example with programs that are built already.
///
/// # Errors
/// When a scenario fails, or it takes longer than until `deadline`.
pub fn check(root: &Path, deadline: Option<Instant>, tally: &mut Tally) -> Result<()> {
    let example = root.join(EXAMPLE);
    install(&example, deadline)?;
    let (network, dir) = start(root)?;
    let layout = &network.record.layout;
    let edges: Vec<&str> = layout.edges.iter().map(|edge| edge.url.as_str()).collect();
    let killed = layout.nodes.get(KILLED).and_then(|node| node.pid);
    let killed = killed.context("the network has too few nodes")?;
    let mut command = Command::new("node");
    command
        .current_dir(&example)
        .args(["src/main.mjs", "--edges", &edges.join(",")])
        .args(["--kill-pid", &killed.to_string()])
        .stdin(Stdio::null());
    let mut seen = Tally::default();
    let status = process::run_lines(&mut command, deadline, &mut |line| {
        seen.passed += u64::from(line.starts_with("ok "));
        seen.failed += u64::from(line.starts_with("FAIL "));
    });
    drop(network);
    *tally += seen;
    let status = status.context("Node.js is needed for the XMTP example")?;
    if !status.success() {
        bail!("the XMTP example failed ({status}); the network's logs are in {}", dir.display());
    }
    Ok(())
}

fn start(root: &Path) -> Result<(Network, PathBuf)> {
    let dir = crate::repository::target_dir(root).join("xmtp");
    Ok((devnet::start_xmtp(root, dir.clone())?, dir))
}

/// Fetches the client as the lock file has it, unless it is there.
fn install(example: &Path, deadline: Option<Instant>) -> Result<()> {
    let fetched = example.join("node_modules/.package-lock.json");
    let written = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    if written(&fetched) >= written(&example.join("package-lock.json")) {
        return Ok(());
    }
    let mut command = Command::new("npm");
    command
        .current_dir(example)
        .args(["ci", "--no-audit", "--no-fund", "--loglevel", "error"])
        .stdin(Stdio::null());
    process::run(&mut command, deadline).context("npm is needed for the XMTP example")
}
