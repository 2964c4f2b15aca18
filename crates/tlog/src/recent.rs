//! The recent part of a log's tree: appending and proving new entries without storage.

use tidings_types::merkle::node_hash;
use tidings_types::{Hash, LogIndex, LogSize, sha256};

use crate::frontier::Frontier;
use crate::proof::ProofError;
use crate::tree::NodeSource;

/// A tree whose leaves before a base are known only by the frontier there.
///
/// It holds every complete node that an inclusion proof of a leaf at or after the base can
/// need: about two hashes per recent leaf, and one per level.
#[derive(Debug, Clone)]
pub struct RecentTree {
    base: LogSize,
    size: LogSize,
    levels: Vec<Level>,
}

/// The known complete nodes of one level; the first has an even index.
#[derive(Debug, Clone)]
struct Level {
    first: u64,
    nodes: Vec<Hash>,
}

impl RecentTree {
    /// The tree at `base`, with no leaf after it.
    #[must_use]
    pub fn new(base: &Frontier) -> Self {
        let size = base.size();
        let mut peaks = base.peaks().iter().rev().copied();
        let levels = (0..u64::BITS - size.0.leading_zeros()).map(|level| {
            let is_peak = (size.0 >> level) & 1 == 1;
            Level {
                first: first_kept(size, level),
                nodes: peaks.by_ref().take(is_peak.into()).collect(),
            }
        });
        Self { base: size, size, levels: levels.collect() }
    }

    /// How many leaves are known only by their frontier.
    #[must_use]
    pub fn base(&self) -> LogSize {
        self.base
    }

    /// How many leaves the tree has, those before the base included.
    #[must_use]
    pub fn size(&self) -> LogSize {
        self.size
    }

    /// Appends one leaf hash, in O(1) amortised.
    pub fn append(&mut self, leaf: Hash) {
        self.size = self.size.plus(1);
        let mut node = leaf;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Level { first: 0, nodes: Vec::new() });
            }
            let Level { nodes, .. } = &mut self.levels[level];
            nodes.push(node);
            // The first index is even, so the length tells which child the new node is.
            match nodes.as_slice() {
                [.., left, right] if nodes.len().is_multiple_of(2) => node = node_hash(left, right),
                _ => return,
            }
        }
    }

    /// The frontier at the tree's size.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        let peaks = (0..64u8).rev().filter(|level| (self.size.0 >> level) & 1 == 1);
        let peaks = peaks.map(|level| self.subtree(level, (self.size.0 >> level) - 1));
        let peaks: Option<Vec<_>> = peaks.collect();
        peaks
            .and_then(|peaks| Frontier::new(self.size, peaks).ok())
            .expect("every peak of the size is kept")
    }

    /// The root over all leaves (RFC 6962 §2.1, LOG-009).
    #[must_use]
    pub fn root(&self) -> Hash {
        self.frontier().root()
    }

    /// Forgets the leaves before `base`: proofs for them come from storage from now on.
    ///
    /// A base that lies before the present one, or after the last leaf, is taken as that one.
    pub fn advance_base(&mut self, base: LogSize) {
        self.base = base.clamp(self.base, self.size);
        for (level, kept) in self.levels.iter_mut().enumerate() {
            let first = first_kept(self.base, level as u32);
            let surplus = usize::try_from(first - kept.first).unwrap_or(usize::MAX);
            kept.nodes.drain(..surplus.min(kept.nodes.len()));
            kept.first = first;
        }
    }

    /// Prepares proofs against the tree's present size; one per flush serves all its entries.
    #[must_use]
    pub fn prover(&self) -> RecentProver<'_> {
        let mut edges = Vec::with_capacity(self.levels.len() + 1);
        let mut edge = None;
        for level in 0..self.levels.len() as u8 {
            edges.push(edge);
            if (self.size.0 >> level) & 1 == 1 {
                let left = self.subtree(level, (self.size.0 >> level) - 1);
                edge = match (left, edge) {
                    (Some(left), Some(right)) => Some(node_hash(&left, &right)),
                    (left, _) => left,
                };
            }
        }
        let root = edge.unwrap_or_else(|| sha256(&[]));
        RecentProver { tree: self, edges, root }
    }
}

impl NodeSource for RecentTree {
    fn subtree(&self, level: u8, index: u64) -> Option<Hash> {
        let level = self.levels.get(usize::from(level))?;
        level.nodes.get(usize::try_from(index.checked_sub(level.first)?).ok()?).copied()
    }
}

/// Makes inclusion proofs of recent leaves at one size, by look-up alone.
#[derive(Debug)]
pub struct RecentProver<'a> {
    tree: &'a RecentTree,
    /// For each level, the hash of the incomplete node at the right edge, if there is one.
    edges: Vec<Option<Hash>>,
    root: Hash,
}

impl RecentProver<'_> {
    /// The size that proofs are against.
    #[must_use]
    pub fn size(&self) -> LogSize {
        self.tree.size
    }

    /// The root at that size.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.root
    }

    /// The inclusion proof of the leaf at `index` (RFC 6962 §2.1.1).
    ///
    /// # Errors
    /// [`ProofError::OutOfRange`] when the leaf is before the base or after the last one.
    pub fn inclusion_proof(&self, index: LogIndex) -> Result<Vec<Hash>, ProofError> {
        let size = self.tree.size;
        let outside = ProofError::OutOfRange { asked: index.0, size };
        if index.0 < self.tree.base.0 || index.0 >= size.0 {
            return Err(outside);
        }
        let mut path = Vec::with_capacity(self.edges.len());
        for (level, edge) in (0u8..).zip(&self.edges) {
            let sibling = (index.0 >> level) ^ 1;
            let complete = size.0 >> level;
            match sibling < complete {
                true => path.push(self.tree.subtree(level, sibling).ok_or(outside)?),
                false if sibling == complete => path.extend(edge),
                false => {}
            }
        }
        Ok(path)
    }
}

/// The index of the first node kept at `level` for a tree with this base: the base's peak if it
/// has one there, which is a left child, or else the first node after the base.
fn first_kept(base: LogSize, level: u32) -> u64 {
    (base.0 >> level) & !1
}

#[cfg(test)]
mod tests {
    use tidings_types::merkle;

    use super::*;
    use crate::{MemoryTree, inclusion_proof};

    fn leaf(index: u64) -> Hash {
        merkle::leaf_hash(&index.to_be_bytes())
    }

    /// Every proof of a tree of `size` with this base is the one from the whole tree.
    fn check(recent: &RecentTree, whole: &MemoryTree) {
        assert_eq!(Some(recent.root()), whole.root_at(recent.size()));
        let prover = recent.prover();
        assert_eq!(prover.root(), recent.root());
        for index in recent.base().0..recent.size().0 {
            let index = LogIndex(index);
            let expected = inclusion_proof(whole, index, recent.size());
            assert_eq!(prover.inclusion_proof(index), expected);
            assert_eq!(inclusion_proof(recent, index, recent.size()), expected);
        }
        assert!(prover.inclusion_proof(LogIndex(recent.size().0)).is_err());
    }

    #[test]
    fn proofs_after_any_base_are_those_of_the_whole_tree() {
        // covers: LOG-010
        let whole: MemoryTree = (0..80).map(leaf).collect();
        let mut base = Frontier::default();
        for base_size in 0..40 {
            let mut recent = RecentTree::new(&base);
            check(&recent, &whole);
            for index in base_size..base_size + 37 {
                recent.append(leaf(index));
                check(&recent, &whole);
            }
            base.append(leaf(base_size));
        }
    }

    #[test]
    fn advancing_the_base_is_the_same_as_starting_there() {
        let whole: MemoryTree = (0..100).map(leaf).collect();
        let mut recent = RecentTree::new(&Frontier::default());
        let mut frontier = Frontier::default();
        for index in 0..100 {
            recent.append(leaf(index));
            frontier.append(leaf(index));
            assert_eq!(recent.frontier(), frontier);
            recent.advance_base(LogSize(index * 2 / 3));
            check(&recent, &whole);
        }
        recent.advance_base(LogSize(1000));
        assert_eq!(recent.base(), LogSize(100));
        assert_eq!(recent.frontier(), frontier);
        assert!(recent.levels.iter().all(|level| level.nodes.len() < 2));
        recent.advance_base(LogSize(0));
        assert_eq!(recent.base(), LogSize(100));
    }
}
