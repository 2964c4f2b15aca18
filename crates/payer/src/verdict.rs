//! The verdict on a log entry: one for originator, replica, report and audit.

use std::collections::BTreeMap;

use rand_core::CryptoRngCore;
use tidings_envelope::{EntryHeader, LogEntry, LogId, PayerEnvelope, Registry};
use tidings_types::ed25519::{Statement, verify_batch};
use tidings_types::{ErrorCode, NetworkId, Wire};

use crate::fee::entry_fee;

/// Whether an entry may stand in its log and on a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Every rule holds.
    Valid,
    /// The payload was pruned; what the header alone shows holds.
    Pruned,
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
    /// The registry snapshot of the epoch that the entry's batch names.
    pub registry: &'a Registry,
}

/// Judges entries of one log; one verdict for each, in order (REP-003).
///
/// Checked are the payload against the header (LOG-004), the envelope's own rules, the fee
/// (FEE-004), the payer's maximum (FEE-005), the fee period (FEE-006), the write proof and the
/// payer's signature. Signatures are checked in one batch, and a payer's signature once however
/// many of its envelopes come; the grouping changes no verdict (ENC-006).
pub fn judge(
    entries: &[LogEntry],
    context: &VerdictContext<'_>,
    rng: &mut impl CryptoRngCore,
) -> Vec<Verdict> {
    let mut signatures = Signatures::default();
    let examined: Vec<_> = entries
        .iter()
        .map(|entry| {
            let (envelope, doubt) = examine(entry, context)?;
            Ok((envelope.map(|envelope| signatures.of(&envelope, context.network)), doubt))
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
        Ok((_, Some(doubt))) => Verdict::Invalid(doubt),
        Ok((None, None)) => Verdict::Pruned,
        Ok((Some(_), None)) => Verdict::Valid,
    });
    verdicts.collect()
}

/// An entry's envelope, unless it was pruned, and the rule that it breaks by the registry given,
/// which another snapshot may see otherwise.
type Examined = (Option<PayerEnvelope>, Option<ErrorCode>);

/// Checks all but signatures.
///
/// What depends on the registry comes last, so that it never hides another fault.
fn examine(entry: &LogEntry, context: &VerdictContext<'_>) -> Result<Examined, ErrorCode> {
    let header = &entry.header;
    if !header.version_is_known() {
        return Err(ErrorCode::UnknownVersion);
    }
    let owed = entry_fee(&context.registry.fees, header);
    let fee_doubt = (owed != Ok(header.fee)).then_some(ErrorCode::FeeInvalid);
    if entry.payload.is_none() {
        return Ok((None, fee_doubt));
    }
    let envelope = entry.open().ok_or(ErrorCode::Malformed)?;
    let payer_doubt = check_envelope(&envelope, header, context)?;
    Ok((Some(envelope), fee_doubt.or(payer_doubt)))
}

/// Checks what header, envelope and batch must agree on (FEE-005, FEE-006); answers what depends
/// on the registry.
fn check_envelope(
    envelope: &PayerEnvelope,
    header: &EntryHeader,
    context: &VerdictContext<'_>,
) -> Result<Option<ErrorCode>, ErrorCode> {
    let doubt = match envelope.check_entry(header, context.log, context.registry) {
        Ok(()) => None,
        Err(code @ (ErrorCode::PayerUnknown | ErrorCode::SessionKeyUnknown)) => Some(code),
        Err(code) => return Err(code),
    };
    match header.fee > envelope.batch.header.max_fee {
        true => Err(ErrorCode::FeeAboveMaximum),
        false => Ok(doubt),
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
