//! What the HTTP API asks of the node behind it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;
use tidings_envelope::api::{
    PublishRequest, PublishResponse, StateAnswer, StateQuery, TopicCursor, TopicEntry, TopicPage,
};
use tidings_envelope::{CertifiedBlock, LogId, Registry, SignedCheckpoint, Topic};
use tidings_replica::store::Flush;
use tidings_tlog::ProofPlan;
use tidings_types::{
    ErrorCode, Hash, Height, LogIndex, LogSize, NetworkId, NodeId, Period, RegistryEpoch, ShardId,
};

use crate::settlement::SettlementBook;

/// The answer of a [`Backend`], or the code that the caller is refused with.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, ErrorCode>>;

/// The node as the HTTP API sees it.
///
/// Reads see everything that was durable when they were asked for.
pub trait Backend: Send + Sync + 'static {
    /// The node's network.
    fn network(&self) -> NetworkId;

    /// The node's period.
    fn period(&self) -> Period;

    /// The newest registry that the node knows.
    fn registry(&self) -> Arc<Registry>;

    /// The registry of an epoch, if the node knows it.
    fn registry_at(&self, epoch: RegistryEpoch) -> Option<Arc<Registry>>;

    /// Whether the node can serve: storage works, an incarnation is open, a registry is loaded.
    ///
    /// # Errors
    /// What is missing, in a few words for an operator.
    fn ready(&self) -> Result<(), String>;

    /// Whether reads of the topic are answered here.
    ///
    /// # Errors
    /// [`ErrorCode::WrongShard`] when they are not.
    fn serves(&self, topic: Topic) -> Result<(), ErrorCode>;

    /// Further samples for `/metrics`, each of another name than the API's own.
    fn samples(&self) -> Vec<Sample> {
        Vec::new()
    }

    /// What the node tells about itself.
    fn status(&self) -> Answer<'_, NodeStatus>;

    /// Admits a batch and answers when its level is reached.
    fn publish(&self, request: PublishRequest) -> Answer<'_, PublishResponse>;

    /// What a topic holds after the cursor: at most `limit` entries of either lane, and entries
    /// of `bytes_max` together unless the first alone is larger; empty only at the end.
    ///
    /// The cursor's hashes of previous entries may be zero.
    fn topic_page(
        &self,
        topic: Topic,
        cursor: TopicCursor,
        limit: usize,
        bytes_max: usize,
    ) -> Answer<'_, TopicPage>;

    /// The last entry of the topic in every log that has one.
    fn newest(&self, topic: Topic) -> Answer<'_, Vec<TopicEntry>>;

    /// The newest checkpoint of every log, by rising log id.
    fn logs(&self) -> Answer<'_, Vec<SignedCheckpoint>>;

    /// The newest checkpoint of a log, if the node holds any of it.
    fn checkpoint(&self, log: LogId) -> Answer<'_, Option<SignedCheckpoint>>;

    /// Entries of a log from an index on that end at a checkpoint, within the limits unless a
    /// single flush is larger; none at the end of the log.
    fn flushes(
        &self,
        log: LogId,
        from: LogIndex,
        entries_max: usize,
        bytes_max: usize,
    ) -> Answer<'_, Option<Flush>>;

    /// The hashes of the proof that `plan` lists; [`ErrorCode::NotFound`] when the log has not
    /// come that far.
    fn prove(&self, log: LogId, plan: ProofPlan) -> Answer<'_, Vec<Hash>>;

    /// At most `max` consecutive final blocks of a shard from a height on.
    fn blocks(&self, shard: ShardId, from: Height, max: usize) -> Answer<'_, Vec<CertifiedBlock>>;

    /// The reports that this node came to, if it makes any.
    fn settlement(&self) -> Option<&SettlementBook> {
        None
    }

    /// What a shard's ordered state holds under a key, with its proof.
    fn look_up(&self, query: StateQuery) -> Answer<'_, StateAnswer>;
}

/// A further sample for `/metrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The metric's name; one that ends in `_total` is a counter, any other a gauge.
    pub name: &'static str,
    /// One sentence for the operator.
    pub help: &'static str,
    /// The value now.
    pub value: u64,
}

/// What a node tells about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// The network's id.
    pub network: NetworkId,
    /// The node's number.
    pub node: NodeId,
    /// The node's name in the registry.
    pub name: String,
    /// The version of the software.
    pub version: String,
    /// Whether the node can serve.
    pub ready: bool,
    /// The node's period.
    pub period: Period,
    /// The epoch of the registry that it computes with.
    pub registry_epoch: RegistryEpoch,
    /// The ordered lanes that it follows.
    pub shards: Vec<ShardStatus>,
    /// The logs that it holds, by rising log id.
    pub logs: Vec<LogStatus>,
}

/// How far a shard's ordered lane has come at this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ShardStatus {
    /// Which shard.
    pub shard: ShardId,
    /// The height of the last final block; 0 before the first.
    pub height: Height,
    /// The larger of the congestion factors of this period and of the next (FEE-010).
    pub congestion_permille: u32,
}

/// How much of a log the node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LogStatus {
    /// Which log.
    #[serde(flatten)]
    pub log: LogId,
    /// How many entries.
    pub size: LogSize,
}
