//! Jellyfish Merkle tree hashing: a map from hashes to hashes under one root (ORD-030).
//!
//! A key is a path of 256 bits from the root. A subtree of one leaf is that leaf and one of none
//! is [`EMPTY`], so that the root depends on the map alone and a path is about as long as the
//! logarithm of its size.

use sha2::{Digest, Sha256};

use crate::Hash;
use crate::constants::STATE_PATH_HASHES_MAX;

/// The hash of a subtree without leaves.
pub const EMPTY: Hash = *b"SPARSE_MERKLE_PLACEHOLDER_HASH__";

/// How many levels lie below the root: one per bit of a key.
pub const DEPTH_MAX: usize = STATE_PATH_HASHES_MAX;

/// The hash of a subtree with one leaf.
#[must_use]
pub fn leaf_hash(key: &Hash, value: &Hash) -> Hash {
    Sha256::new()
        .chain_update(b"JMT::LeafNode")
        .chain_update(key)
        .chain_update(value)
        .finalize()
        .into()
}

/// The hash of a subtree with two leaves or more, from those of its halves.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let digest = Sha256::new().chain_update(b"JMT::IntrnalNode");
    digest.chain_update(left).chain_update(right).finalize().into()
}

/// Whether a key's leaf lies in the right half of the subtree at `depth`; false below the last.
#[must_use]
pub fn goes_right(key: &Hash, depth: usize) -> bool {
    key.get(depth / 8).is_some_and(|byte| byte & (0x80 >> (depth % 8)) != 0)
}

/// How many bits two keys share from the root on, at most 256.
#[must_use]
pub fn shared_depth(one: &Hash, other: &Hash) -> usize {
    let mut shared = 0;
    for (one, other) in one.iter().zip(other) {
        match (one ^ other).leading_zeros() as usize {
            8 => shared += 8,
            bits => return shared + bits,
        }
    }
    shared
}

/// The root over a subtree's hash, where `siblings`, from the root downwards, lie beside the way
/// to it and `key` says on which side.
///
/// `None` when there are more than [`DEPTH_MAX`] of them.
#[must_use]
pub fn root_from_path(key: &Hash, subtree: Hash, siblings: &[Hash]) -> Option<Hash> {
    if siblings.len() > DEPTH_MAX {
        return None;
    }
    let upwards = siblings.iter().enumerate().rev();
    Some(upwards.fold(subtree, |hash, (depth, sibling)| match goes_right(key, depth) {
        true => node_hash(sibling, &hash),
        false => node_hash(&hash, sibling),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_count_from_the_first() {
        let mut key = [0; 32];
        key[0] = 0b0100_0000;
        key[31] = 1;
        let right: Vec<usize> = (0..300).filter(|depth| goes_right(&key, *depth)).collect();
        assert_eq!(right, [1, 255]);
    }

    #[test]
    fn keys_share_the_way_to_their_first_difference() {
        let key = [0xa5; 32];
        assert_eq!(shared_depth(&key, &key), 256);
        for depth in [0, 1, 7, 8, 100, 255] {
            let mut other = key;
            other[depth / 8] ^= 0x80 >> (depth % 8);
            assert_eq!(shared_depth(&key, &other), depth);
        }
    }

    #[test]
    fn a_path_ends_at_the_last_bit() {
        // covers: ORD-030
        let (key, leaf) = ([0xff; 32], leaf_hash(&[0xff; 32], &[1; 32]));
        assert_eq!(root_from_path(&key, leaf, &[]), Some(leaf));
        assert_eq!(root_from_path(&key, leaf, &[EMPTY]), Some(node_hash(&EMPTY, &leaf)));
        assert_eq!(root_from_path(&[0; 32], leaf, &[EMPTY]), Some(node_hash(&leaf, &EMPTY)));
        assert!(root_from_path(&key, leaf, &[EMPTY; 256]).is_some());
        assert_eq!(root_from_path(&key, leaf, &[EMPTY; 257]), None);
    }
}
