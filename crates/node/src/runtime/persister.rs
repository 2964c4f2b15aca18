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

#[cfg(test)]
mod tests {
    use sqlx::{Connection, Executor, SqliteConnection};
    use tidings_envelope::{Block, BlockHeader, Certificate, CertifiedBlock};
    use tidings_order::{LaneLog, LogRecord, LoggedTimeout, RestoredAgreement};
    use tidings_replica::store::Decided;
    use tidings_types::constants::PROTOCOL_VERSION;
    use tidings_types::{
        BlockHash, Height, NetworkId, Period, RegistryEpoch, Round, ShardId, merkle,
    };

    use super::*;

    const NETWORK: NetworkId = NetworkId([9; 32]);
    const SHARD: ShardId = ShardId(0);

    fn block(height: u64) -> Block {
        let header = BlockHeader {
            version: PROTOCOL_VERSION,
            shard: SHARD,
            height: Height(height),
            parent: BlockHash::default(),
            period: Period(1),
            chain_reference: None,
            registry_epoch: RegistryEpoch(1),
            next_epoch: RegistryEpoch(1),
            next_committee: [4; 32],
            operations_count: 0,
            operations_root: merkle::root(&[]),
            state_root: [5; 32],
        };
        Block { header, operations: Vec::new().try_into().unwrap() }
    }

    /// What is logged of a height: its block, and that a wait for votes on it ended.
    fn log(height: u64) -> LaneLog {
        let timeout = LogRecord::Timeout { wait: LoggedTimeout::Prevote, round: Round(0) };
        LaneLog {
            sequence: height,
            height: Height(height),
            first: 0,
            records: vec![timeout],
            blocks: vec![block(height)],
        }
    }

    /// A final block and the log of the next height, which replaces the log before.
    fn set(height: u64) -> WriteSet {
        let certificate =
            Certificate { round: Round(0), signatures: Vec::new().try_into().unwrap() };
        let certified = CertifiedBlock { block: block(height), certificate };
        let decided = Decided { certified, places: Vec::new(), state: Vec::new() };
        let lane_logs = vec![(SHARD, log(height + 1))];
        WriteSet { lane_logs, decided: vec![decided], ..WriteSet::default() }
    }

    struct Store {
        folder: tempfile::TempDir,
        storage: Arc<Storage>,
    }

    impl Store {
        async fn open() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let url = format!("sqlite:{}", folder.path().join("node.db").display());
            Self { storage: Arc::new(Storage::open(&url, NETWORK).await.unwrap()), folder }
        }

        /// Runs a statement beside the store, as an operator would.
        async fn execute(&self, sql: &'static str) {
            let path = self.folder.path().join("node.db");
            let mut connection =
                SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
            connection.execute(sql).await.unwrap();
            connection.close().await.unwrap();
        }

        /// Exactly the sets up to `height` are stored, the last one last.
        async fn holds(&self, height: u64) {
            let blocks = self.storage.blocks(SHARD, Height(1), 1_000, 1 << 20).await.unwrap();
            let heights: Vec<u64> = blocks.iter().map(|it| it.block.header.height.0).collect();
            assert_eq!(heights, (1..=height).collect::<Vec<_>>());
            let lanes = self.storage.load().await.unwrap().lanes;
            let LaneLog { records, blocks, .. } = log(height + 1);
            let expected = RestoredAgreement { records, blocks, halted: false };
            assert_eq!(lanes[&SHARD].agreement, expected);
        }
    }

    /// Waits until `ticket` is durable; answers how many failures were reported before.
    async fn durable(written: &mut mpsc::UnboundedReceiver<Written>, ticket: u64) -> usize {
        let mut failures = 0;
        loop {
            match written.recv().await.expect("the persister runs") {
                Written::Durable(found) if found == WriteTicket(ticket) => return failures,
                Written::Durable(_) => {}
                Written::Failed => failures += 1,
            }
        }
    }

    #[tokio::test]
    async fn sets_become_durable_in_order() {
        let store = Store::open().await;
        let (sets, queued) = mpsc::unbounded_channel();
        let (sender, mut written) = mpsc::unbounded_channel();
        let count = MERGED_SETS_MAX as u64 + 50;
        for height in 1..=count {
            sets.send((WriteTicket(height), set(height))).unwrap();
        }
        drop(sets);
        run(store.storage.clone(), queued, sender).await;
        let mut tickets = Vec::new();
        while let Some(report) = written.recv().await {
            match report {
                Written::Durable(ticket) => tickets.push(ticket.0),
                Written::Failed => panic!("nothing refuses a write here"),
            }
        }
        assert_eq!(tickets, [MERGED_SETS_MAX as u64, count]);
        store.holds(count).await;
    }

    #[tokio::test]
    async fn a_refused_set_is_tried_again_as_it_is() {
        let store = Store::open().await;
        let (sets, queued) = mpsc::unbounded_channel();
        let (sender, mut written) = mpsc::unbounded_channel();
        let running = tokio::spawn(run(store.storage.clone(), queued, sender));
        sets.send((WriteTicket(1), set(1))).unwrap();
        assert_eq!(durable(&mut written, 1).await, 0);

        store.execute("ALTER TABLE agreement RENAME TO agreement_away").await;
        sets.send((WriteTicket(2), set(2))).unwrap();
        sets.send((WriteTicket(3), set(3))).unwrap();
        assert!(matches!(written.recv().await, Some(Written::Failed)));
        store.execute("ALTER TABLE agreement_away RENAME TO agreement").await;
        durable(&mut written, 3).await;
        store.holds(3).await;

        drop(sets);
        running.await.unwrap();
    }

    #[tokio::test]
    async fn what_an_unanswered_transaction_wrote_is_not_written_twice() {
        let store = Store::open().await;
        // As if a commit had reached the disk and its answer had not reached the node.
        store.storage.write(&set(1)).await.unwrap();
        let (sets, queued) = mpsc::unbounded_channel();
        let (sender, mut written) = mpsc::unbounded_channel();
        sets.send((WriteTicket(1), set(1))).unwrap();
        sets.send((WriteTicket(2), set(2))).unwrap();
        drop(sets);
        run(store.storage.clone(), queued, sender).await;
        assert_eq!(durable(&mut written, 2).await, 1);
        store.holds(2).await;
    }
}
