//! The registries of earlier epochs, by which what is older than the current one is judged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tidings_envelope::Registry;
use tidings_gateway::Publisher;
use tidings_types::{NetworkId, RegistryEpoch};
use tokio::sync::Mutex;

/// The largest registry read, in bytes: ten thousand nodes and payers.
const REGISTRY_BYTES_MAX: usize = 8 << 20;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Registries by epoch, each as more than a third of the nodes have it.
#[derive(Debug)]
pub struct Registries {
    network: NetworkId,
    publisher: Arc<Publisher>,
    http: reqwest::Client,
    known: Mutex<BTreeMap<RegistryEpoch, Arc<Registry>>>,
}

impl Registries {
    /// None are known but the publisher's.
    #[must_use]
    pub fn new(network: NetworkId, publisher: Arc<Publisher>, http: reqwest::Client) -> Self {
        Self { network, publisher, http, known: Mutex::default() }
    }

    /// The registry in force, if one is known.
    #[must_use]
    pub fn latest(&self) -> Option<Registry> {
        self.publisher.registry()
    }

    /// The registry of an epoch, unless too few nodes tell it.
    pub async fn at(&self, epoch: RegistryEpoch) -> Option<Arc<Registry>> {
        let mut known = self.known.lock().await;
        if let Some(registry) = known.get(&epoch) {
            return Some(Arc::clone(registry));
        }
        let latest = self.latest()?;
        let registry = match latest.epoch == epoch {
            true => latest,
            false => self.ask(epoch).await?,
        };
        let registry = Arc::new(registry);
        known.insert(epoch, Arc::clone(&registry));
        Some(registry)
    }

    /// What f+1 of the nodes say, so that one of them is honest.
    async fn ask(&self, epoch: RegistryEpoch) -> Option<Registry> {
        let nodes = self.publisher.nodes();
        let needed = nodes.len().saturating_sub(1) / 3 + 1;
        let answers = join_all(nodes.iter().map(|node| self.fetch(&node.url, epoch))).await;
        let answers: Vec<_> = answers.into_iter().flatten().collect();
        let is_agreed = |registry: &&Registry| {
            answers.iter().filter(|other| other == registry).count() >= needed
        };
        answers.iter().find(is_agreed).cloned()
    }

    async fn fetch(&self, base: &str, epoch: RegistryEpoch) -> Option<Registry> {
        let url = format!("{}/v1/registry?epoch={epoch}", base.trim_end_matches('/'));
        let mut response = self.http.get(url).timeout(TIMEOUT).send().await.ok()?;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.ok()? {
            if body.len() + piece.len() > REGISTRY_BYTES_MAX {
                return None;
            }
            body.extend_from_slice(&piece);
        }
        let registry: Registry = serde_json::from_slice(&body).ok()?;
        let is_ours = registry.network_id() == self.network && registry.epoch == epoch;
        (is_ours && registry.validate().is_ok()).then_some(registry)
    }
}
