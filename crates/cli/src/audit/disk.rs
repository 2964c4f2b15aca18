//! What an auditor reads from a node's own database.

use anyhow::{Context, Result, anyhow};
use tidings_envelope::api::{BlockPage, LogPage};
use tidings_envelope::{LogId, SignedCheckpoint};
use tidings_node::storage::{Storage, page_of};
use tidings_tlog::ProofPlan;
use tidings_types::constants::{PAGE_BYTES_MAX, PAGE_ENTRIES_MAX, PROTOCOL_VERSION};
use tidings_types::{BoundedVec, Hash, Height, LogSize, ShardId};

/// How many blocks are read at once: the largest have 8 MB.
const BLOCKS_AT_ONCE: usize = 8;

/// The database of a node that does not run.
pub struct Disk(pub Storage);

impl Disk {
    pub(super) async fn logs(&self) -> Result<Vec<LogId>> {
        let checkpoints = self.0.logs().await?;
        Ok(checkpoints.iter().map(|signed| signed.checkpoint.log).collect())
    }

    pub(super) async fn log_page(&self, log: LogId, from: LogSize) -> Result<LogPage> {
        let first = from.next_index();
        let flush = self.0.flushes(log, first, PAGE_ENTRIES_MAX, PAGE_BYTES_MAX).await?;
        Ok(page_of(first, flush))
    }

    pub(super) async fn checkpoint(&self, log: LogId) -> Result<SignedCheckpoint> {
        let newest = self.0.newest_checkpoint(log).await?;
        newest.with_context(|| format!("log {log} has no checkpoint"))
    }

    pub(super) async fn consistency(
        &self,
        log: LogId,
        old: LogSize,
        new: LogSize,
    ) -> Result<Vec<Hash>> {
        let plan = ProofPlan::consistency(old, new).map_err(|error| anyhow!("{error}"))?;
        let proof = self.0.prove(log, &plan).await?;
        proof.with_context(|| format!("log {log} is shorter than its checkpoint says"))
    }

    pub(super) async fn blocks(&self, shard: ShardId, from: Height) -> Result<BlockPage> {
        let blocks = self.0.blocks(shard, from, BLOCKS_AT_ONCE, PAGE_BYTES_MAX).await?;
        let blocks = BoundedVec::new(blocks).map_err(|_| anyhow!("too many blocks at once"))?;
        Ok(BlockPage { version: PROTOCOL_VERSION, blocks })
    }
}
