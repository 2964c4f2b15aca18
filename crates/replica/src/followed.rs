//! The logs that other nodes write, and that this node's own earlier starts wrote.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand_core::CryptoRngCore;
use tidings_envelope::{
    EntryHeader, Evidence, InclusionProof, InvalidEntry, LogEntry, LogId, Registry,
    RegistryHistory, SignedCheckpoint, Topic, facial_fault,
};
use tidings_payer::{Missing, Verdict, VerdictContext, billable_through, judge};
use tidings_tlog::{
    FollowError, Follower, Frontier, Intake, RecentTree, Step, Subscription, TopicHead,
};
use tidings_types::{
    BoundedVec, CheckpointDigest, ErrorCode, EthereumAddress, LogIndex, LogSize, NetworkId, NodeId,
    Period, Wire, mutant,
};

use crate::claims::{Claim, Claims};
use crate::replica::CongestionByShard;
use crate::store::{EntryRecord, Flush, LogMemory, RestoredLog, TopicHeads};
use crate::wire::FeedFlush;

/// How long a source may send nothing of what it offers before another one is taken (LOG-017).
const STALL_MS: u64 = 3_000;

/// A stretch of a log whose entries have been judged; the part that may run on any thread.
#[derive(Debug, Clone)]
pub struct ExaminedFlush {
    pub(crate) records: Vec<EntryRecord>,
    pub(crate) checkpoint: SignedCheckpoint,
    verdicts: Vec<Verdict>,
}

/// Judges the entries of a stretch, each by the registry of the epoch that its batch names
/// (REP-003, TOP-009) and by its shard's factor (FEE-010); `rng` blinds the signature batch.
pub fn examine_flush(
    flush: FeedFlush,
    network: NetworkId,
    registries: &RegistryHistory,
    congestion: &CongestionByShard,
    rng: &mut impl CryptoRngCore,
) -> ExaminedFlush {
    let log = flush.checkpoint.checkpoint.log;
    let congestion = congestion.get(&log.shard).cloned().unwrap_or_default();
    let context = VerdictContext { network, log, registries, congestion: &congestion };
    let verdicts = judge(&flush.entries, &context, rng);
    let records = flush.entries.into_vec().into_iter().map(record).collect();
    ExaminedFlush { records, checkpoint: flush.checkpoint, verdicts }
}

fn record(entry: LogEntry) -> EntryRecord {
    let hash = entry.header.hash();
    let payload = entry.payload.map(|payload| Arc::from(payload.into_vec()));
    EntryRecord { header: entry.header, hash, payload }
}

/// What deciding on a stretch depends on besides the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    pub(crate) network: NetworkId,
    /// Signs for the log.
    pub(crate) signer: EthereumAddress,
    /// What the log's shard has come to here.
    pub(crate) period: Period,
    pub(crate) registry: &'a Registry,
    pub(crate) now_ms: u64,
}

/// Why a stretch was not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// An entry needs what this node has not read yet.
    Unjudged(Missing),
    /// An entry is of a version that is not known here.
    UnknownVersion,
    /// Payloads are missing whose retention has not ended.
    Withheld,
    /// A payload is not the one that its header was built over.
    Payload,
    /// The log itself does not add up.
    Follow(FollowError),
    /// A replica left entries out.
    Gap,
}

impl Refusal {
    /// The code that an operator sees.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Unjudged(Missing::Registry(_)) => ErrorCode::RegistryEpochWrong,
            Self::Unjudged(Missing::Factor(_) | Missing::Schedule) => ErrorCode::NotReady,
            Self::UnknownVersion => ErrorCode::UnknownVersion,
            Self::Withheld => ErrorCode::NotFound,
            Self::Payload => ErrorCode::Malformed,
            Self::Follow(error) => error.code(),
            Self::Gap => ErrorCode::EntryOutOfOrder,
        }
    }
}

/// What taking a stretch led to.
pub(crate) struct Taken {
    pub(crate) flush: Flush,
    /// The first entry that breaks a rule, if this stretch has the log's first.
    pub(crate) invalid: Option<(LogIndex, ErrorCode)>,
    /// That an entry is invalid on its face, if this stretch has the log's first such.
    pub(crate) evidence: Option<Evidence>,
}

/// A log that this process does not write.
#[derive(Debug)]
pub(crate) struct FollowedLog {
    pub(crate) subscription: Subscription,
    pub(crate) claims: Claims,
    follower: Follower,
    topics: BTreeMap<Topic, TopicHead>,
    /// Whether every entry so far is valid, so that checkpoints may be acknowledged.
    honest: bool,
    /// Whether the originator signed two histories of it.
    contradicted: bool,
    /// Whether this process has accused an entry of it.
    accused: bool,
    /// Peers that hold another history of it.
    estranged: BTreeSet<NodeId>,
    durable: LogSize,
    /// Checkpoints whose entries are being written, oldest first.
    writing: VecDeque<(SignedCheckpoint, CheckpointDigest)>,
    /// The last checkpoint that is durable here.
    held: Option<(SignedCheckpoint, CheckpointDigest)>,
    /// What peers claim and the entries taken contradict, until those are durable.
    doubts: Vec<Claim>,
    /// When something came last, or was first missed.
    moved_at_ms: u64,
    heads: Heads,
}

/// Whether the topics of a log are known, which takes reading all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heads {
    Unknown,
    Asked,
    Known,
}

impl FollowedLog {
    pub(crate) fn new(log: LogId) -> Self {
        Self::with(Follower::new(log), BTreeMap::new(), true)
    }

    fn with(follower: Follower, topics: BTreeMap<Topic, TopicHead>, honest: bool) -> Self {
        Self {
            subscription: Subscription::new(follower.log(), follower.size()),
            claims: Claims::default(),
            durable: follower.size(),
            follower,
            topics,
            honest,
            contradicted: false,
            accused: false,
            estranged: BTreeSet::new(),
            writing: VecDeque::new(),
            held: None,
            doubts: Vec::new(),
            moved_at_ms: 0,
            heads: Heads::Known,
        }
    }

    /// A log as it was found in storage; `None` when storage is damaged.
    pub(crate) fn restore(log: LogId, stored: RestoredLog, network: NetworkId) -> Option<Self> {
        let LogMemory { honest, frontier } = LogMemory::from_wire(&stored.frontier).ok()?;
        let checkpoint = stored.checkpoint;
        let follower = Follower::resume(log, frontier, Some(checkpoint)).ok()?;
        let mut restored = Self::with(follower, BTreeMap::new(), honest == 1);
        restored.heads = Heads::Unknown;
        if !stored.topics.is_empty() {
            restored.know_topics(stored.topics);
        }
        restored.claims.hold(checkpoint);
        restored.held = Some((checkpoint, checkpoint.checkpoint.digest(network)));
        Some(restored)
    }

    /// Takes the topics over as storage has them.
    pub(crate) fn know_topics(&mut self, topics: TopicHeads) {
        let head = |(topic, (count, last))| (topic, TopicHead { next: count, last });
        self.topics = topics.into_iter().map(head).collect();
        self.heads = Heads::Known;
    }

    /// Whether the topics must be read, which is said once, because there is more to take.
    pub(crate) fn wants_topics(&mut self) -> bool {
        let wants = self.heads == Heads::Unknown && !self.subscription.missing().is_empty();
        if wants {
            self.heads = Heads::Asked;
        }
        wants
    }

    /// The topics could not be read.
    pub(crate) fn lacks_topics(&mut self) {
        self.heads = Heads::Unknown;
    }

    /// The next thing to do to get more of the log, if anything.
    pub(crate) fn poll(&mut self) -> Option<Step> {
        match self.heads {
            Heads::Known => self.subscription.poll(),
            Heads::Unknown | Heads::Asked => None,
        }
    }

    pub(crate) fn durable(&self) -> LogSize {
        self.durable
    }

    /// The newest checkpoint that is durable here.
    pub(crate) fn held(&self) -> Option<&SignedCheckpoint> {
        self.held.as_ref().map(|(checkpoint, _)| checkpoint)
    }

    /// The checkpoint to acknowledge: the newest that is durable, in a log without a fault
    /// (REP-006, EVD-009).
    pub(crate) fn acknowledgeable(&self) -> Option<(LogSize, CheckpointDigest)> {
        let held = self.held.filter(|_| self.honest && !self.contradicted);
        held.map(|(checkpoint, digest)| (checkpoint.checkpoint.size, digest))
    }

    /// The originator signed two histories of the log.
    pub(crate) fn contradict(&mut self) {
        self.contradicted = true;
    }

    /// Whether that is known.
    pub(crate) fn is_contradicted(&self) -> bool {
        self.contradicted
    }

    /// Takes nothing more from a peer that holds another history.
    pub(crate) fn estrange(&mut self, peer: NodeId) {
        self.estranged.insert(peer);
        self.reject(peer);
    }

    /// Notes that a peer holds so much of the log.
    pub(crate) fn offer(&mut self, peer: NodeId, size: LogSize, now_ms: u64) {
        if self.estranged.contains(&peer) {
            return;
        }
        if self.subscription.missing().is_empty() {
            self.moved_at_ms = now_ms;
        }
        self.subscription.offer(peer, size);
    }

    /// Turns to another source when the present one sends nothing of what it offers (LOG-017).
    ///
    /// Answers the one that stalled.
    pub(crate) fn check_source(&mut self, now_ms: u64) -> Option<NodeId> {
        let waited_ms = now_ms.saturating_sub(self.moved_at_ms);
        let is_stalled = !self.subscription.missing().is_empty() && waited_ms >= STALL_MS;
        if !is_stalled || mutant!(KeepSource) {
            return None;
        }
        self.moved_at_ms = now_ms;
        self.subscription.stalled()
    }

    /// Takes a stretch that `from` sent (REP-003, REP-004).
    pub(crate) fn take(
        &mut self,
        from: NodeId,
        examined: ExaminedFlush,
        by: Circumstances<'_>,
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
        check_taking(&records, &verdicts, by)?;
        let headers: Vec<EntryHeader> = records.iter().map(|record| record.header).collect();
        let extended = self.follower.extend(&headers, &checkpoint, &[], by.network, by.signer);
        let before = std::mem::replace(&mut self.follower, extended.map_err(Refusal::Follow)?);
        self.moved_at_ms = by.now_ms;
        self.writing.push_back((checkpoint, checkpoint.checkpoint.digest(by.network)));
        self.doubts.extend(self.claims.reach(before.frontier(), &records));
        let invalid = self.first_fault(&records, &verdicts).filter(|_| self.honest);
        self.honest &= invalid.is_none();
        let evidence = self.accuse(&records, &verdicts, before.frontier(), checkpoint, by.network);
        let frontier = self.follower.frontier().clone();
        let frontier = LogMemory { honest: self.honest.into(), frontier }.to_wire();
        let log = self.follower.log();
        let flush = Flush { log, entries: records, checkpoint, frontier };
        Ok(Some(Taken { flush, invalid, evidence }))
    }

    /// Gives up what `from` sent and waits for another offer.
    pub(crate) fn reject(&mut self, from: NodeId) {
        let held = self.follower.size();
        self.subscription.reject(from, held);
    }

    /// The stretch that ends at `size` is on disk; answers the claims that it may contradict.
    pub(crate) fn is_durable(&mut self, size: LogSize) -> Vec<Claim> {
        while let Some((written, digest)) = self.writing.front().copied() {
            if written.checkpoint.size > size {
                break;
            }
            self.writing.pop_front();
            self.durable = written.checkpoint.size;
            self.held = Some((written, digest));
            self.claims.hold(written);
        }
        let durable = self.durable;
        self.doubts.extend(self.claims.due(durable));
        let is_held = |(_, claim): &mut Claim| claim.checkpoint.size <= durable;
        self.doubts.extract_if(.., is_held).collect()
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

    /// The proof that an entry is invalid on its face, once for the log (EVD-005).
    fn accuse(
        &mut self,
        records: &[EntryRecord],
        verdicts: &[Verdict],
        before: &Frontier,
        checkpoint: SignedCheckpoint,
        network: NetworkId,
    ) -> Option<Evidence> {
        if self.accused {
            return None;
        }
        let log = self.follower.log();
        let mut judged = records.iter().zip(verdicts);
        let (header, payload) = judged.find_map(|(record, verdict)| {
            let (header, payload) = (record.header, record.payload.as_deref()?);
            let is_faulty =
                is_facial(*verdict) && facial_fault(&header, payload, log, network).is_some();
            is_faulty.then_some((header, payload))
        })?;
        let mut tree = RecentTree::new(before);
        records.iter().for_each(|record| tree.append(record.hash.0));
        let path = tree.prover().inclusion_proof(header.index).ok()?;
        let proof = InclusionProof { header, path: BoundedVec::new(path).ok()?, checkpoint };
        let payload = payload.to_vec().try_into().ok()?;
        self.accused = true;
        Some(Evidence::InvalidEntry(InvalidEntry { proof, payload }))
    }
}

/// What keeps a stretch from being taken, without anybody having signed a fault.
fn check_taking(
    records: &[EntryRecord],
    verdicts: &[Verdict],
    by: Circumstances<'_>,
) -> Result<(), Refusal> {
    for (record, verdict) in records.iter().zip(verdicts) {
        match (verdict, &record.payload) {
            // What is missing may still come (REP-013), but for what went with the payload.
            (Verdict::Unjudged(missing), _) if *missing != Missing::Schedule => {
                return Err(Refusal::Unjudged(*missing));
            }
            (Verdict::Invalid(ErrorCode::UnknownVersion), _) => {
                return Err(Refusal::UnknownVersion);
            }
            (Verdict::Invalid(ErrorCode::Malformed), Some(payload))
                if !record.header.matches(payload) && !mutant!(BlameOriginator) =>
            {
                return Err(Refusal::Payload);
            }
            // An acknowledgement says that they are held (REP-006).
            (_, None) if must_be_held(&record.header, by) => return Err(Refusal::Withheld),
            _ => {}
        }
    }
    Ok(())
}

/// Whether an entry's payload must be held, or still decides what its payer owes: a header alone
/// may name anybody and any fee (LOG-018).
fn must_be_held(header: &EntryHeader, by: Circumstances<'_>) -> bool {
    by.registry.keeps_payload(header, by.period) || by.period <= billable_through(header.fee_period)
}

/// Whether a verdict can be for what an entry's own bytes show: others need a registry (EVD-005).
fn is_facial(verdict: Verdict) -> bool {
    use ErrorCode::{FeeInvalid, PayerUnknown, RegistryEpochWrong, SessionKeyUnknown, WrongShard};
    match verdict {
        Verdict::Invalid(
            FeeInvalid | PayerUnknown | RegistryEpochWrong | SessionKeyUnknown | WrongShard,
        ) => false,
        Verdict::Invalid(_) => true,
        Verdict::Valid | Verdict::Pruned | Verdict::Unjudged(_) => false,
    }
}
