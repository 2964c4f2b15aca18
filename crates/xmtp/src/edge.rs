//! What all parts of an edge share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidings_envelope::Registry;
use tidings_gateway::{NodeView, Publisher};
use tidings_types::ed25519::SigningKey;
use tidings_types::{EdgeId, EthereumAddress, NetworkId};
use tokio::sync::{broadcast, watch};

use crate::config::Limits;
use crate::index::{Reader, Stored};
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::place::Place;
use crate::progress::Progress;
use crate::registries::Registries;

/// Stretches held for streams that are not as fast; one that falls behind reads the index.
const LIVE_STRETCHES: usize = 1_024;

/// Who writes.
#[derive(Debug)]
pub struct Identity {
    /// The edge's number.
    pub id: EdgeId,
    /// The key that its envelopes are signed with.
    pub key: SigningKey,
    /// Who pays for them.
    pub payer: EthereumAddress,
}

/// An edge.
#[derive(Debug)]
pub struct Edge {
    /// The network.
    pub network: NetworkId,
    /// Who writes.
    pub identity: Identity,
    /// The node that is followed while it serves; the nearest without one.
    pub home: Option<String>,
    /// What callers may ask for.
    pub limits: Limits,
    /// Finds nodes that store what is written.
    pub publisher: Arc<Publisher>,
    /// The registries.
    pub registries: Registries,
    /// For calls to nodes.
    pub http: reqwest::Client,
    /// What is readable.
    pub reader: Reader,
    /// The other edges.
    pub peers: Peers,
    /// What is counted.
    pub metrics: Metrics,
    /// What was published last and did not come from the node that is followed in time.
    pub missed: watch::Sender<Vec<Place>>,
    live: broadcast::Sender<Arc<Vec<Stored>>>,
    progress: watch::Sender<Progress>,
    serving: watch::Sender<bool>,
    /// The last time given to an envelope.
    last_ns: AtomicU64,
}

/// What an edge is made of.
#[derive(Debug)]
pub struct Parts {
    /// The network.
    pub network: NetworkId,
    /// Who writes.
    pub identity: Identity,
    /// The node to follow.
    pub home: Option<String>,
    /// What callers may ask for.
    pub limits: Limits,
    /// Finds nodes.
    pub publisher: Arc<Publisher>,
    /// For calls to nodes.
    pub http: reqwest::Client,
    /// What is readable.
    pub reader: Reader,
    /// How far that reaches.
    pub progress: Progress,
}

impl Edge {
    /// An edge that does not serve yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { network, identity, home, limits, publisher, http, reader, progress } = parts;
        Self {
            network,
            home,
            limits,
            registries: Registries::new(network, Arc::clone(&publisher), http.clone()),
            publisher,
            http,
            reader,
            peers: Peers::new(identity.id),
            identity,
            metrics: Metrics::default(),
            missed: watch::Sender::new(Vec::new()),
            live: broadcast::Sender::new(LIVE_STRETCHES),
            progress: watch::Sender::new(progress),
            serving: watch::Sender::new(false),
            last_ns: AtomicU64::new(0),
        }
    }

    /// The nodes to follow, best first: those that keep every shard, for one is followed alone.
    #[must_use]
    pub fn nodes_to_follow(&self) -> Vec<String> {
        let mut nodes = self.publisher.nodes();
        nodes.retain(|node| node.keeps_all);
        let is_home = |node: &NodeView| node.is_healthy && self.home.as_ref() == Some(&node.url);
        if let Some(at) = nodes.iter().position(is_home) {
            nodes[..=at].rotate_right(1);
        }
        nodes.into_iter().map(|node| node.url).collect()
    }

    /// Whether the node answered the last look and serves.
    #[must_use]
    pub fn is_healthy(&self, url: &str) -> bool {
        self.publisher.nodes().iter().any(|node| node.url == url && node.is_healthy)
    }

    /// The registry in force, if one is known.
    #[must_use]
    pub fn registry(&self) -> Option<Registry> {
        self.registries.latest()
    }

    /// Hands what was entered to streams, and tells how far the index reaches.
    pub fn entered(&self, stored: Vec<Stored>, progress: &Progress) {
        if !stored.is_empty() {
            self.metrics.entered.add(stored.len() as u64);
            // Nobody may be listening.
            let _ = self.live.send(Arc::new(stored));
        }
        self.progress.send_replace(progress.clone());
    }

    /// What is entered from now on.
    #[must_use]
    pub fn live(&self) -> broadcast::Receiver<Arc<Vec<Stored>>> {
        self.live.subscribe()
    }

    /// How far the index reaches.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Whether the edge has caught up with the network.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        *self.serving.borrow()
    }

    /// Changes when the edge begins or ceases to serve.
    #[must_use]
    pub fn serving(&self) -> watch::Receiver<bool> {
        self.serving.subscribe()
    }

    /// From now on the edge serves.
    pub fn serve(&self) {
        self.serving.send_replace(true);
        tracing::info!("caught up with the network");
    }

    /// From now on the edge refuses everything.
    pub fn cease(&self) {
        self.serving.send_replace(false);
    }

    /// The time for an envelope that came at `now_ns`: later than any before, since clients order
    /// a conversation by it.
    pub fn tick(&self, now_ns: u64) -> u64 {
        let next = |last: u64| Some(now_ns.max(last.saturating_add(1)));
        let last = self.last_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        last.map_or(now_ns, |last| now_ns.max(last.saturating_add(1)))
    }

    /// Waits until what stands at the places is readable here.
    pub async fn reach(&self, places: &[Place]) {
        let mut progress = self.progress.subscribe();
        let covers = |progress: &Progress| places.iter().all(|place| progress.covers(place));
        // The sender lives as long as this edge.
        let _ = progress.wait_for(covers).await;
    }
}
