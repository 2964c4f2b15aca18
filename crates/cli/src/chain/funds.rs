//! What a gateway's payers have, read from the chain for as long as the gateway runs.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidings_chain::{Deployment, Endpoints, read_funds};
use tidings_gateway::{FundsWatches, GatewayConfig};
use tidings_payer::Funds;
use tidings_types::EthereumAddress;
use tokio::sync::watch;

use super::{checked, deployment};

/// The shortest pause between two looks.
const POLL_MIN: Duration = Duration::from_millis(10);

/// The longest pause after failures in a row.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Watches every payer's funds, if the gateway's configuration names a chain; must be called on
/// a runtime. While the chain cannot be reached, the last figures stay.
///
/// # Errors
/// When the deployment's file cannot be used, or is of another network than the gateway.
pub fn watch_funds(config: &GatewayConfig) -> Result<FundsWatches> {
    let Some(chain) = &config.chain else { return Ok(FundsWatches::new()) };
    let deployment = deployment(&chain.deployment_file)?;
    let network = deployment.genesis().network_id();
    ensure!(
        network == config.network,
        "{} is of network {network}, and the gateway is for {}",
        chain.deployment_file.display(),
        config.network
    );
    let endpoints = Endpoints::connect(&chain.rpc)?;
    let watch = |payer| {
        let (told, watched) = watch::channel(None);
        let looking = Looking {
            endpoints: endpoints.clone(),
            deployment,
            payer,
            finality_depth: chain.finality_depth,
            poll: Duration::from_millis(chain.poll_ms).max(POLL_MIN),
            told,
        };
        tokio::spawn(looking.run());
        (payer, watched)
    };
    Ok(config.payers().map(|payer| watch(payer.address)).collect())
}

struct Looking {
    endpoints: Endpoints,
    deployment: Deployment,
    payer: EthereumAddress,
    finality_depth: u64,
    poll: Duration,
    told: watch::Sender<Option<Funds>>,
}

impl Looking {
    async fn run(self) {
        if let Err(error) = checked(&self.deployment, &self.endpoints).await {
            tracing::error!(payer = %self.payer, %error, "the payer's funds are not those of this network's contracts");
            return;
        }
        let mut pause = self.poll;
        while !self.told.is_closed() {
            pause = self.look(pause).await;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.told.closed() => return,
            }
        }
    }

    /// Looks once; how long to wait before the next time.
    async fn look(&self, pause: Duration) -> Duration {
        let read =
            read_funds(&self.endpoints, &self.deployment, self.payer, self.finality_depth).await;
        match read {
            Ok(Some(funds)) => {
                self.told.send_if_modified(|told| {
                    let is_new = told.as_ref() != Some(&funds);
                    *told = Some(funds);
                    is_new
                });
                self.poll
            }
            Ok(None) => self.poll,
            Err(error) => {
                tracing::warn!(payer = %self.payer, %error, "the payer's funds cannot be read now");
                pause.saturating_mul(2).min(PAUSE_MAX)
            }
        }
    }
}
