//! Reading logs: stretches for followers and auditors, checkpoints, leaf hashes, recent entries.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidings_envelope::{EntryHeader, LogId, SignedCheckpoint};
use tidings_payer::Due;
use tidings_replica::store::{EntryRecord, Flush};
use tidings_types::{EnvelopeId, Hash, LogIndex, LogSize, NodeId, Period, Wire, merkle};

use super::batch::entry_key;
use super::value::{Row, Value, damaged, int};
use super::write::{log_arguments, log_at};
use super::{ROWS_AT_ONCE, Storage, StorageError};

/// An entry of a node's own logs whose envelope may still come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentEntry {
    /// Which log.
    pub log: LogId,
    /// Where in the log.
    pub index: LogIndex,
    /// Which envelope.
    pub envelope_id: EnvelopeId,
    /// The size of the first checkpoint that covers it.
    pub checkpoint_size: LogSize,
    /// What it is billed as.
    pub due: Due,
}

/// How much the store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries of all logs.
    pub entries: u64,
    /// Bytes of their headers and of the payloads that are still there.
    pub bytes: u64,
}

/// A log's number in this store, and the range of its entries' keys.
#[derive(Debug, Clone, Copy)]
struct LogKey(i64);

impl LogKey {
    fn range(self, from: LogIndex, to: LogIndex) -> Result<[Value; 2], StorageError> {
        Ok([Value::Int(entry_key(self.0, from)?), Value::Int(entry_key(self.0, to)?)])
    }
}

impl Storage {
    /// The stretch of `log` from `from` on that ends at the last checkpoint with which it has at
    /// most `entries_max` entries and `bytes_max` bytes, or at the first checkpoint if that is
    /// beyond the limits; `None` when nothing is stored from there on.
    ///
    /// `from` may lie anywhere; the frontier is left empty. Pruned payloads are absent.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn flushes(
        &self,
        log: LogId,
        from: LogIndex,
        entries_max: usize,
        bytes_max: usize,
    ) -> Result<Option<Flush>, StorageError> {
        let Some(key) = self.log_key(log).await? else { return Ok(None) };
        let bounds = (entries_max as u64, bytes_max as u64);
        let Some(checkpoint) = self.flush_end(key, from, bounds).await? else { return Ok(None) };
        let to = checkpoint.checkpoint.size.next_index();
        let sql = "SELECT header, payload FROM entries WHERE key >= $1 AND key < $2 ORDER BY key";
        let rows = self.fetch(sql, key.range(from, to)?.into()).await?;
        let entries = rows.into_iter().map(entry_record).collect::<Result<Vec<_>, _>>()?;
        match entries.len() as u64 == to.0.saturating_sub(from.0) {
            true => Ok(Some(Flush { log, entries, checkpoint, frontier: Vec::new() })),
            false => Err(damaged("a log's entries")),
        }
    }

    async fn flush_end(
        &self,
        key: LogKey,
        from: LogIndex,
        (entries_max, bytes_max): (u64, u64),
    ) -> Result<Option<SignedCheckpoint>, StorageError> {
        let Ok(start) = int(from.0) else { return Ok(None) };
        let sql = "SELECT total_bytes FROM checkpoints WHERE log_key = $1 AND size <= $2 \
             ORDER BY size DESC LIMIT 1";
        let rows = self.fetch(sql, vec![Value::Int(key.0), Value::Int(start)]).await?;
        let bytes_before = rows.first().map_or(Ok(0), |row| row.number(0))?;
        let saturated = |value: u64| Value::Int(i64::try_from(value).unwrap_or(i64::MAX));
        let within = vec![
            Value::Int(key.0),
            Value::Int(start),
            saturated(from.0.saturating_add(entries_max)),
            saturated(bytes_before.saturating_add(bytes_max)),
        ];
        let sql = "SELECT checkpoint FROM checkpoints \
             WHERE log_key = $1 AND size > $2 AND size <= $3 AND total_bytes <= $4 \
             ORDER BY size DESC LIMIT 1";
        let mut rows = self.fetch(sql, within).await?;
        if rows.is_empty() {
            let sql = "SELECT checkpoint FROM checkpoints WHERE log_key = $1 AND size > $2 \
                 ORDER BY size LIMIT 1";
            rows = self.fetch(sql, vec![Value::Int(key.0), Value::Int(start)]).await?;
        }
        rows.first_mut().map(|row| row.wire(0, "a checkpoint")).transpose()
    }

    /// The newest checkpoint of every log, by node, shard and incarnation.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn logs(&self) -> Result<Vec<SignedCheckpoint>, StorageError> {
        let sql = "SELECT c.checkpoint FROM logs l \
             JOIN checkpoints c ON c.log_key = l.key AND c.size = l.size \
             ORDER BY l.node, l.shard, l.incarnation";
        let rows = self.fetch(sql, Vec::new()).await?;
        rows.into_iter().map(|mut row| row.wire(0, "a checkpoint")).collect()
    }

    /// The checkpoint of `log` at exactly `size`, if one was stored.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn checkpoint_at(
        &self,
        log: LogId,
        size: LogSize,
    ) -> Result<Option<SignedCheckpoint>, StorageError> {
        let (Some(key), Ok(size)) = (self.log_key(log).await?, int(size.0)) else {
            return Ok(None);
        };
        let sql = "SELECT checkpoint FROM checkpoints WHERE log_key = $1 AND size = $2";
        let mut rows = self.fetch(sql, vec![Value::Int(key.0), Value::Int(size)]).await?;
        rows.first_mut().map(|row| row.wire(0, "a checkpoint")).transpose()
    }

    /// The leaf hashes of `log` from `from` to below `to`; fewer where the log ends.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn leaf_hashes(
        &self,
        log: LogId,
        from: LogIndex,
        to: LogIndex,
    ) -> Result<Vec<Hash>, StorageError> {
        let mut hashes = Vec::new();
        let Some(key) = self.log_key(log).await? else { return Ok(hashes) };
        let mut next = from;
        while next < to {
            let end = next.plus(ROWS_AT_ONCE).min(to);
            let Ok(range) = key.range(next, end) else { break };
            let sql = "SELECT header FROM entries WHERE key >= $1 AND key < $2 ORDER BY key";
            let rows = self.fetch(sql, range.into()).await?;
            let is_last = (rows.len() as u64) < end.0 - next.0;
            for mut row in rows {
                hashes.push(merkle::leaf_hash(&row.bytes(0)?));
            }
            if is_last {
                break;
            }
            next = end;
        }
        Ok(hashes)
    }

    /// The headers of `log` from `from` to below `to`; fewer where the log ends.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn headers(
        &self,
        log: LogId,
        from: LogIndex,
        to: LogIndex,
    ) -> Result<Vec<EntryHeader>, StorageError> {
        let Some(key) = self.log_key(log).await? else { return Ok(Vec::new()) };
        let Ok(range) = key.range(from, to) else { return Ok(Vec::new()) };
        let sql = "SELECT header FROM entries WHERE key >= $1 AND key < $2 ORDER BY key";
        let rows = self.fetch(sql, range.into()).await?;
        rows.into_iter().map(|mut row| row.wire(0, "an entry's header")).collect()
    }

    /// The entries of `node`'s logs, oldest log first, whose fee period is `since` or later.
    ///
    /// Relies on `node` being honest: it signs no checkpoint in an earlier period than that of
    /// an entry below it.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn recent(
        &self,
        node: NodeId,
        since: Period,
    ) -> Result<Vec<RecentEntry>, StorageError> {
        let sql = "SELECT key, node, shard, incarnation, size FROM logs WHERE node = $1 \
             ORDER BY shard, incarnation";
        let logs = self.fetch(sql, vec![Value::int(node.0.into())?]).await?;
        let mut recent = Vec::new();
        for row in &logs {
            let (key, log) = (LogKey(row.narrow(0)?), log_at(row, 1)?);
            self.add_recent(key, log, since, &mut recent).await?;
        }
        Ok(recent)
    }

    async fn add_recent(
        &self,
        key: LogKey,
        log: LogId,
        since: Period,
        recent: &mut Vec<RecentEntry>,
    ) -> Result<(), StorageError> {
        let period = i64::try_from(since.0).unwrap_or(i64::MAX);
        let sql = "SELECT size FROM checkpoints WHERE log_key = $1 AND period < $2 \
             ORDER BY size DESC LIMIT 1";
        let rows = self.fetch(sql, vec![Value::Int(key.0), Value::Int(period)]).await?;
        let from = rows.first().map_or(Ok(0), |row| row.number(0))?;
        let sql = "SELECT size FROM checkpoints WHERE log_key = $1 AND size > $2 ORDER BY size";
        let rows = self.fetch(sql, vec![Value::Int(key.0), Value::int(from)?]).await?;
        let sizes = rows.iter().map(|row| row.number(0)).collect::<Result<Vec<_>, _>>()?;
        let end = LogIndex(sizes.last().copied().unwrap_or(from));
        let (mut next, mut sizes) = (LogIndex(from), sizes.into_iter().peekable());
        while next < end {
            let to = next.plus(ROWS_AT_ONCE).min(end);
            let sql = "SELECT header FROM entries WHERE key >= $1 AND key < $2 ORDER BY key";
            for mut row in self.fetch(sql, key.range(next, to)?.into()).await? {
                let header: EntryHeader = row.wire(0, "an entry's header")?;
                while sizes.next_if(|size| *size <= header.index.0).is_some() {}
                let checkpoint_size = LogSize(*sizes.peek().ok_or(damaged("a checkpoint"))?);
                if header.fee_period >= since {
                    let (index, envelope_id) = (header.index, header.envelope_id);
                    let due = Due::of(&header, log.shard);
                    recent.push(RecentEntry { log, index, envelope_id, checkpoint_size, due });
                }
            }
            next = to;
        }
        Ok(())
    }

    /// How much the store holds.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails.
    pub async fn stats(&self) -> Result<Stats, StorageError> {
        let sql = "SELECT CAST(coalesce(sum(size), 0) AS BIGINT), \
             CAST(coalesce(sum(total_bytes - pruned_bytes), 0) AS BIGINT) FROM logs";
        let rows = self.fetch(sql, Vec::new()).await?;
        let row = rows.first().ok_or(damaged("the logs"))?;
        Ok(Stats { entries: row.number(0)?, bytes: row.number(1)? })
    }

    async fn log_key(&self, log: LogId) -> Result<Option<LogKey>, StorageError> {
        let sql = "SELECT key FROM logs WHERE node = $1 AND shard = $2 AND incarnation = $3";
        let rows = self.fetch(sql, log_arguments(log).into()).await?;
        rows.first().map(|row| row.narrow(0).map(LogKey)).transpose()
    }

    /// Every log by its number in this store.
    pub(super) async fn logs_by_key(&self) -> Result<BTreeMap<i64, LogId>, StorageError> {
        let rows = self.fetch("SELECT key, node, shard, incarnation FROM logs", Vec::new()).await?;
        rows.iter().map(|row| Ok((row.narrow(0)?, log_at(row, 1)?))).collect()
    }
}

fn entry_record(mut row: Row) -> Result<EntryRecord, StorageError> {
    let bytes = row.bytes(0)?;
    let header = EntryHeader::from_wire(&bytes).map_err(|_| damaged("an entry's header"))?;
    Ok(EntryRecord {
        header,
        hash: merkle::leaf_hash(&bytes).into(),
        payload: row.optional_bytes(1)?.map(Arc::from),
    })
}
