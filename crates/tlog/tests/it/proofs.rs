//! Proofs at random places of logs of random size, and what a changed bit does to them.

use proptest::collection::vec;
use proptest::prelude::*;
use tidings_tlog::{
    Frontier, MemoryTree, RecentTree, consistency_proof, inclusion_proof, verify_consistency,
    verify_inclusion,
};
use tidings_types::merkle::leaf_hash;
use tidings_types::{Hash, LogIndex, LogSize, Wire, merkle};

fn leaf(index: u64) -> Hash {
    leaf_hash(&index.to_be_bytes())
}

fn flipped(hash: &Hash, bit: usize) -> Hash {
    let mut hash = *hash;
    hash[bit / 8] ^= 1 << (bit % 8);
    hash
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn inclusion_holds_for_one_leaf_at_one_place(
        size in 1u64..900, place in any::<prop::sample::Index>(), bit in 0usize..256,
        changed in any::<prop::sample::Index>(),
    ) {
        // covers: LOG-010
        let tree: MemoryTree = (0..size).map(leaf).collect();
        let (index, size) = (place.index(size as usize) as u64, LogSize(size));
        let root = tree.root_at(size).unwrap();
        let path = inclusion_proof(&tree, LogIndex(index), size).unwrap();
        let check = |leaf: Hash, index: u64, root: &Hash, path: &[Hash]| {
            verify_inclusion(leaf, LogIndex(index), size, root, path).is_ok()
        };
        prop_assert!(check(leaf(index), index, &root, &path));
        prop_assert!(!check(flipped(&leaf(index), bit), index, &root, &path));
        prop_assert!(!check(leaf(index), index, &flipped(&root, bit), &path));
        prop_assert!(size.0 == 1 || !check(leaf(index), (index + 1) % size.0, &root, &path));
        if !path.is_empty() {
            let mut other = path.clone();
            let changed = changed.index(path.len());
            other[changed] = flipped(&path[changed], bit);
            prop_assert!(!check(leaf(index), index, &root, &other));
            other.pop();
            prop_assert!(!check(leaf(index), index, &root, &other));
        }
    }

    #[test]
    fn consistency_holds_for_one_pair_of_roots(
        new in 2u64..900, place in any::<prop::sample::Index>(), bit in 0usize..256,
        changed in any::<prop::sample::Index>(),
    ) {
        // covers: LOG-010
        let tree: MemoryTree = (0..new).map(leaf).collect();
        let old = LogSize(1 + place.index(new as usize - 1) as u64);
        let new = LogSize(new);
        let (old_root, new_root) = (tree.root_at(old).unwrap(), tree.root_at(new).unwrap());
        let proof = consistency_proof(&tree, old, new).unwrap();
        let check = |old_root: &Hash, new_root: &Hash, proof: &[Hash]| {
            verify_consistency((old, old_root), (new, new_root), proof).is_ok()
        };
        prop_assert!(check(&old_root, &new_root, &proof));
        prop_assert!(!check(&flipped(&old_root, bit), &new_root, &proof));
        prop_assert!(!check(&old_root, &flipped(&new_root, bit), &proof));
        let mut other = proof.clone();
        let changed = changed.index(proof.len());
        other[changed] = flipped(&proof[changed], bit);
        prop_assert!(!check(&old_root, &new_root, &other));
        other.pop();
        prop_assert!(!check(&old_root, &new_root, &other));
    }

    #[test]
    fn no_proof_from_outside_panics(
        leaf in any::<Hash>(), index in any::<u64>(), size in any::<u64>(),
        old in any::<u64>(), path in vec(any::<Hash>(), 0..70),
    ) {
        let refused = verify_inclusion(leaf, LogIndex(index), LogSize(size), &leaf, &path);
        prop_assert!(refused.is_err() || path.is_empty());
        let sizes = (LogSize(old), LogSize(size));
        prop_assert!(verify_consistency((sizes.0, &leaf), (sizes.1, &leaf), &path).is_err());
    }

    #[test]
    fn frontiers_in_any_steps_reach_the_same_root(steps in vec(0u64..90, 1..8)) {
        // covers: LOG-009
        // covers: LOG-011
        let (mut frontier, mut size) = (Frontier::default(), 0);
        for step in steps {
            frontier.extend((size..size + step).map(leaf));
            size += step;
            frontier = Frontier::from_wire(&frontier.to_wire()).unwrap();
        }
        let leaves: Vec<_> = (0..size).map(leaf).collect();
        prop_assert_eq!(frontier.root(), merkle::root(&leaves));
    }

    #[test]
    fn recent_trees_prove_what_whole_trees_prove(
        base in 0u64..600, recent in 1u64..300, advance in 0u64..300,
        place in any::<prop::sample::Index>(),
    ) {
        // covers: LOG-010
        let mut frontier = Frontier::default();
        frontier.extend((0..base).map(leaf));
        let mut tree = RecentTree::new(&frontier);
        (base..base + recent).for_each(|index| tree.append(leaf(index)));
        tree.advance_base(LogSize(base + advance.min(recent - 1)));
        let size = tree.size();
        let first = tree.base().0;
        let index = first + place.index((size.0 - first) as usize) as u64;
        let path = tree.prover().inclusion_proof(LogIndex(index)).unwrap();
        prop_assert!(
            verify_inclusion(leaf(index), LogIndex(index), size, &tree.root(), &path).is_ok()
        );
    }

    #[test]
    fn no_bytes_make_decoding_a_frontier_panic(bytes in vec(any::<u8>(), 0..200)) {
        // covers: LOG-011
        if let Ok(frontier) = Frontier::from_wire(&bytes) {
            prop_assert_eq!(frontier.to_wire(), bytes);
        }
    }
}
