//! Agreement on the blocks of one shard: Malachite's core for each height, and around it the
//! queue, the blocks, the log and the clocks.

mod book;
mod candidates;
mod core_types;
mod engine;
mod height;
mod inputs;
mod log;
mod period;
mod queue;
mod recall;
mod timers;

use std::collections::{BTreeMap, VecDeque};

use tidings_envelope::{Block, CertifiedBlock, Registry};
use tidings_types::{BlockHash, Height, NodeId, ShardId, mutant};

use self::book::Book;
use self::candidates::Candidates;
use self::core_types::{Member, MemberId, Members};
use self::engine::Engine;
pub use self::log::{LogRecord, LoggedTimeout};
pub use self::period::period_length_ms;
use self::queue::Queue;
use self::recall::Recollection;
use self::timers::Timers;
use crate::execute::LaneContext;
use crate::judge::SeenBatches;
use crate::message::OrderMessage;
use crate::orderer::{LaneLog, OrderContext, OrderEffect, RestoredAgreement};
use crate::state::LaneState;

/// Final blocks whose hashes are kept, to notice a second certificate for one height (ORD-022).
const RECENT_BLOCKS_KEPT: usize = 4_096;

/// Messages about the height after the one under way that are kept for later, per member.
const EARLY_MESSAGES_MAX: usize = 64;

/// A message that waits for what its height follows.
type Early = (NodeId, Box<OrderMessage>);

/// A message that leaves once everything logged before it is durable.
#[derive(Debug)]
struct Outgoing {
    /// How many log parts must be durable.
    after: u64,
    to: NodeId,
    message: OrderMessage,
}

/// Agreement on the blocks of one shard, as inputs and effects.
///
/// A height is begun when there is something to order or when a member shows that it has begun
/// (ORD-020); between heights nothing is sent.
pub struct Agreement {
    shard: ShardId,
    state: LaneState,
    queue: Queue,
    batches: SeenBatches,
    /// The height under way; none between heights.
    engine: Option<Engine>,
    /// Whether this node must not vote at the height under way (ORD-015).
    abstains: bool,
    /// Two certificates for one height were seen.
    halted: bool,
    /// What is still to be heard from others since the start.
    recollection: Option<Recollection>,
    /// The log of the height that was under way when the process ended, with what others recalled
    /// of it at its end.
    restored: RestoredAgreement,
    /// What members said at that height by that log: others that forgot it are reminded.
    remembered: Book,
    /// How many of the restored records are durable.
    durable_records: usize,
    candidates: Candidates,
    book: Book,
    /// The statements about the last final height, of which late ones may contradict.
    last_book: Book,
    early: VecDeque<Early>,
    /// The last final height when `early` was looked through.
    early_until: Option<Height>,
    timers: Timers,
    /// When the last period began, or a new one could have been measured from.
    marked_at_ms: Option<u64>,
    recent: BTreeMap<Height, BlockHash>,
    unlogged: LaneLog,
    /// How many log parts were handed out, and how many of them are durable.
    logged_parts: u64,
    durable_parts: u64,
    outbox: VecDeque<Outgoing>,
    effects: VecDeque<OrderEffect>,
}

impl Agreement {
    /// A lane that goes on from `state`, and from what was logged of the height after it.
    #[must_use]
    pub fn new(shard: ShardId, state: LaneState, restored: RestoredAgreement) -> Self {
        let next = state.height().plus(1);
        let halted = restored.halted;
        let mut remembered = Book::new(next);
        restored.records.iter().for_each(|record| remembered.remember(record));
        Self {
            shard,
            state,
            queue: Queue::default(),
            batches: SeenBatches::default(),
            engine: None,
            abstains: false,
            halted,
            recollection: Some(Recollection::new(next)),
            durable_records: restored.records.len(),
            restored,
            remembered,
            candidates: Candidates::default(),
            book: Book::new(next),
            last_book: Book::new(Height(0)),
            early: VecDeque::new(),
            early_until: None,
            timers: Timers::default(),
            marked_at_ms: None,
            recent: BTreeMap::new(),
            unlogged: empty_log(next),
            logged_parts: 0,
            durable_parts: 0,
            outbox: VecDeque::new(),
            effects: VecDeque::new(),
        }
    }

    /// Whose ordered lane this is.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// The state after the last final block.
    #[must_use]
    pub fn state(&self) -> &LaneState {
        &self.state
    }

    /// Whether two certificates for one height have stopped the lane (ORD-022).
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.halted
    }

    /// The next thing to be done, until there is none.
    pub fn poll_effect(&mut self) -> Option<OrderEffect> {
        self.effects.pop_front()
    }

    /// When [`Agreement::tick`] is due next, in monotonic milliseconds, if anything waits.
    #[must_use]
    pub fn next_due_ms(&self, period_ms: u64) -> Option<u64> {
        if self.halted {
            return None;
        }
        let recollection = self.recollection.as_ref().and_then(Recollection::next_due_ms);
        let idle = self.engine.is_none().then(|| self.marker_due_ms(period_ms)).flatten();
        let due = [recollection, idle, self.timers.next_due_ms(), self.candidates.next_due_ms()];
        due.into_iter().flatten().min()
    }

    /// The height that is to be decided next.
    fn next_height(&self) -> Height {
        self.state.height().plus(1)
    }

    fn lane<'a>(&self, context: OrderContext<'a>) -> LaneContext<'a> {
        let OrderContext { network, registries, .. } = context;
        LaneContext { network, registries, shard: self.shard }
    }

    /// The registry of the next block, if it is known here.
    fn registry<'a>(&self, context: OrderContext<'a>) -> Option<&'a Registry> {
        self.state.registry(context.registries).ok().map(AsRef::as_ref)
    }

    /// The committee of the next block, by rising number; empty while its registry is unknown.
    fn members(&self, context: OrderContext<'_>) -> Members {
        let Some(registry) = self.registry(context) else {
            return Members(Vec::new());
        };
        let mut ids = registry.committee(self.shard);
        ids.sort_unstable();
        let member = |id: NodeId| {
            let signer = registry.node(id)?.signing;
            Some(Member { id: MemberId(id), signer })
        };
        Members(ids.into_iter().filter_map(member).collect())
    }

    /// Every other member of the next block's committee.
    fn others(&self, context: OrderContext<'_>) -> Vec<NodeId> {
        let members = self.members(context).0.into_iter().map(|member| member.id.0);
        members.filter(|node| *node != context.node).collect()
    }

    /// Sends to every other member what may leave once everything logged so far is durable.
    fn publish(&mut self, message: &OrderMessage, context: OrderContext<'_>) {
        for to in self.others(context) {
            self.send(to, message.clone());
        }
    }

    fn send(&mut self, to: NodeId, message: OrderMessage) {
        let waits = !self.unlogged.records.is_empty() || !self.unlogged.blocks.is_empty();
        let after = self.logged_parts + u64::from(waits);
        self.outbox.push_back(Outgoing { after, to, message });
    }

    /// Hands out what is to be logged, and the messages that need not wait for it.
    ///
    /// What nothing waits for stays until something does.
    fn seal(&mut self) {
        let waited_for = self.outbox.back().is_some_and(|out| out.after > self.logged_parts);
        if waited_for {
            self.hand_out_log();
        }
        self.release();
    }

    fn hand_out_log(&mut self) {
        let next = self.unlogged.first + self.unlogged.records.len() as u64;
        let following = LaneLog { first: next, ..empty_log(self.unlogged.height) };
        let mut part = std::mem::replace(&mut self.unlogged, following);
        part.sequence = self.logged_parts;
        self.logged_parts += 1;
        self.effects.push_back(OrderEffect::Log(part));
    }

    fn release(&mut self) {
        let may_leave = |out: &Outgoing| out.after <= self.durable_parts || mutant!(VoteUnlogged);
        while self.outbox.front().is_some_and(may_leave) {
            if let Some(Outgoing { to, message, .. }) = self.outbox.pop_front() {
                self.effects.push_back(OrderEffect::Send(to, message));
            }
        }
    }

    /// Stops for good: two certificates for one height exist (ORD-022).
    fn halt(&mut self, known: BlockHash, other: CertifiedBlock) {
        self.halted = true;
        self.engine = None;
        self.timers.clear();
        self.outbox.clear();
        self.effects.push_back(OrderEffect::Forked { known, other: Box::new(other) });
    }

    fn remember(&mut self, block: &Block) {
        self.recent.insert(block.header.height, block.header.hash());
        while self.recent.len() > RECENT_BLOCKS_KEPT {
            self.recent.pop_first();
        }
    }
}

fn empty_log(height: Height) -> LaneLog {
    LaneLog { sequence: 0, height, first: 0, records: Vec::new(), blocks: Vec::new() }
}
