//! The tree over the ordered state, whose root every block certifies (ORD-030).

use std::collections::BTreeMap;
use std::sync::Arc;

use tidings_envelope::{StateBranch, StateLeaf, StatePath};
use tidings_types::Hash;
use tidings_types::sparse_merkle::{EMPTY, goes_right, leaf_hash, node_hash};

/// One version of the tree, or of a subtree; it never changes.
///
/// A new version shares with the old one what they have in common, and what no version needs
/// any more is freed with the last that did. So a block that is executed but never becomes final
/// costs nothing, and taking one over is an assignment.
#[derive(Clone)]
pub struct StateTree {
    hash: Hash,
    content: Content,
}

/// A child's hash lies in its parent, so that hashing the parent anew reads one child and not
/// both: in a tree larger than the caches this is what an update costs.
#[derive(Clone)]
enum Content {
    Empty,
    Leaf(Arc<Leaf>),
    Fork(Arc<Fork>),
}

struct Leaf {
    key: Hash,
    value: Hash,
}

struct Fork {
    left: StateTree,
    right: StateTree,
}

/// The way to where a key's leaf is or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TreePath {
    /// The leaf there, as key and value, which may be another key's.
    pub(crate) leaf: Option<(Hash, Hash)>,
    /// The subtrees beside the way, from the root downwards.
    pub(crate) siblings: Vec<Hash>,
}

impl StateTree {
    /// The tree's root; [`EMPTY`] without leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.hash
    }

    /// The tree with these value hashes set by path, or removed where there is none.
    #[must_use]
    pub fn with(&self, changes: &BTreeMap<Hash, Option<Hash>>) -> Self {
        let changes: Vec<_> = changes.iter().map(|(key, value)| (*key, *value)).collect();
        self.changed(&changes, 0)
    }

    /// What is at a place and how it hangs together with the root (ORD-032); a value as its hash.
    ///
    /// None for a tree deeper than a proof may be, which no honest keys make.
    #[must_use]
    pub fn branch(&self, place: &Hash) -> Option<StateBranch> {
        let TreePath { leaf, siblings } = self.path(place);
        let leaf = match leaf {
            None => StateLeaf::Empty,
            Some((path, value)) if path != *place => StateLeaf::Other { path, value },
            Some((_, value)) => StateLeaf::Digest(value),
        };
        Some(StateBranch { leaf, path: StatePath::new(&siblings)? })
    }

    /// The way to `key`.
    pub(crate) fn path(&self, key: &Hash) -> TreePath {
        let (mut subtree, mut siblings) = (self, Vec::new());
        while let Content::Fork(fork) = &subtree.content {
            let (next, sibling) = match goes_right(key, siblings.len()) {
                true => (&fork.right, &fork.left),
                false => (&fork.left, &fork.right),
            };
            siblings.push(sibling.hash);
            subtree = next;
        }
        let leaf = match &subtree.content {
            Content::Leaf(leaf) => Some((leaf.key, leaf.value)),
            Content::Empty | Content::Fork(_) => None,
        };
        TreePath { leaf, siblings }
    }

    fn leaf(key: Hash, value: Hash) -> Self {
        let hash = leaf_hash(&key, &value);
        Self { hash, content: Content::Leaf(Arc::new(Leaf { key, value })) }
    }

    /// The subtree at `depth` with distinct changes in ascending order, all of which lie in it.
    fn changed(&self, changes: &[(Hash, Option<Hash>)], depth: usize) -> Self {
        if let Some(settled) = self.settled(changes) {
            return settled;
        }
        let (left, right) = self.halves(depth);
        let middle = changes.partition_point(|(key, _)| !goes_right(key, depth));
        let (before, after) = changes.split_at(middle);
        Self::join(left.changed(before, depth + 1), right.changed(after, depth + 1))
    }

    /// The changed subtree where that is one leaf or none and needs no look at its halves.
    fn settled(&self, changes: &[(Hash, Option<Hash>)]) -> Option<Self> {
        let [(key, value)] = changes else {
            return changes.is_empty().then(|| self.clone());
        };
        match &self.content {
            Content::Fork(_) => None,
            Content::Leaf(leaf) if leaf.key != *key => value.is_none().then(|| self.clone()),
            Content::Leaf(_) | Content::Empty => {
                Some(value.map_or_else(Self::default, |value| Self::leaf(*key, value)))
            }
        }
    }

    fn halves(&self, depth: usize) -> (Self, Self) {
        match &self.content {
            Content::Empty => (Self::default(), Self::default()),
            Content::Leaf(leaf) if goes_right(&leaf.key, depth) => (Self::default(), self.clone()),
            Content::Leaf(_) => (self.clone(), Self::default()),
            Content::Fork(fork) => (fork.left.clone(), fork.right.clone()),
        }
    }

    fn join(left: Self, right: Self) -> Self {
        match (&left.content, &right.content) {
            (Content::Empty, Content::Empty | Content::Leaf(_)) => right,
            (Content::Leaf(_), Content::Empty) => left,
            _ => {
                let hash = node_hash(&left.hash, &right.hash);
                Self { hash, content: Content::Fork(Arc::new(Fork { left, right })) }
            }
        }
    }
}

impl Default for StateTree {
    fn default() -> Self {
        Self { hash: EMPTY, content: Content::Empty }
    }
}

/// The root says it all.
impl PartialEq for StateTree {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for StateTree {}

impl std::fmt::Debug for StateTree {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "StateTree(")?;
        self.hash.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))?;
        write!(formatter, ")")
    }
}

#[cfg(test)]
mod tests;
