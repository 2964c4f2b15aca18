//! An orderer with one proposer per shard, named in the registry.
//!
//! The sequencer proposes, the committee checks, stores and votes, and a quorum of votes makes
//! a block final. While the sequencer is away nothing is ordered, and nothing final is lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidings_envelope::{
    Block, Certificate, CertifiedBlock, CommitSignature, Operation, Outcome, PeriodMarker,
};
use tidings_types::constants::{BLOCK_BYTES_MAX, BLOCK_OPERATIONS_MAX, ORDER_QUEUE_OPERATIONS_MAX};
use tidings_types::{
    BlockHash, BoundedVec, EnvelopeId, ErrorCode, NodeId, OperationHash, Round, ShardId,
};
use tls_codec::Size;

use crate::execute::{LaneContext, Staged};
use crate::judge::judge_operation;
use crate::orderer::{DecidedBlock, OrderContext, OrderEffect, OrderMessage, Orderer, SubmitError};
use crate::state::LaneState;

/// How long the proposer waits for votes before it proposes the same block again.
const REPEAT_AFTER_MS: u64 = 500;

/// There is one proposer, so nothing is ever decided after the first round.
const ROUND: Round = Round(0);

/// What tells queued operations apart: an envelope is one whoever carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum QueueKey {
    Envelope(EnvelopeId),
    Other(OperationHash),
}

impl QueueKey {
    fn of(operation: &Operation) -> Self {
        match operation {
            Operation::Envelope(envelope) => Self::Envelope(envelope.envelope.body.id()),
            _ => Self::Other(operation.hash()),
        }
    }
}

/// The block after the last final one, as this node has checked it.
#[derive(Debug)]
struct Candidate {
    hash: BlockHash,
    staged: Staged,
    durable: bool,
    /// Filled at the proposer only.
    votes: BTreeMap<NodeId, CommitSignature>,
    proposed_at_ms: u64,
}

/// Agreement by a named sequencer.
#[derive(Debug)]
pub struct Sequencer {
    shard: ShardId,
    state: LaneState,
    queue: VecDeque<Operation>,
    queued: BTreeSet<QueueKey>,
    candidate: Option<Candidate>,
    /// A block that was on disk at the start, to be taken up again.
    restored: Option<Block>,
    /// A proposal that came before the block it builds on.
    early: Option<Block>,
    /// When the last marker became final here, or was queued here; none since the start.
    marked_at_ms: Option<u64>,
    effects: VecDeque<OrderEffect>,
}

impl Sequencer {
    /// An orderer that goes on from `state`, and from the block it may have voted for after it.
    #[must_use]
    pub fn new(shard: ShardId, state: LaneState, proposal: Option<Block>) -> Self {
        Self {
            shard,
            state,
            queue: VecDeque::new(),
            queued: BTreeSet::new(),
            candidate: None,
            restored: proposal,
            early: None,
            marked_at_ms: None,
            effects: VecDeque::new(),
        }
    }

    fn lane<'a>(&self, context: OrderContext<'a>) -> LaneContext<'a> {
        LaneContext { network: context.network, registry: context.registry, shard: self.shard }
    }

    fn leads(&self, context: OrderContext<'_>) -> bool {
        leader(self.shard, context) == Some(context.node)
    }

    /// Queues an operation at the sequencer.
    fn enqueue(&mut self, operation: Operation) -> Result<(), SubmitError> {
        if self.queue.len() >= ORDER_QUEUE_OPERATIONS_MAX {
            return Err(SubmitError(ErrorCode::Overloaded));
        }
        if self.queued.insert(QueueKey::of(&operation)) {
            self.queue.push_back(operation);
        }
        Ok(())
    }

    /// Queues a marker when the period has lasted long enough by the monotonic clock.
    fn mark_period(&mut self, context: OrderContext<'_>) {
        let due = match self.marked_at_ms {
            None => self.state.period().0 == 0,
            Some(marked) => context.now_ms.saturating_sub(marked) >= context.registry.period_ms,
        };
        if !due {
            self.marked_at_ms.get_or_insert(context.now_ms);
            return;
        }
        self.marked_at_ms = Some(context.now_ms);
        let period = self.state.period().plus(1);
        let marker = PeriodMarker { period, pins: BoundedVec::default() };
        // A full queue only delays the marker: the next tick after the period tries again.
        if self.enqueue(Operation::PeriodMarker(marker)).is_err() {
            self.marked_at_ms = None;
        }
    }

    /// Proposes the next block when something waits and no block is under way.
    fn propose_next(&mut self, context: OrderContext<'_>) {
        if self.candidate.is_some() {
            return;
        }
        let operations = self.take_batch(context);
        if operations.is_empty() {
            return;
        }
        let (staged, waiting) = self.state.stage(operations, self.lane(context));
        for operation in waiting.into_iter().rev() {
            self.queued.insert(QueueKey::of(&operation));
            self.queue.push_front(operation);
        }
        self.effects.push_back(OrderEffect::Persist(staged.block.clone()));
        self.candidate = Some(Candidate::new(staged, false, context.now_ms));
    }

    /// What an abandoned candidate held must not wait for the next tick.
    fn propose_if_leader(&mut self, context: OrderContext<'_>) {
        if self.leads(context) {
            self.propose_next(context);
        }
    }

    /// Takes valid operations off the queue, up to a block's limits.
    fn take_batch(&mut self, context: OrderContext<'_>) -> Vec<Operation> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BLOCK_OPERATIONS_MAX {
            let Some(operation) = self.queue.front() else {
                break;
            };
            let length = operation.tls_serialized_len();
            if !batch.is_empty() && bytes + length > BLOCK_BYTES_MAX / 2 {
                break;
            }
            let Some(operation) = self.queue.pop_front() else {
                break;
            };
            self.queued.remove(&QueueKey::of(&operation));
            // It may have expired, or lost its payer, while it waited.
            if !self.is_stale(&operation) && self.judge(&operation, context).is_ok() {
                bytes += length;
                batch.push(operation);
            }
        }
        batch
    }

    fn judge(&self, operation: &Operation, context: OrderContext<'_>) -> Result<(), ErrorCode> {
        let OrderContext { network, registry, .. } = context;
        judge_operation(operation, self.shard, self.state.period(), network, registry)
    }

    /// Judges what a node or a client asks for: markers are the sequencer's own (ORD-017).
    fn judge_submitted(
        &self,
        operation: &Operation,
        context: OrderContext<'_>,
    ) -> Result<(), ErrorCode> {
        match operation {
            Operation::PeriodMarker(_) => Err(ErrorCode::OperationInvalid),
            _ => self.judge(operation, context),
        }
    }

    /// Whether an operation is a marker whose period has begun while it waited.
    fn is_stale(&self, operation: &Operation) -> bool {
        matches!(operation, Operation::PeriodMarker(marker) if marker.period <= self.state.period())
    }

    /// Takes up the first acceptable block at the next height, and no other (ORD-015).
    fn consider(&mut self, block: Block, context: OrderContext<'_>) {
        if block.header.height == self.state.height().plus(2) {
            self.early = Some(block);
            return;
        }
        let hash = block.header.hash();
        match &self.candidate {
            Some(candidate) if candidate.hash == hash && candidate.durable => {
                self.vote(context);
            }
            // Another block at this height was stored, and may have been voted for: stay with it.
            Some(_) => {}
            None if self.is_premature(&block, context) => {}
            None => {
                if let Ok(staged) = self.state.check(&block, self.lane(context)) {
                    self.effects.push_back(OrderEffect::Persist(block));
                    self.candidate = Some(Candidate::new(staged, false, context.now_ms));
                }
            }
        }
    }

    /// Whether a period would begin before half of the last one has passed here (ORD-014).
    ///
    /// The proposer repeats its block, so a node whose clock is behind votes a little later.
    fn is_premature(&self, block: &Block, context: OrderContext<'_>) -> bool {
        let Some(marked_at_ms) = self.marked_at_ms else {
            return false;
        };
        let lasted_ms = context.now_ms.saturating_sub(marked_at_ms);
        begins_period(block) && lasted_ms < context.registry.period_ms / 2
    }

    /// Votes for the candidate, which is on disk (ORD-015).
    fn vote(&mut self, context: OrderContext<'_>) {
        let Some(candidate) = &self.candidate else {
            return;
        };
        let Some(sequencer) = leader(self.shard, context) else {
            return;
        };
        let header = candidate.staged.block.header;
        let vote =
            CommitSignature::sign(context.node, &header, ROUND, context.key, context.network);
        let (height, block) = (header.height, candidate.hash);
        if self.leads(context) {
            self.count_vote(context.node, block, vote, context);
        } else {
            let message = OrderMessage::Vote { height, block, vote };
            self.effects.push_back(OrderEffect::Send(sequencer, message));
        }
    }

    fn count_vote(
        &mut self,
        from: NodeId,
        block: BlockHash,
        vote: CommitSignature,
        context: OrderContext<'_>,
    ) {
        let committee = context.registry.committee(self.shard);
        let Some(candidate) = &mut self.candidate else {
            return;
        };
        let header = candidate.staged.block.header;
        let is_genuine = candidate.hash == block
            && vote.node == from
            && committee.contains(&from)
            && context.registry.node(from).is_some_and(|node| {
                let digest = header.precommit(ROUND).digest(context.network);
                vote.signature.verify(&digest, node.signing).is_ok()
            });
        if !is_genuine {
            return;
        }
        candidate.votes.insert(from, vote);
        let quorum = context.registry.certificate_quorum(self.shard);
        if !candidate.durable || candidate.votes.len() < quorum {
            return;
        }
        if let Some(candidate) = self.candidate.take() {
            let votes: Vec<CommitSignature> = candidate.votes.into_values().collect();
            let Ok(votes) = BoundedVec::new(votes) else {
                return;
            };
            let round = ROUND;
            let certificate = Certificate { round, signatures: votes };
            self.decide(candidate.staged, certificate, context.now_ms);
            self.propose_next(context);
        }
    }

    fn decide(&mut self, staged: Staged, certificate: Certificate, now_ms: u64) {
        if begins_period(&staged.block) {
            self.marked_at_ms = Some(now_ms);
        }
        let decided = DecidedBlock {
            certified: CertifiedBlock { block: staged.block.clone(), certificate },
            places: staged.places.clone(),
            changes: staged.stored_changes(),
        };
        self.state.commit(staged);
        self.effects.push_back(OrderEffect::Decided(Box::new(decided)));
    }

    fn send_proposal(&mut self, context: OrderContext<'_>) {
        let Some(candidate) = &mut self.candidate else {
            return;
        };
        candidate.proposed_at_ms = context.now_ms;
        for node in context.registry.committee(self.shard) {
            if node == context.node || candidate.votes.contains_key(&node) {
                continue;
            }
            let block = candidate.staged.block.clone();
            let message = OrderMessage::Propose { round: ROUND, block };
            self.effects.push_back(OrderEffect::Send(node, message));
        }
    }

    /// Takes up the block that was on disk at the start: it may have this node's vote.
    fn take_up_restored(&mut self, context: OrderContext<'_>) {
        let Some(block) = self.restored.take() else {
            return;
        };
        if self.candidate.is_some() {
            return;
        }
        if let Ok(staged) = self.state.restage(&block, self.lane(context)) {
            self.candidate = Some(Candidate::new(staged, true, context.now_ms));
            self.vote(context);
            if self.leads(context) {
                self.send_proposal(context);
            }
        }
    }

    /// Puts back what a candidate held when another block took its height.
    fn abandon_candidate(&mut self) {
        let Some(candidate) = self.candidate.take() else {
            return;
        };
        for decided in candidate.staged.block.operations.iter().rev() {
            if matches!(decided.operation, Operation::PeriodMarker(_)) {
                continue;
            }
            if self.queued.insert(QueueKey::of(&decided.operation)) {
                self.queue.push_front(decided.operation.clone());
            }
        }
    }
}

fn leader(shard: ShardId, context: OrderContext<'_>) -> Option<NodeId> {
    context.registry.committee(shard).first().copied()
}

fn begins_period(block: &Block) -> bool {
    block.operations.iter().any(|decided| {
        matches!(decided.operation, Operation::PeriodMarker(_))
            && matches!(decided.outcome, Outcome::Applied { .. })
    })
}

impl Candidate {
    fn new(staged: Staged, durable: bool, now_ms: u64) -> Self {
        let hash = staged.block.header.hash();
        Self { hash, staged, durable, votes: BTreeMap::new(), proposed_at_ms: now_ms }
    }
}

impl Orderer for Sequencer {
    fn shard(&self) -> ShardId {
        self.shard
    }

    fn state(&self) -> &LaneState {
        &self.state
    }

    fn submit(
        &mut self,
        operation: Operation,
        context: OrderContext<'_>,
    ) -> Result<(), SubmitError> {
        self.judge_submitted(&operation, context).map_err(SubmitError)?;
        if self.leads(context) {
            self.enqueue(operation)?;
            self.propose_next(context);
            return Ok(());
        }
        let sequencer = leader(self.shard, context);
        let sequencer = sequencer.ok_or(SubmitError(ErrorCode::OrderingUnavailable))?;
        self.effects.push_back(OrderEffect::Send(sequencer, OrderMessage::Order(operation)));
        Ok(())
    }

    fn receive(&mut self, from: NodeId, message: OrderMessage, context: OrderContext<'_>) {
        match message {
            OrderMessage::Order(operation) => {
                let valid =
                    self.leads(context) && self.judge_submitted(&operation, context).is_ok();
                // A full queue is the sender's to notice, by its own time limit.
                if valid && self.enqueue(operation).is_ok() {
                    self.propose_next(context);
                }
            }
            OrderMessage::Propose { round: ROUND, block } => {
                // ORD-016.
                if leader(self.shard, context) == Some(from) {
                    self.take_up_restored(context);
                    self.consider(block, context);
                }
            }
            OrderMessage::Propose { .. } => {}
            OrderMessage::Vote { height, block, vote } => {
                if height == self.state.height().plus(1) {
                    self.count_vote(from, block, vote, context);
                }
            }
        }
    }

    fn learn(&mut self, certified: CertifiedBlock, context: OrderContext<'_>) -> bool {
        let CertifiedBlock { block, certificate } = certified;
        if block.header.height != self.state.height().plus(1) {
            return false;
        }
        let OrderContext { network, registry, .. } = context;
        if certificate.verify(&block.header, network, registry).is_err() {
            return false;
        }
        let known = self.candidate.take_if(|candidate| candidate.hash == block.header.hash());
        let staged = match known {
            Some(candidate) => Ok(candidate.staged),
            None => self.state.restage(&block, self.lane(context)),
        };
        let Ok(staged) = staged else { return false };
        self.abandon_candidate();
        self.decide(staged, certificate, context.now_ms);
        if let Some(block) = self.early.take() {
            self.consider(block, context);
        }
        self.propose_if_leader(context);
        true
    }

    fn proposal_is_durable(&mut self, block: BlockHash, context: OrderContext<'_>) {
        let Some(candidate) = self.candidate.as_mut().filter(|it| it.hash == block) else {
            return;
        };
        candidate.durable = true;
        if self.leads(context) {
            self.send_proposal(context);
        }
        self.vote(context);
    }

    fn proposal_is_lost(&mut self, block: BlockHash) {
        if self.candidate.as_ref().is_some_and(|it| it.hash == block && !it.durable) {
            self.abandon_candidate();
        }
    }

    fn tick(&mut self, context: OrderContext<'_>) {
        self.take_up_restored(context);
        if !self.leads(context) {
            return;
        }
        self.mark_period(context);
        self.propose_next(context);
        let unanswered = self.candidate.as_ref().is_some_and(|candidate| {
            let waited_ms = context.now_ms.saturating_sub(candidate.proposed_at_ms);
            candidate.durable && waited_ms >= REPEAT_AFTER_MS
        });
        if unanswered {
            self.send_proposal(context);
        }
    }

    fn poll_effect(&mut self) -> Option<OrderEffect> {
        self.effects.pop_front()
    }
}
