//! The log that this process writes for one shard: indexes, flushes, acknowledgements.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tidings_envelope::api::AcknowledgedCheckpoint;
use tidings_envelope::{
    AckLevel, Checkpoint, EntryHeader, LogId, MerklePath, Registry, SignedAcknowledgement,
    SignedCheckpoint, Topic,
};
use tidings_tlog::{Frontier, RecentTree, TopicHead};
use tidings_types::constants::{
    FEED_ENTRIES_MAX, FLUSH_BYTES_MAX, ORIGINATOR_FLUSH_INTERVAL_MS_MIN, PENDING_ENTRIES_MAX,
};
use tidings_types::node_key::NodeKey;
use tidings_types::{
    BoundedVec, CheckpointDigest, ErrorCode, LogIndex, LogSize, NetworkId, NodeId, Period, Wire,
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
    digest: CheckpointDigest,
    durable: bool,
    acknowledgements: BTreeMap<NodeId, SignedAcknowledgement>,
    waiters: Vec<(Waiter, LogIndex, AckLevel)>,
}

/// A receipt's parts, for a waiter whose level is reached.
pub(crate) struct Proven {
    pub(crate) waiter: Waiter,
    pub(crate) header: EntryHeader,
    pub(crate) path: MerklePath,
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
    /// The newest checkpoint that a quorum holds.
    covered: Option<AcknowledgedCheckpoint>,
}

impl OwnLog {
    pub(crate) fn new(id: LogId) -> Self {
        Self {
            id,
            frontier: Frontier::default(),
            topics: BTreeMap::new(),
            pending: VecDeque::new(),
            flushes: VecDeque::new(),
            in_flight: false,
            flushed_at_ms: 0,
            covered: None,
        }
    }

    pub(crate) fn id(&self) -> LogId {
        self.id
    }

    pub(crate) fn size(&self) -> LogSize {
        let durable = self.flushes.iter().rev().find(|flush| flush.durable);
        durable.map(|flush| flush.checkpoint.checkpoint.size).unwrap_or_default()
    }

    /// The newest checkpoint that a quorum holds, with the signatures that say so.
    pub(crate) fn covered(&self) -> Option<&AcknowledgedCheckpoint> {
        self.covered.as_ref()
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
        let digest = checkpoint.digest(signing.network);
        let checkpoint = checkpoint.sign(signing.key, signing.network);
        self.flushes.push_back(FlushRecord {
            first,
            headers,
            tree,
            checkpoint,
            digest,
            durable: false,
            acknowledgements: BTreeMap::new(),
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

    /// The flush that ends at `size` is on disk.
    pub(crate) fn is_durable(&mut self, size: LogSize, registry: &Registry) -> Vec<Proven> {
        self.in_flight = false;
        if let Some(flush) = self.flush_ending(size) {
            flush.durable = true;
        }
        self.collect(registry)
    }

    /// A replica says that it holds everything up to `size`.
    pub(crate) fn acknowledge(
        &mut self,
        size: LogSize,
        acknowledgement: SignedAcknowledgement,
        network: NetworkId,
        registry: &Registry,
    ) -> Vec<Proven> {
        let replica = acknowledgement.replica;
        let committee = registry.committee(self.id.shard);
        let Some(node) = registry.node(replica).filter(|_| committee.contains(&replica)) else {
            return Vec::new();
        };
        let signer = node.signing;
        let own = self.id.node;
        let Some(flush) = self.flush_ending(size) else {
            return Vec::new();
        };
        if replica == own || acknowledgement.verify(flush.digest, network, signer).is_err() {
            return Vec::new();
        }
        flush.acknowledgements.insert(replica, acknowledgement);
        self.collect(registry)
    }

    fn flush_ending(&mut self, size: LogSize) -> Option<&mut FlushRecord> {
        let place = self
            .flushes
            .binary_search_by_key(&size, |flush| flush.checkpoint.checkpoint.size)
            .ok()?;
        self.flushes.get_mut(place)
    }

    /// Serves the waiters whose level is reached, and forgets old flushes.
    pub(crate) fn collect(&mut self, registry: &Registry) -> Vec<Proven> {
        let quorum = registry.durability_quorum(self.id.shard);
        let mut proven = Vec::new();
        for flush in self.flushes.iter_mut().filter(|flush| flush.durable) {
            let is_covered = flush.acknowledgements.len() + 1 >= quorum;
            if is_covered {
                let size = flush.checkpoint.checkpoint.size;
                let newer = self
                    .covered
                    .as_ref()
                    .is_none_or(|covered| covered.checkpoint.checkpoint.size <= size);
                if newer {
                    self.covered = Some(flush.covered(quorum));
                }
            }
            let open = std::mem::take(&mut flush.waiters);
            let (ready, open): (Vec<_>, Vec<_>) =
                open.into_iter().partition(|(_, _, level)| is_covered || *level == AckLevel::Local);
            flush.waiters = open;
            flush.prove(ready, quorum, &mut proven);
        }
        self.forget_answered(quorum);
        proven
    }

    fn forget_answered(&mut self, quorum: usize) {
        while self.flushes.len() > ANSWERED_FLUSHES_KEPT {
            let answered = self.flushes.front().is_some_and(|flush| {
                flush.waiters.is_empty() && flush.acknowledgements.len() + 1 >= quorum
            });
            let overfull = self.flushes.len() > ANSWERED_FLUSHES_KEPT * 64;
            if !answered && !overfull {
                return;
            }
            self.flushes.pop_front();
        }
    }
}

impl FlushRecord {
    fn covered(&self, quorum: usize) -> AcknowledgedCheckpoint {
        // The originator's checkpoint is its own acknowledgement.
        let others = self.acknowledgements.values().take(quorum.saturating_sub(1)).copied();
        let acknowledgements = BoundedVec::new(others.collect()).unwrap_or_default();
        AcknowledgedCheckpoint { checkpoint: self.checkpoint, acknowledgements }
    }

    fn prove(
        &self,
        ready: Vec<(Waiter, LogIndex, AckLevel)>,
        quorum: usize,
        proven: &mut Vec<Proven>,
    ) {
        if ready.is_empty() {
            return;
        }
        let prover = self.tree.prover();
        let covered = self.covered(quorum);
        for (waiter, index, _) in ready {
            let place = usize::try_from(index.0 - self.first.0).unwrap_or(usize::MAX);
            let (Some(header), Ok(path)) = (self.headers.get(place), prover.inclusion_proof(index))
            else {
                continue;
            };
            let path = BoundedVec::new(path).unwrap_or_default();
            proven.push(Proven { waiter, header: *header, path, covered: covered.clone() });
        }
    }
}
