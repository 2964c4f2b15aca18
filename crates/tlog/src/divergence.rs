//! Where two signed histories of one log part: found by comparing inclusion proofs.

use std::collections::BTreeMap;

use tidings_envelope::InclusionProof;
use tidings_types::{Hash, LogIndex, LogSize};

use crate::proof::{ProofInvalid, ProofPlan};

/// What two inclusion proofs of one index say about two histories of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Divergence {
    /// The entries differ, so that the two proofs are evidence (LOG-008).
    Here,
    /// The histories differ somewhere in a subtree that both proofs name; this is its first index,
    /// and the next to compare.
    Within(LogIndex),
    /// Nothing that both proofs name differs.
    None,
}

/// The index whose proofs show whether one of two histories begins with the other, which begins
/// with nothing if either is empty.
///
/// It is the last one that both have: the left siblings on its path are the same subtrees in
/// either tree and cover everything before it.
#[must_use]
pub fn last_common(one: LogSize, two: LogSize) -> Option<LogIndex> {
    one.min(two).0.checked_sub(1).map(LogIndex)
}

/// Compares the proofs of one index under two checkpoints of one log.
///
/// Begin with [`last_common`] and go on with what [`Divergence::Within`] names: each step halves
/// the subtree at least, so that no log takes more than 64.
///
/// # Errors
/// [`ProofInvalid`] when the proofs are of different indexes or logs, or one does not hold.
pub fn compare_histories(
    one: &InclusionProof,
    two: &InclusionProof,
) -> Result<Divergence, ProofInvalid> {
    let same_log = one.checkpoint.checkpoint.log == two.checkpoint.checkpoint.log;
    let same_place = same_log && one.header.index == two.header.index;
    if !same_place || !one.holds() || !two.holds() {
        return Err(ProofInvalid);
    }
    if one.header.hash() != two.header.hash() {
        return Ok(Divergence::Here);
    }
    let (one, two) = (siblings(one)?, siblings(two)?);
    let differs = |(range, hash): (&(u64, u64), &Hash)| two.get(range).is_some_and(|it| it != hash);
    let first = one.iter().find(|sibling| differs(*sibling));
    Ok(first.map_or(Divergence::None, |((begin, _), _)| Divergence::Within(LogIndex(*begin))))
}

/// The subtrees beside a proof's path by the leaves that they cover.
fn siblings(proof: &InclusionProof) -> Result<BTreeMap<(u64, u64), Hash>, ProofInvalid> {
    let size = proof.checkpoint.checkpoint.size;
    let plan = ProofPlan::inclusion(proof.header.index, size).map_err(|_| ProofInvalid)?;
    Ok(plan.ranges().zip(proof.path.iter().copied()).collect())
}
