//! The logs that other nodes write, and that this node's own earlier starts wrote.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand_core::CryptoRngCore;
use tidings_envelope::{EntryHeader, LogEntry, LogId, RegistryHistory, SignedCheckpoint, Topic};
use tidings_payer::{Verdict, VerdictContext, judge};
use tidings_tlog::{FollowError, Follower, Intake, Subscription, TopicHead};
use tidings_types::{
    CheckpointDigest, ErrorCode, EthereumAddress, LogIndex, LogSize, NetworkId, NodeId, Period,
    RegistryEpoch, Wire,
};

use crate::store::{EntryRecord, Flush, LogMemory, RestoredLog};
use crate::wire::FeedFlush;

/// How many periods nobody can have pruned a payload for yet.
const FRESH_PERIODS: u64 = 2;

/// A stretch of a log whose entries have been judged; the part that may run on any thread.
#[derive(Debug, Clone)]
pub struct ExaminedFlush {
    pub(crate) records: Vec<EntryRecord>,
    pub(crate) checkpoint: SignedCheckpoint,
    verdicts: Vec<Verdict>,
}

/// Judges the entries of a stretch, each by the registry of the epoch that its batch names
/// (REP-003, TOP-009); `rng` blinds the signature batch.
pub fn examine_flush(
    flush: FeedFlush,
    network: NetworkId,
    registries: &RegistryHistory,
    rng: &mut impl CryptoRngCore,
) -> ExaminedFlush {
    let context = VerdictContext { network, log: flush.checkpoint.checkpoint.log, registries };
    let verdicts = judge(&flush.entries, &context, rng);
    let records = flush.entries.into_vec().into_iter().map(record).collect();
    ExaminedFlush { records, checkpoint: flush.checkpoint, verdicts }
}

fn record(entry: LogEntry) -> EntryRecord {
    let hash = entry.header.hash();
    let payload = entry.payload.map(|payload| Arc::from(payload.into_vec()));
    EntryRecord { header: entry.header, hash, payload }
}

/// Why a stretch was not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// An entry needs the registry of an epoch that this node has not read yet.
    RegistryMissing(RegistryEpoch),
    /// Payloads are missing that nobody can have pruned yet.
    Withheld,
    /// The log itself does not add up.
    Follow(FollowError),
    /// A replica left entries out.
    Gap,
}

/// What taking a stretch led to.
pub(crate) struct Taken {
    pub(crate) flush: Flush,
    /// The first entry that breaks a rule, if this stretch has the log's first.
    pub(crate) invalid: Option<(LogIndex, ErrorCode)>,
}

/// A log that this process does not write.
#[derive(Debug)]
pub(crate) struct FollowedLog {
    pub(crate) subscription: Subscription,
    follower: Follower,
    topics: BTreeMap<Topic, TopicHead>,
    /// Whether every entry so far is valid, so that checkpoints may be acknowledged.
    honest: bool,
    durable: LogSize,
    /// Checkpoints whose entries are being written, oldest first.
    writing: VecDeque<(LogSize, CheckpointDigest)>,
    /// The last checkpoint that is durable here.
    held: Option<(LogSize, CheckpointDigest)>,
}

impl FollowedLog {
    pub(crate) fn new(log: LogId) -> Self {
        Self {
            subscription: Subscription::new(log, LogSize(0)),
            follower: Follower::new(log),
            topics: BTreeMap::new(),
            honest: true,
            durable: LogSize(0),
            writing: VecDeque::new(),
            held: None,
        }
    }

    /// A log as it was found in storage; `None` when storage is damaged.
    pub(crate) fn restore(log: LogId, stored: RestoredLog, network: NetworkId) -> Option<Self> {
        let LogMemory { honest, frontier } = LogMemory::from_wire(&stored.frontier).ok()?;
        let size = frontier.size();
        let checkpoint = stored.checkpoint;
        let follower = Follower::resume(log, frontier, Some(checkpoint)).ok()?;
        let head = |(topic, (count, last))| (topic, TopicHead { next: count, last });
        Some(Self {
            subscription: Subscription::new(log, size),
            follower,
            topics: stored.topics.into_iter().map(head).collect(),
            honest: honest == 1,
            durable: size,
            writing: VecDeque::new(),
            held: Some((size, checkpoint.checkpoint.digest(network))),
        })
    }

    pub(crate) fn durable(&self) -> LogSize {
        self.durable
    }

    /// The checkpoint to acknowledge: the newest that is durable, in a log without a fault.
    pub(crate) fn acknowledgeable(&self) -> Option<(LogSize, CheckpointDigest)> {
        self.held.filter(|_| self.honest)
    }

    /// Takes a stretch that `from` sent (REP-003, REP-004).
    pub(crate) fn take(
        &mut self,
        from: NodeId,
        examined: ExaminedFlush,
        network: NetworkId,
        signer: EthereumAddress,
        period: Period,
    ) -> Result<Option<Taken>, Refusal> {
        let ExaminedFlush { mut records, checkpoint, mut verdicts } = examined;
        let Some(first) = records.first().map(|record| record.header.index) else {
            return Ok(None);
        };
        let intake = self.subscription.receive(from, first, records.len() as u64);
        match intake.map_err(|_| Refusal::Gap)? {
            Intake::Ignore => return Ok(None),
            Intake::Take { skip } => {
                let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(records.len());
                records.drain(..skip);
                verdicts.drain(..skip);
            }
        }
        if let Some(epoch) = missing_registry(&verdicts) {
            return Err(Refusal::RegistryMissing(epoch));
        }
        if withholds(&records, period) {
            return Err(Refusal::Withheld);
        }
        let headers: Vec<EntryHeader> = records.iter().map(|record| record.header).collect();
        let extended = self.follower.extend(&headers, &checkpoint, &[], network, signer);
        self.follower = extended.map_err(Refusal::Follow)?;
        let size = self.follower.size();
        self.writing.push_back((size, checkpoint.checkpoint.digest(network)));
        let invalid = self.first_fault(&records, &verdicts);
        self.honest &= invalid.is_none();
        let frontier = self.follower.frontier().clone();
        let memory = LogMemory { honest: self.honest.into(), frontier };
        let frontier = memory.to_wire();
        let log = self.follower.log();
        Ok(Some(Taken { flush: Flush { log, entries: records, checkpoint, frontier }, invalid }))
    }

    /// Gives up what `from` sent and waits for another offer.
    pub(crate) fn reject(&mut self, from: NodeId) {
        let held = self.follower.size();
        self.subscription.reject(from, held);
    }

    /// The stretch that ends at `size` is on disk.
    pub(crate) fn is_durable(&mut self, size: LogSize) {
        while let Some((written, digest)) = self.writing.front().copied() {
            if written > size {
                return;
            }
            self.writing.pop_front();
            self.durable = written;
            self.held = Some((written, digest));
        }
    }

    fn first_fault(
        &mut self,
        records: &[EntryRecord],
        verdicts: &[Verdict],
    ) -> Option<(LogIndex, ErrorCode)> {
        let mut fault = None;
        for (record, verdict) in records.iter().zip(verdicts) {
            let header = &record.header;
            let head = self.topics.entry(header.topic).or_default();
            let chained = head.advance(header);
            *head = TopicHead { next: header.topic_index.plus(1), last: record.hash };
            let code = match (verdict, chained) {
                (Verdict::Invalid(code), _) => Some(*code),
                (_, Err(broken)) => Some(broken.code()),
                _ => None,
            };
            fault = fault.or(code.map(|code| (header.index, code)));
        }
        fault
    }
}

/// The epoch whose registry an entry needs that was not judged for want of it (REP-013).
///
/// Without its payload an entry names none, and no registry that may come would help.
fn missing_registry(verdicts: &[Verdict]) -> Option<RegistryEpoch> {
    verdicts.iter().find_map(|verdict| match verdict {
        Verdict::Unjudged(epoch) => *epoch,
        _ => None,
    })
}

/// Whether payloads are missing from entries that were admitted only now: an acknowledgement
/// says that they are held (REP-006).
fn withholds(records: &[EntryRecord], period: Period) -> bool {
    let is_fresh = |header: &EntryHeader| header.fee_period.plus(FRESH_PERIODS) >= period;
    records.iter().any(|record| record.payload.is_none() && is_fresh(&record.header))
}
