//! What the lane is told: operations, messages, final blocks, durability, time.

use malachitebft_core_consensus::Input;
use tidings_envelope::{Block, CertifiedBlock, Operation, SignedProposal, SignedVote};
use tidings_types::{BoundedVec, ErrorCode, Height, NodeId, PicoDollars, Round, mutant};

use super::book::Noted;
use super::candidates::{Candidate, ask_for};
use super::core_types::{to_core_proposal, to_core_vote};
use super::engine::Engine;
use super::log::{LogRecord, to_polka};
use super::queue::QueueFull;
use super::{Agreement, EARLY_MESSAGES_MAX};
use crate::message::{OrderMessage, Recalled};
use crate::orderer::{OrderContext, OrderEffect, SubmitError};

/// Rounds ahead of the one under way from which statements are taken.
const ROUNDS_AHEAD_MAX: u32 = 10;

impl Agreement {
    /// Takes an operation of this node's to be ordered, and tells every member (ORD-019).
    ///
    /// # Errors
    /// [`SubmitError`] when the operation is invalid, the queue is full, or the lane has stopped.
    pub fn submit(
        &mut self,
        operation: Operation,
        context: OrderContext<'_>,
    ) -> Result<(), SubmitError> {
        if self.halted {
            return Err(SubmitError(ErrorCode::OrderingHalted));
        }
        self.judge_submitted(&operation, context).map_err(SubmitError)?;
        let message = OrderMessage::Order(operation.clone());
        self.enqueue(operation, context).map_err(SubmitError)?;
        for to in self.others(context) {
            self.effects.push_back(OrderEffect::Send(to, message.clone()));
        }
        self.proceed(context);
        Ok(())
    }

    /// Judges what a node or a client asks for: markers are the proposers' own (ORD-017).
    fn judge_submitted(
        &mut self,
        operation: &Operation,
        context: OrderContext<'_>,
    ) -> Result<(), ErrorCode> {
        let registry = self.registry(context).ok_or(ErrorCode::OrderingUnavailable)?;
        match operation {
            Operation::PeriodMarker(_) => Err(ErrorCode::OperationInvalid),
            // It costs its payer nothing a second time, and so is not proposed for whoever repeats
            // it.
            _ if self.is_decided(operation) => Err(ErrorCode::Repeated),
            _ => {
                let judging = self.state.judging(self.lane(context), registry);
                self.batches.judge_operation(operation, &judging)
            }
        }
    }

    /// Takes a peer's message; what is invalid or untimely changes nothing.
    pub fn receive(&mut self, from: NodeId, message: OrderMessage, context: OrderContext<'_>) {
        if !self.halted {
            self.take(from, message, context);
            self.proceed(context);
        }
    }

    fn take(&mut self, from: NodeId, message: OrderMessage, context: OrderContext<'_>) {
        match message {
            OrderMessage::Order(operation) => self.take_operation(operation, context),
            OrderMessage::Proposal(signed) => self.take_proposal(from, signed, context),
            OrderMessage::Block(block) => self.take_block(from, block, context),
            OrderMessage::WantBlock(hash) => {
                if let Some(block) = self.candidates.block(hash).cloned() {
                    self.send(from, OrderMessage::Block(block));
                }
            }
            OrderMessage::Vote(signed) => self.take_vote(from, signed, context),
            OrderMessage::Polka(votes) => {
                for signed in votes.iter() {
                    self.take_vote(from, *signed, context);
                }
                let is_current = |signed: &SignedVote| signed.vote.height == self.next_height();
                if votes.iter().all(is_current)
                    && let Some(polka) = to_polka(&votes)
                {
                    self.drive(Input::PolkaCertificate(polka), context);
                }
            }
            OrderMessage::RoundVotes(votes) => {
                for signed in votes.iter() {
                    self.take_vote(from, *signed, context);
                }
            }
            OrderMessage::Recall(height) => self.recall(from, height),
            OrderMessage::Recalled(recalled) => self.take_recalled(from, recalled, context),
        }
    }

    fn take_operation(&mut self, operation: Operation, context: OrderContext<'_>) {
        // A full queue is the sender's to notice, by its own time limit.
        if !self.queue.has(&operation) && self.judge_submitted(&operation, context).is_ok() {
            let _ = self.enqueue(operation, context);
        }
    }

    /// Has an operation wait, unless it waits already, or what waits of its payer's would cost more
    /// than is left of its purse (ORD-034).
    fn enqueue(
        &mut self,
        operation: Operation,
        context: OrderContext<'_>,
    ) -> Result<(), ErrorCode> {
        if self.queue.has(&operation) {
            return Ok(());
        }
        let registry = self.registry(context).ok_or(ErrorCode::OrderingUnavailable)?;
        let mut purses = self.state.purses(self.lane(context), registry, self.state.period());
        let mut fee = PicoDollars(0);
        if let Operation::Envelope(envelope) = &operation {
            let payer = envelope.envelope.body.payer;
            purses.plan(payer, self.queue.fees(payer));
            fee = purses.fee_at_most(envelope).unwrap_or_default();
        }
        match purses.take(&operation) {
            true => match self.queue.push(operation, fee) {
                Ok(_) => Ok(()),
                Err(QueueFull) => Err(ErrorCode::Overloaded),
            },
            false if purses.are_known() => Err(ErrorCode::PayerOverCap),
            false => Err(ErrorCode::OrderingUnavailable),
        }
    }

    fn is_decided(&self, operation: &Operation) -> bool {
        let Operation::Envelope(envelope) = operation else { return false };
        let body = &envelope.envelope.body;
        self.state.decision(body.not_after, body.id()).is_some() && !mutant!(DecideAgain)
    }

    fn take_proposal(&mut self, from: NodeId, signed: SignedProposal, context: OrderContext<'_>) {
        let proposal = signed.proposal;
        let message = || OrderMessage::Proposal(signed);
        if proposal.shard != self.shard || !self.is_timely(from, proposal.height, message) {
            return;
        }
        if !self.is_near(proposal.round)
            || !self.is_by_member(signed.node, context, |signer| {
                signed.verify(context.network, signer).is_ok()
            })
        {
            return;
        }
        match self.book_of(proposal.height).note_proposal(signed) {
            Noted::Known => {}
            Noted::Contradiction(evidence) => {
                self.effects.push_back(OrderEffect::Evidence(evidence));
            }
            Noted::New if proposal.height == self.next_height() => {
                self.pass_on(from, signed.node, &OrderMessage::Proposal(signed), context);
                if !self.candidates.has(proposal.block) {
                    self.candidates.want(proposal.block, context.now_ms);
                }
                if !self.begin(context) {
                    self.drive(Input::Proposal(to_core_proposal(&signed)), context);
                }
            }
            Noted::New => {}
        }
    }

    fn take_vote(&mut self, from: NodeId, signed: SignedVote, context: OrderContext<'_>) {
        let vote = signed.vote;
        let message = || OrderMessage::Vote(signed);
        if vote.shard != self.shard || !self.is_timely(from, vote.height, message) {
            return;
        }
        let known = self.book_of(vote.height).has_vote(&signed);
        if known
            || !self.is_near(vote.round)
            || !self.is_by_member(signed.node, context, |signer| {
                signed.verify(context.network, signer).is_ok()
            })
        {
            return;
        }
        match self.book_of(vote.height).note_vote(signed) {
            Noted::Known => {}
            Noted::Contradiction(evidence) => {
                self.effects.push_back(OrderEffect::Evidence(evidence));
            }
            Noted::New if vote.height == self.next_height() => {
                self.pass_on(from, signed.node, &OrderMessage::Vote(signed), context);
                if !self.begin(context) {
                    self.drive(Input::Vote(to_core_vote(&signed)), context);
                }
            }
            Noted::New => {}
        }
    }

    fn take_block(&mut self, from: NodeId, block: Block, context: OrderContext<'_>) {
        let header = &block.header;
        if header.shard != self.shard || header.height <= self.state.height() {
            return;
        }
        if header.height > self.next_height() {
            self.keep_early(from, header.height, OrderMessage::Block(block));
            return;
        }
        let hash = header.hash();
        if self.book.proposes(hash) && !self.candidates.has(hash) {
            self.examine(block, context);
        }
    }

    /// Whether a statement is about the height under way or the last one; what is about the next
    /// is kept.
    fn is_timely(
        &mut self,
        from: NodeId,
        height: Height,
        message: impl FnOnce() -> OrderMessage,
    ) -> bool {
        if height > self.next_height() {
            self.keep_early(from, height, message());
            return false;
        }
        height == self.next_height() || height == self.last_book.height()
    }

    /// Keeps what is about the height after the one under way until that is decided.
    ///
    /// A peer that says it twice has been there for longer than blocks take to come.
    fn keep_early(&mut self, from: NodeId, height: Height, message: OrderMessage) {
        let is_repeated =
            || self.early.iter().any(|(peer, kept)| *peer == from && **kept == message);
        let is_behind = height > self.next_height().plus(1);
        if is_behind || (is_repeated() && !mutant!(StayBehind)) {
            self.effects.push_back(OrderEffect::Behind(from));
            return;
        }
        let of_peer = self.early.iter().filter(|(peer, _)| *peer == from).count();
        let is_block = matches!(message, OrderMessage::Block(_));
        let has_block = self
            .early
            .iter()
            .any(|(peer, kept)| *peer == from && matches!(**kept, OrderMessage::Block(_)));
        if of_peer < EARLY_MESSAGES_MAX && !(is_block && has_block) {
            self.early.push_back((from, Box::new(message)));
        }
    }

    /// Whether a round is not so far ahead that only a cheat or a stranger can be there.
    fn is_near(&self, round: Round) -> bool {
        let current = self.engine.as_ref().map(Engine::round).unwrap_or_default();
        round.0 <= current.0.saturating_add(ROUNDS_AHEAD_MAX)
    }

    fn is_by_member(
        &self,
        node: NodeId,
        context: OrderContext<'_>,
        verifies: impl FnOnce(tidings_types::EthereumAddress) -> bool,
    ) -> bool {
        let members = self.members(context);
        let member = members.0.iter().find(|member| member.id.0 == node);
        member.is_some_and(|member| verifies(member.signer))
    }

    fn book_of(&mut self, height: Height) -> &mut super::book::Book {
        if height == self.book.height() { &mut self.book } else { &mut self.last_book }
    }

    /// Relays a statement once, so that one which was said to some only is seen by all.
    fn pass_on(
        &mut self,
        from: NodeId,
        author: NodeId,
        message: &OrderMessage,
        context: OrderContext<'_>,
    ) {
        for to in self.others(context) {
            if to != from && to != author {
                self.effects.push_back(OrderEffect::Send(to, message.clone()));
            }
        }
    }

    /// Tells a member which of its statements are known here (ORD-021).
    fn recall(&mut self, from: NodeId, height: Height) {
        let next = self.next_height();
        let (mut votes, mut proposals) = match height == next {
            true => self.book.statements_of(from),
            false => Default::default(),
        };
        if height == next && self.remembered.height() == next {
            let (before, proposed) = self.remembered.statements_of(from);
            votes.extend(before.into_iter().filter(|signed| !self.book.has_vote(signed)));
            let is_other = |signed: &SignedProposal| !self.book.has_proposal(signed);
            proposals.extend(proposed.into_iter().filter(is_other));
        }
        // More than so many rounds never pass while members answer.
        let recalled = Recalled {
            height,
            next,
            votes: BoundedVec::new(votes).unwrap_or_default(),
            proposals: BoundedVec::new(proposals).unwrap_or_default(),
        };
        self.send(from, OrderMessage::Recalled(recalled));
    }

    fn take_recalled(&mut self, from: NodeId, recalled: Recalled, context: OrderContext<'_>) {
        let Recalled { height: asked, next, votes, proposals } = recalled;
        let Some(height) = self.recollection.as_ref().map(super::Recollection::height) else {
            return;
        };
        if next > height {
            self.effects.push_back(OrderEffect::Behind(from));
        }
        // An answer about another height, or by a member that is not there yet, says nothing of
        // what was said here.
        if asked != height || next != height {
            return;
        }
        let (network, me, own) = (context.network, context.node, context.key.address());
        let mut votes = votes.into_vec();
        votes.retain(|signed| {
            signed.node == me && signed.vote.height == height && signed.verify(network, own).is_ok()
        });
        let mut proposals = proposals.into_vec();
        proposals.retain(|signed| {
            let is_here = signed.node == me && signed.proposal.height == height;
            is_here && signed.verify(network, own).is_ok()
        });
        if let Some(recollection) = &mut self.recollection {
            recollection.answer(from, votes, proposals);
        }
    }

    /// A peer can be reached again: it is asked at once for what is still to be heard.
    pub fn peer_up(&mut self, context: OrderContext<'_>) {
        if let Some(recollection) = &mut self.recollection {
            recollection.hurry();
        }
        self.proceed(context);
    }

    /// Takes a final block from whoever has it; answers whether it was the next one.
    pub fn learn(&mut self, certified: CertifiedBlock, context: OrderContext<'_>) -> bool {
        let height = certified.block.header.height;
        if self.halted || certified.block.header.shard != self.shard {
            return false;
        }
        if height <= self.state.height() {
            self.compare(certified, context);
            return false;
        }
        if height != self.next_height() || !self.is_certified(&certified, context) {
            return false;
        }
        let CertifiedBlock { block, certificate } = certified;
        let known = self.candidates.take_valid(block.header.hash());
        let staged = match known {
            Some(staged) => Ok(staged),
            None => self.state.restage(&block, self.lane(context)),
        };
        match staged {
            Ok(staged) => self.finish(staged, certificate, context),
            Err(crate::BlockInvalid::Epoch(_)) => return false,
            Err(_) => {
                self.effects.push_back(OrderEffect::Diverged(height));
                return false;
            }
        }
        self.proceed(context);
        true
    }

    fn is_certified(&self, certified: &CertifiedBlock, context: OrderContext<'_>) -> bool {
        let CertifiedBlock { block, certificate } = certified;
        if mutant!(TrustBlocks) {
            return true;
        }
        let registry = context.registries.at(block.header.registry_epoch);
        registry.is_some_and(|registry| {
            certificate.verify(&block.header, context.network, registry).is_ok()
        }) && block.is_consistent()
    }

    /// Compares another final block of a height that is over with the one taken over (ORD-022).
    fn compare(&mut self, certified: CertifiedBlock, context: OrderContext<'_>) {
        let header = &certified.block.header;
        let Some(known) = self.recent.get(&header.height).copied() else {
            return;
        };
        if known == header.hash() || !self.is_certified(&certified, context) {
            return;
        }
        self.halt(known, certified);
    }

    /// The part of the log with this number, and every one before it, is durable.
    pub fn logged(&mut self, sequence: u64) {
        self.durable_parts = self.durable_parts.max(sequence.saturating_add(1));
        self.release();
    }

    /// Lets time pass.
    pub fn tick(&mut self, context: OrderContext<'_>) {
        if self.halted {
            return;
        }
        self.measure_period(context);
        self.ask_for_blocks(context);
        for block in self.candidates.take_premature() {
            self.examine(block, context);
        }
        while let Some(timeout) = self.timers.take_due(context.now_ms) {
            self.drive(Input::TimeoutElapsed(timeout), context);
        }
        self.proceed(context);
    }

    fn ask_for_blocks(&mut self, context: OrderContext<'_>) {
        for (hash, tries) in self.candidates.overdue(context.now_ms) {
            let holders = self.book.holders(hash);
            if let Some(to) = ask_for(&holders, context.node, tries) {
                self.send(to, OrderMessage::WantBlock(hash));
            }
        }
    }

    /// Does what the last input made possible, until nothing is left.
    fn proceed(&mut self, context: OrderContext<'_>) {
        self.recollect(context);
        loop {
            let height = self.state.height();
            if self.early_until.replace(height) != Some(height) {
                for (from, message) in std::mem::take(&mut self.early) {
                    self.take(from, *message, context);
                }
            }
            self.begin_if_due(context);
            if self.state.height() == height {
                break;
            }
        }
        self.seal();
    }

    /// Asks others for what this member said before it started, and goes on once they answered.
    fn recollect(&mut self, context: OrderContext<'_>) {
        let next = self.next_height();
        let others = self.others(context);
        let Some(registry) = self.registry(context) else {
            return;
        };
        let quorum = registry.certificate_quorum(self.shard);
        let Some(recollection) = &mut self.recollection else {
            return;
        };
        recollection.move_to(next);
        if recollection.is_complete(&others, quorum, context.now_ms) {
            self.take_up_restored(context);
            return;
        }
        for to in recollection.ask(&others, context.now_ms) {
            self.effects.push_back(OrderEffect::Send(to, OrderMessage::Recall(next)));
        }
    }

    /// Goes on with the height that was under way, knowing all that was said there.
    fn take_up_restored(&mut self, context: OrderContext<'_>) {
        let Some(recollection) = self.recollection.take() else {
            return;
        };
        let blocks = std::mem::take(&mut self.restored.blocks);
        let records = std::mem::take(&mut self.restored.records);
        let mut records = recollection.complete(records);
        records.iter_mut().for_each(|record| sign_anew(record, context));
        for block in blocks {
            if let Ok(staged) = self.state.restage(&block, self.lane(context)) {
                let hash = block.header.hash();
                self.candidates.set(hash, Candidate::Valid(Box::new(staged)));
            }
        }
        for record in &records {
            match record {
                LogRecord::Vote(signed) if signed.node == context.node => {
                    self.book.note_vote(*signed);
                }
                LogRecord::Proposal(signed) if signed.node == context.node => {
                    self.book.note_proposal(*signed);
                }
                _ => {}
            }
        }
        let has_log = !records.is_empty();
        self.restored.records = records;
        if has_log {
            self.begin(context);
        }
    }
}

/// A member that has another key since it spoke says the same under that: nobody takes the old one
/// any more, and without its word there may be no quorum.
fn sign_anew(record: &mut LogRecord, context: OrderContext<'_>) {
    let OrderContext { network, node, key, .. } = context;
    match record {
        LogRecord::Vote(signed) if signed.node == node => {
            *signed = signed.vote.sign(node, key, network);
        }
        LogRecord::Proposal(signed) if signed.node == node => {
            *signed = signed.proposal.sign(node, key, network);
        }
        _ => {}
    }
}
