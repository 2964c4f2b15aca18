//! `tidings chain`, `tidings operator` and `tidings payer`: acting on the settlement chain.

mod account;
mod amount;
mod deed;
mod deploy;
mod operator;
mod payer;

pub use account::Account;
pub use deploy::{ChainCommand, run as run_chain};
pub use operator::{OperatorCommand, run as run_operator};
pub use payer::{PayerCommand, run as run_payer};

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tidings_chain::{Deployment, Endpoints, RegistryKeeper, WatcherConfig};
use tidings_node::config::NodeConfig;

/// Where the contracts are, from a file.
fn deployment(path: &Path) -> Result<Deployment> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} does not say where contracts are", path.display()))
}

/// Has a node's registry file follow the chain, if its configuration names one; waits until the
/// file holds a registry.
///
/// # Errors
/// When the contracts are not those of the deployment's file, or the registry file is of another
/// network.
pub async fn keep_registry(config: &NodeConfig) -> Result<()> {
    let Some(chain) = &config.chain else { return Ok(()) };
    let deployment = deployment(&chain.deployment_file)?;
    let endpoints = Endpoints::connect(&chain.rpc)?;
    let watching = WatcherConfig {
        finality_depth: chain.finality_depth,
        poll: Duration::from_millis(chain.poll_ms),
    };
    let path = config.registry_file.clone();
    let mut keeper = RegistryKeeper::open(path, endpoints.clone(), deployment, watching)?;
    if !keeper.has_registry() {
        // With a registry from before, a node starts whether or not the chain can be reached.
        deployment.check(&endpoints).await?;
        keeper.first().await?;
    }
    tokio::spawn(async move {
        let Err(error) = keeper.follow().await;
        tracing::error!(%error, "the registry follows the chain no more; the last one stays in force");
    });
    Ok(())
}
