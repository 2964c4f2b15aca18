//! The order of operations within a block, which decides who wins a race (ORD-002).

use tidings_envelope::{Lane, Operation, PayerEnvelope, Topic};
use tidings_types::{BlockHash, EthereumAddress, Hash, OffenceId, labelled_hash};

/// A commit's number in the lottery: nobody can aim at it before the parent is known.
fn ticket(parent: BlockHash, payer: EthereumAddress) -> Hash {
    labelled_hash("commit lottery", &[&parent.0, &payer.0])
}

/// What at most one operation of a block may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// The marker of a period, so that time passes by at most one period per block.
    Period,
    /// The proof of an offence.
    Offence(OffenceId),
    /// A payer's commit to a topic.
    Commit(Topic, EthereumAddress),
}

/// What an operation is sorted by; arrival decides among equals.
type Rank = (u8, Hash, Option<Claim>);

/// Markers first, then incarnations, evidence, commits by their lottery numbers, proposals, and
/// what members say about the shard.
///
/// Commits go before proposals, so that nobody can invalidate a commit by a flood of proposals.
fn rank(operation: &Operation, parent: BlockHash) -> Rank {
    match operation {
        Operation::PeriodMarker(_) => (0, [0; 32], Some(Claim::Period)),
        Operation::OpenIncarnation(_) => (1, [0; 32], None),
        Operation::Evidence(evidence) => {
            let offence = evidence.offence();
            (2, offence.0, Some(Claim::Offence(offence)))
        }
        Operation::Envelope(envelope) => match commit_of(envelope) {
            Some((topic, payer)) => {
                let claim = Claim::Commit(topic, payer);
                (3, ticket(parent, payer), Some(claim))
            }
            None => (4, [0; 32], None),
        },
        Operation::Statement(_) => (5, [0; 32], None),
        Operation::Attestation(_) => (6, [0; 32], None),
    }
}

fn commit_of(envelope: &PayerEnvelope) -> Option<(Topic, EthereumAddress)> {
    let body = &envelope.envelope.body;
    let is_commit = body.lane == Lane::Ordered && body.expected_position.is_some();
    is_commit.then_some((body.topic, body.payer))
}

/// Puts operations into the order in which a block after `parent` must have them.
///
/// Answers what must wait for a later block: one marker goes in, and one commit per topic and
/// payer.
pub(crate) fn arrange(operations: &mut Vec<Operation>, parent: BlockHash) -> Vec<Operation> {
    operations.sort_by_cached_key(|operation| rank(operation, parent));
    let mut waiting = Vec::new();
    let mut last = None;
    let arranged = std::mem::take(operations);
    for operation in arranged {
        let (_, _, claim) = rank(&operation, parent);
        match claim.is_some() && claim == last {
            true => waiting.push(operation),
            false => operations.push(operation),
        }
        last = claim.or(last);
    }
    waiting
}

/// Whether operations stand in the order that [`arrange`] gives (ORD-002).
pub(crate) fn is_arranged<'a>(
    operations: impl Iterator<Item = &'a Operation>,
    parent: BlockHash,
) -> bool {
    let ranks: Vec<Rank> = operations.map(|operation| rank(operation, parent)).collect();
    ranks.is_sorted_by(|one, next| match one.2.is_some() && next.2.is_some() {
        true => one < next,
        false => one <= next,
    })
}
