//! What the replica asks of storage: proofs of older entries, and older decisions.

use tidings_envelope::{EntryHeader, LogId, MerklePath, OrderedReceipt};
use tidings_tlog::{MemoryTree, inclusion_proof};
use tidings_types::{BoundedVec, Height, LogIndex, LogSize, ShardId};

use crate::storage::Storage;

/// An entry's header and its path to the checkpoint of `size`, from storage.
pub(super) async fn prove(
    storage: &Storage,
    log: LogId,
    index: LogIndex,
    size: LogSize,
) -> Option<(EntryHeader, MerklePath)> {
    let flush = storage.flushes(log, index, 1, 1).await.ok()??;
    let header = flush.entries.first().filter(|entry| entry.header.index == index)?.header;
    let leaves = storage.leaf_hashes(log, LogIndex(0), size.next_index()).await.ok()?;
    let tree: MemoryTree = leaves.into_iter().collect();
    let path = inclusion_proof(&tree, index, size).ok()?;
    Some((header, BoundedVec::new(path).ok()?))
}

/// The receipt of an operation that was decided before, from storage.
pub(super) async fn recall(
    storage: &Storage,
    shard: ShardId,
    height: Height,
    index: u32,
) -> Option<OrderedReceipt> {
    let blocks = storage.blocks(shard, height, 1, 0).await.ok()?;
    blocks.first().filter(|certified| certified.block.header.height == height)?.receipt(index)
}
