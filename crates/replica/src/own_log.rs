//! The log that this process writes for one shard: indexes, flushes, acknowledgements.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tidings_envelope::api::AcknowledgedCheckpoint;
use tidings_envelope::{
    AckLevel, Checkpoint, EntryHeader, LogId, MerklePath, Registry, SignedAcknowledgement,
    SignedCheckpoint, Topic,
};
use tidings_tlog::{AckTracker, CoveredCheckpoint, Frontier, RecentTree, TopicHead};
use tidings_types::constants::{
    FEED_ENTRIES_MAX, FLUSH_BYTES_MAX, ORIGINATOR_FLUSH_INTERVAL_MS_MIN, PENDING_ENTRIES_MAX,
};
use tidings_types::node_key::NodeKey;
use tidings_types::{
    BoundedVec, ErrorCode, EthereumAddress, LogIndex, LogSize, NetworkId, NodeId, Period, ShardId,
    Wire, mutant,
};

use crate::effect::Now;
use crate::publish::BroadcastItem;
use crate::requests::Waiter;
use crate::store::{EntryRecord, Flush, LogMemory};

/// Flushes whose proofs are kept in memory after they are acknowledged, for repeats.
const ANSWERED_FLUSHES_KEPT: usize = 64;

/// What signing needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signing<'a> {
    pub(crate) key: &'a NodeKey,
    pub(crate) network: NetworkId,
    pub(crate) period: Period,
}

/// A flush with what receipts for its entries are made of.
#[derive(Debug)]
struct FlushRecord {
    first: LogIndex,
    headers: Vec<EntryHeader>,
    tree: RecentTree,
    checkpoint: SignedCheckpoint,
    durable: bool,
    waiters: Vec<(Waiter, LogIndex, AckLevel)>,
}

/// What a waiter is served whose level is reached.
pub(crate) struct Served {
    pub(crate) waiter: Waiter,
    pub(crate) log: LogId,
    pub(crate) index: LogIndex,
    /// The entry and its path to the checkpoint; storage has them where they are absent.
    pub(crate) proven: Option<(EntryHeader, MerklePath)>,
    /// A checkpoint that enough replicas hold for the level asked for.
    pub(crate) covered: AcknowledgedCheckpoint,
}

/// Where a repeat of an entry can be answered from.
pub(crate) enum Found {
    /// Its flush is in memory; the waiter will be served from there.
    Waiting,
    /// It is older than what is kept; storage has it.
    InStorage,
}

/// An open log of this process.
#[derive(Debug)]
pub(crate) struct OwnLog {
    id: LogId,
    frontier: Frontier,
    topics: BTreeMap<Topic, TopicHead>,
    pending: VecDeque<(BroadcastItem, Vec<(Waiter, AckLevel)>)>,
    flushes: VecDeque<FlushRecord>,
    in_flight: bool,
    flushed_at_ms: u64,
    /// How many nodes must hold an entry, this one included.
    needed: usize,
    /// Who holds how much.
    held: AckTracker,
}

impl OwnLog {
    pub(crate) fn new(id: LogId, network: NetworkId, registry: &Registry) -> Self {
        let (needed, replicas) = durability(registry, id.shard);
        Self {
            id,
            frontier: Frontier::default(),
            topics: BTreeMap::new(),
            pending: VecDeque::new(),
            flushes: VecDeque::new(),
            in_flight: false,
            flushed_at_ms: 0,
            needed,
            held: AckTracker::new(network, id, needed, replicas),
        }
    }

    /// Takes over the committee of another registry; answers whose level is reached by that.
    pub(crate) fn reconfigure(&mut self, registry: &Registry) -> Vec<Served> {
        let (needed, replicas) = durability(registry, self.id.shard);
        self.needed = needed;
        self.held.reconfigure(needed, replicas);
        self.serve()
    }

    pub(crate) fn id(&self) -> LogId {
        self.id
    }

    pub(crate) fn size(&self) -> LogSize {
        self.durable_checkpoint().map(|signed| signed.checkpoint.size).unwrap_or_default()
    }

    /// The newest checkpoint that is durable here; none before the first flush.
    pub(crate) fn durable_checkpoint(&self) -> Option<SignedCheckpoint> {
        let durable = self.flushes.iter().rev().find(|flush| flush.durable);
        durable.map(|flush| flush.checkpoint)
    }

    /// The newest checkpoint that a quorum holds, with as many signatures as say so.
    pub(crate) fn covered(&self) -> Option<AcknowledgedCheckpoint> {
        // The originator's checkpoint is its own acknowledgement.
        let others = self.needed.saturating_sub(1);
        self.held.covered().map(|covered| acknowledged(covered, others))
    }

    /// Queues an envelope for the next flush; answers the index that it will have.
    pub(crate) fn push(
        &mut self,
        item: BroadcastItem,
        waiter: Waiter,
        level: AckLevel,
    ) -> Result<LogIndex, ErrorCode> {
        if self.pending.len() >= PENDING_ENTRIES_MAX {
            return Err(ErrorCode::Overloaded);
        }
        let index = self.frontier.size().0 + self.pending.len() as u64;
        self.pending.push_back((item, vec![(waiter, level)]));
        Ok(LogIndex(index))
    }

    /// Adds a waiter for an entry that has its index already.
    pub(crate) fn wait(&mut self, index: LogIndex, waiter: Waiter, level: AckLevel) -> Found {
        if let Some(ahead) = index.0.checked_sub(self.frontier.size().0) {
            let place = usize::try_from(ahead).unwrap_or(usize::MAX);
            return match self.pending.get_mut(place) {
                Some((_, waiters)) => {
                    waiters.push((waiter, level));
                    Found::Waiting
                }
                None => Found::InStorage,
            };
        }
        let flush = self
            .flushes
            .iter_mut()
            .find(|flush| flush.first <= index && index.0 < flush.checkpoint.checkpoint.size.0);
        match flush {
            Some(flush) => {
                flush.waiters.push((waiter, index, level));
                Found::Waiting
            }
            None => Found::InStorage,
        }
    }

    /// When the next flush may begin, if something waits for it.
    pub(crate) fn flush_due_ms(&self) -> Option<u64> {
        let idle = !self.in_flight && !self.pending.is_empty();
        idle.then(|| self.flushed_at_ms.saturating_add(ORIGINATOR_FLUSH_INTERVAL_MS_MIN))
    }

    /// Builds the next flush when it is due: indexes, entries, checkpoint, each made once.
    pub(crate) fn flush(&mut self, now: Now, signing: Signing<'_>) -> Option<Flush> {
        if self.flush_due_ms().is_none_or(|due| due > now.monotonic_ms) {
            return None;
        }
        let first = self.frontier.size().next_index();
        let mut tree = RecentTree::new(&self.frontier);
        let (mut entries, mut headers, mut waiters) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        while entries.len() < FEED_ENTRIES_MAX && bytes < FLUSH_BYTES_MAX {
            let Some((item, waiting)) = self.pending.pop_front() else {
                break;
            };
            let record = self.entry(item, LogIndex(first.0 + entries.len() as u64), now);
            tree.append(record.hash.0);
            bytes += record.payload.as_ref().map_or(0, |payload| payload.len());
            let index = record.header.index;
            waiters.extend(waiting.into_iter().map(|(waiter, level)| (waiter, index, level)));
            headers.push(record.header);
            entries.push(record);
        }
        self.frontier = tree.frontier();
        let size = self.frontier.size();
        let checkpoint = Checkpoint::new(self.id, size, self.frontier.root(), signing.period);
        let checkpoint = checkpoint.sign(signing.key, signing.network);
        self.flushes.push_back(FlushRecord {
            first,
            headers,
            tree,
            checkpoint,
            durable: mutant!(AnswerEarly),
            waiters,
        });
        self.in_flight = true;
        self.flushed_at_ms = now.monotonic_ms;
        // What this node admits itself is valid.
        let memory = LogMemory { honest: 1, frontier: self.frontier.clone() };
        Some(Flush { log: self.id, entries, checkpoint, frontier: memory.to_wire() })
    }

    /// Gives an envelope its place in the log and in its topic's chain (LOG-002, LOG-003).
    fn entry(&mut self, item: BroadcastItem, index: LogIndex, now: Now) -> EntryRecord {
        let head = self.topics.entry(item.header.topic).or_default();
        let header = EntryHeader {
            index,
            timestamp: now.timestamp,
            topic_index: head.next,
            previous: head.last,
            ..item.header
        };
        let hash = header.hash();
        *head = TopicHead { next: head.next.plus(1), last: hash };
        EntryRecord { header, hash, payload: Some(Arc::clone(&item.payload)) }
    }

    /// The flush that ends at `size` is on disk; answers whose level is reached.
    pub(crate) fn is_durable(&mut self, size: LogSize) -> Vec<Served> {
        self.in_flight = false;
        if let Some(flush) = self.flush_ending(size) {
            flush.durable = true;
            let checkpoint = flush.checkpoint;
            // Sizes rise from flush to flush (LOG-014), so that this is never refused.
            let published = self.held.publish(checkpoint);
            debug_assert!(published.is_ok(), "{published:?}");
        }
        self.serve()
    }

    /// A replica says that it holds everything up to `size` (LOG-015); answers whose level is
    /// reached.
    pub(crate) fn acknowledge(
        &mut self,
        size: LogSize,
        acknowledgement: SignedAcknowledgement,
    ) -> Vec<Served> {
        // One that does not count leaves the tracker as it was.
        match self.held.acknowledge(size, acknowledgement) {
            Ok(Some(_)) => self.serve(),
            Ok(None) | Err(_) => Vec::new(),
        }
    }

    fn flush_ending(&mut self, size: LogSize) -> Option<&mut FlushRecord> {
        let place = self
            .flushes
            .binary_search_by_key(&size, |flush| flush.checkpoint.checkpoint.size)
            .ok()?;
        self.flushes.get_mut(place)
    }

    /// Serves the waiters whose level is reached, and forgets old flushes.
    pub(crate) fn serve(&mut self) -> Vec<Served> {
        let covered = self.covered();
        let mut served = Vec::new();
        for flush in self.flushes.iter_mut().filter(|flush| flush.durable) {
            flush.serve(covered.as_ref(), &mut served);
        }
        self.forget_answered();
        served
    }

    fn forget_answered(&mut self) {
        while self.flushes.len() > ANSWERED_FLUSHES_KEPT {
            let answered =
                self.flushes.front().is_some_and(|flush| flush.durable && flush.waiters.is_empty());
            let overfull = self.flushes.len() > ANSWERED_FLUSHES_KEPT * 64;
            if !answered && !overfull {
                return;
            }
            self.flushes.pop_front();
        }
    }
}

impl FlushRecord {
    /// Serves the flush's waiters, `covered` being the newest checkpoint that a quorum holds.
    fn serve(&mut self, covered: Option<&AcknowledgedCheckpoint>, served: &mut Vec<Served>) {
        if self.waiters.is_empty() {
            return;
        }
        let size = self.checkpoint.checkpoint.size;
        let covering = covered.filter(|covered| covered.checkpoint.checkpoint.size >= size);
        // The originator's checkpoint is its own acknowledgement.
        let alone = AcknowledgedCheckpoint {
            checkpoint: self.checkpoint,
            acknowledgements: BoundedVec::default(),
        };
        let prover = self.tree.prover();
        for (waiter, index, level) in std::mem::take(&mut self.waiters) {
            let against = match (level, covering) {
                (AckLevel::Replicated, Some(covering)) => covering,
                (AckLevel::Local, _) => &alone,
                (AckLevel::Replicated, None) => {
                    self.waiters.push((waiter, index, level));
                    continue;
                }
            };
            let place = usize::try_from(index.0 - self.first.0).unwrap_or(usize::MAX);
            // A larger checkpoint than the flush's own takes a longer path, which storage has.
            let in_memory = against.checkpoint == self.checkpoint;
            let header = self.headers.get(place).copied().filter(|_| in_memory);
            let proven = header.and_then(|header| {
                let path = prover.inclusion_proof(index).ok()?;
                Some((header, BoundedVec::new(path).ok()?))
            });
            let (log, covered) = (self.checkpoint.checkpoint.log, against.clone());
            served.push(Served { waiter, log, index, proven, covered });
        }
    }
}

/// How many nodes must hold an entry of the shard, and who can say that it does (LOG-015).
fn durability(
    registry: &Registry,
    shard: ShardId,
) -> (usize, impl Iterator<Item = (NodeId, EthereumAddress)>) {
    let members = registry.committee(shard).into_iter();
    let signers = members.filter_map(|id| registry.node(id).map(|node| (id, node.signing)));
    (registry.durability_quorum(shard) - usize::from(mutant!(FewHolders)), signers)
}

/// A checkpoint with the signatures of so many others: readers check and carry each.
fn acknowledged(covered: &CoveredCheckpoint, others: usize) -> AcknowledgedCheckpoint {
    let acknowledgements = covered.acknowledgements().take(others).copied().collect();
    AcknowledgedCheckpoint {
        checkpoint: *covered.checkpoint(),
        acknowledgements: BoundedVec::new(acknowledgements).unwrap_or_default(),
    }
}
