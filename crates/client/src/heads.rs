//! The newest certified block seen of each shard: no older state is believed any more.

use std::collections::BTreeMap;

use tidings_envelope::BlockHeader;
use tidings_types::{BlockHash, Height, ShardId, Wire};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::error::VerifyFailure;
use crate::store::StoreError;

/// What has been seen of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
struct SeenHead {
    shard: ShardId,
    height: Height,
    block: BlockHash,
    /// 1 when another block of this height is certified as well.
    forked: u8,
}

/// The newest certified block of each shard that anything was read from.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heads {
    seen: BTreeMap<ShardId, SeenHead>,
    is_changed: bool,
}

impl Heads {
    /// What an earlier run has seen.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = |_| StoreError::Damaged("the seen blocks are not readable");
        let seen = Vec::<SeenHead>::from_wire(bytes).map_err(damaged)?;
        let seen = seen.into_iter().map(|head| (head.shard, head)).collect();
        Ok(Self { seen, is_changed: false })
    }

    /// What the next run has to know, if it has changed since this was asked last.
    pub(crate) fn take_changed(&mut self) -> Option<Vec<u8>> {
        let seen: Vec<SeenHead> = self.seen.values().copied().collect();
        std::mem::take(&mut self.is_changed).then(|| seen.to_wire())
    }

    /// Whether the block is the newest seen, so that its certificate need not be checked again.
    pub(crate) fn is_newest(&self, header: &BlockHeader) -> bool {
        let seen = self.seen.get(&header.shard);
        seen.is_some_and(|seen| seen.forked == 0 && seen.block == header.hash())
    }

    /// Refuses what was true before a block that was seen (API-031).
    pub(crate) fn check_age(&self, header: &BlockHeader) -> Result<(), VerifyFailure> {
        match self.seen.get(&header.shard) {
            Some(seen) if header.height < seen.height => {
                Err(VerifyFailure::StateStale { shown: header.height, seen: seen.height })
            }
            _ => Ok(()),
        }
    }

    /// Notes a block whose certificate was verified.
    ///
    /// # Errors
    /// [`VerifyFailure::Forked`] from the moment on when two blocks of one height were seen.
    pub(crate) fn note(&mut self, header: &BlockHeader) -> Result<(), VerifyFailure> {
        let (shard, height) = (header.shard, header.height);
        let now = SeenHead { shard, height, block: header.hash(), forked: 0 };
        let seen = self.seen.entry(shard).or_insert_with(|| {
            self.is_changed = true;
            now
        });
        if height == seen.height && now.block != seen.block {
            (seen.forked, self.is_changed) = (1, true);
        }
        if seen.forked != 0 {
            return Err(VerifyFailure::Forked { shard, height: seen.height });
        }
        if height > seen.height {
            (*seen, self.is_changed) = (now, true);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tidings_types::Hash;

    use super::*;

    fn header(shard: u16, height: u64, state_root: Hash) -> BlockHeader {
        let mut bytes = vec![0; 169];
        bytes[1] = 1;
        let mut header = BlockHeader::from_wire(&bytes).unwrap();
        (header.shard, header.height) = (ShardId(shard), Height(height));
        header.state_root = state_root;
        header
    }

    #[test]
    fn nothing_older_than_what_was_seen_is_believed() {
        // covers: API-031
        let mut heads = Heads::default();
        assert_eq!(heads.take_changed(), None);
        heads.note(&header(0, 5, [1; 32])).unwrap();
        let stale = |heads: &Heads, shown: u64, seen: u64| {
            let (shown, seen) = (Height(shown), Height(seen));
            let verdict = heads.check_age(&header(0, shown.0, [1; 32]));
            assert_eq!(verdict, Err(VerifyFailure::StateStale { shown, seen }));
        };
        stale(&heads, 4, 5);
        assert!(heads.check_age(&header(0, 5, [1; 32])).is_ok());
        assert!(heads.check_age(&header(1, 1, [1; 32])).is_ok());
        // History is read as it is, and moves nothing back.
        heads.note(&header(0, 2, [1; 32])).unwrap();
        stale(&heads, 4, 5);
        let mut heads = Heads::restore(&heads.take_changed().unwrap()).unwrap();
        stale(&heads, 4, 5);
        heads.note(&header(0, 9, [1; 32])).unwrap();
        stale(&heads, 8, 9);
        assert!(heads.is_newest(&header(0, 9, [1; 32])));
        assert!(!heads.is_newest(&header(0, 9, [2; 32])));
        assert!(!heads.is_newest(&header(0, 5, [1; 32])));
        assert!(Heads::restore(&[1]).is_err());
    }

    #[test]
    fn two_blocks_of_one_height_end_all_belief() {
        // covers: API-033
        let mut heads = Heads::default();
        heads.note(&header(0, 5, [1; 32])).unwrap();
        let forked = Err(VerifyFailure::Forked { shard: ShardId(0), height: Height(5) });
        assert_eq!(heads.note(&header(0, 5, [2; 32])), forked);
        let mut heads = Heads::restore(&heads.take_changed().unwrap()).unwrap();
        for height in [4, 5, 6] {
            assert_eq!(heads.note(&header(0, height, [1; 32])), forked);
        }
        assert!(!heads.is_newest(&header(0, 5, [1; 32])));
        assert!(heads.note(&header(1, 5, [2; 32])).is_ok());
    }
}
