//! What a node's storage holds, with the meaning that the node's own stores have.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use tidings_envelope::api::{LogCursor, TopicEntry};
use tidings_envelope::{
    Block, CertifiedBlock, EntryHeader, Evidence, InclusionProof, LogId, MerklePath,
    OrderedReceipt, SignedCheckpoint, Topic, Vote,
};
use tidings_order::{LaneLog, LogRecord, RestoredAgreement};
use tidings_payer::Due;
use tidings_replica::RecentEntry;
use tidings_replica::store::{
    Decided, EntryRecord, Flush, Restored, RestoredLane, RestoredLog, TopicHeads, WriteSet,
};
use tidings_tlog::{MemoryTree, inclusion_proof};
use tidings_types::constants::{FEE_PERIODS_BEFORE_EXPIRY_MAX, IDEMPOTENCY_PERIODS_AFTER_EXPIRY};
use tidings_types::{
    BlockHash, BoundedVec, Height, LogIndex, LogSize, NodeId, OffenceId, Position, ShardId,
    TopicIndex,
};

use crate::randomness::Draw;
use crate::scenario::Rot;

/// A write set asks for what no storage can do; the node would be stuck for ever.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WriteImpossible(String);

/// What is stored cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log of an agreement has a gap")]
pub struct DiskDamaged;

/// Everything on a disk.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    logs: BTreeMap<LogId, StoredLog>,
    lanes: BTreeMap<ShardId, StoredLane>,
    /// One proof of each offence.
    evidence: BTreeMap<OffenceId, Evidence>,
}

#[derive(Debug, Clone, Default)]
struct StoredLog {
    flushes: Vec<Arc<Flush>>,
    /// The indexes of each topic's entries.
    topics: BTreeMap<Topic, Vec<LogIndex>>,
}

#[derive(Debug, Clone, Default)]
struct StoredLane {
    blocks: Vec<Arc<CertifiedBlock>>,
    /// What was logged of the agreement on each height that is not over, by place.
    agreement: BTreeMap<(Height, u64), LogRecord>,
    candidates: BTreeMap<(Height, BlockHash), Block>,
    forks: Vec<CertifiedBlock>,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    places: BTreeMap<(Topic, Position), (Height, u32)>,
}

impl StoredLog {
    fn size(&self) -> LogSize {
        self.flushes.last().map(|last| last.checkpoint.checkpoint.size).unwrap_or_default()
    }

    fn entry(&self, index: LogIndex) -> Option<&EntryRecord> {
        let after = self.flushes.partition_point(|flush| flush.first() <= index);
        let flush = self.flushes.get(after.checked_sub(1)?)?;
        flush.entries.get(usize::try_from(index.0 - flush.first().0).ok()?)
    }

    fn entries(&self) -> impl DoubleEndedIterator<Item = &EntryRecord> {
        self.flushes.iter().flat_map(|flush| &flush.entries)
    }
}

impl Disk {
    /// Makes a write set durable.
    ///
    /// What was written already is left out, as after a transaction whose end is not known.
    ///
    /// # Errors
    /// [`WriteImpossible`] when the set does not follow what is stored.
    pub fn write(&mut self, set: &WriteSet) -> Result<(), WriteImpossible> {
        for flush in &set.flushes {
            self.write_flush(flush)?;
        }
        for (shard, log) in &set.lane_logs {
            self.lanes.entry(*shard).or_default().log(log);
        }
        for decided in &set.decided {
            self.write_decided(decided)?;
        }
        for fork in &set.forks {
            let lane = self.lanes.entry(fork.block.header.shard).or_default();
            lane.forks.push(fork.clone());
        }
        for evidence in &set.evidence {
            self.evidence.entry(evidence.offence()).or_insert_with(|| evidence.clone());
        }
        Ok(())
    }

    fn write_flush(&mut self, flush: &Flush) -> Result<(), WriteImpossible> {
        let log = self.logs.entry(flush.log).or_default();
        let size = flush.checkpoint.checkpoint.size;
        let stored =
            log.flushes.iter().rev().find(|stored| stored.checkpoint.checkpoint.size == size);
        if stored.is_some_and(|stored| stored.checkpoint == flush.checkpoint) {
            return Ok(());
        }
        let due = log.size().next_index();
        if flush.entries.is_empty() || flush.first() != due {
            let (log, first) = (flush.log, flush.first());
            return Err(WriteImpossible(format!("log {log}: entry {first} written, {due} is due")));
        }
        for entry in &flush.entries {
            log.topics.entry(entry.header.topic).or_default().push(entry.header.index);
        }
        log.flushes.push(Arc::new(flush.clone()));
        Ok(())
    }

    fn write_decided(&mut self, decided: &Decided) -> Result<(), WriteImpossible> {
        let header = decided.certified.block.header;
        let lane = self.lanes.entry(header.shard).or_default();
        let due = lane.height().plus(1);
        if header.height < due {
            return Ok(());
        }
        if header.height > due {
            let (shard, height) = (header.shard, header.height);
            let text = format!("shard {shard}: block {height} written, {due} is due");
            return Err(WriteImpossible(text));
        }
        lane.blocks.push(Arc::new(decided.certified.clone()));
        lane.agreement.retain(|(height, _), _| *height > header.height);
        lane.candidates.retain(|(height, _), _| *height > header.height);
        for (key, value) in &decided.state {
            match value {
                Some(value) => lane.state.insert(key.clone(), value.clone()),
                None => lane.state.remove(key),
            };
        }
        for place in &decided.places {
            lane.places.insert((place.topic, place.position), (header.height, place.index));
        }
        Ok(())
    }

    /// What a process goes on from.
    ///
    /// # Errors
    /// [`DiskDamaged`] when the process must not go on.
    pub fn restored(&self) -> Result<Restored, DiskDamaged> {
        let mut logs = BTreeMap::new();
        for (log, stored) in &self.logs {
            let Some(last) = stored.flushes.last() else { continue };
            let next = LogId { incarnation: log.incarnation.plus(1), ..*log };
            let is_newest = !self
                .logs
                .range(next..)
                .any(|(other, _)| (other.node, other.shard) == (log.node, log.shard));
            let topics = if is_newest { stored.heads() } else { TopicHeads::new() };
            let frontier = last.frontier.clone();
            logs.insert(*log, RestoredLog { checkpoint: last.checkpoint, frontier, topics });
        }
        let lanes = self.lanes.iter().map(|(shard, lane)| Ok((*shard, lane.restored()?)));
        let evidence = self.evidence.values().cloned().collect();
        Ok(Restored { logs, lanes: lanes.collect::<Result<_, _>>()?, evidence })
    }

    /// The entries that a client may still ask about again.
    #[must_use]
    pub fn recent(&self, node: NodeId) -> Vec<RecentEntry> {
        let heads = self.lanes.values().filter_map(|lane| lane.blocks.last());
        let period = heads.map(|head| head.block.header.period).max().unwrap_or_default();
        let since = period.minus(FEE_PERIODS_BEFORE_EXPIRY_MAX + IDEMPOTENCY_PERIODS_AFTER_EXPIRY);
        let own = self.logs.iter().filter(|(log, _)| log.node == node);
        let entries = own.flat_map(|(log, stored)| stored.entries().map(move |entry| (log, entry)));
        entries
            .filter(|(_, entry)| entry.header.fee_period >= since)
            .map(|(log, entry)| RecentEntry {
                id: entry.header.envelope_id,
                log: *log,
                index: entry.header.index,
                fee_period: period,
                due: Due::of(&entry.header, log.shard),
            })
            .collect()
    }

    /// The stretch of a log from `from` on, up to the greatest checkpoint within the limits, or
    /// the first one.
    #[must_use]
    pub fn stretch(
        &self,
        log: LogId,
        from: LogIndex,
        entries_max: usize,
        bytes_max: usize,
    ) -> Option<Flush> {
        let stored = self.logs.get(&log)?;
        let first = stored.flushes.partition_point(|it| it.checkpoint.checkpoint.size.0 <= from.0);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let mut checkpoint = None;
        for flush in stored.flushes.get(first..)? {
            let wanted = flush.entries.iter().filter(|entry| entry.header.index >= from);
            let new: Vec<EntryRecord> = wanted.cloned().collect();
            let length = |entry: &EntryRecord| entry.payload.as_ref().map_or(0, |it| it.len());
            bytes += new.iter().map(length).sum::<usize>();
            let is_over = entries.len() + new.len() > entries_max || bytes > bytes_max;
            if checkpoint.is_some() && is_over {
                break;
            }
            entries.extend(new);
            checkpoint = Some(flush.checkpoint);
        }
        Some(Flush { log, entries, checkpoint: checkpoint?, frontier: Vec::new() })
    }

    /// A final block.
    #[must_use]
    pub fn block(&self, shard: ShardId, height: Height) -> Option<&Arc<CertifiedBlock>> {
        let place = usize::try_from(height.0.checked_sub(1)?).ok()?;
        self.lanes.get(&shard)?.blocks.get(place)
    }

    /// The height of the last final block.
    #[must_use]
    pub fn height(&self, shard: ShardId) -> Height {
        self.lanes.get(&shard).map(StoredLane::height).unwrap_or_default()
    }

    /// Whether a process that goes on from here knows that it cast a vote.
    #[must_use]
    pub fn remembers(&self, vote: &Vote) -> bool {
        let Some(lane) = self.lanes.get(&vote.shard) else { return false };
        let of_height = (vote.height, 0)..=(vote.height, u64::MAX);
        let mut records = lane.agreement.range(of_height).map(|(_, record)| record);
        let is_vote =
            |record: &LogRecord| matches!(record, LogRecord::Vote(it) if it.vote == *vote);
        lane.height() >= vote.height || records.any(is_vote)
    }

    /// The checkpoint that covers all of a log.
    #[must_use]
    pub fn checkpoint(&self, log: LogId) -> Option<&SignedCheckpoint> {
        self.logs.get(&log)?.flushes.last().map(|flush| &flush.checkpoint)
    }

    /// How many entries of a log there are.
    #[must_use]
    pub fn size(&self, log: LogId) -> LogSize {
        self.logs.get(&log).map(StoredLog::size).unwrap_or_default()
    }

    /// One proof of each offence.
    pub fn evidence(&self) -> impl Iterator<Item = &Evidence> {
        self.evidence.values()
    }

    /// Every log that has entries.
    pub fn logs(&self) -> impl Iterator<Item = LogId> {
        self.logs.keys().copied()
    }

    /// An entry of a log.
    #[must_use]
    pub fn entry(&self, log: LogId, index: LogIndex) -> Option<&EntryRecord> {
        self.logs.get(&log)?.entry(index)
    }

    /// Every entry of a log, in order.
    pub fn entries(&self, log: LogId) -> impl Iterator<Item = &EntryRecord> {
        self.logs.get(&log).into_iter().flat_map(StoredLog::entries)
    }

    /// An entry's header and its path to the checkpoint of `size`.
    #[must_use]
    pub fn prove(
        &self,
        log: LogId,
        index: LogIndex,
        size: LogSize,
    ) -> Option<(EntryHeader, MerklePath)> {
        let stored = self.logs.get(&log)?;
        let count = usize::try_from(size.0).ok()?;
        let tree: MemoryTree = stored.entries().take(count).map(|entry| entry.hash.0).collect();
        let path = inclusion_proof(&tree, index, size).ok()?;
        Some((stored.entry(index)?.header, BoundedVec::new(path).ok()?))
    }

    /// An entry with its path to the stored checkpoint of `size`.
    #[must_use]
    pub fn inclusion(&self, log: LogId, index: LogIndex, size: LogSize) -> Option<InclusionProof> {
        let flushes = &self.logs.get(&log)?.flushes;
        let place = flushes.binary_search_by_key(&size, |it| it.checkpoint.checkpoint.size).ok()?;
        let checkpoint = flushes.get(place)?.checkpoint;
        let (header, path) = self.prove(log, index, size)?;
        Some(InclusionProof { header, path, checkpoint })
    }

    /// The last entry of each topic of a log.
    #[must_use]
    pub fn topic_heads(&self, log: LogId) -> TopicHeads {
        self.logs.get(&log).map(StoredLog::heads).unwrap_or_default()
    }

    /// The receipt of an operation that was decided before.
    #[must_use]
    pub fn recall(&self, shard: ShardId, height: Height, index: u32) -> Option<OrderedReceipt> {
        self.block(shard, height)?.receipt(index)
    }

    /// The entries of a topic that come next in each log, at most `limit` of each.
    #[must_use]
    pub fn broadcast_page(
        &self,
        topic: Topic,
        cursors: &BTreeMap<LogId, LogCursor>,
        limit: usize,
    ) -> Vec<TopicEntry> {
        let mut page = Vec::new();
        for (log, stored) in &self.logs {
            let Some(indexes) = stored.topics.get(&topic) else { continue };
            let next = cursors.get(log).map_or(TopicIndex(0), |cursor| cursor.next);
            let skip = usize::try_from(next.0).unwrap_or(usize::MAX);
            let entries = indexes.iter().skip(skip).take(limit);
            let entries = entries.filter_map(|index| stored.entry(*index));
            page.extend(entries.map(|entry| TopicEntry { log: *log, entry: entry.to_entry() }));
        }
        page
    }

    /// The ordered entries of a topic after a position, at most `limit`.
    #[must_use]
    pub fn ordered_page(
        &self,
        shard: ShardId,
        topic: Topic,
        after: Position,
        limit: usize,
    ) -> Vec<OrderedReceipt> {
        let Some(lane) = self.lanes.get(&shard) else { return Vec::new() };
        let last = (topic, Position(u64::MAX));
        let places = lane.places.range((topic, after.plus(1))..=last).take(limit);
        places.filter_map(|(_, (height, index))| self.recall(shard, *height, *index)).collect()
    }

    /// Flips bits; answers whether there was anything to flip them in.
    pub fn rot(&mut self, rot: Rot, rng: &mut ChaCha20Rng) -> bool {
        let logs: Vec<LogId> = self.logs.keys().copied().collect();
        let log = rng.pick(&logs).and_then(|log| self.logs.get_mut(log));
        if rot == Rot::State {
            let values = self.lanes.values_mut().flat_map(|lane| lane.state.values_mut());
            return values.filter(|value| !value.is_empty()).last().is_some_and(|value| {
                flip(value, rng);
                true
            });
        }
        let flushes = log.map(|log| &mut log.flushes);
        let Some(flush) = flushes.and_then(|flushes| flushes.last_mut()) else { return false };
        let flush = Arc::make_mut(flush);
        let place = usize::try_from(rng.below(flush.entries.len() as u64)).unwrap_or_default();
        match (rot, flush.entries.get_mut(place)) {
            (Rot::Frontier, _) => flip(&mut flush.frontier, rng),
            (Rot::Payload, Some(entry)) => {
                let mut payload = entry.payload.as_deref().unwrap_or_default().to_vec();
                flip(&mut payload, rng);
                entry.payload = Some(payload.into());
            }
            (_, Some(entry)) => {
                entry.header.timestamp.0 ^= 1 << rng.below(20);
                entry.hash = entry.header.hash();
            }
            (_, None) => return false,
        }
        true
    }
}

impl StoredLog {
    fn heads(&self) -> TopicHeads {
        let last = |indexes: &Vec<LogIndex>| self.entry(*indexes.last()?);
        let heads = self.topics.iter().filter_map(|(topic, indexes)| {
            let entry = last(indexes)?;
            Some((*topic, (entry.header.topic_index.plus(1), entry.hash)))
        });
        heads.collect()
    }
}

impl StoredLane {
    fn height(&self) -> Height {
        Height(self.blocks.len() as u64)
    }

    /// A place that is taken keeps what it has, as in the node's stores.
    fn log(&mut self, log: &LaneLog) {
        for (place, record) in (log.first..).zip(&log.records) {
            self.agreement.entry((log.height, place)).or_insert_with(|| record.clone());
        }
        for block in &log.blocks {
            let key = (block.header.height, block.header.hash());
            self.candidates.entry(key).or_insert_with(|| block.clone());
        }
    }

    fn restored(&self) -> Result<RestoredLane, DiskDamaged> {
        let next = self.height().plus(1);
        let mut records = Vec::new();
        for ((_, place), record) in self.agreement.range((next, 0)..=(next, u64::MAX)) {
            if *place != records.len() as u64 {
                return Err(DiskDamaged);
            }
            records.push(record.clone());
        }
        let candidates = self.candidates.iter().filter(|((height, _), _)| *height == next);
        let blocks = candidates.map(|(_, block)| block.clone()).collect();
        let halted = !self.forks.is_empty();
        Ok(RestoredLane {
            head: self.blocks.last().map(|head| (**head).clone()),
            agreement: RestoredAgreement { records, blocks, halted },
            state: self.state.clone(),
        })
    }
}

fn flip(bytes: &mut [u8], rng: &mut ChaCha20Rng) {
    let place = usize::try_from(rng.below(bytes.len() as u64)).unwrap_or_default();
    if let Some(byte) = bytes.get_mut(place) {
        *byte ^= 1 << rng.below(8);
    }
}
