//! A shard's ordered lane at this node: the orderer, and who waits for its decisions.

use std::collections::BTreeMap;

use tidings_envelope::{Block, IncarnationRequest, Operation};
use tidings_order::{
    LaneState, OrderContext, OrderEffect, OrderMessage, Orderer, Sequencer, StateCorrupt,
};
use tidings_types::{BlockHash, EnvelopeId, ErrorCode, Incarnation, NodeId, ShardId};

use crate::requests::Waiter;
use crate::store::{Decided, OrderedPlace, RestoredLane};
use crate::wire::ControlFrame;

/// How long a node waits for its incarnation before it asks again.
const INCARNATION_RETRY_MS: u64 = 1_000;

/// What the lane wants done.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
pub(crate) enum LaneEffect {
    Send(NodeId, ControlFrame),
    Persist(Box<Block>),
    Decided(Box<Decided>),
}

/// Where this process stands with its incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    Waiting,
    Open(Incarnation),
    /// Another process with this node's key opened a later one.
    Superseded,
}

/// One shard's ordered lane.
pub(crate) struct Lane {
    orderer: Box<dyn Orderer + Send>,
    waiters: BTreeMap<EnvelopeId, Vec<Waiter>>,
    nonce: [u8; 32],
    opened: Option<Incarnation>,
    asked_at_ms: Option<u64>,
}

impl Lane {
    pub(crate) fn restore(
        shard: ShardId,
        restored: RestoredLane,
        nonce: [u8; 32],
    ) -> Result<Self, StateCorrupt> {
        let head = restored.head.as_ref().map(|head| &head.block.header);
        let state = LaneState::restore(head, &restored.state)?;
        let orderer = Sequencer::new(shard, state, restored.proposal);
        Ok(Self {
            orderer: Box::new(orderer),
            waiters: BTreeMap::new(),
            nonce,
            opened: None,
            asked_at_ms: None,
        })
    }

    pub(crate) fn state(&self) -> &LaneState {
        self.orderer.state()
    }

    pub(crate) fn orderer(&mut self) -> &mut (dyn Orderer + Send) {
        self.orderer.as_mut()
    }

    /// Submits an operation for `waiter`, once however many wait for it.
    pub(crate) fn submit(
        &mut self,
        id: EnvelopeId,
        operation: Operation,
        waiter: Waiter,
        context: OrderContext<'_>,
    ) -> Result<(), ErrorCode> {
        // A repeat is submitted again all the same: the first may have been lost on the way.
        self.orderer.submit(operation, context).map_err(|error| error.0)?;
        self.waiters.entry(id).or_default().push(waiter);
        Ok(())
    }

    /// Gives up waiting for what belongs to finished requests.
    pub(crate) fn retain_waiters(&mut self, is_open: impl Fn(Waiter) -> bool) {
        self.waiters.retain(|_, waiters| {
            waiters.retain(|waiter| is_open(*waiter));
            !waiters.is_empty()
        });
    }

    /// Everybody who waits for an envelope, taken off the list.
    pub(crate) fn take_waiters(&mut self, id: EnvelopeId) -> Vec<Waiter> {
        self.waiters.remove(&id).unwrap_or_default()
    }

    /// Opens this process's incarnation, asking again until the lane has decided (ORD-005).
    pub(crate) fn open_incarnation(&mut self, context: OrderContext<'_>) -> Opening {
        let (number, nonce) = self.state().incarnation(context.node);
        match self.opened {
            Some(opened) if number > opened => return Opening::Superseded,
            Some(opened) => return Opening::Open(opened),
            None if nonce == self.nonce => {
                self.opened = Some(number);
                return Opening::Open(number);
            }
            None => {}
        }
        let waited_ms = self.asked_at_ms.map(|asked| context.now_ms.saturating_sub(asked));
        if waited_ms.is_none_or(|waited| waited >= INCARNATION_RETRY_MS) {
            self.asked_at_ms = Some(context.now_ms);
            let OrderContext { node, key, network, .. } = context;
            let shard = self.orderer.shard();
            let request = IncarnationRequest::sign(node, shard, number, self.nonce, key, network);
            // A refusal is not final: the next tick asks again.
            let _ = self.orderer.submit(Operation::OpenIncarnation(request), context);
        }
        Opening::Waiting
    }

    /// Asks for the incarnation again at the next chance, as after a link came up.
    pub(crate) fn hurry(&mut self) {
        self.asked_at_ms = None;
    }

    pub(crate) fn poll(&mut self) -> Option<LaneEffect> {
        let shard = self.orderer.shard();
        Some(match self.orderer.poll_effect()? {
            OrderEffect::Send(to, message) => LaneEffect::Send(to, frame(shard, message)),
            OrderEffect::Persist(block) => LaneEffect::Persist(Box::new(block)),
            OrderEffect::Decided(decided) => {
                let places = decided.places.iter().map(|(topic, position, index)| OrderedPlace {
                    topic: *topic,
                    position: *position,
                    index: *index,
                });
                LaneEffect::Decided(Box::new(Decided {
                    certified: decided.certified.clone(),
                    places: places.collect(),
                    state: decided.changes,
                }))
            }
        })
    }

    pub(crate) fn proposal_is_durable(&mut self, block: BlockHash, context: OrderContext<'_>) {
        self.orderer.proposal_is_durable(block, context);
    }
}

fn frame(shard: ShardId, message: OrderMessage) -> ControlFrame {
    match message {
        OrderMessage::Order(operation) => ControlFrame::Order { shard, operation },
        OrderMessage::Propose { round, block } => ControlFrame::Propose { round, block },
        OrderMessage::Vote { height, block, vote } => {
            ControlFrame::Vote { shard, height, block, vote }
        }
    }
}
