//! What makes the replicas of a shard agree on blocks, as inputs and effects.

use tidings_envelope::{Block, CertifiedBlock, CommitSignature, Operation, Registry, Topic};
use tidings_types::node_key::NodeKey;
use tidings_types::{BlockHash, ErrorCode, Height, NetworkId, NodeId, Position, Round, ShardId};

use crate::LaneState;

/// What an orderer needs to know at each input.
#[derive(Debug, Clone, Copy)]
pub struct OrderContext<'a> {
    /// The network that signatures bind.
    pub network: NetworkId,
    /// The registry snapshot.
    pub registry: &'a Registry,
    /// This node.
    pub node: NodeId,
    /// This node's signing key.
    pub key: &'a NodeKey,
    /// Monotonic time in milliseconds.
    pub now_ms: u64,
}

/// What replicas of a shard say to each other about blocks.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderMessage {
    /// Please order this.
    Order(Operation),
    /// Please vote on this.
    Propose {
        /// In which round.
        round: Round,
        /// The block.
        block: Block,
    },
    /// I vote for this.
    Vote {
        /// At which height.
        height: Height,
        /// The block's hash.
        block: BlockHash,
        /// My signature.
        vote: CommitSignature,
    },
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

/// What an orderer wants done.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderEffect {
    /// Send to a peer.
    Send(NodeId, OrderMessage),
    /// Make the block durable, then call [`Orderer::proposal_is_durable`].
    Persist(Block),
    /// A block is final; the state has moved on. Make it durable and serve it.
    Decided(Box<DecidedBlock>),
}

/// An operation was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operation was not taken: {0}")]
pub struct SubmitError(pub ErrorCode);

/// Agreement on the blocks of one shard.
pub trait Orderer {
    /// Whose ordered lane this is.
    fn shard(&self) -> ShardId;

    /// The state after the last final block.
    fn state(&self) -> &LaneState;

    /// Takes an operation of this node's to be ordered.
    ///
    /// # Errors
    /// [`SubmitError`] when the operation is invalid, the queue is full, or nobody orders.
    fn submit(
        &mut self,
        operation: Operation,
        context: OrderContext<'_>,
    ) -> Result<(), SubmitError>;

    /// Takes a peer's message; what is invalid or untimely changes nothing.
    fn receive(&mut self, from: NodeId, message: OrderMessage, context: OrderContext<'_>);

    /// Takes a final block from whoever has it; answers whether it was the next one.
    fn learn(&mut self, certified: CertifiedBlock, context: OrderContext<'_>) -> bool;

    /// The block handed out by [`OrderEffect::Persist`] is on disk.
    fn proposal_is_durable(&mut self, block: BlockHash, context: OrderContext<'_>);

    /// The block handed out by [`OrderEffect::Persist`] could not be written.
    fn proposal_is_lost(&mut self, block: BlockHash);

    /// Lets time pass.
    fn tick(&mut self, context: OrderContext<'_>);

    /// The next thing to be done, until there is none.
    fn poll_effect(&mut self) -> Option<OrderEffect>;
}
