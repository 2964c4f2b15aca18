//! `tidings node verify`: whether a node's database holds what it should.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;

use super::database::{self, Database};
use crate::audit;
use crate::output::Output;

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
    let Database { node, storage, mut registries } = database::open(&options.config).await?;
    for registry in storage.registries().await? {
        registries.insert(Arc::new(registry))?;
    }
    let name = format!("the database of node {node}");
    audit::verify_disk(name, storage, registries, output).await
}
