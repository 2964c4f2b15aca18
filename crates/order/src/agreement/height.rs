//! One height from its beginning to its decision.

use malachitebft_core_consensus::{Input, LocallyProposedValue};
use malachitebft_core_types as bft;
use tidings_envelope::{Block, Certificate, CertifiedBlock, Operation, SignedProposal};
use tidings_types::constants::{BLOCK_BYTES_MAX, BLOCK_OPERATIONS_MAX};
use tidings_types::{BlockHash, Period, Round};

use super::book::Book;
use super::candidates::Candidate;
use super::core_types::{Choice, Lane, LaneHeight, to_core_proposal, to_core_round, to_core_vote};
use super::engine::{Engine, Identity, Stuck, Wish};
use super::log::{LogRecord, proposed};
use super::period::begins_period;
use super::{Agreement, empty_log};
use crate::execute::Staged;
use crate::judge::judge_again;
use crate::message::OrderMessage;
use crate::orderer::{DecidedBlock, OrderContext, OrderEffect};

/// The marker and what the block's structure needs beside its operations.
const BLOCK_BYTES_KEPT_FREE: usize = 4_096;

fn identity(context: OrderContext<'_>) -> Identity<'_> {
    let OrderContext { network, node, key, .. } = context;
    Identity { network, node, key }
}

impl Agreement {
    /// Begins the next height, if there is something to order (ORD-020).
    pub(super) fn begin_if_due(&mut self, context: OrderContext<'_>) {
        if self.engine.is_none() && (self.marker_is_due(context) || self.has_proposable(context)) {
            self.begin(context);
        }
    }

    fn has_proposable(&self, context: OrderContext<'_>) -> bool {
        self.registry(context).is_some_and(|registry| {
            let judging = self.state.judging(self.lane(context), registry);
            let purses = self.state.purses(self.lane(context), registry, self.state.period());
            let fits = |it: &Operation| judge_again(it, &judging).is_ok() && purses.fits(it);
            self.queue.any(fits)
        })
    }

    /// Begins the next height, with all that is known of it; answers whether it did.
    ///
    /// It does not when the height is under way, or this member must not take part.
    pub(super) fn begin(&mut self, context: OrderContext<'_>) -> bool {
        let idle = self.engine.is_none() && !self.halted && !self.abstains;
        let members = self.members(context);
        // What a member says under another key than the registry's nobody takes, itself included.
        let me = context.key.address();
        let belongs =
            members.0.iter().any(|member| member.id.0 == context.node && member.signer == me);
        if !idle || !belongs || self.recollection.is_some() {
            return false;
        }
        let height = self.next_height();
        let mut engine = Engine::new(self.shard, context.node, height, members);
        let log = std::mem::take(&mut self.restored.records);
        let kept = std::mem::take(&mut self.durable_records);
        self.unlogged = empty_log(height);
        self.unlogged.first = kept as u64;
        self.unlogged.records = log.get(kept..).unwrap_or_default().to_vec();
        let wishes = engine.begin(&log, identity(context), &mut self.book);
        self.engine = Some(engine);
        self.follow(wishes, context);
        self.propose_again(context);
        self.catch_up(context);
        true
    }

    /// Tells the core what was heard before it began.
    fn catch_up(&mut self, context: OrderContext<'_>) {
        let (proposals, votes) = self.book.statements_of_others(context.node);
        for signed in &proposals {
            self.drive(Input::Proposal(to_core_proposal(signed)), context);
        }
        for signed in &proposals {
            self.tell_verdict(signed, context);
        }
        for signed in &votes {
            self.drive(Input::Vote(to_core_vote(signed)), context);
        }
    }

    /// Tells the core what was found of a proposed block, if it was looked at.
    fn tell_verdict(&mut self, signed: &SignedProposal, context: OrderContext<'_>) {
        let block = signed.proposal.block;
        let Some(valid) = self.candidates.verdict(block) else {
            return;
        };
        let height = LaneHeight(self.next_height());
        let validity = bft::Validity::from_bool(valid);
        let value = proposed(height, signed.proposal.round, signed.node, block, validity);
        self.drive(Input::ProposedValue(value, bft::ValueOrigin::Consensus), context);
    }

    /// Sends the proposal of this round once more, if it was made before a restart.
    fn propose_again(&mut self, context: OrderContext<'_>) {
        let Some(round) = self.engine.as_ref().map(Engine::round) else {
            return;
        };
        let own = self.book.proposal(context.node, round).copied();
        let block = own.and_then(|signed| self.candidates.block(signed.proposal.block).cloned());
        if let (Some(own), Some(block)) = (own, block) {
            self.publish(&OrderMessage::Proposal(own), context);
            self.publish(&OrderMessage::Block(block), context);
        }
    }

    /// Takes one input of the core's, if the height is under way.
    pub(super) fn drive(&mut self, input: Input<Lane>, context: OrderContext<'_>) {
        if let Some(engine) = &mut self.engine {
            let wishes = engine.take(input, identity(context), &mut self.book);
            self.follow(wishes, context);
        }
    }

    fn follow(&mut self, wishes: Result<Vec<Wish>, Stuck>, context: OrderContext<'_>) {
        let Ok(wishes) = wishes else {
            self.abstain();
            return;
        };
        for wish in wishes {
            // A decision ends the height, but the vote that made it is still to be sent.
            let survives = matches!(wish, Wish::Publish(_));
            if self.engine.is_some() || survives {
                self.perform(wish, context);
            }
        }
    }

    fn perform(&mut self, wish: Wish, context: OrderContext<'_>) {
        match wish {
            Wish::Log(record) => self.log(record),
            Wish::Publish(message) => self.publish(&message, context),
            Wish::Build(round) => self.build(round, context),
            Wish::Restream(block) => {
                if let Some(block) = self.candidates.block(block).cloned() {
                    self.publish(&OrderMessage::Block(block), context);
                }
            }
            Wish::Decide(block, certificate) => self.decide(block, certificate, context),
            Wish::CancelAll => self.timers.clear(),
            Wish::Cancel(timeout) => self.timers.cancel(timeout),
            Wish::Schedule(timeout) => self.timers.schedule(timeout, context.now_ms),
        }
    }

    fn log(&mut self, record: LogRecord) {
        if let LogRecord::Block { block, valid: 1, .. } = &record
            && let Some(block) = self.candidates.block(*block)
        {
            self.unlogged.blocks.push(block.clone());
        }
        self.unlogged.records.push(record);
    }

    /// Leaves the height to the others: this member's log or core contradicts itself.
    pub(super) fn abstain(&mut self) {
        self.abstains = true;
        self.engine = None;
        self.timers.clear();
    }

    /// Builds the block of a round in which this member proposes.
    fn build(&mut self, round: Round, context: OrderContext<'_>) {
        let is_current = self.engine.as_ref().is_some_and(|engine| engine.round() == round);
        if !is_current || self.book.proposal(context.node, round).is_some() {
            return;
        }
        let marker = self.marker(context);
        // With a marker the block is in the period that it begins.
        let period = self.state.period().plus(marker.is_some().into());
        let mut operations = self.batch(BLOCK_OPERATIONS_MAX - 1, period, context);
        operations.extend(marker);
        let Ok((staged, _)) = self.state.stage(operations, self.lane(context)) else {
            return;
        };
        let block = staged.block.clone();
        let hash = block.header.hash();
        self.candidates.set(hash, Candidate::Valid(Box::new(staged)));
        let (height, round) = (LaneHeight(self.next_height()), to_core_round(round));
        let value = LocallyProposedValue::new(height, round, Choice(hash));
        self.drive(Input::Propose(value), context);
        self.publish(&OrderMessage::Block(block), context);
    }

    /// Waiting operations that may stand in the next block, which is in `period`, up to a number.
    fn batch(&self, count_max: usize, period: Period, context: OrderContext<'_>) -> Vec<Operation> {
        let Some(registry) = self.registry(context) else {
            return Vec::new();
        };
        let bytes_max = BLOCK_BYTES_MAX / 2 - BLOCK_BYTES_KEPT_FREE;
        let judging = self.state.judging(self.lane(context), registry);
        let mut purses = self.state.purses(self.lane(context), registry, period);
        let fits = |it: &Operation| judge_again(it, &judging).is_ok() && purses.take(it);
        self.queue.batch(count_max, bytes_max, fits)
    }

    /// Looks at a block that is proposed at the next height, and tells the core what it is.
    pub(super) fn examine(&mut self, block: Block, context: OrderContext<'_>) {
        let hash = block.header.hash();
        let Some(proposal) = self.book.proposal_of(hash).copied() else {
            return;
        };
        // Not yet acceptable is not the same as never: it is looked at again in a while.
        if self.is_premature(&block, context) {
            self.candidates.set(hash, Candidate::Premature(Box::new(block)));
            return;
        }
        let verified = |operation| self.queue.contains(operation);
        let checked = self.state.check(&block, verified, self.lane(context));
        let candidate = match checked {
            Ok(staged) => Candidate::Valid(Box::new(staged)),
            Err(_) => Candidate::Invalid,
        };
        self.candidates.set(hash, candidate);
        self.tell_verdict(&proposal, context);
    }

    fn decide(&mut self, hash: BlockHash, certificate: Certificate, context: OrderContext<'_>) {
        match self.candidates.take_valid(hash) {
            Some(staged) => self.finish(staged, certificate, context),
            // Its bytes are gone; the feed of final blocks brings it.
            None => self.abstain(),
        }
    }

    /// Takes over a final block, and makes ready for the next height.
    pub(super) fn finish(
        &mut self,
        staged: Staged,
        certificate: Certificate,
        context: OrderContext<'_>,
    ) {
        // What was said at this height is logged until the decision, which follows it to disk.
        if !self.unlogged.records.is_empty() {
            self.hand_out_log();
        }
        if begins_period(&staged.block) {
            self.marked_at_ms = Some(context.now_ms);
        }
        let (block, places, changes) =
            (staged.block.clone(), staged.places.clone(), staged.stored_changes());
        self.state.commit(staged);
        self.remember(&block);
        self.queue.remove_decided(&block.operations);
        self.forget_hopeless(context);
        if block.header.next_epoch != block.header.registry_epoch {
            self.forget_other_keys(context);
        }
        let certified = CertifiedBlock { block, certificate };
        let decided = DecidedBlock { certified, places, changes };
        self.effects.push_back(OrderEffect::Decided(Box::new(decided)));
        self.engine = None;
        self.abstains = false;
        self.timers.clear();
        self.candidates.clear();
        self.restored.records.clear();
        self.durable_records = 0;
        self.restored.blocks.clear();
        let next = self.next_height();
        self.unlogged = empty_log(next);
        self.last_book = std::mem::replace(&mut self.book, Book::new(next));
    }

    /// Drops what a node signed by a key that it has no more: who has it waiting would take it for
    /// verified, and the others not.
    fn forget_other_keys(&mut self, context: OrderContext<'_>) {
        let Some(registry) = self.registry(context) else {
            return;
        };
        let judging = self.state.judging(self.lane(context), registry);
        let batches = &mut self.batches;
        self.queue.retain(|operation| match operation {
            Operation::Envelope(_) => true,
            _ => batches.judge_operation(operation, &judging).is_ok(),
        });
    }

    /// Drops what can be in no later block either, and what the payers' caps have no room for now,
    /// which would take others' places until it expires. Who waits for that hears nothing before
    /// the deadline: another member may still propose it.
    fn forget_hopeless(&mut self, context: OrderContext<'_>) {
        let Some(registry) = self.registry(context) else {
            return;
        };
        let state = &self.state;
        let judging = state.judging(self.lane(context), registry);
        let mut purses = state.purses(self.lane(context), registry, state.period());
        self.queue.retain(|operation| {
            let recorded = match operation {
                Operation::Evidence(evidence) => {
                    state.offence(evidence.accused(), evidence.offence()).is_some()
                }
                _ => false,
            };
            let is_possible = !recorded && judge_again(operation, &judging).is_ok();
            is_possible && (purses.take(operation) || !purses.are_known())
        });
        // Prices change with periods and epochs.
        self.queue.price(|envelope| purses.fee_at_most(envelope).unwrap_or_default());
    }
}
