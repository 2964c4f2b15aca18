//! Evidence as somebody finds and judges it who runs no node.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// What the ordered lane has on record, as an auditor of the node at `url` writes it to `folder`.
///
/// # Errors
/// When the program cannot be started, or the folder cannot be read.
pub fn on_record(tidings: &Path, url: &str, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut audit = Command::new(tidings);
    audit.args(["audit", url, "--once", "--evidence"]).arg(folder);
    // The log of a liar who is not convicted yet is a fault, and as it should be.
    audit.output().context("the audit cannot be started")?;
    let Ok(files) = folder.read_dir() else { return Ok(Vec::new()) };
    files.map(|file| Ok(file?.path())).collect()
}

/// Has a piece of evidence against the node with number `accused` judged by a program that knows
/// the registry, which it asks the node at `url` for, and nothing else.
///
/// # Errors
/// What the program says, when it does not verify.
pub fn verify(tidings: &Path, file: &Path, url: &str, accused: u32) -> Result<()> {
    let mut inspect = Command::new(tidings);
    inspect.args(["inspect", "evidence"]).arg(file).args(["--registry", url]);
    let output = inspect.output().context("the evidence cannot be inspected")?;
    let said = words(&output);
    if !output.status.success() || !said.contains(&format!("evidence against node {accused}")) {
        bail!("the evidence against node {accused} does not verify:\n{said}");
    }
    Ok(())
}

fn words(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
