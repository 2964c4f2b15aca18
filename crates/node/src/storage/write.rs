//! Writing: any number of write sets in one durable transaction.

use std::collections::BTreeMap;

use tidings_envelope::LogId;
use tidings_replica::store::WriteSet;
use tidings_tlog::TileBuilder;
use tidings_types::{Incarnation, LogSize, NodeId, ShardId};

use super::backend::{AnyBackend, AnySession, Backend, Session};
use super::batch::{Batch, LogChange, LogState};
use super::value::{Row, Value};
use super::{Storage, StorageError, tiles};

/// A writing connection and what it knows of the logs.
///
/// It is given up on any failure, so that what it knows is never ahead of or behind the disk.
#[derive(Debug)]
pub(super) struct WriteSession {
    session: AnySession,
    logs: BTreeMap<LogId, LogState>,
    /// The trees of logs that were written to, or are about to be.
    trees: BTreeMap<LogId, TileBuilder>,
}

impl Storage {
    /// Makes `set` durable, all of it; it is on disk when this returns.
    ///
    /// # Errors
    /// [`StorageError`] when nothing was written: the database refuses or is away, or the set
    /// does not follow what is stored.
    pub async fn write(&self, set: &WriteSet) -> Result<(), StorageError> {
        self.write_all([set]).await
    }

    /// Makes all of `sets` durable in one transaction, in their order.
    ///
    /// # Errors
    /// [`StorageError`] when nothing of any set was written.
    pub async fn write_all<'a, I>(&self, sets: I) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = &'a WriteSet>,
        I::IntoIter: Clone + Send,
    {
        let sets = sets.into_iter();
        let mut slot = self.writing.lock().await;
        let mut session = WriteSession::take(&mut slot, &self.backend).await?;
        if let Err(error) = session.load_trees(sets.clone()).await {
            session.close().await;
            return Err(error);
        }
        // What does not fit is the caller's fault and leaves the connection as good as it was.
        let batch = match Batch::build(sets, &session.logs, &session.trees) {
            Ok(batch) => batch,
            Err(error) => {
                *slot = Some(session);
                return Err(error);
            }
        };
        match session.write(batch).await {
            Ok(()) => {
                *slot = Some(session);
                Ok(())
            }
            Err(error) => {
                session.close().await;
                Err(error)
            }
        }
    }

    /// Runs `change` in a transaction of its own.
    pub(super) async fn transaction<T>(
        &self,
        change: impl AsyncFnOnce(&mut AnySession) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut slot = self.writing.lock().await;
        let mut writing = WriteSession::take(&mut slot, &self.backend).await?;
        let session = &mut writing.session;
        let changed = async {
            session.begin().await?;
            let result = change(session).await?;
            session.commit().await?;
            Ok(result)
        };
        match changed.await {
            Ok(result) => {
                *slot = Some(writing);
                Ok(result)
            }
            Err(error) => {
                writing.close().await;
                Err(error)
            }
        }
    }
}

impl WriteSession {
    /// The session in `slot`, or a new one; the slot stays empty until it is put back, so that
    /// an abandoned write leaves nothing half known.
    async fn take(slot: &mut Option<Self>, backend: &AnyBackend) -> Result<Self, StorageError> {
        match slot.take() {
            Some(session) => Ok(session),
            None => {
                let mut session = backend.session().await?;
                // Within a transaction, so that an abandoned commit has ended either way.
                session.begin().await?;
                let sql = "SELECT key, node, shard, incarnation, size, total_bytes FROM logs";
                let rows = session.fetch(sql, Vec::new()).await?;
                session.commit().await?;
                let logs = rows.iter().map(log_state).collect::<Result<_, _>>()?;
                Ok(Self { session, logs, trees: BTreeMap::new() })
            }
        }
    }

    /// Ends the connection.
    pub async fn close(self) {
        self.session.close().await;
    }

    /// Reads the trees of logs that `sets` go on with and that are not known yet.
    async fn load_trees<'a>(
        &mut self,
        sets: impl Iterator<Item = &'a WriteSet>,
    ) -> Result<(), StorageError> {
        for log in sets.flat_map(|set| &set.flushes).map(|flush| flush.log) {
            let Some(state) = self.logs.get(&log) else { continue };
            if !self.trees.contains_key(&log) {
                let tree = tiles::resume(&mut self.session, state.key, state.size).await?;
                self.trees.insert(log, tree);
            }
        }
        Ok(())
    }

    async fn write(&mut self, mut batch: Batch) -> Result<(), StorageError> {
        let session = &mut self.session;
        session.begin().await?;
        for (log, change) in &batch.logs {
            write_log(session, *log, change).await?;
        }
        for (table, columns) in batch.take_inserts() {
            session.insert(table, columns).await?;
        }
        for (shard, key) in &batch.deleted {
            let arguments = vec![Value::int(shard.0.into())?, Value::Bytes(key.clone())];
            session.execute("DELETE FROM state WHERE shard = $1 AND key = $2", arguments).await?;
        }
        for (shard, height) in &batch.decided {
            end_agreement(session, *shard, *height).await?;
        }
        session.commit().await?;
        for (log, change) in batch.logs {
            self.logs.insert(log, change.after);
            self.trees.insert(log, change.tiles);
        }
        Ok(())
    }
}

/// Forgets what was logged of heights that are over.
async fn end_agreement(
    session: &mut AnySession,
    shard: ShardId,
    height: i64,
) -> Result<(), StorageError> {
    for sql in [
        "DELETE FROM agreement WHERE shard = $1 AND height <= $2",
        "DELETE FROM candidates WHERE shard = $1 AND height <= $2",
    ] {
        let arguments = vec![Value::Int(shard.0.into()), Value::Int(height)];
        session.execute(sql, arguments).await?;
    }
    Ok(())
}

async fn write_log(
    session: &mut AnySession,
    log: LogId,
    change: &LogChange,
) -> Result<(), StorageError> {
    let after = &change.after;
    let reach = [Value::int(after.size.0)?, Value::int(after.total_bytes)?];
    let frontier = Value::Bytes(change.frontier.clone());
    let Some(before) = &change.before else {
        let sql = "INSERT INTO logs \
             (size, total_bytes, frontier, key, node, shard, incarnation, pruned_bytes, tiled) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $1)";
        let mut arguments = Vec::from(reach);
        arguments.extend([frontier, Value::Int(after.key)]);
        arguments.extend(log_arguments(log));
        return session.execute(sql, arguments).await.map(|_| ());
    };
    // The old size is part of the condition, so that two processes on one store cannot both
    // extend a log.
    let sql = "UPDATE logs SET size = $1, tiled = $1, total_bytes = $2, frontier = $3 \
         WHERE key = $4 AND size = $5";
    let mut arguments = Vec::from(reach);
    arguments.extend([frontier, Value::Int(before.key), Value::int(before.size.0)?]);
    match session.execute(sql, arguments).await? {
        1 => Ok(()),
        _ => Err(StorageError::AlreadyStored { what: format!("log {log} beyond {}", before.size) }),
    }
}

/// The log's node, shard and incarnation as arguments.
pub(super) fn log_arguments(log: LogId) -> [Value; 3] {
    let (node, shard, incarnation) = (log.node.0, log.shard.0, log.incarnation.0);
    [Value::Int(node.into()), Value::Int(shard.into()), Value::Int(incarnation.into())]
}

/// The log whose node, shard and incarnation begin at column `first`.
pub(super) fn log_at(row: &Row, first: usize) -> Result<LogId, StorageError> {
    Ok(LogId {
        node: NodeId(row.narrow(first)?),
        shard: ShardId(row.narrow(first + 1)?),
        incarnation: Incarnation(row.narrow(first + 2)?),
    })
}

fn log_state(row: &Row) -> Result<(LogId, LogState), StorageError> {
    let state = LogState {
        key: row.narrow(0)?,
        size: LogSize(row.number(4)?),
        total_bytes: row.number(5)?,
    };
    Ok((log_at(row, 1)?, state))
}
