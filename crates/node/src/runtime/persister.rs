//! Writes what the replica asks for, in order, one transaction at a time.

use std::sync::Arc;
use std::time::Duration;

use tidings_replica::WriteTicket;
use tidings_replica::store::WriteSet;
use tokio::sync::mpsc;

use crate::storage::{Storage, StorageError};

/// How many sets one transaction takes at most.
const MERGED_SETS_MAX: usize = 256;

/// How long to wait before a failed transaction is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// What became of writes.
#[derive(Debug)]
pub(super) enum Written {
    /// Everything up to this ticket is on disk.
    Durable(WriteTicket),
    /// Nothing can be written for now.
    Failed,
}

/// Writes sets until the sender is gone; everything queued while one transaction runs goes
/// into the next, so the disk sets the pace and the batch size follows the load.
pub(super) async fn run(
    storage: Arc<Storage>,
    mut sets: mpsc::UnboundedReceiver<(WriteTicket, WriteSet)>,
    written: mpsc::UnboundedSender<Written>,
) {
    let mut batch = Vec::new();
    while sets.recv_many(&mut batch, MERGED_SETS_MAX).await > 0 {
        let Some(ticket) = batch.last().map(|(ticket, _)| *ticket) else { continue };
        let mut batch: Vec<WriteSet> = batch.drain(..).map(|(_, set)| set).collect();
        while let Err(error) = storage.write_all(&batch).await {
            tracing::error!(%error, "storage refused a write; trying again");
            if written.send(Written::Failed).is_err() {
                return;
            }
            tokio::time::sleep(RETRY_DELAY).await;
            if matches!(
                error,
                StorageError::AlreadyStored { .. } | StorageError::NotContiguous { .. }
            ) {
                drop_stored(&storage, &mut batch).await;
            }
        }
        if written.send(Written::Durable(ticket)).is_err() {
            return;
        }
    }
}

/// Drops what a transaction with an unknown end has written after all.
async fn drop_stored(storage: &Storage, batch: &mut [WriteSet]) {
    for set in batch {
        let mut flushes = Vec::with_capacity(set.flushes.len());
        for flush in std::mem::take(&mut set.flushes) {
            let size = flush.checkpoint.checkpoint.size;
            let stored = storage.checkpoint_at(flush.log, size).await;
            if !matches!(stored, Ok(Some(checkpoint)) if checkpoint == flush.checkpoint) {
                flushes.push(flush);
            }
        }
        set.flushes = flushes;
        let mut decided = Vec::with_capacity(set.decided.len());
        for block in std::mem::take(&mut set.decided) {
            let header = block.certified.block.header;
            let stored = storage.blocks(header.shard, header.height, 1, 0).await;
            let is_stored = stored.is_ok_and(|blocks| {
                blocks.first().is_some_and(|stored| stored.block.header == header)
            });
            if !is_stored {
                decided.push(block);
            }
        }
        set.decided = decided;
    }
}
