//! `cargo xtask test --xmtp`: the official XMTP client, unmodified, on a network of ours.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::devnet::{self, Network};
use crate::tally::Tally;
use crate::{npm, process};

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
    npm::install(&example, deadline)?;
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
