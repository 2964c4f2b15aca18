//! `tidings chain`, `operator`, `payer` and `gov`: acting on the settlement chain.

mod account;
mod amount;
mod books;
mod deed;
mod deploy;
mod funds;
mod gov;
mod gov_action;
mod gov_deed;
mod gov_status;
mod moment;
mod operator;
mod operator_change;
mod operator_claim;
mod payer;
mod payer_status;
mod setting;
mod steward;
mod turns;

pub use account::{Account, Contracts, Key, Providers};
pub use amount::Dollars;
pub(crate) use deploy::make as deploy_as_planned;
pub use deploy::{ChainCommand, run as run_chain};
pub use funds::watch_funds;
pub use gov::{GovCommand, run as run_gov};
pub use operator::{OperatorCommand, run as run_operator};
pub use payer::{PayerCommand, run as run_payer};
pub use steward::keep_house;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tidings_chain::{Deployment, DeploymentMismatch, Endpoints, RegistryKeeper, WatcherConfig};
use tidings_node::config::NodeConfig;
use tidings_types::NodeId;

/// Where the contracts are, from a file.
///
/// # Errors
/// When it cannot be read, or says something else.
pub(crate) fn deployment(path: &Path) -> Result<Deployment> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} does not say where contracts are", path.display()))
}

/// Has a node's registry file follow the chain, if its configuration names one; waits until the
/// file lists the node.
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
    let node = NodeId(config.node);
    if !keeper.lists(node) {
        // With a registry from before, a node starts whether or not the chain can be reached.
        deployment.check(&endpoints).await?;
        tracing::info!(%node, "waiting until the registry on the chain lists this node");
        keeper.listing(node).await?;
    }
    tokio::spawn(async move {
        let ended = match checked(&deployment, &endpoints).await {
            Ok(()) => keeper.follow().await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let Err(error) = ended;
        tracing::error!(
            error,
            "the registry follows the chain no more; the last one stays in force"
        );
    });
    Ok(())
}

/// Waits until the chain can be asked whether it has the contracts.
async fn checked(deployment: &Deployment, endpoints: &Endpoints) -> Result<(), DeploymentMismatch> {
    loop {
        match deployment.check(endpoints).await {
            Err(DeploymentMismatch::Chain(error)) => {
                tracing::warn!(%error, "the chain cannot be asked now");
                tokio::time::sleep(CHECK_PAUSE).await;
            }
            checked => return checked,
        }
    }
}

/// The pause before a chain that did not answer is asked again.
const CHECK_PAUSE: Duration = Duration::from_secs(15);
