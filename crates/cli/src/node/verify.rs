//! `tidings node verify`: whether a node's database holds what it should.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, ensure};
use clap::Args;
use tidings_node::config::NodeConfig;
use tidings_node::storage::Storage;

use crate::output::Output;
use crate::{audit, inspect};

/// What to verify.
#[derive(Debug, Args)]
pub struct Verify {
    /// The configuration of a node that does not run
    #[arg(long, env = "TIDINGS_NODE_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
}

/// Verifies every log and every block in the node's database, and what a start reads besides.
///
/// # Errors
/// When the database is not there or cannot be read, or anything in it does not verify.
pub async fn run(options: &Verify, output: Output) -> Result<()> {
    let config = NodeConfig::load(&options.config, |name| std::env::var(name).ok())?;
    if let Some(file) = config.database.strip_prefix("sqlite:") {
        ensure!(Path::new(file).exists(), "there is no database at {file}");
    }
    let file = config.registry_file.to_string_lossy();
    let mut registries = inspect::registries(&file).await?;
    let storage = Storage::open(&config.database, registries.network()).await?;
    for registry in storage.registries().await? {
        registries.insert(Arc::new(registry))?;
    }
    let name = format!("the database of node {}", config.node);
    audit::verify_disk(name, storage, registries, output).await
}
