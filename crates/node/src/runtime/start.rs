//! Starting and stopping a node.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rand::RngCore;
use tidings_envelope::{RegistryHistory, UsageReport};
use tidings_order::LaneState;
use tidings_replica::store::WriteSet;
use tidings_replica::{RecentEntry, Replica, ReplicaConfig, RestoreError};
use tidings_types::constants::{FEE_PERIODS_BEFORE_EXPIRY_MAX, IDEMPOTENCY_PERIODS_AFTER_EXPIRY};
use tidings_types::ed25519::SigningKey;
use tidings_types::node_key::NodeKey;
use tidings_types::{NodeId, ShardId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::actor::{Actor, Command, Inputs, Surroundings, View};
use super::backend::{RunningNode, StoredFeeds};
use super::keys::{KeyFileError, read_secret};
use super::registry_file::{RegistryFile, RegistryFileError, RegistrySource};
use super::{examiner, persister};
use crate::config::NodeConfig;
use crate::feed::Feeds;
use crate::http::{HttpConfig, HttpServer, StartError, TlsFiles};
use crate::hub::Hub;
use crate::link::{LinkConfig, LinkLimits, LinkStartError, Links};
use crate::metrics::{Counter, Metrics};
use crate::settlement::{self, MeteringInputs, SettlementBook};
use crate::storage::{Storage, StorageError};

/// Commands that may wait for the replica; more waits in the HTTP API, which is limited too.
const COMMANDS_MAX: usize = 1024;

/// Reports that may wait to be attested.
const REPORTS_MAX: usize = 16;

/// How often payloads whose retention ended are dropped.
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);

/// How long those who wait are given when the node stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a node cannot run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The registry file.
    #[error(transparent)]
    Registry(#[from] RegistryFileError),
    /// The registry does not list this node, or with other keys.
    #[error("the registry does not list node {0} with these keys")]
    NotRegistered(NodeId),
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What the store holds.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// An address in the configuration.
    #[error("{0} is not an address with a port")]
    Address(String),
    /// The links.
    #[error(transparent)]
    Links(#[from] LinkStartError),
    /// The HTTP API.
    #[error(transparent)]
    Http(#[from] StartError),
    /// The machine.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Runs a node until `shutdown` completes, then drains it.
///
/// What settlement needs is written into `book` meanwhile.
///
/// # Errors
/// [`NodeError`] says what to put right before the next try.
pub async fn run(
    config: NodeConfig,
    book: Arc<SettlementBook>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), NodeError> {
    let source = RegistryFile::open(config.registry_file.clone())?;
    let network = source.subscribe().borrow().network_id();
    let storage = Storage::open(&config.database, network).await?;
    let registries = registries(&source, &storage).await?;
    let keys = Keys::load(&config, &registries)?;
    let replica = restore(&config, keys.signing, registries, &storage).await?;
    check_in_force(&replica)?;
    storage.evidence().await?.iter().for_each(|evidence| book.add_evidence(evidence));
    let link = LinkConfig {
        id: NodeId(config.node),
        key: keys.transport,
        listen: address(&config.quic_listen)?,
        addresses: config.peers.iter().map(|it| (NodeId(it.node), it.quic.clone())).collect(),
        limits: LinkLimits::default(),
    };
    let http = http_config(&config)?;
    let hub = Hub::new(http.limits.outbox());
    let (tasks, node) = Tasks::start(replica, storage, &source, link, hub.clone(), book)?;
    let view = node.view.clone();
    let server = HttpServer::start(http, Arc::new(node), hub, Arc::new(Metrics::default())).await?;
    tracing::info!(node = config.node, http = %server.local_address(), "node started");
    let pruning = tokio::spawn(prune(tasks.storage.clone(), view));
    shutdown.await;
    tracing::info!("draining");
    pruning.abort();
    drain(&tasks.commands).await;
    server.shutdown().await;
    tasks.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// The tasks around the replica, and what it takes to end them in order.
struct Tasks {
    storage: Arc<Storage>,
    commands: mpsc::Sender<Command>,
    /// The replica's task ends when this is dropped.
    stop: oneshot::Sender<()>,
    acting: JoinHandle<Links>,
    persisting: JoinHandle<()>,
}

impl Tasks {
    /// Starts everything but the HTTP API; answers the node as that API sees it.
    fn start(
        replica: Replica,
        storage: Storage,
        source: &RegistryFile,
        link: LinkConfig,
        hub: Arc<Hub>,
        book: Arc<SettlementBook>,
    ) -> Result<(Self, RunningNode), NodeError> {
        let (id, network, storage) = (link.id, replica.network(), Arc::new(storage));
        let feeds = Feeds::new(StoredFeeds(storage.clone()));
        let (links, events) = Links::start(link, source.subscribe(), feeds.clone())?;
        let (commands, commands_in) = mpsc::channel(COMMANDS_MAX);
        let (sets, queued_sets) = mpsc::unbounded_channel();
        let (written_sender, written) = mpsc::unbounded_channel();
        let (examine, jobs) = mpsc::unbounded_channel();
        let (examined_sender, examined) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        examiner::start(jobs, examined_sender)?;
        let view = Arc::new(RwLock::new(View::before_the_first_turn(&replica)));
        let node = RunningNode {
            node: id,
            network,
            storage: storage.clone(),
            commands: commands.clone(),
            view: view.clone(),
            links: links.counters(),
            alarms: Arc::new(Counter::default()),
            book: book.clone(),
        };
        let (final_block, blocks) = watch::channel(());
        let (reports, came_to) = mpsc::channel(REPORTS_MAX);
        let metering = MeteringInputs {
            node: id,
            network,
            storage: storage.clone(),
            registries: source.history(),
            blocks,
            reports,
            book: book.clone(),
        };
        let around = Surroundings {
            storage: storage.clone(),
            links,
            feeds,
            hub,
            sets,
            examine,
            commands: commands.clone(),
            view,
            alarms: node.alarms.clone(),
            blocks: final_block,
            book,
        };
        let registries = source.history();
        let inputs =
            Inputs { events, written, examined, commands: commands_in, registries, stopped };
        let persisting = tokio::spawn(persister::run(storage.clone(), queued_sets, written_sender));
        let acting = tokio::spawn(Actor::new(replica, around).run(inputs));
        // Both end when the replica's task does.
        tokio::spawn(settlement::run(metering));
        tokio::spawn(attest(came_to, commands.clone()));
        Ok((Self { storage, commands, stop, acting, persisting }, node))
    }

    /// Ends the replica's task, then what it used.
    async fn stop(self) {
        // The end of the actor closes the queue of sets, and so ends the persister.
        drop(self.stop);
        match self.acting.await {
            Ok(links) => links.shutdown().await,
            Err(error) => tracing::error!(%error, "the replica's task did not end in order"),
        }
        if self.persisting.await.is_err() {
            tracing::error!("the persister did not end in order");
        }
        self.storage.close().await;
    }
}

/// Hands reports to the replica, for as long as it runs.
async fn attest(mut reports: mpsc::Receiver<UsageReport>, commands: mpsc::Sender<Command>) {
    while let Some(report) = reports.recv().await {
        if commands.send(Command::Attest(report)).await.is_err() {
            return;
        }
    }
}

/// What the node signs with and what its links are known by.
struct Keys {
    signing: NodeKey,
    transport: SigningKey,
}

impl Keys {
    /// Reads both keys and makes sure that the registry lists them for this node, the signing key
    /// now or in an earlier epoch.
    fn load(config: &NodeConfig, registries: &RegistryHistory) -> Result<Self, NodeError> {
        let path = &config.signing_key_file;
        let signing = NodeKey::from_secret(&*read_secret(path)?)
            .map_err(|_| KeyFileError::Invalid { path: path.clone() })?;
        let transport = SigningKey::from_secret(&*read_secret(&config.transport_key_file)?);
        let id = NodeId(config.node);
        let record = registries.latest().node(id);
        let is_transport = record.is_some_and(|it| it.transport == transport.public_key());
        let is_signing = registries.signing_keys(id).contains(&signing.address());
        match is_transport && is_signing {
            true => Ok(Self { signing, transport }),
            false => Err(NodeError::NotRegistered(id)),
        }
    }
}

/// Makes sure that the signing key is the registry's, or that of the epoch which a shard of this
/// node is still in, and says which shards take another: in those the node says nothing until it
/// is started with that one.
fn check_in_force(replica: &Replica) -> Result<(), NodeError> {
    let (id, registries, key) = (replica.node(), replica.registries(), replica.signing_address());
    let of_shard = |shard: ShardId| {
        let epoch = replica.lane_state(shard).map(LaneState::epoch)?;
        Some(registries.at(epoch)?.node(id)?.signing)
    };
    let latest = registries.latest().node(id).map(|record| record.signing);
    let mut is_in_force = latest == Some(key);
    for shard in replica.shards().map(|status| status.shard) {
        match of_shard(shard) {
            Some(signing) if signing == key => is_in_force = true,
            Some(signing) => tracing::warn!(%shard, expected = %signing, given = %key,
                "the shard is in an epoch in which this node has another signing key"),
            None => {}
        }
    }
    match is_in_force {
        true => Ok(()),
        false => Err(NodeError::NotRegistered(id)),
    }
}

/// Every snapshot of the registry that the file holds or that was seen before, all of them stored
/// (TOP-009).
async fn registries(
    source: &RegistryFile,
    storage: &Storage,
) -> Result<Arc<RegistryHistory>, NodeError> {
    source.remember(storage.registries().await?)?;
    let history = source.history().borrow().clone();
    let registries = history.iter().cloned().collect();
    storage.write(&WriteSet { registries, ..WriteSet::default() }).await?;
    Ok(history)
}

/// The replica as storage has it, under a nonce of this process's own (ORD-005).
async fn restore(
    config: &NodeConfig,
    key: NodeKey,
    registries: Arc<RegistryHistory>,
    storage: &Storage,
) -> Result<Replica, NodeError> {
    let node = NodeId(config.node);
    let mut nonce = [0; 32];
    rand::thread_rng().fill_bytes(&mut nonce);
    let restored = storage.load().await?;
    let replica_config =
        ReplicaConfig { node, key, nonce, publish_timeout_ms: config.publish_timeout_ms };
    let heads = restored.lanes.values().filter_map(|lane| lane.head.as_ref());
    let period = heads.map(|head| head.block.header.period).max().unwrap_or_default();
    let kept = FEE_PERIODS_BEFORE_EXPIRY_MAX + IDEMPOTENCY_PERIODS_AFTER_EXPIRY;
    let recent = storage.recent(node, period.minus(kept)).await?.into_iter();
    let recent = recent.map(|entry| RecentEntry {
        id: entry.envelope_id,
        log: entry.log,
        index: entry.index,
        fee_period: period,
        due: entry.due,
    });
    Ok(Replica::restore(replica_config, registries, restored, recent.collect())?)
}

fn http_config(config: &NodeConfig) -> Result<HttpConfig, NodeError> {
    let mut http = HttpConfig { listen: address(&config.http_listen)?, ..HttpConfig::default() };
    http.tls = config
        .tls
        .as_ref()
        .map(|files| TlsFiles { certificate: files.certificates.clone(), key: files.key.clone() });
    http.cors_origins.clone_from(&config.cors_origins);
    http.limits.address_requests_per_minute = config.requests_per_second.saturating_mul(60);
    http.limits.address_burst = config.requests_per_second;
    Ok(http)
}

fn address(text: &str) -> Result<SocketAddr, NodeError> {
    text.parse().map_err(|_| NodeError::Address(text.into()))
}

/// Lets requests that are open be answered, for [`DRAIN_TIMEOUT`] at most.
async fn drain(commands: &mpsc::Sender<Command>) {
    let (drained, is_drained) = oneshot::channel();
    if commands.send(Command::Drain(drained)).await.is_ok()
        && tokio::time::timeout(DRAIN_TIMEOUT, is_drained).await.is_err()
    {
        tracing::warn!("some requests were still open after the drain timeout");
    }
}

/// Drops payloads whose retention ended, now and then, for ever.
async fn prune(storage: Arc<Storage>, view: Arc<RwLock<View>>) {
    let mut interval = tokio::time::interval(PRUNE_INTERVAL);
    loop {
        interval.tick().await;
        let retention = view.read().unwrap_or_else(PoisonError::into_inner).retention();
        match storage.prune(&retention).await {
            Ok(pruned) if pruned.payloads > 0 => tracing::info!(?pruned, "payloads dropped"),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "pruning failed; it is tried again later"),
        }
    }
}
