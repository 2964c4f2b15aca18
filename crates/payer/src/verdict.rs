//! The verdict on a log entry: one for originator, replica, report and audit.

use std::collections::BTreeMap;

use rand_core::CryptoRngCore;
use tidings_envelope::{EntryHeader, LogEntry, LogId, PayerEnvelope, RegistryHistory};
use tidings_types::ed25519::{Statement, verify_batch};
use tidings_types::{ErrorCode, NetworkId, RegistryEpoch, Wire};

use crate::fee::entry_fee;

/// Whether an entry may stand in its log and on a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Every rule holds.
    Valid,
    /// The payload was pruned; what the header alone shows holds.
    Pruned,
    /// No registry at hand decides: the one of the epoch that the batch names is not known here,
    /// or the payload was pruned and the fee is that of none; nobody is to blame for that.
    Unjudged(Option<RegistryEpoch>),
    /// A rule is broken; the entry is set aside and whoever signed for it is at fault.
    Invalid(ErrorCode),
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
}

/// Judges entries of one log; one verdict for each, in order (REP-003).
///
/// Checked are the payload against the header (LOG-004), the envelope's own rules, the payer's
/// maximum (FEE-005), the fee period (FEE-006), the write proof and the payer's signature, and
/// then, by the registry of the epoch that the batch names (TOP-009), shard, payer, session key
/// and fee (FEE-004).
/// Signatures are checked in one batch, and a payer's signature once however many of its
/// envelopes come; the grouping changes no verdict (ENC-006).
pub fn judge(
    entries: &[LogEntry],
    context: &VerdictContext<'_>,
    rng: &mut impl CryptoRngCore,
) -> Vec<Verdict> {
    let mut signatures = Signatures::default();
    let examined: Vec<_> = entries
        .iter()
        .map(|entry| {
            let envelope = open(entry, context.log)?;
            let signed = envelope.as_ref().map(|envelope| signatures.of(envelope, context.network));
            let registered = match &envelope {
                Some(envelope) => judge_registered(envelope, &entry.header, context),
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
) -> Verdict {
    let epoch = envelope.batch.header.registry_epoch;
    let Some(registry) = context.registries.at(epoch) else {
        return Verdict::Unjudged(Some(epoch));
    };
    if entry_fee(&registry.fees, header) != Ok(header.fee) {
        return Verdict::Invalid(ErrorCode::FeeInvalid);
    }
    match envelope.check_registered(context.log, registry) {
        Ok(()) => Verdict::Valid,
        Err(code) => Verdict::Invalid(code),
    }
}

/// The epoch went with the payload, so the fee is checked against every registry that is known.
fn judge_pruned(header: &EntryHeader, context: &VerdictContext<'_>) -> Verdict {
    let mut registries = context.registries.iter();
    match registries.any(|registry| entry_fee(&registry.fees, header) == Ok(header.fee)) {
        true => Verdict::Pruned,
        false => Verdict::Unjudged(None),
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
