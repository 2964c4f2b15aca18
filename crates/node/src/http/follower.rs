//! What a follower has been sent and what it is to be sent next, without any I/O.
//!
//! What becomes durable comes from memory while it follows on what was sent; where it does not,
//! because the follower is new or slow, the log or lane is read from storage until it does.

use std::collections::{BTreeMap, BTreeSet};

use tidings_envelope::api::{FollowFrame, FollowRequest};
use tidings_envelope::{CertifiedBlock, LogId, Operation, SignedCheckpoint, TopicKind};
use tidings_replica::store::Flush;
use tidings_types::{BoundedVec, ErrorCode, Height, LogIndex, ShardId};

use crate::hub::Tail;

/// A log, or a shard's ordered lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The ordered lane of a shard; before logs, since messages presuppose commits.
    Lane(ShardId),
    /// A log.
    Log(LogId),
}

/// Where to read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Entries of a log from this index on.
    Log(LogId, LogIndex),
    /// Blocks of a shard from this height on.
    Lane(ShardId, Height),
}

/// One follower of everything on topics of one kind.
#[derive(Debug)]
pub struct Follower {
    kind: TopicKind,
    logs: BTreeMap<LogId, LogIndex>,
    lanes: BTreeMap<ShardId, Height>,
    /// To be read from storage.
    behind: BTreeSet<Subject>,
    has_caught_up: bool,
}

impl Follower {
    /// A follower that has come as far as it says.
    ///
    /// # Errors
    /// [`ErrorCode::Malformed`] when a log or shard is named twice.
    pub fn new(request: &FollowRequest) -> Result<Self, ErrorCode> {
        let logs: BTreeMap<_, _> =
            request.logs.iter().map(|followed| (followed.log, followed.next)).collect();
        let lanes: BTreeMap<_, _> =
            request.shards.iter().map(|followed| (followed.shard, followed.next)).collect();
        if logs.len() != request.logs.len() || lanes.len() != request.shards.len() {
            return Err(ErrorCode::Malformed);
        }
        let (kind, behind) = (request.kind, BTreeSet::new());
        Ok(Self { kind, logs, lanes, behind, has_caught_up: false })
    }

    /// Notes what the node holds; what the follower lacks of it is to be read.
    pub fn held(&mut self, logs: &[SignedCheckpoint], shards: impl IntoIterator<Item = ShardId>) {
        for signed in logs {
            let checkpoint = &signed.checkpoint;
            if checkpoint.size.0 > self.next_index(checkpoint.log).0 {
                self.behind.insert(Subject::Log(checkpoint.log));
            }
        }
        self.behind.extend(shards.into_iter().map(Subject::Lane));
    }

    /// What to read from storage next.
    #[must_use]
    pub fn next_reading(&self) -> Option<Reading> {
        self.behind.first().map(|subject| match *subject {
            Subject::Log(log) => Reading::Log(log, self.next_index(log)),
            Subject::Lane(shard) => Reading::Lane(shard, self.next_height(shard)),
        })
    }

    /// Takes what was stored from the next index of a log on; nothing means its end.
    pub fn read_log(&mut self, log: LogId, found: Option<&Flush>) -> Option<FollowFrame> {
        match found {
            Some(flush) => {
                // What the entries presuppose may have been ordered meanwhile.
                self.behind.insert(Subject::Lane(log.shard));
                self.entries(flush)
            }
            None => {
                self.behind.remove(&Subject::Log(log));
                None
            }
        }
    }

    /// Takes what was stored from the next height of a lane on; nothing means its end.
    pub fn read_lane(&mut self, shard: ShardId, found: &[CertifiedBlock]) -> Vec<FollowFrame> {
        if found.is_empty() {
            self.behind.remove(&Subject::Lane(shard));
        }
        found.iter().filter_map(|certified| self.block(certified)).collect()
    }

    /// The frame that says that everything held at the request was sent, once.
    pub fn catch_up(&mut self) -> Option<FollowFrame> {
        let is_due = !self.has_caught_up && self.behind.is_empty();
        self.has_caught_up |= is_due;
        is_due.then_some(FollowFrame::CaughtUp)
    }

    /// Takes what became durable; what does not follow on what was sent is to be read instead.
    pub fn live(&mut self, tail: &Tail) -> Option<FollowFrame> {
        match tail {
            Tail::Flush(flush) if flush.first() > self.next_index(flush.log) => {
                self.behind.insert(Subject::Log(flush.log));
                None
            }
            Tail::Flush(flush) => self.entries(flush),
            Tail::Block(certified) => {
                let header = &certified.block.header;
                if header.height > self.next_height(header.shard) {
                    self.behind.insert(Subject::Lane(header.shard));
                    return None;
                }
                self.block(certified)
            }
        }
    }

    fn next_index(&self, log: LogId) -> LogIndex {
        self.logs.get(&log).copied().unwrap_or_default()
    }

    fn next_height(&self, shard: ShardId) -> Height {
        self.lanes.get(&shard).copied().unwrap_or(Height(1)).max(Height(1))
    }

    /// The entries of a stretch that were not sent yet.
    fn entries(&mut self, flush: &Flush) -> Option<FollowFrame> {
        let (log, sent) = (flush.log, self.next_index(flush.log));
        let next = flush.entries.last()?.header.index.plus(1);
        if next <= sent {
            return None;
        }
        let wanted = flush
            .entries
            .iter()
            .filter(|record| record.header.index >= sent && record.header.topic.kind == self.kind);
        let entries = BoundedVec::new(wanted.map(|record| record.to_entry()).collect()).ok()?;
        self.logs.insert(log, next);
        Some(FollowFrame::Entries { entries, checkpoint: flush.checkpoint })
    }

    fn block(&mut self, certified: &CertifiedBlock) -> Option<FollowFrame> {
        let (shard, height) = (certified.block.header.shard, certified.block.header.height);
        if height < self.next_height(shard) {
            return None;
        }
        let operations = (0u32..).zip(certified.block.operations.iter());
        let wanted = operations.filter(|(_, decided)| match &decided.operation {
            Operation::Envelope(envelope) => envelope.envelope.body.topic.kind == self.kind,
            _ => false,
        });
        let proofs = certified.receipts();
        let receipts = wanted.filter_map(|(index, _)| proofs.get(index));
        let applied = receipts.filter(|receipt| receipt.position().is_some()).collect();
        let receipts = BoundedVec::new(applied).ok()?;
        self.lanes.insert(shard, height.plus(1));
        let (header, certificate) = (certified.block.header, certified.certificate.clone());
        Some(FollowFrame::Block { header, certificate, receipts })
    }
}
