//! Publishing for a service that pays for itself: everything of a gateway but its users.

use std::sync::Arc;
use std::time::Duration;

use tidings_envelope::api::{SendRequest, SendResult};
use tidings_envelope::{AckLevel, ClientEnvelope, Registry};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::SigningKey;
use tidings_types::{BoundedVec, ErrorCode, EthereumAddress, NetworkId, Period, PicoDollars};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::metrics::Metrics;
use crate::network::{Network, NodeClient};
use crate::publish::{Desk, Sender, Ways};

/// What a publisher is told at its start.
#[derive(Debug)]
pub struct PublisherConfig {
    /// Base URLs of the nodes that are asked for the registry at start.
    pub nodes: Vec<String>,
    /// The network that registries, batches and receipts must belong to.
    pub network: NetworkId,
    /// Whose balance pays.
    pub payer: EthereumAddress,
    /// The payer's registered key.
    pub session_key: SigningKey,
    /// The most that one envelope may cost; no limit without.
    pub envelope_fee_max: Option<PicoDollars>,
    /// How long an envelope is tried before its sender is told.
    pub send_deadline: Duration,
    /// How long one node may take to answer a batch before another is tried.
    pub attempt_timeout: Duration,
    /// How often each node's status is asked for.
    pub probe_interval: Duration,
    /// How long a node that lied is left alone.
    pub distrust: Duration,
}

/// A node as it looks from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Base URL of its HTTP API.
    pub url: String,
    /// Whether it answered the last look and serves.
    pub is_healthy: bool,
    /// Whether it is in the committee of every shard.
    pub keeps_all: bool,
}

/// Publishes envelopes under one payer, and keeps looking at the network.
#[derive(Debug)]
pub struct Publisher {
    network: Arc<Network>,
    payer: EthereumAddress,
    sender: Sender,
    /// Ends with the publisher.
    _watching: JoinSet<()>,
}

impl Publisher {
    /// Begins to look at the network; must be called on a runtime.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn start(config: PublisherConfig) -> Result<Self, reqwest::Error> {
        let client = NodeClient::new(config.attempt_timeout)?;
        let network = Network::new(config.network, config.nodes, client, config.distrust);
        let network = Arc::new(network);
        let desk = Arc::new(Desk {
            network: Arc::clone(&network),
            session_keys: [(config.payer, config.session_key)].into(),
            metrics: Arc::new(Metrics::default()),
            ways: Ways::default(),
        });
        let sender = Sender::new(desk, config.send_deadline, config.envelope_fee_max);
        let mut watching = JoinSet::new();
        let (watched, interval) = (Arc::clone(&network), config.probe_interval);
        watching.spawn(async move { watched.watch(interval).await });
        Ok(Self { network, payer: config.payer, sender, _watching: watching })
    }

    /// Changes with every look at all nodes.
    #[must_use]
    pub fn looks(&self) -> watch::Receiver<u64> {
        self.network.looks()
    }

    /// The registry in force; none before f+1 nodes agreed on one.
    #[must_use]
    pub fn registry(&self) -> Option<Registry> {
        self.network.snapshot().map(|snapshot| snapshot.registry.clone())
    }

    /// The period that most nodes have reached.
    #[must_use]
    pub fn period(&self) -> Option<Period> {
        self.network.period()
    }

    /// The registry's nodes, those that serve first and the nearest of them first.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeView> {
        let Some(snapshot) = self.network.snapshot() else { return Vec::new() };
        let health = self.network.health();
        let mut nodes: Vec<_> = (snapshot.registry.nodes.iter())
            .filter_map(|node| {
                let seen = health.get(&node.id).copied().unwrap_or_default();
                let latency = seen.latency.unwrap_or(Duration::MAX);
                let mut shards = snapshot.shards();
                let view = NodeView {
                    url: snapshot.http(node.id)?.to_owned(),
                    is_healthy: seen.healthy,
                    keeps_all: shards.all(|shard| snapshot.committee(shard).contains(&node.id)),
                };
                Some((!seen.healthy, latency, node.id, view))
            })
            .collect();
        nodes.sort_by_key(|node| (node.0, node.1, node.2));
        nodes.into_iter().map(|(_, _, _, view)| view).collect()
    }

    /// Publishes envelopes until each is proved to be `replicated` or decided, or is refused; one
    /// result for each, in order.
    ///
    /// # Errors
    /// [`ErrorCode::NotReady`] before the registry is known, [`ErrorCode::TooLarge`] for more
    /// envelopes than fit a batch.
    pub async fn publish(
        &self,
        envelopes: Vec<ClientEnvelope>,
    ) -> Result<Vec<SendResult>, ErrorCode> {
        let request = SendRequest {
            version: PROTOCOL_VERSION,
            level: AckLevel::Replicated,
            envelopes: BoundedVec::new(envelopes).map_err(|_| ErrorCode::TooLarge)?,
        };
        let prepared = self.sender.prepare(request, self.payer)?;
        Ok(self.sender.send(prepared).await.results.into_vec())
    }
}
