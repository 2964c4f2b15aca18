//! The bodies of the HTTP and WebSocket API, media type `application/vnd.tidings`.

use tidings_types::constants::{
    ASSOCIATION_STATE_BYTES_MAX, BATCH_ENVELOPES_MAX, BLOCK_OPERATIONS_MAX, CURSOR_LOGS_MAX,
    ENTRY_PAYLOAD_BYTES_MAX, FEED_ENTRIES_MAX, PAGE_ENTRIES_MAX, PROTOCOL_VERSION,
    SUBSCRIBE_TOPICS_MAX,
};
use tidings_types::{
    BoundedBytes, BoundedVec, EntryHash, EnvelopeId, ErrorCode, Hash, Height, LogIndex, NetworkId,
    Period, Position, ShardId, TopicIndex,
};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::receipt::{Acknowledgements, MerklePath};
use crate::{
    AckLevel, BatchHeader, BlockHeader, Certificate, CertifiedBlock, ClientEnvelope, EntryHeader,
    LogEntry, LogId, OrderedReceipt, PayerBatch, Receipt, SignedCheckpoint, StateKey, StateProof,
    Topic, TopicKind,
};

/// The media type of binary bodies.
pub const MEDIA_TYPE: &str = "application/vnd.tidings";

/// The most logs that a follower names: those of a hundred nodes that each started 300 times.
const FOLLOWED_LOGS_MAX: usize = 1 << 15;

/// The most shards that a follower names: as many as a registry may have.
const SHARDS_MAX: usize = 1 << 15;

/// The canonical bytes of one client envelope.
pub type EnvelopeBytes = BoundedBytes<ENTRY_PAYLOAD_BYTES_MAX>;

/// `POST /v1/publish`: a payer batch and its envelopes.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct PublishRequest {
    /// The version of this structure.
    pub version: u16,
    /// How durable each envelope must be before the answer.
    pub level: AckLevel,
    /// The payer's signature over the ids.
    pub batch: PayerBatch,
    /// The ids that the batch's root covers, in order.
    pub ids: BoundedVec<EnvelopeId, BATCH_ENVELOPES_MAX>,
    /// The envelopes, opaque so that one bad one does not spoil the rest (ENV-011).
    pub envelopes: BoundedVec<EnvelopeBytes, BATCH_ENVELOPES_MAX>,
}

impl PublishRequest {
    /// The Merkle paths from each listed id to the root over all of them, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<Vec<Hash>> {
        crate::batch::paths(&self.ids)
    }

    /// Whether the listed ids are the ones that the payer signed for (ENV-007).
    #[must_use]
    pub fn ids_are_signed(&self) -> bool {
        let header = &self.batch.header;
        u32::try_from(self.ids.len()) == Ok(header.count)
            && self.ids.len() == self.envelopes.len()
            && BatchHeader::root_of(&self.ids) == header.root
    }
}

/// A signed checkpoint and who acknowledged it.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct AcknowledgedCheckpoint {
    /// The originator's checkpoint.
    pub checkpoint: SignedCheckpoint,
    /// By other replicas.
    pub acknowledgements: Acknowledgements,
}

/// What became of one envelope of a batch.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum PublishResult {
    /// It is in the node's log.
    #[tls_codec(discriminant = 1)]
    Stored {
        /// The entry's header.
        header: EntryHeader,
        /// From the header to the checkpoint's root.
        path: MerklePath,
        /// Which of the response's checkpoints covers it, from 0.
        checkpoint: u16,
    },
    /// The ordered lane decided on it; the outcome is inside.
    #[tls_codec(discriminant = 2)]
    Ordered(OrderedReceipt),
    /// It is refused and changed nothing.
    #[tls_codec(discriminant = 3)]
    Refused {
        /// Why.
        code: ErrorCode,
    },
}

/// The answer to a publish request.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct PublishResponse {
    /// The version of this structure.
    pub version: u16,
    /// The checkpoints that results refer to.
    pub checkpoints: BoundedVec<AcknowledgedCheckpoint, BATCH_ENVELOPES_MAX>,
    /// One result per envelope, in the order of the request.
    pub results: BoundedVec<PublishResult, BATCH_ENVELOPES_MAX>,
}

impl PublishResponse {
    /// The receipt of the envelope at `index`, if it was stored in a log.
    #[must_use]
    pub fn receipt(&self, index: usize) -> Option<Receipt> {
        let PublishResult::Stored { header, path, checkpoint } = self.results.get(index)? else {
            return None;
        };
        let acknowledged = self.checkpoints.get(usize::from(*checkpoint))?;
        Some(Receipt {
            header: *header,
            path: path.clone(),
            checkpoint: acknowledged.checkpoint,
            acknowledgements: acknowledged.acknowledgements.clone(),
        })
    }
}

/// `POST /v1/send` at a gateway: envelopes to be paid for, batched and published.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct SendRequest {
    /// The version of this structure.
    pub version: u16,
    /// How durable each envelope must be before the answer.
    pub level: AckLevel,
    /// What is sent.
    pub envelopes: BoundedVec<ClientEnvelope, BATCH_ENVELOPES_MAX>,
}

/// What became of one envelope given to a gateway.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum SendResult {
    /// It is stored, and this proves it.
    #[tls_codec(discriminant = 1)]
    Stored(Receipt),
    /// The ordered lane decided on it; the outcome is inside.
    #[tls_codec(discriminant = 2)]
    Ordered(OrderedReceipt),
    /// It is refused and changed nothing.
    #[tls_codec(discriminant = 3)]
    Refused {
        /// Why.
        code: ErrorCode,
    },
}

/// The answer to a send request: one result per envelope, in its order.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct SendResponse {
    /// The version of this structure.
    pub version: u16,
    /// The results.
    pub results: BoundedVec<SendResult, BATCH_ENVELOPES_MAX>,
}

/// How far a reader has come in one log of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct LogCursor {
    /// Which log.
    pub log: LogId,
    /// The topic index that is to come next.
    pub next: TopicIndex,
    /// The entry read last; zero before the first.
    pub previous: EntryHash,
}

/// How far a reader has come in a topic; good at any replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct TopicCursor {
    /// The logs that have been read from, one cursor each.
    pub logs: BoundedVec<LogCursor, CURSOR_LOGS_MAX>,
    /// The position read last in the ordered lane.
    pub position: Position,
}

/// `POST /v1/query`: what a topic holds after a cursor.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct TopicQuery {
    /// The version of this structure.
    pub version: u16,
    /// Which topic.
    pub topic: Topic,
    /// Where to go on.
    pub cursor: TopicCursor,
    /// How many entries at most, 1 to 1000.
    pub limit: u16,
}

/// A broadcast entry and the log it is from.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct TopicEntry {
    /// Whose log.
    pub log: LogId,
    /// The entry.
    pub entry: LogEntry,
}

/// A page of a topic: ordered entries by position, broadcast entries by index within each log.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct TopicPage {
    /// The version of this structure.
    pub version: u16,
    /// Entries of the ordered lane.
    pub ordered: BoundedVec<OrderedReceipt, PAGE_ENTRIES_MAX>,
    /// Entries of the broadcast lane.
    pub broadcast: BoundedVec<TopicEntry, PAGE_ENTRIES_MAX>,
    /// 1 when the topic holds more after this page, else 0.
    pub more: u8,
}

/// `POST /v1/newest`: the last entry of the topic in every log.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct NewestQuery {
    /// The version of this structure.
    pub version: u16,
    /// Which topic.
    pub topic: Topic,
}

/// `POST /v1/state`: what a shard's ordered state holds under a key.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct StateQuery {
    /// The version of this structure.
    pub version: u16,
    /// Whose ordered state.
    pub shard: ShardId,
    /// Which key; not a single decision.
    pub key: StateKey,
    /// The hash of the value that the asker has already, which is then left out.
    pub known: Option<Hash>,
}

/// The answer to a state query: a proof, whether there is such a key or not.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct StateAnswer {
    /// The version of this structure.
    pub version: u16,
    /// What is under the key after the last final block of the shard.
    pub proof: StateProof,
    /// The value whose hash the proof carries, unless the asker has it.
    pub value: Option<BoundedBytes<ASSOCIATION_STATE_BYTES_MAX>>,
}

/// `GET /v1/logs/{node}/{shard}/{incarnation}?from=`: a stretch of a log for auditors.
///
/// The stretch ends where the checkpoint says, so that a reader from the start can check the root.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct LogPage {
    /// The version of this structure.
    pub version: u16,
    /// The index of the first entry.
    pub first: LogIndex,
    /// Entries in order; empty at the end of the log.
    pub entries: BoundedVec<LogEntry, PAGE_ENTRIES_MAX>,
    /// Covers exactly what is read up to the end of this page; absent for an empty page.
    pub checkpoint: Option<SignedCheckpoint>,
}

/// `GET /v1/blocks/{shard}?from=`: consecutive blocks.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct BlockPage {
    /// The version of this structure.
    pub version: u16,
    /// By rising height.
    pub blocks: BoundedVec<CertifiedBlock, PAGE_ENTRIES_MAX>,
}

/// How far a follower has come in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct FollowedLog {
    /// Which log.
    pub log: LogId,
    /// The index that is to come next.
    pub next: LogIndex,
}

/// How far a follower has come in a shard's ordered lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct FollowedShard {
    /// Which shard.
    pub shard: ShardId,
    /// The height that is to come next, from 1.
    pub next: Height,
}

/// `POST /v1/follow`: everything on topics of one kind, whatever the topic (API-035).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct FollowRequest {
    /// The version of this structure.
    pub version: u16,
    /// Which kind of topic.
    pub kind: TopicKind,
    /// Logs that have been read from; the others are sent from their start.
    pub logs: BoundedVec<FollowedLog, FOLLOWED_LOGS_MAX>,
    /// Shards that have been read from; the others are sent from height 1.
    pub shards: BoundedVec<FollowedShard, SHARDS_MAX>,
}

/// What a follower is sent, each with its length as `uint32` before it.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum FollowFrame {
    /// The first frame: whom the follower talks to.
    #[tls_codec(discriminant = 1)]
    Hello {
        /// The version of these frames.
        version: u16,
        /// The node's network.
        network: NetworkId,
        /// The node's period.
        period: Period,
    },
    /// A stretch of a log.
    #[tls_codec(discriminant = 2)]
    Entries {
        /// The entries of the kind, by rising index.
        entries: BoundedVec<LogEntry, FEED_ENTRIES_MAX>,
        /// The originator's, over everything up to the end of the stretch: what is before its
        /// size has been sent.
        checkpoint: SignedCheckpoint,
    },
    /// A block of a shard's ordered lane; by rising height, and none is left out.
    #[tls_codec(discriminant = 3)]
    Block {
        /// The block.
        header: BlockHeader,
        /// Why it is final.
        certificate: Certificate,
        /// What was applied to topics of the kind, in its order.
        receipts: BoundedVec<OrderedReceipt, BLOCK_OPERATIONS_MAX>,
    },
    /// Everything that the node held at the request has been sent.
    #[tls_codec(discriminant = 4)]
    CaughtUp,
    /// The node is there; sent when nothing else is.
    #[tls_codec(discriminant = 5)]
    Heartbeat {
        /// The node's period.
        period: Period,
    },
}

/// A topic and where its subscriber goes on.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Subscription {
    /// Which topic.
    pub topic: Topic,
    /// What the subscriber has already.
    pub cursor: TopicCursor,
}

/// What a subscriber sends over the WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum SubscriberFrame {
    /// Adds topics; each is caught up and then live, without a gap.
    #[tls_codec(discriminant = 1)]
    Subscribe(BoundedVec<Subscription, SUBSCRIBE_TOPICS_MAX>),
    /// Drops topics.
    #[tls_codec(discriminant = 2)]
    Unsubscribe(BoundedVec<Topic, SUBSCRIBE_TOPICS_MAX>),
}

/// What a node sends over the WebSocket.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum NodeFrame {
    /// The first frame: whom the subscriber talks to.
    #[tls_codec(discriminant = 1)]
    Hello {
        /// The version of these frames.
        version: u16,
        /// The node's network.
        network: NetworkId,
        /// The node's period.
        period: Period,
    },
    /// An entry of the broadcast lane.
    #[tls_codec(discriminant = 2)]
    Broadcast(TopicEntry),
    /// An entry of the ordered lane.
    #[tls_codec(discriminant = 3)]
    Ordered(OrderedReceipt),
    /// Everything that the node held when the topic was added has been sent.
    #[tls_codec(discriminant = 4)]
    CaughtUp(Topic),
    /// The node is there; sent when nothing else is.
    #[tls_codec(discriminant = 5)]
    Heartbeat {
        /// The node's period.
        period: Period,
    },
    /// A topic, or the whole connection when there is none, is refused.
    #[tls_codec(discriminant = 6)]
    Refused {
        /// Which topic.
        topic: Option<Topic>,
        /// Why.
        code: ErrorCode,
    },
}

impl TopicQuery {
    /// A query of the current version.
    #[must_use]
    pub fn new(topic: Topic, cursor: TopicCursor, limit: u16) -> Self {
        Self { version: PROTOCOL_VERSION, topic, cursor, limit }
    }
}

impl StateQuery {
    /// A query of the current version by an asker who knows no value.
    #[must_use]
    pub fn new(shard: ShardId, key: StateKey) -> Self {
        Self { version: PROTOCOL_VERSION, shard, key, known: None }
    }
}
