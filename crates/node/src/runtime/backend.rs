//! The HTTP API's view of the running node.

use std::sync::{Arc, PoisonError, RwLock};

use futures_util::FutureExt;
use tidings_envelope::api::{
    PublishRequest, PublishResponse, StateAnswer, StateQuery, TopicCursor, TopicEntry, TopicPage,
};
use tidings_envelope::{
    AdmissionContext, CertifiedBlock, LogId, Registry, SignedCheckpoint, Topic,
};
use tidings_replica::store::Flush;
use tidings_replica::{PreparedPublish, Replica, prepare_publish};
use tidings_tlog::ProofPlan;
use tidings_types::constants::BLOCK_BYTES_MAX;
use tidings_types::{
    ErrorCode, Hash, Height, LogIndex, NetworkId, NodeId, Period, RegistryEpoch, ShardId,
};
use tokio::sync::{mpsc, oneshot};

use super::actor::{Command, View};
use crate::feed::{FeedSource, SourceUnavailable};
use crate::http::{Answer, Backend, LogStatus, NodeStatus, Sample, ShardStatus};
use crate::link::LinkCounters;
use crate::metrics::Counter;
use crate::settlement::SettlementBook;
use crate::storage::{Storage, StorageError};

/// A running node, as seen by its HTTP API.
pub(super) struct RunningNode {
    pub(super) node: NodeId,
    pub(super) network: NetworkId,
    pub(super) storage: Arc<Storage>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) view: Arc<RwLock<View>>,
    pub(super) links: Arc<LinkCounters>,
    pub(super) alarms: Arc<Counter>,
    pub(super) book: Arc<SettlementBook>,
}

impl RunningNode {
    fn view(&self) -> View {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the replica on its own task.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Replica) -> T + Send + 'static,
    ) -> Result<T, ErrorCode> {
        let (answer, answered) = oneshot::channel();
        let question = Box::new(move |replica: &Replica| {
            // The asker may have hung up.
            let _ = answer.send(question(replica));
        });
        let sent = self.commands.send(Command::Ask(question)).await;
        sent.map_err(|_| ErrorCode::ShuttingDown)?;
        answered.await.map_err(|_| ErrorCode::ShuttingDown)
    }

    async fn prepare(&self, request: PublishRequest) -> Result<PreparedPublish, ErrorCode> {
        let (view, network, node) = (self.view(), self.network, self.node);
        let prepare = move || {
            let registries = &view.registries;
            let context = AdmissionContext { network, registries, period: view.period, node };
            prepare_publish(&request, &context, &view.congestion, &mut rand::thread_rng())
        };
        // A large batch would hold up others on this thread.
        tokio::task::spawn_blocking(prepare).await.map_err(|_| ErrorCode::Internal)?
    }

    async fn status_of(&self) -> Result<NodeStatus, ErrorCode> {
        let node = self.node;
        let status = move |replica: &Replica| {
            let registry = replica.registry();
            let shards = replica.shards().map(|status| ShardStatus {
                shard: status.shard,
                height: status.height,
                congestion_permille: status.congestion_permille,
            });
            let logs = replica.durable_logs();
            NodeStatus {
                network: replica.network(),
                node,
                name: registry.node(node).map(|record| record.name.clone()).unwrap_or_default(),
                version: env!("CARGO_PKG_VERSION").into(),
                ready: replica.is_ready(),
                period: replica.period(),
                registry_epoch: registry.epoch,
                shards: shards.collect(),
                logs: logs.into_iter().map(|(log, size)| LogStatus { log, size }).collect(),
            }
        };
        self.ask(status).await
    }
}

fn code(error: StorageError) -> ErrorCode {
    tracing::warn!(%error, "a read failed");
    error.code()
}

impl Backend for RunningNode {
    fn network(&self) -> NetworkId {
        self.network
    }

    fn period(&self) -> Period {
        self.view().period
    }

    fn registry(&self) -> Arc<Registry> {
        self.view().registries.latest().clone()
    }

    fn registry_at(&self, epoch: RegistryEpoch) -> Option<Arc<Registry>> {
        self.view().registries.at(epoch).cloned()
    }

    fn ready(&self) -> Result<(), String> {
        let view = self.view();
        match (view.is_ready, view.storage_is_failing) {
            (_, true) => Err("storage cannot be written".into()),
            (false, _) => Err("waiting for the ordered lane to open this node's logs".into()),
            (true, false) => Ok(()),
        }
    }

    fn serves(&self, topic: Topic) -> Result<(), ErrorCode> {
        let registry = self.registry();
        let shard = topic.shard(registry.shard_count);
        match registry.committee(shard).contains(&self.node) {
            true => Ok(()),
            false => Err(ErrorCode::WrongShard),
        }
    }

    fn samples(&self) -> Vec<Sample> {
        let view = self.view();
        let gauge = |name, help, value| Sample { name, help, value };
        let up = u64::try_from(view.peers).unwrap_or(u64::MAX);
        let mut samples = vec![
            gauge("tidings_peers_up", "Peers that are connected now.", up),
            gauge(
                "tidings_alarms_total",
                "Things an operator should look at.",
                self.alarms.value(),
            ),
        ];
        let links = self.links.readings().into_iter();
        samples.extend(links.map(|(name, value)| gauge(name, "Counted on the links.", value)));
        samples
    }

    fn status(&self) -> Answer<'_, NodeStatus> {
        self.status_of().boxed()
    }

    fn publish(&self, request: PublishRequest) -> Answer<'_, PublishResponse> {
        async move {
            let prepared = self.prepare(request).await?;
            let (reply, replied) = oneshot::channel();
            let command = Command::Publish(prepared, reply);
            self.commands.send(command).await.map_err(|_| ErrorCode::ShuttingDown)?;
            replied.await.map_err(|_| ErrorCode::ShuttingDown)
        }
        .boxed()
    }

    fn topic_page(
        &self,
        topic: Topic,
        cursor: TopicCursor,
        limit: usize,
        bytes_max: usize,
    ) -> Answer<'_, TopicPage> {
        async move { self.storage.topic_page(topic, &cursor, limit, bytes_max).await.map_err(code) }
            .boxed()
    }

    fn newest(&self, topic: Topic) -> Answer<'_, Vec<TopicEntry>> {
        async move { self.storage.newest(topic).await.map_err(code) }.boxed()
    }

    fn logs(&self) -> Answer<'_, Vec<SignedCheckpoint>> {
        async move { self.storage.logs().await.map_err(code) }.boxed()
    }

    fn checkpoint(&self, log: LogId) -> Answer<'_, Option<SignedCheckpoint>> {
        async move { self.storage.newest_checkpoint(log).await.map_err(code) }.boxed()
    }

    fn flushes(
        &self,
        log: LogId,
        from: LogIndex,
        entries_max: usize,
        bytes_max: usize,
    ) -> Answer<'_, Option<Flush>> {
        async move { self.storage.flushes(log, from, entries_max, bytes_max).await.map_err(code) }
            .boxed()
    }

    fn prove(&self, log: LogId, plan: ProofPlan) -> Answer<'_, Vec<Hash>> {
        async move {
            let hashes = self.storage.prove(log, &plan).await.map_err(code)?;
            hashes.ok_or(ErrorCode::NotFound)
        }
        .boxed()
    }

    fn blocks(&self, shard: ShardId, from: Height, max: usize) -> Answer<'_, Vec<CertifiedBlock>> {
        async move { self.storage.blocks(shard, from, max, BLOCK_BYTES_MAX).await.map_err(code) }
            .boxed()
    }

    fn settlement(&self) -> Option<&SettlementBook> {
        Some(&self.book)
    }

    fn look_up(&self, query: StateQuery) -> Answer<'_, StateAnswer> {
        async move { self.ask(move |replica| replica.look_up(&query)).await? }.boxed()
    }
}

/// Feeds are served from the node's storage.
pub(super) struct StoredFeeds(pub(super) Arc<Storage>);

impl FeedSource for StoredFeeds {
    async fn flushes(
        &self,
        log: LogId,
        from: LogIndex,
        entries_max: usize,
        bytes_max: usize,
    ) -> Result<Option<Flush>, SourceUnavailable> {
        let stretch = self.0.flushes(log, from, entries_max, bytes_max).await;
        stretch.map_err(|_| SourceUnavailable)
    }

    async fn blocks(
        &self,
        shard: ShardId,
        from: Height,
        blocks_max: usize,
    ) -> Result<Vec<CertifiedBlock>, SourceUnavailable> {
        let blocks = self.0.blocks(shard, from, blocks_max, BLOCK_BYTES_MAX).await;
        blocks.map_err(|_| SourceUnavailable)
    }
}
