//! Believing a node's answer: only what it proves, envelope by envelope (GTW-007).

use std::sync::Arc;

use tidings_envelope::api::{PublishResponse, PublishResult, SendResult};
use tidings_envelope::{
    AckLevel, BlockHeader, Certificate, Operation, OrderedReceipt, Receipt, ReceiptInvalid, Target,
};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{ErrorCode, NetworkId, Wire, merkle};

use super::Outgoing;
use crate::network::Snapshot;

/// How an answer says what is not so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lie {
    /// The answer has another version, or not one result per envelope.
    #[error("the answer does not fit the request")]
    Shape,
    /// The receipt is about another envelope.
    #[error("the receipt is for another envelope")]
    OtherEnvelope,
    /// The receipt is of another log or shard than the one that was written to.
    #[error("the receipt is of another log")]
    OtherLog,
    /// The result refers to a checkpoint that is not there.
    #[error("the receipt's checkpoint is missing")]
    NoCheckpoint,
    /// The result is of the other lane.
    #[error("the receipt is of the other lane")]
    OtherLane,
    /// The receipt proves nothing.
    #[error(transparent)]
    Invalid(#[from] ReceiptInvalid),
}

/// What an answer is checked against.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The network that signatures must bind.
    pub network: NetworkId,
    /// Who may sign.
    pub snapshot: &'a Snapshot,
    /// How durable the envelopes must be.
    pub level: AckLevel,
    /// Who may carry the batch.
    pub target: Target,
    /// What was asked for, in order.
    pub envelopes: &'a [Arc<Outgoing>],
}

/// What was learnt of one envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It is proved.
    Proved(Box<SendResult>),
    /// The node refuses it.
    Refused(ErrorCode),
    /// The node says what is not so.
    Lied(Lie),
}

/// Checks every result of an answer; one finding per envelope, in their order (GTW-007).
///
/// Signatures of a checkpoint or certificate that covers many envelopes are checked once.
#[must_use]
pub fn examine(question: &Question<'_>, answer: &PublishResponse) -> Vec<Finding> {
    let count = question.envelopes.len();
    if answer.version != PROTOCOL_VERSION || answer.results.len() != count {
        return vec![Finding::Lied(Lie::Shape); count];
    }
    let mut proofs = Proofs {
        question,
        answer,
        checkpoints: vec![None; answer.checkpoints.len()],
        certificate: None,
    };
    let results = question.envelopes.iter().zip(answer.results.iter()).enumerate();
    results
        .map(|(place, (envelope, result))| {
            let proved = match result {
                PublishResult::Refused { code } => return Finding::Refused(*code),
                PublishResult::Stored { checkpoint, .. } => {
                    proofs.stored(envelope, place, usize::from(*checkpoint))
                }
                PublishResult::Ordered(receipt) => proofs.ordered(envelope, receipt),
            };
            proved.map_or_else(Finding::Lied, |proof| Finding::Proved(Box::new(proof)))
        })
        .collect()
}

/// What has been checked already.
struct Proofs<'a> {
    question: &'a Question<'a>,
    answer: &'a PublishResponse,
    /// By checkpoint, what its signatures are worth.
    checkpoints: Vec<Option<Result<(), ReceiptInvalid>>>,
    /// The last certificate that verified.
    certificate: Option<(BlockHeader, Certificate)>,
}

impl Proofs<'_> {
    fn stored(
        &mut self,
        envelope: &Outgoing,
        place: usize,
        checkpoint: usize,
    ) -> Result<SendResult, Lie> {
        let receipt = self.answer.receipt(place).ok_or(Lie::NoCheckpoint)?;
        let Target::Node(carrier) = self.question.target else { return Err(Lie::OtherLane) };
        if receipt.header.envelope_id != envelope.id || receipt.header.topic != envelope.topic {
            return Err(Lie::OtherEnvelope);
        }
        let log = receipt.checkpoint.checkpoint.log;
        if log.node != carrier || log.shard != self.question.snapshot.shard_of(&envelope.topic) {
            return Err(Lie::OtherLog);
        }
        let known = self.checkpoints.get(checkpoint).copied().flatten();
        match known {
            Some(verdict) => {
                verdict?;
                covered(&receipt)?;
            }
            None => {
                let Question { network, snapshot, level, .. } = *self.question;
                let verdict = receipt.verify(network, &snapshot.registry, level);
                // A wrong path says nothing about the signatures above it.
                if verdict != Err(ReceiptInvalid::Path)
                    && verdict != Err(ReceiptInvalid::Version)
                    && let Some(entry) = self.checkpoints.get_mut(checkpoint)
                {
                    *entry = Some(verdict);
                }
                verdict?;
            }
        }
        Ok(SendResult::Stored(receipt))
    }

    fn ordered(
        &mut self,
        envelope: &Outgoing,
        receipt: &OrderedReceipt,
    ) -> Result<SendResult, Lie> {
        let Target::Shard(shard) = self.question.target else { return Err(Lie::OtherLane) };
        if receipt.header.shard != shard {
            return Err(Lie::OtherLog);
        }
        match &receipt.decided.operation {
            Operation::Envelope(decided) if decided.envelope.body.id() == envelope.id => {}
            _ => return Err(Lie::OtherEnvelope),
        }
        let known = self.certificate.as_ref().is_some_and(|(header, certificate)| {
            *header == receipt.header && *certificate == receipt.certificate
        });
        if known {
            decided(receipt)?;
        } else {
            receipt.verify(self.question.network, &self.question.snapshot.registry)?;
            self.certificate = Some((receipt.header, receipt.certificate.clone()));
        }
        Ok(SendResult::Ordered(receipt.clone()))
    }
}

/// What is left of [`Receipt::verify`] once the checkpoint's signatures are known to be good.
fn covered(receipt: &Receipt) -> Result<(), ReceiptInvalid> {
    if !receipt.header.version_is_known() {
        return Err(ReceiptInvalid::Version);
    }
    let checkpoint = &receipt.checkpoint.checkpoint;
    let (leaf, index) = (receipt.header.hash().0, receipt.header.index.0);
    let root = merkle::root_from_path(leaf, index, checkpoint.size.0, &receipt.path);
    match root == Some(checkpoint.root) {
        true => Ok(()),
        false => Err(ReceiptInvalid::Path),
    }
}

/// What is left of [`OrderedReceipt::verify`] once the certificate is known to be good.
fn decided(receipt: &OrderedReceipt) -> Result<(), ReceiptInvalid> {
    let leaf = merkle::leaf_hash(&receipt.decided.to_wire());
    let (index, count) = (u64::from(receipt.index), u64::from(receipt.header.operations_count));
    match merkle::root_from_path(leaf, index, count, &receipt.path) {
        root if root == Some(receipt.header.operations_root) => Ok(()),
        _ => Err(ReceiptInvalid::Path),
    }
}
