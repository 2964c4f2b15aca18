//! What the replica wants done, and what it is told about time.

use std::sync::Arc;

use tidings_envelope::api::{AcknowledgedCheckpoint, PublishResponse};
use tidings_envelope::{CertifiedBlock, Evidence, LogId};
use tidings_payer::Missing;
use tidings_types::{
    BlockHash, ErrorCode, Height, LogIndex, LogSize, NodeId, ShardId, TimestampSeconds,
};

use crate::store::{Flush, OrderedPlace, WriteSet};
use crate::wire::{ControlFrame, FeedRequest};

/// The time at which an input comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never goes back; its start does not matter.
    pub monotonic_ms: u64,
    /// Wall-clock time, for display in entries only.
    pub timestamp: TimestampSeconds,
}

/// Names a publish request within one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names a write set within one process; rises by one with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteTicket(pub u64);

/// Something that an operator should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// A node signed what no honest node signs.
    Evidence(Box<Evidence>),
    /// A log holds an entry that breaks a rule; it is stored and no longer acknowledged.
    InvalidEntry {
        /// Which log.
        log: LogId,
        /// Which entry.
        index: LogIndex,
        /// Which rule.
        code: ErrorCode,
    },
    /// Entries of a log wait until this node has read what they are judged by.
    Unjudged {
        /// Which log.
        log: LogId,
        /// What is missing.
        missing: Missing,
    },
    /// A peer sent a stretch of a log that does not fit.
    FeedRefused {
        /// Who sent it.
        from: NodeId,
        /// Which log.
        log: LogId,
        /// Why.
        code: ErrorCode,
    },
    /// Another process opened a later incarnation with this node's key.
    Superseded(ShardId),
    /// Two blocks of one height are certified: the shard's ordered lane has stopped (ORD-022).
    Forked {
        /// Whose ordered lane.
        shard: ShardId,
        /// At which height.
        height: Height,
        /// The block that was taken over; the other one is stored beside it.
        known: BlockHash,
    },
    /// A certified block does not execute here to what it says; this node follows no further.
    Diverged {
        /// Whose ordered lane.
        shard: ShardId,
        /// At which height.
        height: Height,
    },
}

/// What the shell does for the replica.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make the set durable, then say so by `persisted`. Sets become durable in order.
    Persist(WriteTicket, WriteSet),
    /// Send to a peer.
    Control(NodeId, ControlFrame),
    /// Open a feed at a peer; it replaces the feed of the same subject.
    Subscribe(NodeId, FeedRequest),
    /// Close the feed of a log.
    Unsubscribe(NodeId, LogId),
    /// Close the feed of a shard's blocks.
    UnsubscribeBlocks(NodeId, ShardId),
    /// These entries are durable: feed them to peers and subscribers.
    Serve(Arc<Flush>),
    /// This block is final and durable: feed it to peers and subscribers.
    ServeBlock(Arc<CertifiedBlock>, Vec<OrderedPlace>),
    /// Answer a publish request.
    Reply(RequestId, PublishResponse),
    /// Find an older entry's header and its path to the checkpoint; answer by `proved`.
    Prove {
        /// For which request.
        request: RequestId,
        /// For which envelope of the request.
        item: usize,
        /// In which log.
        log: LogId,
        /// Which entry.
        index: LogIndex,
        /// The newest checkpoint that enough replicas hold.
        against: Box<AcknowledgedCheckpoint>,
    },
    /// Find an entry with its path to the stored checkpoint of a size; answer by `included`.
    Include {
        /// The peer that asks, or none when it is for this node itself.
        to: Option<NodeId>,
        /// In which log.
        log: LogId,
        /// Which entry.
        index: LogIndex,
        /// The checkpoint's size.
        size: LogSize,
    },
    /// Find the last entry of each topic of a stored log; answer by `topic_heads`.
    TopicHeads(LogId),
    /// Find an older decision of the ordered lane; answer by `recalled`.
    Recall {
        /// For which request.
        request: RequestId,
        /// For which envelope of the request.
        item: usize,
        /// In which shard.
        shard: ShardId,
        /// In which block.
        height: Height,
        /// Which operation.
        index: u32,
    },
    /// Tell the operator.
    Alarm(Alarm),
}
