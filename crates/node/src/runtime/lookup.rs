//! What the replica asks of storage: proofs of older entries, and older decisions.

use tidings_envelope::{EntryHeader, LogId, MerklePath, OrderedReceipt};
use tidings_types::{Height, LogIndex, LogSize, ShardId};

use crate::storage::Storage;

/// An entry's header and its path to the checkpoint of `size`, from storage.
pub(super) async fn prove(
    storage: &Storage,
    log: LogId,
    index: LogIndex,
    size: LogSize,
) -> Option<(EntryHeader, MerklePath)> {
    storage.header_and_path(log, index, size).await.ok()?
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
