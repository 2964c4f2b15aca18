//! Whether an operation may be in a block at all, before its effect is looked at.

use std::collections::VecDeque;

use tidings_envelope::{
    Lane, Operation, ParsedEnvelope, PayerBatch, PayerEnvelope, Registry, Target, Tariff,
};
use tidings_types::constants::{NOT_AFTER_PERIODS_AHEAD_MAX, PROTOCOL_VERSION};
use tidings_types::{ErrorCode, Hash, NetworkId, Period, ShardId, Wire, mutant, sha256};

use crate::Signers;

/// What judging an operation depends on.
#[derive(Debug, Clone, Copy)]
pub struct JudgingContext<'a> {
    /// The network that signatures bind.
    pub network: NetworkId,
    /// Whose ordered lane.
    pub shard: ShardId,
    /// The registry of the next block's epoch.
    pub registry: &'a Registry,
    /// The keys of the shard's logs.
    pub signers: Signers<'a>,
    /// The period before the block.
    pub period: Period,
    /// The shard's factor in it (FEE-010), in thousandths.
    pub congestion_permille: u32,
}

/// Checks an operation's form, signatures, payer, fee and expiry for the next block (ORD-007).
///
/// # Errors
/// The code of the first rule broken; an honest replica neither proposes such an operation nor
/// votes for a block with it.
pub fn judge_operation(
    operation: &Operation,
    context: &JudgingContext<'_>,
) -> Result<(), ErrorCode> {
    SeenBatches::default().judge_operation(operation, context)
}

/// Payers' batches whose signatures were found to hold: each covers many operations.
#[derive(Debug, Default)]
pub(crate) struct SeenBatches {
    /// Hashes of whole batches, signatures included; the oldest goes first.
    hashes: VecDeque<Hash>,
}

/// Batches remembered: more than are under way at once.
const SEEN_BATCHES_MAX: usize = 64;

impl SeenBatches {
    /// As [`judge_operation`], but each batch's signature is checked once.
    pub(crate) fn judge_operation(
        &mut self,
        operation: &Operation,
        context: &JudgingContext<'_>,
    ) -> Result<(), ErrorCode> {
        judge_again(operation, context)?;
        judge_signatures(operation, context, self)
    }

    fn is_valid(&mut self, batch: &PayerBatch, network: NetworkId) -> bool {
        let hash = sha256(&batch.to_wire());
        if self.hashes.contains(&hash) {
            return true;
        }
        let is_valid = batch.signature_is_valid(network);
        if is_valid {
            self.hashes.push_back(hash);
            if self.hashes.len() > SEEN_BATCHES_MAX {
                self.hashes.pop_front();
            }
        }
        is_valid
    }
}

/// The part of [`judge_operation`] that may come out otherwise in another period or registry
/// epoch.
pub(crate) fn judge_again(
    operation: &Operation,
    context: &JudgingContext<'_>,
) -> Result<(), ErrorCode> {
    let JudgingContext { shard, registry, period, .. } = *context;
    let of_shard = |its_own: ShardId| match its_own == shard {
        true => Ok(()),
        false => Err(ErrorCode::WrongShard),
    };
    match operation {
        Operation::Envelope(envelope) => judge_envelope(envelope, context),
        Operation::OpenIncarnation(request) => {
            of_shard(request.shard)?;
            registry.node(request.node).map(|_| ()).ok_or(ErrorCode::OperationInvalid)
        }
        Operation::Evidence(evidence) => of_shard(evidence.shard()),
        Operation::PeriodMarker(_) => Ok(()),
        Operation::Statement(statement) => {
            of_shard(statement.shard)?;
            let is_member = registry.committee(shard).contains(&statement.node);
            let is_timely = statement.period == period;
            holds(is_member && is_timely && statement.is_well_formed())
        }
        Operation::Attestation(attested) => {
            let report = &attested.report;
            of_shard(report.shard)?;
            let is_known = registry.node(attested.attestation.node).is_some();
            let is_over = report.first <= report.last && report.last < period;
            holds(is_known && is_over && report.version == PROTOCOL_VERSION)
        }
    }
}

fn holds(condition: bool) -> Result<(), ErrorCode> {
    match condition {
        true => Ok(()),
        false => Err(ErrorCode::OperationInvalid),
    }
}

/// The costly part: what is signed, and by whom.
fn judge_signatures(
    operation: &Operation,
    context: &JudgingContext<'_>,
    batches: &mut SeenBatches,
) -> Result<(), ErrorCode> {
    let JudgingContext { network, registry, signers, .. } = *context;
    match operation {
        Operation::Envelope(envelope) => {
            if !batches.is_valid(&envelope.batch, network) {
                return Err(ErrorCode::BatchSignatureInvalid);
            }
            match envelope.envelope.statement(network) {
                None => Ok(()),
                Some(statement) => statement.verify().map_err(|_| ErrorCode::WriteProofInvalid),
            }
        }
        Operation::OpenIncarnation(request) => {
            request.verify(network, registry).map_err(|_| ErrorCode::OperationInvalid)
        }
        Operation::Evidence(evidence) => {
            let mut keys = signers.of_evidence(evidence, registry).into_iter();
            holds(keys.any(|key| evidence.verify(network, key).is_ok()))
        }
        Operation::PeriodMarker(_) => Ok(()),
        Operation::Statement(statement) => {
            let signer_of = |log| signers.of_log(log);
            let verdict = statement.verify(network, registry, signer_of);
            verdict.map_err(|_| ErrorCode::OperationInvalid)
        }
        Operation::Attestation(attested) => {
            attested.verify(network, registry).map_err(|_| ErrorCode::OperationInvalid)
        }
    }
}

fn judge_envelope(envelope: &PayerEnvelope, context: &JudgingContext<'_>) -> Result<(), ErrorCode> {
    let JudgingContext { shard, registry, period, congestion_permille, .. } = *context;
    let body = &envelope.envelope.body;
    let header = &envelope.batch.header;
    ParsedEnvelope::check(envelope.envelope.clone())?;
    if body.lane != Lane::Ordered {
        return Err(ErrorCode::LaneNotAllowed);
    }
    if body.topic.shard(registry.shard_count) != shard {
        return Err(ErrorCode::WrongShard);
    }
    if header.target != Target::Shard(shard) {
        return Err(ErrorCode::BatchTargetWrong);
    }
    if body.payer != header.payer {
        return Err(ErrorCode::PayerMismatch);
    }
    envelope.envelope.check_edge(registry)?;
    envelope.batch.check_payer(registry)?;
    if !envelope.is_covered() {
        return Err(ErrorCode::BatchRootMismatch);
    }
    check_expiry(body.not_after.min(header.not_after), period)?;
    let tariff = Tariff { schedule: &registry.fees, congestion_permille };
    if tariff.operation_fee(envelope).is_none_or(|fee| fee > header.max_fee) {
        return Err(ErrorCode::FeeAboveMaximum);
    }
    match body.not_after > period.plus(NOT_AFTER_PERIODS_AHEAD_MAX) {
        true => Err(ErrorCode::NotAfterTooFar),
        false => Ok(()),
    }
}

fn check_expiry(not_after: Period, period: Period) -> Result<(), ErrorCode> {
    match not_after < period && !mutant!(OrderExpired) {
        true => Err(ErrorCode::EnvelopeExpired),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tidings_envelope::BatchHeader;
    use tidings_types::constants::PROTOCOL_VERSION;
    use tidings_types::ed25519::SigningKey;
    use tidings_types::{EthereumAddress, PicoDollars, RegistryEpoch};

    use super::*;

    const NETWORK: NetworkId = NetworkId([1; 32]);

    fn batch(count: u32) -> PayerBatch {
        let key = SigningKey::from_secret(&[1; 32]);
        let header = BatchHeader {
            version: PROTOCOL_VERSION,
            payer: EthereumAddress([1; 20]),
            session_key: key.public_key(),
            target: Target::Shard(ShardId(0)),
            registry_epoch: RegistryEpoch(1),
            not_after: Period(1),
            max_fee: PicoDollars(1),
            count,
            root: [0; 32],
        };
        header.sign(&key, NETWORK)
    }

    #[test]
    fn a_batch_is_remembered_with_its_signature() {
        let mut seen = SeenBatches::default();
        let good = batch(1);
        assert!(seen.is_valid(&good, NETWORK) && seen.is_valid(&good, NETWORK));
        let mut forged = good;
        forged.signature.0[0] ^= 1;
        assert!(!seen.is_valid(&forged, NETWORK) && !seen.is_valid(&forged, NETWORK));
        let mut other = good;
        other.header.count += 1;
        assert!(!seen.is_valid(&other, NETWORK));
        for count in 2..200 {
            assert!(seen.is_valid(&batch(count), NETWORK));
        }
        assert!(seen.hashes.len() <= SEEN_BATCHES_MAX && seen.is_valid(&good, NETWORK));
    }
}
