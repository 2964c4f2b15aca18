//! What the ordered lane of a shard is told and what it wants done.

use tidings_envelope::{Block, CertifiedBlock, Evidence, Registry, RegistryHistory, Topic};
use tidings_types::node_key::NodeKey;
use tidings_types::{BlockHash, ErrorCode, Height, NetworkId, NodeId, Period, Position};

use crate::agreement::LogRecord;
use crate::message::OrderMessage;

/// What the lane needs to know at each input.
#[derive(Debug, Clone, Copy)]
pub struct OrderContext<'a> {
    /// The network that signatures bind.
    pub network: NetworkId,
    /// The registry's snapshots.
    pub registries: &'a RegistryHistory,
    /// This node.
    pub node: NodeId,
    /// This node's signing key.
    pub key: &'a NodeKey,
    /// Monotonic time in milliseconds.
    pub now_ms: u64,
    /// The latest period of any shard that the node follows.
    pub latest_period: Period,
}

/// What must be durable before the messages that depend on it are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneLog {
    /// Rises by one with each; named when it is durable.
    pub sequence: u64,
    /// The height that the records are of.
    pub height: Height,
    /// The place of the first record in the height's log, from 0.
    pub first: u64,
    /// The records, in order.
    pub records: Vec<LogRecord>,
    /// Valid blocks that the records name, each once.
    pub blocks: Vec<Block>,
}

/// What is restored of a height that was under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoredAgreement {
    /// The log of the height after the last final block, in order, without a gap.
    pub records: Vec<LogRecord>,
    /// The blocks that it names.
    pub blocks: Vec<Block>,
    /// Whether two certificates for one height were seen.
    pub halted: bool,
}

/// A block that became final, and what it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidedBlock {
    /// The block and its certificate.
    pub certified: CertifiedBlock,
    /// The entries that topics gained: topic, position, operation index.
    pub places: Vec<(Topic, Position, u32)>,
    /// Changed keys of the ordered state as storage takes them.
    pub changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// What the lane wants done.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderEffect {
    /// Send to a peer.
    Send(NodeId, OrderMessage),
    /// Make this durable, then call [`crate::Agreement::logged`].
    Log(LaneLog),
    /// A block is final; the state has moved on. Make it durable and serve it.
    Decided(Box<DecidedBlock>),
    /// A member signed what no honest member signs; keep it and have it ordered.
    Evidence(Box<Evidence>),
    /// Two certificates for one height: the lane has stopped for good (ORD-022). Keep this one
    /// beside the one that was taken over.
    Forked {
        /// The block that was taken over.
        known: BlockHash,
        /// The other one.
        other: Box<CertifiedBlock>,
    },
    /// A certified block does not execute to what it says; this node cannot go on.
    Diverged(Height),
    /// A member is ahead of this node; fetch final blocks from it.
    Behind(NodeId),
}

/// An operation was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operation was not taken: {0}")]
pub struct SubmitError(pub ErrorCode);

impl<'a> OrderContext<'a> {
    /// The newest registry snapshot.
    #[must_use]
    pub fn latest(&self) -> &'a Registry {
        self.registries.latest()
    }
}
