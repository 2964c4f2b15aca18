//! The right edge of a log's Merkle tree: enough to append and to know the root.

use std::io::Write;

use tidings_types::constants::MERKLE_PATH_HASHES_MAX;
use tidings_types::merkle::node_hash;
use tidings_types::{BoundedVec, Hash, LogSize, sha256};
use tls_codec::{DeserializeBytes, Serialize, Size};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

/// The version of the stored form.
const VERSION: u16 = 1;

/// A size no log reaches; bounding it keeps all index arithmetic inside 64 bits.
const SIZE_MAX: u64 = 1 << 62;

/// The compact range `[0, size)`: the roots of the maximal perfect subtrees, largest first.
///
/// At most 62 hashes whatever the size; the wire form is canonical, so it can be stored
/// (LOG-011).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: LogSize,
    peaks: Vec<Hash>,
}

/// The number of peaks does not belong to the size, or the size is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{peaks} peaks do not make a frontier of size {size}")]
pub struct FrontierInvalid {
    /// How many leaves were claimed.
    pub size: LogSize,
    /// How many peaks came with the claim.
    pub peaks: usize,
}

impl Frontier {
    /// The frontier of a log of `size` leaves with these peaks, largest subtree first.
    ///
    /// # Errors
    /// [`FrontierInvalid`] unless there is one peak per set bit of `size`, and `size` is at
    /// most 2⁶².
    pub fn new(size: LogSize, peaks: Vec<Hash>) -> Result<Self, FrontierInvalid> {
        match size.0 <= SIZE_MAX && size.0.count_ones() as usize == peaks.len() {
            true => Ok(Self { size, peaks }),
            false => Err(FrontierInvalid { size, peaks: peaks.len() }),
        }
    }

    /// How many leaves the tree has.
    #[must_use]
    pub fn size(&self) -> LogSize {
        self.size
    }

    /// The roots of the maximal perfect subtrees, largest first.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Appends one leaf hash, in O(1) amortised (RFC 6962 §2.1).
    pub fn append(&mut self, leaf: Hash) {
        let mut node = leaf;
        // There is a peak for each bit of the size.
        for _ in 0..self.size.0.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            node = node_hash(&left, &node);
        }
        self.peaks.push(node);
        self.size = self.size.plus(1);
    }

    /// The root: SHA-256 of nothing for an empty log (RFC 6962 §2.1, LOG-009).
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => sha256(&[]),
            Some(smallest) => peaks.fold(*smallest, |right, left| node_hash(left, &right)),
        }
    }
}

impl Extend<Hash> for Frontier {
    fn extend<I: IntoIterator<Item = Hash>>(&mut self, leaves: I) {
        leaves.into_iter().for_each(|leaf| self.append(leaf));
    }
}

/// The wire form of a [`Frontier`].
#[derive(TlsSize, TlsSerialize, TlsDeserializeBytes)]
struct FrontierFields {
    version: u16,
    size: LogSize,
    peaks: BoundedVec<Hash, MERKLE_PATH_HASHES_MAX>,
}

impl FrontierFields {
    fn of(frontier: &Frontier) -> Self {
        let peaks = BoundedVec::new(frontier.peaks.clone());
        Self {
            version: VERSION,
            size: frontier.size,
            peaks: peaks.expect("one peak per set bit of a 64-bit number"),
        }
    }
}

impl Size for Frontier {
    fn tls_serialized_len(&self) -> usize {
        FrontierFields::of(self).tls_serialized_len()
    }
}

impl Serialize for Frontier {
    fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, tls_codec::Error> {
        FrontierFields::of(self).tls_serialize(writer)
    }
}

impl DeserializeBytes for Frontier {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), tls_codec::Error> {
        let (fields, rest) = FrontierFields::tls_deserialize_bytes(bytes)?;
        if fields.version != VERSION {
            return Err(tls_codec::Error::DecodingError("unknown frontier version".into()));
        }
        let frontier = Self::new(fields.size, fields.peaks.into_vec())
            .map_err(|error| tls_codec::Error::DecodingError(error.to_string()))?;
        Ok((frontier, rest))
    }
}

#[cfg(test)]
mod tests {
    use tidings_types::{Wire, merkle};

    use super::*;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|leaf| merkle::leaf_hash(&leaf.to_be_bytes())).collect()
    }

    #[test]
    fn roots_are_those_of_the_whole_tree() {
        // covers: LOG-009
        let leaves = leaves(70);
        let mut frontier = Frontier::default();
        for count in 0..leaves.len() {
            assert_eq!(frontier.root(), merkle::root(&leaves[..count]));
            frontier.append(leaves[count]);
        }
    }

    #[test]
    fn stored_form_round_trips_and_refuses_wrong_peaks() {
        // covers: LOG-011
        let mut frontier = Frontier::default();
        frontier.extend(leaves(11));
        let bytes = frontier.to_wire();
        assert_eq!(Frontier::from_wire(&bytes), Ok(frontier.clone()));
        let mut other_size = bytes.clone();
        other_size[9] = 12;
        assert!(Frontier::from_wire(&other_size).is_err());
        let mut other_version = bytes;
        other_version[1] = 2;
        assert!(Frontier::from_wire(&other_version).is_err());
        assert!(Frontier::new(LogSize(u64::MAX), vec![[0; 32]; 64]).is_err());
    }
}
