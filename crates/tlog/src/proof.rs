//! Inclusion and consistency proofs: which hashes they need, making them, verifying them.

use tidings_types::merkle::{node_hash, root_from_path};
use tidings_types::{ErrorCode, Hash, LogIndex, LogSize, sha256};

use crate::tree::{LeafRange, NodeSource, Subtree};

/// Why a proof cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The caller asks for a leaf or an old size that the tree does not have.
    #[error("{asked} lies outside a log of size {size}")]
    OutOfRange {
        /// The index or old size asked for.
        asked: u64,
        /// The size of the tree asked about.
        size: LogSize,
    },
    /// The source lacks a subtree that the proof needs.
    #[error("the subtree at level {}, index {} is not at hand", .0.level, .0.index)]
    Missing(Subtree),
}

/// A proof does not lead where it should; the peer that sent it is at fault (LOG-010).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Merkle proof does not verify")]
pub struct ProofInvalid;

impl ProofInvalid {
    /// The code that a peer sees.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        ErrorCode::MerkleProofInvalid
    }
}

/// The nodes of one proof in its order, known before any hash is read.
#[derive(Debug, Clone)]
pub struct ProofPlan {
    nodes: Vec<LeafRange>,
}

impl ProofPlan {
    /// The plan of the inclusion proof of `index` in the first `size` leaves (RFC 6962 §2.1.1).
    ///
    /// # Errors
    /// [`ProofError::OutOfRange`] when there is no such leaf.
    pub fn inclusion(index: LogIndex, size: LogSize) -> Result<Self, ProofError> {
        if index.0 >= size.0 {
            return Err(ProofError::OutOfRange { asked: index.0, size });
        }
        let mut nodes = Vec::new();
        let mut within = LeafRange { begin: 0, end: size.0 };
        while within.count() > 1 {
            let (left, right) = halves(within);
            match index.0 < left.end {
                true => (within, nodes) = (left, pushed(nodes, right)),
                false => (within, nodes) = (right, pushed(nodes, left)),
            }
        }
        nodes.reverse();
        Ok(Self { nodes })
    }

    /// The plan of the proof that the first `old` leaves begin the first `new` ones
    /// (RFC 6962 §2.1.2); nothing to prove when `old` is zero or equals `new`.
    ///
    /// # Errors
    /// [`ProofError::OutOfRange`] when `old` is above `new`.
    pub fn consistency(old: LogSize, new: LogSize) -> Result<Self, ProofError> {
        if old > new {
            return Err(ProofError::OutOfRange { asked: old.0, size: new });
        }
        let mut nodes = Vec::new();
        if old.0 == 0 || old == new {
            return Ok(Self { nodes });
        }
        let mut within = LeafRange { begin: 0, end: new.0 };
        while within.end != old.0 {
            let (left, right) = halves(within);
            match old.0 <= left.end {
                true => (within, nodes) = (left, pushed(nodes, right)),
                false => (within, nodes) = (right, pushed(nodes, left)),
            }
        }
        // The verifier knows this node already when it is the whole old tree.
        if within.begin != 0 {
            nodes.push(within);
        }
        nodes.reverse();
        Ok(Self { nodes })
    }

    /// The leaves that each of the proof's nodes covers, as first and end, in its order.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.nodes.iter().map(|node| (node.begin, node.end))
    }

    /// Every perfect subtree that [`ProofPlan::build`] will ask for.
    pub fn subtrees(&self) -> impl Iterator<Item = Subtree> {
        self.nodes.iter().flat_map(|node| node.subtrees())
    }

    /// The proof's hashes.
    ///
    /// # Errors
    /// [`ProofError::Missing`] when `source` lacks one of [`ProofPlan::subtrees`].
    pub fn build(&self, source: &impl NodeSource) -> Result<Vec<Hash>, ProofError> {
        self.nodes.iter().map(|node| node.hash(source).map_err(ProofError::Missing)).collect()
    }
}

/// The inclusion proof of the leaf at `index` in the first `size` leaves (RFC 6962 §2.1.1).
///
/// # Errors
/// [`ProofError`] when there is no such leaf, or `source` lacks a subtree.
pub fn inclusion_proof(
    source: &impl NodeSource,
    index: LogIndex,
    size: LogSize,
) -> Result<Vec<Hash>, ProofError> {
    ProofPlan::inclusion(index, size)?.build(source)
}

/// The proof that the first `old` leaves begin the first `new` ones (RFC 6962 §2.1.2).
///
/// # Errors
/// [`ProofError`] when `old` is above `new`, or `source` lacks a subtree.
pub fn consistency_proof(
    source: &impl NodeSource,
    old: LogSize,
    new: LogSize,
) -> Result<Vec<Hash>, ProofError> {
    ProofPlan::consistency(old, new)?.build(source)
}

/// Checks that the leaf with hash `leaf` is at `index` under `root` (RFC 9162 §2.1.3.2, LOG-010).
///
/// # Errors
/// [`ProofInvalid`] when the path has another length or leads to another root.
pub fn verify_inclusion(
    leaf: Hash,
    index: LogIndex,
    size: LogSize,
    root: &Hash,
    path: &[Hash],
) -> Result<(), ProofInvalid> {
    match root_from_path(leaf, index.0, size.0, path) {
        Some(reached) if reached == *root => Ok(()),
        _ => Err(ProofInvalid),
    }
}

/// Checks that the tree under `old_root` begins the one under `new_root`
/// (RFC 9162 §2.1.4.2, LOG-010).
///
/// # Errors
/// [`ProofInvalid`] when the proof has another length or leads to other roots.
pub fn verify_consistency(
    (old, old_root): (LogSize, &Hash),
    (new, new_root): (LogSize, &Hash),
    proof: &[Hash],
) -> Result<(), ProofInvalid> {
    if old > new {
        return Err(ProofInvalid);
    }
    if old == new || old.0 == 0 {
        let holds = match old == new {
            true => old_root == new_root,
            false => *old_root == sha256(&[]),
        };
        return if holds && proof.is_empty() { Ok(()) } else { Err(ProofInvalid) };
    }
    let (seed, steps) = match old.0.is_power_of_two() {
        true => (old_root, proof),
        false => proof.split_first().ok_or(ProofInvalid)?,
    };
    let reached = roots_from_consistency(old.0, new.0, *seed, steps).ok_or(ProofInvalid)?;
    match reached == (*old_root, *new_root) {
        true => Ok(()),
        false => Err(ProofInvalid),
    }
}

/// Walks from the last complete node of the old tree up to both roots.
fn roots_from_consistency(old: u64, new: u64, seed: Hash, steps: &[Hash]) -> Option<(Hash, Hash)> {
    let shared = (old - 1).trailing_ones();
    // `old` is below `new`, so neither shift reaches 64.
    let (mut node, mut last) = ((old - 1) >> shared, (new - 1) >> shared);
    let (mut old_hash, mut new_hash) = (seed, seed);
    for step in steps {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(step, &old_hash);
            new_hash = node_hash(step, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    (last == 0).then_some((old_hash, new_hash))
}

/// The children of an inner node: the left one is the largest perfect tree that is not all of it.
fn halves(node: LeafRange) -> (LeafRange, LeafRange) {
    let middle = node.begin + (1 << (node.count() - 1).ilog2());
    (LeafRange { begin: node.begin, end: middle }, LeafRange { begin: middle, end: node.end })
}

fn pushed(mut nodes: Vec<LeafRange>, node: LeafRange) -> Vec<LeafRange> {
    nodes.push(node);
    nodes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tidings_types::merkle;

    use super::*;
    use crate::MemoryTree;

    fn leaf(index: u64) -> Hash {
        merkle::leaf_hash(&index.to_be_bytes())
    }

    #[test]
    fn every_leaf_of_every_size_is_proved() {
        // covers: LOG-010
        let tree: MemoryTree = (0..65).map(leaf).collect();
        for size in 1..=65 {
            let root = tree.root_at(LogSize(size)).unwrap();
            for index in 0..size {
                let proof = inclusion_proof(&tree, LogIndex(index), LogSize(size)).unwrap();
                let check = |index| {
                    verify_inclusion(leaf(index), LogIndex(index), LogSize(size), &root, &proof)
                };
                assert_eq!(check(index), Ok(()));
                assert!(check(index + 1).is_err());
            }
        }
    }

    #[test]
    fn every_pair_of_sizes_is_consistent() {
        // covers: LOG-010
        let tree: MemoryTree = (0..65).map(leaf).collect();
        let root = |size| tree.root_at(LogSize(size)).unwrap();
        for new in 0..=65 {
            for old in 0..=new {
                let proof = consistency_proof(&tree, LogSize(old), LogSize(new)).unwrap();
                let check = |old_root: &Hash, new_root: &Hash, proof: &[Hash]| {
                    verify_consistency((LogSize(old), old_root), (LogSize(new), new_root), proof)
                };
                assert_eq!(check(&root(old), &root(new), &proof), Ok(()), "{old} {new}");
                assert!(check(&[0; 32], &root(new), &proof).is_err());
                // Anything begins with the empty log.
                assert!(old == 0 || check(&root(old), &[0; 32], &proof).is_err());
                let longer: Vec<_> = proof.iter().copied().chain([[0; 32]]).collect();
                assert!(check(&root(old), &root(new), &longer).is_err());
            }
        }
    }

    #[test]
    fn a_plan_lists_all_that_a_proof_reads() {
        let tree: MemoryTree = (0..45).map(leaf).collect();
        let plan = ProofPlan::consistency(LogSize(23), LogSize(45)).unwrap();
        let mut fetched: BTreeMap<_, _> = plan
            .subtrees()
            .map(|subtree| (subtree, tree.subtree(subtree.level, subtree.index).unwrap()))
            .collect();
        assert_eq!(plan.build(&fetched), consistency_proof(&tree, LogSize(23), LogSize(45)));
        let (missing, _) = fetched.pop_first().unwrap();
        assert_eq!(plan.build(&fetched), Err(ProofError::Missing(missing)));
    }

    #[test]
    fn nothing_is_proved_outside_the_tree() {
        let tree: MemoryTree = (0..4).map(leaf).collect();
        let outside = inclusion_proof(&tree, LogIndex(4), LogSize(4));
        assert_eq!(outside, Err(ProofError::OutOfRange { asked: 4, size: LogSize(4) }));
        assert!(consistency_proof(&tree, LogSize(5), LogSize(4)).is_err());
        assert!(inclusion_proof(&tree, LogIndex(0), LogSize(9)).is_err());
    }
}
