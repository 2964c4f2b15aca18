//! What a gateway's payers have, read from the chain for as long as the gateway runs.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::join_all;
use tidings_chain::{Deployment, Endpoints, read_funds};
use tidings_gateway::{FundsWatches, GatewayConfig};
use tidings_payer::Funds;
use tidings_types::EthereumAddress;
use tokio::sync::watch;

use super::{checked, deployment};

/// The shortest pause between two looks.
const POLL_MIN: Duration = Duration::from_millis(10);

/// Payers that are read at once.
const PAYERS_AT_ONCE: usize = 4;

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
    let (mut told, mut watched) = (Vec::new(), FundsWatches::new());
    for payer in config.payers() {
        let (teller, watch) = watch::channel(None);
        told.push((payer.address, teller));
        watched.insert(payer.address, watch);
    }
    let looking = Looking {
        endpoints: Endpoints::connect(&chain.rpc)?,
        deployment,
        finality_depth: chain.finality_depth,
        poll: Duration::from_millis(chain.poll_ms).max(POLL_MIN),
        told,
    };
    tokio::spawn(looking.run());
    Ok(watched)
}

struct Looking {
    endpoints: Endpoints,
    deployment: Deployment,
    finality_depth: u64,
    poll: Duration,
    /// Who listens to what of each payer.
    told: Vec<(EthereumAddress, watch::Sender<Option<Funds>>)>,
}

impl Looking {
    async fn run(self) {
        if let Err(error) = checked(&self.deployment, &self.endpoints).await {
            tracing::error!(%error, "payers' funds are not those of this network's contracts");
            return;
        }
        let mut pause = self.poll;
        while !self.told.iter().all(|(_, told)| told.is_closed()) {
            pause = match self.look().await {
                true => self.poll,
                false => pause.saturating_mul(2).min(PAUSE_MAX),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = join_all(self.told.iter().map(|(_, told)| told.closed())) => return,
            }
        }
    }

    /// Looks once at what each payer has, a few at a time, so that providers are asked in no burst;
    /// false when none could be read.
    async fn look(&self) -> bool {
        let mut is_read = false;
        for some in self.told.chunks(PAYERS_AT_ONCE) {
            let looks = some.iter().map(|(payer, told)| self.look_at(*payer, told));
            is_read |= join_all(looks).await.contains(&true);
        }
        is_read
    }

    async fn look_at(&self, payer: EthereumAddress, told: &watch::Sender<Option<Funds>>) -> bool {
        let read = read_funds(&self.endpoints, &self.deployment, payer, self.finality_depth);
        match read.await {
            Ok(None) => true,
            Ok(Some(funds)) => {
                told.send_if_modified(|told| {
                    let is_new = told.as_ref() != Some(&funds);
                    *told = Some(funds);
                    is_new
                });
                true
            }
            Err(error) => {
                tracing::warn!(%payer, %error, "a payer's funds cannot be read now");
                false
            }
        }
    }
}
