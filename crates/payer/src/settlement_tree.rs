//! The Merkle trees that the settlement contract reads: keccak-256, pairs sorted, in the layout
//! of OpenZeppelin's standard tree.

use alloy_primitives::keccak256;
use tidings_types::Hash;

/// One 32-byte word of an ABI encoding.
pub type Word = [u8; 32];

/// A number as an ABI word.
#[must_use]
pub fn word(number: u128) -> Word {
    let mut word = [0; 32];
    word[16..].copy_from_slice(&number.to_be_bytes());
    word
}

/// The leaf hash over a tuple of ABI words: hashed twice, so that no leaf is a pair (SET-005).
#[must_use]
pub fn leaf_hash(words: &[Word]) -> Hash {
    keccak256(keccak256(words.concat())).0
}

/// The hash over two nodes, the smaller first.
fn pair_hash(one: &Hash, other: &Hash) -> Hash {
    let (low, high) = if one <= other { (one, other) } else { (other, one) };
    keccak256([*low, *high].concat()).0
}

/// A tree over leaf hashes in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettlementTree {
    /// The root first, the children of `i` at `2 i + 1` and `2 i + 2`, the leaves last and the
    /// smallest at the very end.
    nodes: Vec<Hash>,
    leaves: usize,
}

impl SettlementTree {
    /// The tree over these leaf hashes, in whatever order they come.
    #[must_use]
    pub fn new(mut leaves: Vec<Hash>) -> Self {
        leaves.sort_unstable_by(|one, other| other.cmp(one));
        let count = leaves.len();
        let inner = count.saturating_sub(1);
        let mut nodes = vec![[0; 32]; inner];
        nodes.append(&mut leaves);
        for index in (0..inner).rev() {
            nodes[index] = pair_hash(&nodes[2 * index + 1], &nodes[2 * index + 2]);
        }
        Self { nodes, leaves: count }
    }

    /// The root; zeros without leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.nodes.first().copied().unwrap_or_default()
    }

    /// From a leaf to the root, or none when the leaf is not in the tree.
    #[must_use]
    pub fn proof(&self, leaf: &Hash) -> Option<Vec<Hash>> {
        let first = self.nodes.len() - self.leaves;
        let place = self.nodes[first..].binary_search_by(|node| leaf.cmp(node)).ok()?;
        let mut index = first + place;
        let mut path = Vec::new();
        while index > 0 {
            let sibling = if index.is_multiple_of(2) { index - 1 } else { index + 1 };
            path.push(self.nodes[sibling]);
            index = (index - 1) / 2;
        }
        Some(path)
    }
}

/// The root that a leaf leads to by a path.
#[must_use]
pub fn root_from_proof(leaf: Hash, path: &[Hash]) -> Hash {
    path.iter().fold(leaf, |node, sibling| pair_hash(&node, sibling))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u128) -> Vec<Hash> {
        (0..count).map(|number| leaf_hash(&[word(number)])).collect()
    }

    #[test]
    fn every_leaf_and_no_other_leads_to_the_root() {
        // covers: SET-005
        for count in 0..40 {
            let leaves = leaves(count);
            let tree = SettlementTree::new(leaves.clone());
            for leaf in &leaves {
                let path = tree.proof(leaf).unwrap();
                assert_eq!(root_from_proof(*leaf, &path), tree.root(), "{count}");
            }
            assert_eq!(tree.proof(&leaf_hash(&[word(99)])), None);
        }
        assert_eq!(SettlementTree::new(Vec::new()).root(), [0; 32]);
    }

    #[test]
    fn the_order_of_leaves_does_not_matter() {
        // covers: SET-005
        let mut leaves = leaves(9);
        let tree = SettlementTree::new(leaves.clone());
        leaves.reverse();
        leaves.swap(2, 7);
        assert_eq!(SettlementTree::new(leaves), tree);
    }
}
