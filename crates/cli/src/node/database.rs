//! A node's database, opened by a command in the place of the node.

use std::path::Path;

use anyhow::{Result, ensure};
use tidings_envelope::RegistryHistory;
use tidings_node::config::NodeConfig;
use tidings_node::storage::Storage;

use crate::inspect;

/// What the configuration of a node leads to.
pub(super) struct Database {
    pub(super) node: u32,
    pub(super) storage: Storage,
    /// Those of the node's registry file.
    pub(super) registries: RegistryHistory,
}

/// Opens the database that a configuration file names.
///
/// # Errors
/// When the configuration is of no use, or there is no such database.
pub(super) async fn open(config_file: &Path) -> Result<Database> {
    let config = NodeConfig::load(config_file, |name| std::env::var(name).ok())?;
    if let Some(file) = config.database.strip_prefix("sqlite:") {
        ensure!(Path::new(file).exists(), "there is no database at {file}");
    }
    let registries = inspect::registries(&config.registry_file.to_string_lossy()).await?;
    let storage = Storage::open(&config.database, registries.network()).await?;
    Ok(Database { node: config.node, storage, registries })
}
