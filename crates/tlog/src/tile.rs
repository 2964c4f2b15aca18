//! How a log's tree is stored: tiles of up to 256 hashes, eight levels apart.
//!
//! A tile at tile level `k` holds consecutive hashes of tree level `8 k`: the leaf hashes
//! themselves for `k = 0`, and for `k > 0` the roots of the full tiles one level below.
//! Levels between are computed from the tile when a proof needs them.

use std::collections::{BTreeMap, BTreeSet};

use tidings_types::{Hash, LogSize, merkle};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::tree::{NodeSource, Subtree};

/// A full tile covers this many hashes, so a proof in a log of 2²⁴ entries reads three tiles.
pub const TILE_HASHES: usize = 1 << TILE_LEVELS;

/// How many tree levels one tile spans.
const TILE_LEVELS: u32 = 8;

/// Names a tile of a log.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
)]
pub struct TileId {
    /// Eighth of the tree level of its hashes; below 8.
    pub level: u8,
    /// Which one of its level, from the left.
    pub index: u64,
}

/// The hashes of a tile, from the left: 1 to [`TILE_HASHES`] of them.
///
/// A tile at level 0 is stored once, when it is full; one above is written again as it grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    hashes: Vec<Hash>,
}

/// Bytes are not a tile's stored form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes are not 1 to 256 hashes")]
pub struct TileInvalid {
    /// How many bytes there were.
    pub length: usize,
}

impl Tile {
    /// The hashes, from the left.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Whether the tile will never change.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.hashes.len() == TILE_HASHES
    }

    /// The stored form: the hashes one after the other, 32 bytes each.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.hashes.concat()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`TileInvalid`] unless there are 1 to 256 whole hashes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TileInvalid> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        match rest.is_empty() && (1..=TILE_HASHES).contains(&hashes.len()) {
            true => Ok(Self { hashes: hashes.to_vec() }),
            false => Err(TileInvalid { length: bytes.len() }),
        }
    }
}

/// Turns appended leaf hashes into the tiles to store.
///
/// It holds the unfinished tile of each level: at most 255 hashes per level.
#[derive(Debug, Clone, Default)]
pub struct TileBuilder {
    size: LogSize,
    unfinished: Vec<Vec<Hash>>,
    written: BTreeMap<TileId, Tile>,
}

/// What is at hand does not make the right edge of a log of that size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored right edge does not belong to a log of size {size}")]
pub struct TileEdgeInvalid {
    /// The size asked for.
    pub size: LogSize,
}

impl TileBuilder {
    /// A builder for an empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A builder that goes on at `size` after a restart.
    ///
    /// `tail` holds the `size mod 256` leaf hashes after the last full tile of level 0, and
    /// `edge` the tiles that [`TileBuilder::edge`] names.
    ///
    /// # Errors
    /// [`TileEdgeInvalid`] when either holds more or fewer hashes than `size` says.
    pub fn resume(
        size: LogSize,
        tail: Vec<Hash>,
        edge: &BTreeMap<TileId, Tile>,
    ) -> Result<Self, TileEdgeInvalid> {
        let invalid = TileEdgeInvalid { size };
        if tail.len() as u64 != size.0 % TILE_HASHES as u64 {
            return Err(invalid);
        }
        let mut unfinished = vec![tail];
        for level in 1..u64::BITS / TILE_LEVELS {
            let count = size.0 >> (TILE_LEVELS * level);
            let held = (count % TILE_HASHES as u64) as usize;
            let id = TileId { level: level as u8, index: count >> TILE_LEVELS };
            let stored = edge.get(&id).map(Tile::hashes).unwrap_or_default();
            // Storage may have gone further than `size`; what it has never changes.
            unfinished.push(stored.get(..held).ok_or(invalid)?.to_vec());
        }
        Ok(Self { size, unfinished, written: BTreeMap::new() })
    }

    /// The unfinished tiles above level 0 of a log of `size` leaves.
    pub fn edge(size: LogSize) -> impl Iterator<Item = TileId> {
        (1..u64::BITS / TILE_LEVELS).filter_map(move |level| {
            let count = size.0 >> (TILE_LEVELS * level);
            (!count.is_multiple_of(TILE_HASHES as u64))
                .then_some(TileId { level: level as u8, index: count >> TILE_LEVELS })
        })
    }

    /// How many leaves were appended.
    #[must_use]
    pub fn size(&self) -> LogSize {
        self.size
    }

    /// The leaf hashes after the last full tile of level 0.
    #[must_use]
    pub fn tail(&self) -> &[Hash] {
        self.unfinished.first().map_or(&[], Vec::as_slice)
    }

    /// Appends one leaf hash.
    pub fn append(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for level in 0.. {
            if self.unfinished.len() == usize::from(level) {
                self.unfinished.push(Vec::new());
            }
            let hashes = &mut self.unfinished[usize::from(level)];
            hashes.push(hash);
            let full = hashes.len() == TILE_HASHES;
            if level > 0 || full {
                let index = self.size.0 >> (TILE_LEVELS * (u32::from(level) + 1));
                self.written.insert(TileId { level, index }, Tile { hashes: hashes.clone() });
            }
            if !full {
                break;
            }
            hash = merkle::root(hashes);
            hashes.clear();
        }
        self.size = self.size.plus(1);
    }

    /// The tiles that are new or longer since the last call, to be stored with the leaves.
    pub fn take_tiles(&mut self) -> BTreeMap<TileId, Tile> {
        std::mem::take(&mut self.written)
    }
}

impl Extend<Hash> for TileBuilder {
    fn extend<I: IntoIterator<Item = Hash>>(&mut self, leaves: I) {
        leaves.into_iter().for_each(|leaf| self.append(leaf));
    }
}

/// Perfect subtrees of a log of a given size, from its tiles and the leaves after them.
#[derive(Debug, Clone)]
pub struct TileSource {
    size: LogSize,
    tail: Vec<Hash>,
    tiles: BTreeMap<TileId, Tile>,
}

impl TileSource {
    /// A source over the tiles at hand.
    ///
    /// `tail` holds the leaf hashes after the last full tile of level 0, at most 255.
    #[must_use]
    pub fn new(size: LogSize, tail: Vec<Hash>, tiles: BTreeMap<TileId, Tile>) -> Self {
        Self { size, tail, tiles }
    }

    /// The tiles that hold `subtrees` in a log of `size` leaves, without those the tail covers.
    #[must_use]
    pub fn tiles_needed(
        size: LogSize,
        subtrees: impl IntoIterator<Item = Subtree>,
    ) -> BTreeSet<TileId> {
        let tiles = subtrees.into_iter().map(|subtree| span(subtree).0);
        tiles.filter(|tile| tile.level > 0 || tile.index < size.0 >> TILE_LEVELS).collect()
    }

    fn hashes(&self, tile: TileId) -> Option<&[Hash]> {
        match tile.level == 0 && tile.index == self.size.0 >> TILE_LEVELS {
            true => Some(&self.tail),
            false => self.tiles.get(&tile).map(Tile::hashes),
        }
    }
}

impl NodeSource for TileSource {
    fn subtree(&self, level: u8, index: u64) -> Option<Hash> {
        let (tile, positions) = span(Subtree { level, index });
        Some(merkle::root(self.hashes(tile)?.get(positions)?))
    }
}

/// The tile that holds a subtree, and where in it.
fn span(subtree: Subtree) -> (TileId, std::ops::Range<usize>) {
    let inside = u32::from(subtree.level) % TILE_LEVELS;
    let level = subtree.level / TILE_LEVELS as u8;
    let index = subtree.index >> (TILE_LEVELS - inside);
    let first = (subtree.index as usize & ((TILE_HASHES >> inside) - 1)) << inside;
    (TileId { level, index }, first..first + (1 << inside))
}

#[cfg(test)]
mod tests {
    use tidings_types::LogIndex;

    use super::*;
    use crate::{MemoryTree, ProofPlan};

    fn leaf(index: u64) -> Hash {
        merkle::leaf_hash(&index.to_be_bytes())
    }

    /// Proofs made from stored tiles are those of the whole tree.
    fn check(
        plan: &ProofPlan,
        builder: &TileBuilder,
        stored: &BTreeMap<TileId, Tile>,
        whole: &MemoryTree,
    ) {
        let needed = TileSource::tiles_needed(builder.size(), plan.subtrees());
        let tiles = needed.iter().map(|tile| (*tile, stored[tile].clone())).collect();
        let source = TileSource::new(builder.size(), builder.tail().to_vec(), tiles);
        assert_eq!(plan.build(&source), plan.build(whole));
    }

    #[test]
    fn proofs_from_tiles_are_those_of_the_whole_tree() {
        // covers: LOG-010
        const SIZE: u64 = 256 * 256 + 700;
        let (mut builder, mut whole) = (TileBuilder::new(), MemoryTree::new());
        let mut stored = BTreeMap::new();
        for index in 0..SIZE {
            builder.append(leaf(index));
            whole.append(leaf(index));
            if index % 97 == 0 || index + 1 == SIZE {
                stored.extend(builder.take_tiles());
            }
            if index % 2579 == 0 || (65_530..65_540).contains(&index) || index + 1 == SIZE {
                stored.extend(builder.take_tiles());
                let size = LogSize(index + 1);
                for index in [0, index / 3, index / 2, index] {
                    let plan = ProofPlan::inclusion(LogIndex(index), size).unwrap();
                    check(&plan, &builder, &stored, &whole);
                    let plan = ProofPlan::consistency(LogSize(index), size).unwrap();
                    check(&plan, &builder, &stored, &whole);
                }
            }
        }
        assert_eq!(stored.keys().filter(|tile| tile.level == 1).count(), 2);
    }

    #[test]
    fn a_restart_goes_on_with_the_same_tiles() {
        for size in [0, 1, 255, 256, 257, 600, 65_536, 66_000] {
            let mut whole = TileBuilder::new();
            whole.extend((0..size).map(leaf));
            let stored = whole.take_tiles();
            let wanted: BTreeMap<_, _> = TileBuilder::edge(LogSize(size))
                .map(|tile| (tile, stored[&tile].clone()))
                .collect();
            let mut resumed =
                TileBuilder::resume(LogSize(size), whole.tail().to_vec(), &wanted).unwrap();
            whole.extend((size..size + 300).map(leaf));
            resumed.extend((size..size + 300).map(leaf));
            assert_eq!(resumed.take_tiles(), whole.take_tiles());
            assert!(
                TileBuilder::resume(LogSize(size + 1), whole.tail().to_vec(), &wanted).is_err()
            );
        }
    }

    #[test]
    fn stored_form_is_whole_hashes() {
        let tile = Tile { hashes: (0..256).map(leaf).collect() };
        assert!(tile.is_full());
        assert_eq!(Tile::from_bytes(&tile.to_bytes()), Ok(tile.clone()));
        assert_eq!(Tile::from_bytes(&[]), Err(TileInvalid { length: 0 }));
        assert!(Tile::from_bytes(&tile.to_bytes()[1..]).is_err());
        assert!(Tile::from_bytes(&[0; 257 * 32]).is_err());
    }
}
