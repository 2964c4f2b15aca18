//! A shard's ordered lane at this node: the agreement, and who waits for its decisions.

use std::collections::BTreeMap;

use tidings_envelope::{
    BlockHeader, Certificate, CertifiedBlock, Evidence, IncarnationRequest, Operation,
};
use tidings_order::{
    Agreement, DecidedBlock, LaneLog, LaneState, OrderContext, OrderEffect, StateCorrupt,
};
use tidings_types::{
    BlockHash, EnvelopeId, ErrorCode, Height, Incarnation, NodeId, ShardId, mutant,
};

use crate::requests::Waiter;
use crate::store::{Decided, OrderedPlace, RestoredLane};
use crate::wire::ControlFrame;

/// How long a node waits for its incarnation before it asks again.
const INCARNATION_RETRY_MS: u64 = 1_000;

/// How long a feed of final blocks is given before another member's is taken instead.
const FEED_SWITCH_MS: u64 = 500;

/// What the lane wants done.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
pub(crate) enum LaneEffect {
    Send(NodeId, ControlFrame),
    Log(LaneLog),
    Decided(Box<Decided>),
    Evidence(Box<Evidence>),
    Forked { known: BlockHash, other: Box<CertifiedBlock> },
    Diverged(Height),
    Behind(NodeId),
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
    agreement: Agreement,
    /// The last final block, whose certificate proofs about the state stand on.
    head: Option<(BlockHeader, Certificate)>,
    /// Whose feed of final blocks is open, and since when.
    feed: Option<(NodeId, u64)>,
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
        let head = restored.head.map(|head| (head.block.header, head.certificate));
        let state = LaneState::restore(head.as_ref().map(|(header, _)| header), &restored.state)?;
        Ok(Self {
            agreement: Agreement::new(shard, state, restored.agreement),
            head,
            feed: None,
            waiters: BTreeMap::new(),
            nonce,
            opened: None,
            asked_at_ms: None,
        })
    }

    pub(crate) fn state(&self) -> &LaneState {
        self.agreement.state()
    }

    /// The last final block and why it is final; none before the first.
    pub(crate) fn head(&self) -> Option<&(BlockHeader, Certificate)> {
        // Between a decision and its effect the state is ahead of what is known here.
        self.head.as_ref().filter(|(header, _)| header.height == self.state().height())
    }

    pub(crate) fn agreement(&mut self) -> &mut Agreement {
        &mut self.agreement
    }

    /// Whether two certificates for one height have stopped the lane.
    pub(crate) fn is_halted(&self) -> bool {
        self.agreement.is_halted()
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
        self.agreement.submit(operation, context).map_err(|error| error.0)?;
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
            None if nonce == self.nonce || (mutant!(KeepIncarnation) && number.0 > 0) => {
                self.opened = Some(number);
                return Opening::Open(number);
            }
            None => {}
        }
        let waited_ms = self.asked_at_ms.map(|asked| context.now_ms.saturating_sub(asked));
        if waited_ms.is_none_or(|waited| waited >= INCARNATION_RETRY_MS) {
            self.asked_at_ms = Some(context.now_ms);
            let OrderContext { node, key, network, .. } = context;
            let shard = self.agreement.shard();
            let request = IncarnationRequest::sign(node, shard, number, self.nonce, key, network);
            // A refusal is not final: the next tick asks again.
            let _ = self.agreement.submit(Operation::OpenIncarnation(request), context);
        }
        Opening::Waiting
    }

    /// Asks for the incarnation again at the next chance, as after a link came up.
    pub(crate) fn hurry(&mut self) {
        self.asked_at_ms = None;
    }

    /// When the lane is to be told of the time next.
    pub(crate) fn next_due_ms(&self, period_ms: u64) -> Option<u64> {
        self.agreement.next_due_ms(period_ms)
    }

    pub(crate) fn poll(&mut self) -> Option<LaneEffect> {
        Some(match self.agreement.poll_effect()? {
            OrderEffect::Send(to, message) => {
                let shard = self.agreement.shard();
                LaneEffect::Send(to, ControlFrame::Lane { shard, message })
            }
            OrderEffect::Log(log) => LaneEffect::Log(log),
            OrderEffect::Decided(decided) => {
                let CertifiedBlock { block, certificate } = &decided.certified;
                self.head = Some((block.header, certificate.clone()));
                LaneEffect::Decided(Box::new(to_stored(*decided)))
            }
            OrderEffect::Evidence(evidence) => LaneEffect::Evidence(evidence),
            OrderEffect::Forked { known, other } => LaneEffect::Forked { known, other },
            OrderEffect::Diverged(height) => LaneEffect::Diverged(height),
            OrderEffect::Behind(peer) => LaneEffect::Behind(peer),
        })
    }

    /// Whose feed of final blocks is open.
    pub(crate) fn feed(&self) -> Option<NodeId> {
        self.feed.map(|(peer, _)| peer)
    }

    /// Chooses whose feed to open: `peer`'s, unless another was opened just now.
    pub(crate) fn switch_feed(&mut self, peer: NodeId, now_ms: u64) -> bool {
        let settled = self.feed.is_none_or(|(current, since)| {
            current != peer && now_ms.saturating_sub(since) >= FEED_SWITCH_MS
        });
        if settled {
            self.feed = Some((peer, now_ms));
        }
        settled
    }

    /// The feed of a peer ended; another is to be opened.
    pub(crate) fn feed_ended(&mut self, peer: NodeId) -> bool {
        self.feed.take_if(|(current, _)| *current == peer).is_some()
    }
}

fn to_stored(decided: DecidedBlock) -> Decided {
    let DecidedBlock { certified, places, changes } = decided;
    let places = places
        .into_iter()
        .map(|(topic, position, index)| OrderedPlace { topic, position, index })
        .collect();
    Decided { certified, places, state: changes }
}
