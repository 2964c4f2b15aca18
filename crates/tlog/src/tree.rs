//! Where proofs take their hashes from: perfect subtrees, by level and index.

use tidings_types::merkle::node_hash;
use tidings_types::{Hash, LogSize, sha256};

/// The place of a perfect subtree: it covers the leaves `[index << level, (index + 1) << level)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subtree {
    /// How many levels above the leaves; a leaf is at level 0. Below 64.
    pub level: u8,
    /// Which one of its level, from the left.
    pub index: u64,
}

/// A store of the hashes of perfect subtrees.
///
/// Implementations answer without waiting: a shell that reads from a database fetches what
/// [`ProofPlan::subtrees`](crate::ProofPlan::subtrees) lists first.
pub trait NodeSource {
    /// The hash of the perfect subtree at `level` and `index`, if it is complete and known.
    fn subtree(&self, level: u8, index: u64) -> Option<Hash>;
}

impl NodeSource for std::collections::BTreeMap<Subtree, Hash> {
    fn subtree(&self, level: u8, index: u64) -> Option<Hash> {
        self.get(&Subtree { level, index }).copied()
    }
}

/// A half-open range of leaves that is one node of some RFC 6962 tree.
///
/// `begin` is a multiple of the smallest power of two that is not below the range's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeafRange {
    pub(crate) begin: u64,
    pub(crate) end: u64,
}

impl LeafRange {
    /// How many leaves it has.
    pub(crate) fn count(self) -> u64 {
        self.end - self.begin
    }

    /// The perfect subtrees that make it up, from left to right, largest first.
    pub(crate) fn subtrees(self) -> impl Iterator<Item = Subtree> {
        let mut begin = self.begin;
        std::iter::from_fn(move || {
            let level = (self.end - begin).checked_ilog2()? as u8;
            let index = begin >> level;
            begin += 1 << level;
            Some(Subtree { level, index })
        })
    }

    /// The node's hash, or the first subtree that `source` lacks.
    pub(crate) fn hash(self, source: &impl NodeSource) -> Result<Hash, Subtree> {
        let mut hashes = Vec::with_capacity(8);
        for subtree in self.subtrees() {
            hashes.push(source.subtree(subtree.level, subtree.index).ok_or(subtree)?);
        }
        let mut hashes = hashes.into_iter().rev();
        Ok(match hashes.next() {
            None => sha256(&[]),
            Some(last) => hashes.fold(last, |right, left| node_hash(&left, &right)),
        })
    }
}

/// A whole tree in memory, for small logs and for tests.
#[derive(Debug, Clone, Default)]
pub struct MemoryTree {
    /// The complete nodes of each level, leaves first.
    levels: Vec<Vec<Hash>>,
}

impl MemoryTree {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many leaves the tree has.
    #[must_use]
    pub fn size(&self) -> LogSize {
        LogSize(self.levels.first().map_or(0, Vec::len) as u64)
    }

    /// Appends one leaf hash.
    pub fn append(&mut self, leaf: Hash) {
        let mut node = leaf;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let nodes = &mut self.levels[level];
            nodes.push(node);
            match nodes.as_slice() {
                [.., left, right] if nodes.len().is_multiple_of(2) => node = node_hash(left, right),
                _ => return,
            }
        }
    }

    /// The root over the first `size` leaves, if there are that many (RFC 6962 §2.1).
    #[must_use]
    pub fn root_at(&self, size: LogSize) -> Option<Hash> {
        LeafRange { begin: 0, end: size.0 }.hash(self).ok()
    }
}

impl FromIterator<Hash> for MemoryTree {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        let mut tree = Self::new();
        leaves.into_iter().for_each(|leaf| tree.append(leaf));
        tree
    }
}

impl NodeSource for MemoryTree {
    fn subtree(&self, level: u8, index: u64) -> Option<Hash> {
        self.levels.get(usize::from(level))?.get(usize::try_from(index).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use tidings_types::merkle;

    use super::*;

    #[test]
    fn ranges_fall_into_perfect_subtrees() {
        let subtrees: Vec<_> = LeafRange { begin: 16, end: 27 }
            .subtrees()
            .map(|subtree| (subtree.level, subtree.index))
            .collect();
        assert_eq!(subtrees, vec![(3, 2), (1, 12), (0, 26)]);
    }

    #[test]
    fn a_tree_knows_every_earlier_root() {
        // covers: LOG-009
        let leaves: Vec<_> =
            (0..50u64).map(|leaf| merkle::leaf_hash(&leaf.to_be_bytes())).collect();
        let tree: MemoryTree = leaves.iter().copied().collect();
        for size in 0..=50usize {
            assert_eq!(tree.root_at(LogSize(size as u64)), Some(merkle::root(&leaves[..size])));
        }
        assert_eq!(tree.root_at(LogSize(51)), None);
    }
}
