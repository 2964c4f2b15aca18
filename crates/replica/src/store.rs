//! What the replica asks its storage to make durable, and what it needs back at a start.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidings_envelope::{
    CertifiedBlock, EntryHeader, Evidence, LogEntry, LogId, Registry, SignedCheckpoint, Topic,
};
use tidings_order::{LaneLog, RestoredAgreement};
use tidings_tlog::Frontier;
use tidings_types::{EntryHash, LogIndex, Position, ShardId, TopicIndex, Wire};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

/// One entry as it is stored: exactly the bytes that were signed over and are sent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRecord {
    /// The header.
    pub header: EntryHeader,
    /// The header's leaf hash.
    pub hash: EntryHash,
    /// The payer envelope's bytes; absent in an entry whose payload was pruned at its source.
    pub payload: Option<Arc<[u8]>>,
}

impl EntryRecord {
    /// The entry's wire structure.
    #[must_use]
    pub fn to_entry(&self) -> LogEntry {
        let payload = self.payload.as_ref().and_then(|bytes| bytes.to_vec().try_into().ok());
        LogEntry { header: self.header, payload }
    }

    /// The header's canonical bytes, as storage keeps them.
    #[must_use]
    pub fn header_bytes(&self) -> Vec<u8> {
        self.header.to_wire()
    }
}

/// Consecutive entries of one log and the checkpoint that covers exactly the log up to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flush {
    /// Which log.
    pub log: LogId,
    /// The new entries, in order, without a gap to what is stored; at least one.
    pub entries: Vec<EntryRecord>,
    /// Covers the log including these entries.
    pub checkpoint: SignedCheckpoint,
    /// What the replica goes on from after these entries; opaque to storage.
    pub frontier: Vec<u8>,
}

/// What a log is gone on from: stored with each flush, read at a start.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub(crate) struct LogMemory {
    /// 1 when every entry so far is valid, else 0 (REP-006).
    pub(crate) honest: u8,
    /// The tree's right edge.
    pub(crate) frontier: Frontier,
}

impl Flush {
    /// The index of the first entry.
    #[must_use]
    pub fn first(&self) -> LogIndex {
        self.entries.first().map(|entry| entry.header.index).unwrap_or_default()
    }
}

/// Where a topic's ordered entry is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderedPlace {
    /// Which topic.
    pub topic: Topic,
    /// The position that the entry took.
    pub position: Position,
    /// The operation's place in its block, from 0.
    pub index: u32,
}

/// A final block and what it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The block and its certificate.
    pub certified: CertifiedBlock,
    /// The entries that topics gained.
    pub places: Vec<OrderedPlace>,
    /// Keys of the ordered state with their new values; none deletes.
    pub state: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Changes that become durable together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteSet {
    /// Log entries, for own and for followed logs.
    pub flushes: Vec<Flush>,
    /// What ordered lanes must remember before this node says more, in order.
    pub lane_logs: Vec<(ShardId, LaneLog)>,
    /// Blocks that became final, by rising height within a shard; what was logged of their heights
    /// goes.
    pub decided: Vec<Decided>,
    /// Certified blocks beside others of the same height; kept for ever.
    pub forks: Vec<CertifiedBlock>,
    /// Proofs of offences; kept for ever, stored once.
    pub evidence: Vec<Evidence>,
    /// Snapshots of the registry; kept for ever, stored once for each epoch (TOP-009).
    pub registries: Vec<Arc<Registry>>,
}

impl WriteSet {
    /// Adds another set's changes after this one's.
    pub fn append(&mut self, mut later: Self) {
        self.flushes.append(&mut later.flushes);
        self.lane_logs.append(&mut later.lane_logs);
        self.decided.append(&mut later.decided);
        self.forks.append(&mut later.forks);
        self.evidence.append(&mut later.evidence);
        self.registries.append(&mut later.registries);
    }
}

/// A log as it was found in storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredLog {
    /// The checkpoint that covers everything stored.
    pub checkpoint: SignedCheckpoint,
    /// What the last [`Flush`] of the log said to go on from.
    pub frontier: Vec<u8>,
    /// The topics of the log; left empty where they are to be read when they are needed, as for
    /// logs that most likely never grow again.
    pub topics: TopicHeads,
}

/// For each topic of a log: how many entries, and the hash of the last.
pub type TopicHeads = BTreeMap<Topic, (TopicIndex, EntryHash)>;

/// A shard's ordered lane as it was found in storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoredLane {
    /// The last final block.
    pub head: Option<CertifiedBlock>,
    /// What was logged of the height after that.
    pub agreement: RestoredAgreement,
    /// The ordered state, every key.
    pub state: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Everything that a replica needs to go on after a start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// Every log that has entries.
    pub logs: BTreeMap<LogId, RestoredLog>,
    /// Every proof of an offence.
    pub evidence: Vec<Evidence>,
    /// Every shard that has blocks or a log of its agreement.
    pub lanes: BTreeMap<ShardId, RestoredLane>,
}
