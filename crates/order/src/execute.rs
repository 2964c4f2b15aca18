//! Executing operations: outcomes and changes from a state and a list, and nothing else.

use std::sync::Arc;

use tidings_envelope::{
    Block, BlockHeader, DecidedOperation, Evidence, IncarnationRequest, Operation, Outcome,
    PayerEnvelope, PeriodMarker, Registry, RegistryHistory, Settled, StateKey, Topic, TopicHead,
    TopicKind, UNCONGESTED_PERMILLE,
};
use tidings_identity::{AssociationState, Member, ParsedUpdate};
use tidings_types::constants::{IDEMPOTENCY_PERIODS_AFTER_EXPIRY, PROTOCOL_VERSION};
use tidings_types::{
    EnvelopeId, ErrorCode, EthereumAddress, Hash, Height, InboxId, Incarnation, NetworkId, NodeId,
    OperationHash, Period, PicoDollars, Position, RegistryEpoch, ShardId, merkle, mutant,
};

use crate::judge::{JudgingContext, judge_again, judge_operation};
use crate::state::{Changes, LaneState, StateValue, digest_with};
use crate::state_tree::StateTree;
use crate::{lottery, purse};

/// What executing needs to know besides the state.
#[derive(Debug, Clone, Copy)]
pub struct LaneContext<'a> {
    /// The network that signatures bind.
    pub network: NetworkId,
    /// The registry's snapshots.
    pub registries: &'a RegistryHistory,
    /// Whose ordered lane.
    pub shard: ShardId,
}

/// A block that was executed and awaits its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// The block, with outcomes.
    pub block: Block,
    /// The entries that topics gain: topic, position, operation index.
    pub places: Vec<(Topic, Position, u32)>,
    pub(crate) changes: Changes,
    /// The tree after the changes.
    pub(crate) tree: StateTree,
}

impl Staged {
    /// The changed keys as storage takes them; no value deletes.
    #[must_use]
    pub fn stored_changes(&self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        crate::state::stored(&self.changes)
    }
}

/// Why a block may not be voted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockInvalid {
    /// It does not follow the last final block.
    #[error("the block does not follow height {0}")]
    NotNext(Height),
    /// Header and operations do not belong together.
    #[error("the block's root does not cover its operations")]
    Inconsistent,
    /// The operations are not in the order of ORD-002.
    #[error("the operations are out of order")]
    OutOfOrder,
    /// An operation may not be in a block.
    #[error("operation {index} is invalid: {code}")]
    Operation {
        /// Its place, from 0.
        index: usize,
        /// Why.
        code: ErrorCode,
    },
    /// It is of another registry epoch than its parent said, or names one that is not known here.
    #[error("the block names registry epoch {0}")]
    Epoch(RegistryEpoch),
    /// It names another committee for the next block than the registry of the next epoch does, or
    /// changes too many seats at once.
    #[error("the block names another committee")]
    Committee,
    /// Executing gives other outcomes or another state.
    #[error("executing the block gives another result")]
    Diverges,
}

impl LaneState {
    /// Executes `operations`, at most `BLOCK_OPERATIONS_MAX`, as the next block; answers it and
    /// the operations that must wait.
    ///
    /// The caller has judged each operation by [`crate::judge_operation`] as
    /// [`LaneState::judging`] has it, and left out what payers' caps have no room for. The block
    /// moves on to the newest registry epoch that may follow (ORD-013).
    ///
    /// # Errors
    /// [`BlockInvalid::Epoch`] when the registry of this state's epoch is not known here.
    pub fn stage(
        &self,
        mut operations: Vec<Operation>,
        context: LaneContext<'_>,
    ) -> Result<(Staged, Vec<Operation>), BlockInvalid> {
        let waiting = lottery::arrange(&mut operations, self.head());
        let registry = self.registry(context.registries)?;
        let next = self.next_registry(context)?;
        Ok((self.execute(operations, registry, next, context), waiting))
    }

    /// The registry that this state's epoch names.
    ///
    /// # Errors
    /// [`BlockInvalid::Epoch`] when it is not known here.
    pub fn registry<'a>(&self, of: &'a RegistryHistory) -> Result<&'a Arc<Registry>, BlockInvalid> {
        of.at(self.epoch()).ok_or(BlockInvalid::Epoch(self.epoch()))
    }

    /// What operations of the next block are judged by, given the registry of this state's epoch.
    #[must_use]
    pub fn judging<'a>(
        &'a self,
        context: LaneContext<'a>,
        registry: &'a Registry,
    ) -> JudgingContext<'a> {
        let LaneContext { network, shard, registries } = context;
        let (period, congestion) = (self.period(), self.congestion());
        let congestion_permille = congestion.permille(period).unwrap_or(UNCONGESTED_PERMILLE);
        let signers = self.signers(registries);
        JudgingContext { network, shard, registry, signers, period, congestion_permille }
    }

    /// The newest registry whose committee may take over after the next block.
    fn next_registry<'a>(
        &self,
        context: LaneContext<'a>,
    ) -> Result<&'a Arc<Registry>, BlockInvalid> {
        let current = self.registry(context.registries)?;
        let later = context.registries.iter().filter(|registry| registry.epoch > current.epoch);
        let follows = later.filter(|next| may_follow(current, next, context.shard));
        Ok(follows.last().unwrap_or(current))
    }

    /// Executes a proposed block and compares the results.
    ///
    /// Checked are its place (ORD-012), its form (ORD-011), the order of its operations
    /// (ORD-002), each operation (ORD-007, ORD-034), its epoch and committee (ORD-013), and what
    /// executing it gives (ORD-004).
    ///
    /// # Errors
    /// [`BlockInvalid`] names what an honest proposer would not have done.
    ///
    /// Signatures of operations that are `verified` are not checked again.
    pub fn check(
        &self,
        block: &Block,
        verified: impl Fn(OperationHash) -> bool,
        context: LaneContext<'_>,
    ) -> Result<Staged, BlockInvalid> {
        let header = &block.header;
        let follows = header.height == self.height().plus(1) && header.parent == self.head();
        if header.shard != context.shard || !follows {
            return Err(BlockInvalid::NotNext(self.height()));
        }
        if !block.is_consistent() {
            return Err(BlockInvalid::Inconsistent);
        }
        let operations = block.operations.iter().map(|decided| &decided.operation);
        if !lottery::is_arranged(operations.clone(), self.head()) {
            return Err(BlockInvalid::OutOfOrder);
        }
        let registry = self.registry(context.registries)?;
        let judging = self.judging(context, registry);
        let mut purses = self.purses(context, registry, header.period);
        for (index, operation) in operations.clone().enumerate() {
            let judged = match verified(operation.hash()) {
                true => judge_again(operation, &judging),
                false => judge_operation(operation, &judging),
            };
            judged.map_err(|code| BlockInvalid::Operation { index, code })?;
            if !purses.take(operation) {
                let code = ErrorCode::PayerOverCap;
                return Err(BlockInvalid::Operation { index, code });
            }
        }
        let next = context.registries.at(header.next_epoch);
        let next = next.ok_or(BlockInvalid::Epoch(header.next_epoch))?;
        if next.epoch < registry.epoch || !may_follow(registry, next, context.shard) {
            return Err(BlockInvalid::Committee);
        }
        self.restage(block, context)
    }

    /// Executes a block that this node has already accepted, or that is certified.
    ///
    /// # Errors
    /// [`BlockInvalid::NotNext`] when it does not follow, [`BlockInvalid::Epoch`] when a registry
    /// that it names is not known here, [`BlockInvalid::Diverges`] when executing gives another
    /// result.
    pub fn restage(&self, block: &Block, context: LaneContext<'_>) -> Result<Staged, BlockInvalid> {
        let header = &block.header;
        if header.height != self.height().plus(1) || header.parent != self.head() {
            return Err(BlockInvalid::NotNext(self.height()));
        }
        let next = match mutant!(NewestRegistry) {
            true => Some(context.registries.latest()),
            false => context.registries.at(header.next_epoch),
        };
        let next = next.ok_or(BlockInvalid::Epoch(header.next_epoch))?;
        let operations = block.operations.iter().map(|decided| decided.operation.clone());
        let registry = self.registry(context.registries)?;
        let staged = self.execute(operations.collect(), registry, next, context);
        match staged.block == *block {
            true => Ok(staged),
            false => Err(BlockInvalid::Diverges),
        }
    }

    /// Takes over a block whose certificate was verified.
    pub fn commit(&mut self, staged: Staged) {
        self.advance(&staged.block.header, staged.changes, staged.tree);
    }

    fn execute(
        &self,
        operations: Vec<Operation>,
        registry: &Registry,
        next: &Registry,
        context: LaneContext<'_>,
    ) -> Staged {
        let (changes, places) = (Changes::new(), Vec::new());
        let mut execution = Execution { base: self, registry, context, changes, places };
        let mut decided = Vec::with_capacity(operations.len());
        for (index, operation) in (0u32..).zip(operations) {
            let outcome = execution.apply(&operation, index);
            decided.push(DecidedOperation { operation, outcome });
        }
        execution.forget_expired();
        let Execution { changes, places, .. } = execution;
        let tree = self.tree_after(&changes);
        let header = self.next_header(&decided, &changes, &tree, next, context.shard);
        let operations = decided.try_into().expect("proposers bound their blocks");
        Staged { block: Block { header, operations }, places, changes, tree }
    }

    fn next_header(
        &self,
        decided: &[DecidedOperation],
        changes: &Changes,
        tree: &StateTree,
        next: &Registry,
        shard: ShardId,
    ) -> BlockHeader {
        let period = match changes.get(&StateKey::Period) {
            Some(Some(StateValue::Period(period))) => *period,
            _ => self.period(),
        };
        BlockHeader {
            version: PROTOCOL_VERSION,
            shard,
            height: self.height().plus(1),
            parent: self.head(),
            period,
            chain_reference: None,
            registry_epoch: self.epoch(),
            next_epoch: next.epoch,
            next_committee: next.committee_hash(shard),
            operations_count: u32::try_from(decided.len()).unwrap_or(u32::MAX),
            operations_root: merkle::root(&Block::leaves(decided)),
            state_root: tree.root(),
        }
    }
}

/// Whether a committee may take over from another: at most f seats change, or one (ORD-013).
fn may_follow(current: &Registry, next: &Registry, shard: ShardId) -> bool {
    let (before, after) = (current.committee(shard), next.committee(shard));
    let joined = after.iter().filter(|node| !before.contains(node)).count();
    let left = before.iter().filter(|node| !after.contains(node)).count();
    joined.max(left) <= current.faults_tolerated(shard).max(1)
}

/// A block being executed: the state before it, and what has changed so far.
struct Execution<'a> {
    base: &'a LaneState,
    /// That of the state's epoch.
    registry: &'a Registry,
    context: LaneContext<'a>,
    changes: Changes,
    places: Vec<(Topic, Position, u32)>,
}

impl Execution<'_> {
    fn apply(&mut self, operation: &Operation, index: u32) -> Outcome {
        match operation {
            Operation::PeriodMarker(marker) => self.begin_period(marker),
            Operation::OpenIncarnation(request) => self.open_incarnation(request),
            Operation::Evidence(evidence) => self.record_offence(evidence, index),
            Operation::Envelope(envelope) => {
                let outcome = self.apply_envelope(envelope, operation, index);
                self.note_fee(envelope, outcome);
                outcome
            }
            Operation::Statement(statement) => {
                let key = StateKey::Statement(statement.node);
                self.move_on(key, StateValue::Statement(statement.period, statement.taken))
            }
            Operation::Attestation(attested) => {
                let key = StateKey::Attestation(attested.attestation.node);
                self.move_on(key, StateValue::Period(attested.report.last))
            }
        }
    }

    /// A member speaks once of each period, and of none before the last (SET-023, SET-024).
    fn move_on(&mut self, key: StateKey, value: StateValue) -> Outcome {
        let before = self.period_at(&key);
        let to = value.period().unwrap_or_default();
        if to <= before {
            return Outcome::Conflict { position: Position(before.0) };
        }
        self.set(key, value);
        Outcome::Applied { position: Position(to.0) }
    }

    /// A marker applies only for the next period (ORD-006).
    fn begin_period(&mut self, marker: &PeriodMarker) -> Outcome {
        let current = self.period();
        if marker.period != current.plus(1) {
            return Outcome::Conflict { position: Position(current.0) };
        }
        self.settle_congestion(current);
        let over: Vec<StateKey> = self.base.with_operation_fees().collect();
        self.changes.extend(over.into_iter().map(|key| (key, None)));
        self.set(StateKey::Period, StateValue::Period(marker.period));
        Outcome::Applied { position: Position(marker.period.0) }
    }

    /// The marker that ends `over` settles the factor of the period after the next, by what the
    /// members stated in `over` (FEE-010), and the epoch that its entries are held to (ENV-013). It
    /// comes first in its block, so that the state before the block has all that was stated.
    fn settle_congestion(&mut self, over: Period) {
        let (congestion, shard) = (self.base.congestion(), self.context.shard);
        let members = self.registry.committee(shard).into_iter();
        let stated = members.filter_map(|member| self.base.statement(member));
        let stated = stated.filter(|(period, _)| *period == over).map(|(_, taken)| taken);
        let stated: Vec<u64> = stated.collect();
        let from = congestion.settled().plus(1);
        let Settled { permille, epoch } = congestion.change(self.registry, shard, &stated);
        if let Some(next) = permille {
            self.set(StateKey::Congestion(from), StateValue::Congestion(next));
        }
        if let Some(epoch) = epoch {
            self.set(StateKey::Epoch(from), StateValue::Epoch(epoch));
        }
    }

    /// An incarnation opens only after the one that its node takes to be the last (ORD-005).
    fn open_incarnation(&mut self, request: &IncarnationRequest) -> Outcome {
        let key = StateKey::Incarnation(request.node);
        let current = match self.value(&key) {
            Some(StateValue::Incarnation(number, _)) => *number,
            _ => Default::default(),
        };
        if request.previous != current {
            return Outcome::Conflict { position: Position(current.0.into()) };
        }
        let next = current.plus(1);
        self.set(key, StateValue::Incarnation(next, request.nonce));
        self.note_signer(request.node, next);
        Outcome::Applied { position: Position(next.0.into()) }
    }

    /// Whoever has another key than its logs had before signs those from this one on under it
    /// (ORD-033). A node has one key in a block, so that what this block noted says the same.
    fn note_signer(&mut self, node: NodeId, opened: Incarnation) {
        let before = self.base.signers(self.context.registries).of_incarnation(node, opened);
        let now = self.registry.node(node).map(|record| record.signing);
        let of_block = StateKey::Signer(node, Incarnation(0))..=StateKey::Signer(node, opened);
        if now != before && self.changes.range(of_block).next().is_none() {
            self.set(StateKey::Signer(node, opened), StateValue::Epoch(self.registry.epoch));
        }
    }

    /// An offence is recorded once and for ever, whatever proves it (EVD-006).
    fn record_offence(&mut self, evidence: &Evidence, index: u32) -> Outcome {
        let key = StateKey::Offence(evidence.accused(), evidence.offence());
        if self.value(&key).is_some() {
            return Outcome::Refused { code: ErrorCode::Repeated };
        }
        let height = self.base.height().plus(1);
        self.set(key, StateValue::Decided(height, index));
        Outcome::Applied { position: Position(height.0) }
    }

    fn apply_envelope(
        &mut self,
        envelope: &PayerEnvelope,
        operation: &Operation,
        index: u32,
    ) -> Outcome {
        let body = &envelope.envelope.body;
        // An id is decided once, whichever replica carries it and however often (ORD-008).
        let id = body.id();
        let is_decided = self.value(&StateKey::Decided(body.not_after, id)).is_some();
        if is_decided && !mutant!(DecideAgain) {
            return Outcome::Refused { code: ErrorCode::Repeated };
        }
        self.remember(body.not_after, id, index);
        let head = self.topic(body.topic);
        // Compare and swap for commits; proposals append without it (ORD-001).
        let is_elsewhere = |expected| expected != head.position && !mutant!(AnyPosition);
        if body.expected_position.is_some_and(is_elsewhere) {
            return Outcome::Conflict { position: head.position };
        }
        if body.topic.kind == TopicKind::Identity
            && let Err(outcome) = self.apply_identity(body.topic, &body.payload, head)
        {
            return outcome;
        }
        let position = head.position.plus(1);
        let head = TopicHead { position, last: operation.hash() };
        self.set(StateKey::Topic(body.topic), StateValue::Topic(head));
        self.places.push((body.topic, position, index));
        Outcome::Applied { position }
    }

    /// What is decided is taken from its payer's purse (ORD-034).
    fn note_fee(&mut self, envelope: &PayerEnvelope, outcome: Outcome) {
        let about = (self.base, self.registry, self.context.shard, self.period());
        let Some(fee) = purse::spent(envelope, outcome, about) else { return };
        let key = StateKey::OperationFees(envelope.envelope.body.payer);
        let before = match self.value(&key) {
            Some(StateValue::Fees(fees)) => *fees,
            _ => PicoDollars(0),
        };
        // No valid block has more than a cap's worth of them.
        self.set(key, StateValue::Fees(PicoDollars(before.0.saturating_add(fee.0))));
    }

    /// Notes a decision, and in the digest of those with its expiry (ORD-031).
    fn remember(&mut self, not_after: Period, id: EnvelopeId, index: u32) {
        let height = self.base.height().plus(1);
        let before = match self.value(&StateKey::Decisions(not_after)) {
            Some(StateValue::Decisions(digest)) => *digest,
            _ => Hash::default(),
        };
        let digest = digest_with(before, id, height, index);
        self.set(StateKey::Decisions(not_after), StateValue::Decisions(digest));
        self.set(StateKey::Decided(not_after, id), StateValue::Decided(height, index));
    }

    /// An identity update applies only to the state that it follows (IDN-005, ORD-009).
    fn apply_identity(
        &mut self,
        topic: Topic,
        payload: &[u8],
        head: TopicHead,
    ) -> Result<(), Outcome> {
        let refused = |code| Outcome::Refused { code };
        let inbox = InboxId(topic.id.0);
        let update = ParsedUpdate::parse(payload).map_err(|error| refused(error.code()))?;
        let body = &update.as_update().body;
        if body.inbox != inbox {
            return Err(refused(ErrorCode::TopicInvalid));
        }
        // Positions count updates, so another writer's update is in this one's place.
        if body.sequence.0 != head.position.0 {
            return Err(Outcome::Conflict { position: head.position });
        }
        let key = StateKey::Inbox(inbox);
        let before = match self.value(&key) {
            Some(StateValue::Inbox(state)) => Some((**state).clone()),
            _ => None,
        };
        let after = AssociationState::advance(before.as_ref(), self.context.network, payload)
            .map_err(|error| refused(error.code()))?;
        self.index_accounts(inbox, before.as_ref(), &after);
        self.set(key, StateValue::Inbox(Box::new(after)));
        Ok(())
    }

    /// An account leads to the inbox it joined last, until it leaves that one (ORD-010).
    fn index_accounts(
        &mut self,
        inbox: InboxId,
        before: Option<&AssociationState>,
        after: &AssociationState,
    ) {
        for account in before.into_iter().flat_map(accounts) {
            let key = StateKey::Account(account);
            let leads_here = self.value(&key) == Some(&StateValue::Account(inbox));
            if leads_here && !after.contains(&Member::EthereumAccount(account)) {
                self.changes.insert(key, None);
            }
        }
        for account in accounts(after) {
            let joined = Member::EthereumAccount(account);
            if before.is_none_or(|before| !before.contains(&joined)) {
                self.set(StateKey::Account(account), StateValue::Account(inbox));
            }
        }
    }

    /// Decisions are kept until nobody can present the envelope again (ENV-010).
    fn forget_expired(&mut self) {
        let horizon = self.period().minus(IDEMPOTENCY_PERIODS_AFTER_EXPIRY);
        let expired: Vec<StateKey> = self.base.decisions_before(horizon).collect();
        self.changes.extend(expired.into_iter().map(|key| (key, None)));
    }

    fn period(&self) -> Period {
        self.period_at(&StateKey::Period)
    }

    fn period_at(&self, key: &StateKey) -> Period {
        self.value(key).and_then(StateValue::period).unwrap_or_default()
    }

    fn topic(&self, topic: Topic) -> TopicHead {
        match self.value(&StateKey::Topic(topic)) {
            Some(StateValue::Topic(head)) => *head,
            _ => TopicHead::default(),
        }
    }

    fn value(&self, key: &StateKey) -> Option<&StateValue> {
        match self.changes.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.base.value(key),
        }
    }

    fn set(&mut self, key: StateKey, value: StateValue) {
        self.changes.insert(key, Some(value));
    }
}

fn accounts(state: &AssociationState) -> impl Iterator<Item = EthereumAddress> {
    state.members().filter_map(|(member, _)| match member {
        Member::EthereumAccount(address) => Some(*address),
        _ => None,
    })
}
