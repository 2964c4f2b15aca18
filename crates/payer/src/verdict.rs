//! The verdict on a log entry: one for originator, replica, report and audit.

use std::collections::BTreeMap;
use std::fmt;

use rand_core::CryptoRngCore;
use tidings_envelope::{
    CongestionHistory, EntryHeader, LogEntry, LogId, PayerEnvelope, Registry, RegistryHistory,
    Tariff,
};
use tidings_types::constants::{RETENTION_DAYS_MAX, RETENTION_DAYS_MIN};
use tidings_types::ed25519::{Statement, verify_batch};
use tidings_types::{ErrorCode, NetworkId, Period, RegistryEpoch, Wire};

/// Whether an entry may stand in its log and on a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Every rule holds.
    Valid,
    /// The payload was pruned; what the header alone shows holds.
    Pruned,
    /// Nobody can tell here, and nobody is to blame for that.
    Unjudged(Missing),
    /// A rule is broken; the entry is set aside and whoever signed for it is at fault.
    Invalid(ErrorCode),
}

/// What would be needed to judge an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Missing {
    /// The registry of the epoch that the batch names.
    Registry(RegistryEpoch),
    /// The congestion factor of a period that the shard's ordered lane has not come to here.
    Factor(Period),
    /// Any registry under which the fee is right: the epoch was pruned with the payload.
    Schedule,
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(epoch) => write!(formatter, "the registry of epoch {epoch}"),
            Self::Factor(period) => write!(formatter, "the congestion factor of period {period}"),
            Self::Schedule => write!(formatter, "a registry under which its fee is right"),
        }
    }
}

/// What a verdict depends on besides the entry: no clock, and nothing that differs by who asks.
#[derive(Debug, Clone, Copy)]
pub struct VerdictContext<'a> {
    /// The network that signatures must bind.
    pub network: NetworkId,
    /// The log that the entry is in.
    pub log: LogId,
    /// The registry's snapshots; the one of the epoch that an entry's batch names judges it.
    pub registries: &'a RegistryHistory,
    /// The factors of the log's shard; the one of an entry's fee period judges its fee.
    pub congestion: &'a CongestionHistory,
}

/// Judges entries of one log; one verdict for each, in order (REP-003).
///
/// Checked are the payload against the header (LOG-004), the envelope's own rules, the payer's
/// maximum (FEE-005), the fee period (FEE-006), the write proof and the payer's signature, and
/// then, by the registry of the epoch that the batch names (TOP-009), shard, payer, session key,
/// the seat of the log's node in the shard's committee and the fee (FEE-004), for which the shard's
/// factor of the fee period counts (FEE-010).
/// A batch of an epoch long before the period's is not valid any more (ENV-013).
/// Signatures are checked in one batch, and a payer's signature once however many of its
/// envelopes come; the grouping changes no verdict (ENC-006).
pub fn judge(
    entries: &[LogEntry],
    context: &VerdictContext<'_>,
    rng: &mut impl CryptoRngCore,
) -> Vec<Verdict> {
    let mut signatures = Signatures::default();
    let mut seats = Seats::new(context);
    let examined: Vec<_> = entries
        .iter()
        .map(|entry| {
            let envelope = open(entry, context.log)?;
            let signed = envelope.as_ref().map(|envelope| signatures.of(envelope, context.network));
            let registered = match &envelope {
                Some(envelope) => judge_registered(envelope, &entry.header, context, &mut seats),
                None => judge_pruned(&entry.header, context),
            };
            Ok((signed, registered))
        })
        .collect();
    let holds = verify_batch(&signatures.statements, rng);
    let holds = |statement: usize| holds.get(statement).copied().unwrap_or(false);
    let verdicts = examined.into_iter().map(|examined| match examined {
        Err(code) => Verdict::Invalid(code),
        Ok((Some(Signed { batch, .. }), _)) if !holds(batch) => {
            Verdict::Invalid(ErrorCode::BatchSignatureInvalid)
        }
        Ok((Some(Signed { write: Some(write), .. }), _)) if !holds(write) => {
            Verdict::Invalid(ErrorCode::WriteProofInvalid)
        }
        // Last, so that what depends on a registry never hides what does not.
        Ok((_, registered)) => registered,
    });
    verdicts.collect()
}

/// An entry's envelope, unless it was pruned, after all checks but signatures that need no
/// registry.
fn open(entry: &LogEntry, log: LogId) -> Result<Option<PayerEnvelope>, ErrorCode> {
    let header = &entry.header;
    if !header.version_is_known() {
        return Err(ErrorCode::UnknownVersion);
    }
    let Some(payload) = &entry.payload else { return Ok(None) };
    if !header.matches(payload) {
        return Err(ErrorCode::Malformed);
    }
    let envelope = PayerEnvelope::parse(payload)?;
    envelope.check_face(header, log)?;
    Ok(Some(envelope))
}

fn judge_registered(
    envelope: &PayerEnvelope,
    header: &EntryHeader,
    context: &VerdictContext<'_>,
    seats: &mut Seats,
) -> Verdict {
    let epoch = envelope.batch.header.registry_epoch;
    let Some(registry) = context.registries.at(epoch) else {
        return Verdict::Unjudged(Missing::Registry(epoch));
    };
    if let Err(code) = envelope.check_registered(context.log, registry) {
        return Verdict::Invalid(code);
    }
    if !seats.has(registry) {
        return Verdict::Invalid(ErrorCode::WrongShard);
    }
    let (history, period) = (context.congestion, header.fee_period);
    match (history.permille(period), history.epoch(period)) {
        (Some(_), Some(settled)) if epoch.plus(1) < settled => {
            Verdict::Invalid(ErrorCode::RegistryEpochWrong)
        }
        (Some(permille), _) if is_fee_of(registry, permille, header) => Verdict::Valid,
        (Some(_), _) => Verdict::Invalid(ErrorCode::FeeInvalid),
        (None, _) => Verdict::Unjudged(Missing::Factor(period)),
    }
}

fn is_fee_of(registry: &Registry, congestion_permille: u32, header: &EntryHeader) -> bool {
    let tariff = Tariff { schedule: &registry.fees, congestion_permille };
    tariff.entry_fee(header) == Ok(header.fee)
}

/// The epoch went with the payload, so the fee is checked against every registry that is known.
fn judge_pruned(header: &EntryHeader, context: &VerdictContext<'_>) -> Verdict {
    // Nobody signed for it (ENV-005), and it would say that the payload need not be held.
    if !(RETENTION_DAYS_MIN..=RETENTION_DAYS_MAX).contains(&header.retention_days) {
        return Verdict::Invalid(ErrorCode::RetentionOutOfRange);
    }
    let Some(permille) = context.congestion.permille(header.fee_period) else {
        return Verdict::Unjudged(Missing::Factor(header.fee_period));
    };
    let mut registries = context.registries.iter();
    match registries.any(|registry| is_fee_of(registry, permille, header)) {
        true => Verdict::Pruned,
        false => Verdict::Unjudged(Missing::Schedule),
    }
}

/// In which epochs the log's node has a seat in its shard's committee, looked up once for each
/// (TOP-009).
struct Seats {
    log: LogId,
    by_epoch: BTreeMap<RegistryEpoch, bool>,
}

impl Seats {
    fn new(context: &VerdictContext<'_>) -> Self {
        Self { log: context.log, by_epoch: BTreeMap::new() }
    }

    fn has(&mut self, registry: &Registry) -> bool {
        let LogId { node, shard, .. } = self.log;
        let look = || registry.committee(shard).contains(&node);
        *self.by_epoch.entry(registry.epoch).or_insert_with(look)
    }
}

/// The signatures under a set of entries, each batch's once.
#[derive(Default)]
struct Signatures {
    statements: Vec<Statement>,
    batches: BTreeMap<Vec<u8>, usize>,
}

/// Which statements an envelope rests on.
struct Signed {
    batch: usize,
    write: Option<usize>,
}

impl Signatures {
    fn of(&mut self, envelope: &PayerEnvelope, network: NetworkId) -> Signed {
        let statements = &mut self.statements;
        let batch = *self.batches.entry(envelope.batch.to_wire()).or_insert_with(|| {
            statements.push(envelope.batch.statement(network));
            statements.len() - 1
        });
        let write = envelope.envelope.statement(network).map(|statement| {
            statements.push(statement);
            statements.len() - 1
        });
        Signed { batch, write }
    }
}
