//! Merkle proofs for auditors, computed from stored leaf hashes (API-007).

use tidings_envelope::LogId;
use tidings_tlog::{ProofPlan, Subtree};
use tidings_types::{ErrorCode, Hash, LogIndex, merkle};

use super::backend::Backend;

/// Leaf hashes read at once; a power of two, and 2 MB.
const LEAVES_AT_ONCE: u64 = 1 << 16;

/// The hashes of the proof that `plan` lists.
///
/// It reads every leaf under the subtrees of the plan, so callers bound how many run at once.
///
/// # Errors
/// What the backend refuses with; [`ErrorCode::Internal`] when it holds fewer leaves than asked.
pub(super) async fn prove(
    backend: &dyn Backend,
    log: LogId,
    plan: &ProofPlan,
) -> Result<Vec<Hash>, ErrorCode> {
    let mut known = std::collections::BTreeMap::new();
    for subtree in plan.subtrees() {
        known.insert(subtree, subtree_root(backend, log, subtree).await?);
    }
    plan.build(&known).map_err(|_| ErrorCode::Internal)
}

async fn subtree_root(
    backend: &dyn Backend,
    log: LogId,
    subtree: Subtree,
) -> Result<Hash, ErrorCode> {
    let begin = subtree.index << subtree.level;
    let end = begin + (1 << subtree.level);
    let step = LEAVES_AT_ONCE.min(1 << subtree.level);
    let mut roots = Vec::new();
    let mut from = begin;
    while from < end {
        let leaves = backend.leaf_hashes(log, LogIndex(from), LogIndex(from + step)).await?;
        if leaves.len() as u64 != step {
            return Err(ErrorCode::Internal);
        }
        roots.push(hash_off_thread(leaves).await?);
        from += step;
    }
    Ok(perfect_root(roots))
}

async fn hash_off_thread(leaves: Vec<Hash>) -> Result<Hash, ErrorCode> {
    // Below this many hashes the move costs more than the work.
    const WORTH_MOVING: usize = 1 << 10;
    if leaves.len() < WORTH_MOVING {
        return Ok(perfect_root(leaves));
    }
    let task = tokio::task::spawn_blocking(move || perfect_root(leaves));
    task.await.map_err(|_| ErrorCode::Internal)
}

/// The root over a power of two of hashes, which may be roots of equal trees themselves.
fn perfect_root(mut level: Vec<Hash>) -> Hash {
    while level.len() > 1 {
        let (pairs, _) = level.as_chunks::<2>();
        level = pairs.iter().map(|[left, right]| merkle::node_hash(left, right)).collect();
    }
    level.first().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_of_roots_are_roots() {
        // covers: API-007
        let leaves: Vec<_> = (0..16u8).map(|leaf| merkle::leaf_hash(&[leaf])).collect();
        assert_eq!(perfect_root(leaves.clone()), merkle::root(&leaves));
        let quarters = leaves.chunks(4).map(|quarter| perfect_root(quarter.to_vec())).collect();
        assert_eq!(perfect_root(quarters), merkle::root(&leaves));
        assert_eq!(perfect_root(leaves[..1].to_vec()), leaves[0]);
    }
}
