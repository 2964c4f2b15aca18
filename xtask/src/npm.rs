//! Packages of a folder with a lock file, fetched once and again when the lock file is newer.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::process;

/// Fetches what the lock file in `folder` names, unless it is there.
///
/// # Errors
/// When npm is missing, fails, or takes longer than until `deadline`.
pub fn install(folder: &Path, deadline: Option<Instant>) -> Result<()> {
    let fetched = folder.join("node_modules/.package-lock.json");
    let written = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    if written(&fetched) >= written(&folder.join("package-lock.json")) {
        return Ok(());
    }
    let mut command = Command::new("npm");
    command
        .current_dir(folder)
        .args(["ci", "--no-audit", "--no-fund", "--loglevel", "error"])
        .stdin(Stdio::null());
    process::run(&mut command, deadline)
        .with_context(|| format!("npm, a part of Node.js, is needed in {}", folder.display()))
}
