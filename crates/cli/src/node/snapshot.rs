//! `tidings node snapshot`: a copy of a node's database, taken while the node runs.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;

use super::database::{self, Database};
use crate::output::Output;

/// What to copy, and where to.
#[derive(Debug, Args)]
pub struct Snapshot {
    /// The node's configuration
    #[arg(long, env = "TIDINGS_NODE_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// The new file; a node is restored by putting it in the place of its database
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
}

#[derive(Serialize)]
struct Taken {
    file: PathBuf,
    bytes: u64,
}

/// Copies the database of a node with SQLite.
///
/// # Errors
/// When there is no such database, it is PostgreSQL, or the new file cannot be written.
pub async fn run(options: &Snapshot, output: Output) -> Result<()> {
    ensure!(!options.to.exists(), "{} is there already", options.to.display());
    let Database { storage, .. } = database::open(&options.config).await?;
    storage.snapshot(&options.to).await?;
    storage.close().await;
    let bytes = std::fs::metadata(&options.to)?.len();
    output.answer(&Taken { file: options.to.clone(), bytes }, |taken| {
        format!("{} bytes in {}", taken.bytes, taken.file.display())
    })
}
