//! RFC 6962 Merkle tree hashing over a list that fits in memory (ENC-008).
//!
//! Logs that do not fit are the business of `tidings-tlog`, which builds on these.

use sha2::{Digest, Sha256};

use crate::Hash;

/// The hash of a leaf's bytes (RFC 6962 §2.1).
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()
}

/// The hash of an inner node (RFC 6962 §2.1).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root over leaf hashes; SHA-256 of nothing for no leaves (RFC 6962 §2.1).
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => crate::sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// The audit path of the leaf at `index`, from the leaf's sibling upwards (RFC 6962 §2.1.1).
///
/// Empty when there is no such leaf.
#[must_use]
pub fn path(leaves: &[Hash], index: usize) -> Vec<Hash> {
    if leaves.len() < 2 || index >= leaves.len() {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut hashes, sibling) = match index.checked_sub(left.len()) {
        None => (path(left, index), root(right)),
        Some(index) => (path(right, index), root(left)),
    };
    hashes.push(sibling);
    hashes
}

/// All nodes of the tree over a list, for those who want many paths of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// From the leaves up to the root.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree over leaf hashes.
    ///
    /// A node without a sibling is carried up as it is, which is what RFC 6962's split amounts to.
    #[must_use]
    pub fn new(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let level = below.chunks(2).map(|pair| match pair {
                [left, right] => node_hash(left, right),
                rest => rest.first().copied().unwrap_or_default(),
            });
            let level = level.collect();
            levels.push(level);
        }
        Self { levels }
    }

    /// The audit path of the leaf at `index`, as [`path`] gives it.
    #[must_use]
    pub fn path(&self, index: usize) -> Vec<Hash> {
        let count = self.levels.first().map_or(0, Vec::len);
        if index >= count {
            return Vec::new();
        }
        let levels = self.levels.iter().enumerate();
        levels.filter_map(|(height, level)| level.get((index >> height) ^ 1)).copied().collect()
    }
}

/// The root that `path` leads to from `leaf` at `index` in a tree of `size` leaves.
///
/// `None` when the path's length does not fit (RFC 9162 §2.1.3.2).
#[must_use]
pub fn root_from_path(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// The largest power of two below `count`, for `count` of two or more.
fn split(count: usize) -> usize {
    count.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_leads_to_the_root() {
        // covers: ENC-008
        for count in 1..40usize {
            let leaves: Vec<_> = (0..count).map(|leaf| leaf_hash(&leaf.to_be_bytes())).collect();
            for index in 0..count {
                let proof = path(&leaves, index);
                assert_eq!(Tree::new(leaves.clone()).path(index), proof);
                assert_eq!(Tree::new(leaves.clone()).path(count), Vec::<Hash>::new());
                let reached = |index: usize, proof: &[Hash]| {
                    root_from_path(leaves[index], index as u64, count as u64, proof)
                };
                assert_eq!(reached(index, &proof), Some(root(&leaves)));
                let other = (index + 1) % count;
                assert!(count == 1 || reached(other, &proof) != Some(root(&leaves)));
                let longer: Vec<_> = proof.iter().copied().chain([[0; 32]]).collect();
                assert_ne!(reached(index, &longer), Some(root(&leaves)));
            }
        }
    }

    #[test]
    fn the_empty_root_is_the_hash_of_nothing() {
        assert_eq!(root(&[]), crate::sha256(b""));
        assert_eq!(root_from_path([0; 32], 0, 0, &[]), None);
    }
}
