//! Dropping payloads whose retention ended; headers stay, so logs and bills still verify.

use std::ops::Range;

use tidings_envelope::EntryHeader;
use tidings_types::{LogIndex, TimestampSeconds};

use super::backend::{AnySession, Session};
use super::batch::{NEVER, entry_key, expiry};
use super::value::{Row, Value};
use super::{Storage, StorageError};

/// Flushes per transaction, so that writers wait little.
const FLUSHES_AT_ONCE: i64 = 16;

/// What a prune dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many payloads.
    pub payloads: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A flush with a payload that is due.
struct DueFlush {
    log_key: i64,
    first: LogIndex,
    size: u64,
}

/// What becomes of a flush.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Keys of neighbouring entries that lose their payloads.
    dropped: Vec<Range<i64>>,
    /// When the next payload is due.
    expires_at: i64,
    /// What is dropped.
    pruned: Pruned,
}

impl Storage {
    /// Drops the payloads whose retention, counted from their entry's timestamp, ended by `now`.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails; what was dropped before that stays dropped.
    pub async fn prune(&self, now: TimestampSeconds) -> Result<Pruned, StorageError> {
        let now = i64::try_from(now.0).unwrap_or(NEVER).min(NEVER - 1);
        let mut total = Pruned::default();
        loop {
            let (flushes, pruned) =
                self.transaction(async |session| prune_some(session, now).await).await?;
            total.payloads += pruned.payloads;
            total.bytes += pruned.bytes;
            if flushes == 0 {
                return Ok(total);
            }
        }
    }
}

/// Prunes a few flushes and says how many.
async fn prune_some(session: &mut AnySession, now: i64) -> Result<(usize, Pruned), StorageError> {
    let sql = "SELECT log_key, first, size FROM checkpoints WHERE expires_at <= $1 \
         ORDER BY expires_at LIMIT $2";
    let rows = session.fetch(sql, vec![Value::Int(now), Value::Int(FLUSHES_AT_ONCE)]).await?;
    let mut total = Pruned::default();
    for row in &rows {
        let flush = DueFlush {
            log_key: row.narrow(0)?,
            first: LogIndex(row.number(1)?),
            size: row.number(2)?,
        };
        let pruned = prune_flush(session, &flush, now).await?;
        total.payloads += pruned.payloads;
        total.bytes += pruned.bytes;
    }
    Ok((rows.len(), total))
}

async fn prune_flush(
    session: &mut AnySession,
    flush: &DueFlush,
    now: i64,
) -> Result<Pruned, StorageError> {
    let sql = "SELECT key, header, CAST(length(payload) AS BIGINT) FROM entries \
         WHERE key >= $1 AND key < $2 ORDER BY key";
    let from = Value::Int(entry_key(flush.log_key, flush.first)?);
    let to = Value::Int(entry_key(flush.log_key, LogIndex(flush.size))?);
    let plan = plan(session.fetch(sql, vec![from, to]).await?, now)?;
    for keys in &plan.dropped {
        let sql = "UPDATE entries SET payload = NULL WHERE key >= $1 AND key < $2";
        session.execute(sql, vec![Value::Int(keys.start), Value::Int(keys.end)]).await?;
    }
    let sql = "UPDATE checkpoints SET expires_at = $1 WHERE log_key = $2 AND size = $3";
    let (log_key, size) = (Value::Int(flush.log_key), Value::int(flush.size)?);
    session.execute(sql, vec![Value::Int(plan.expires_at), log_key.clone(), size]).await?;
    let sql = "UPDATE logs SET pruned_bytes = pruned_bytes + $1 WHERE key = $2";
    session.execute(sql, vec![Value::int(plan.pruned.bytes)?, log_key]).await?;
    Ok(plan.pruned)
}

/// What to do with the entries in `rows`: key, header, length of the payload if there is one.
fn plan(rows: Vec<Row>, now: i64) -> Result<Plan, StorageError> {
    let mut plan = Plan { dropped: Vec::new(), expires_at: NEVER, pruned: Pruned::default() };
    for mut row in rows {
        if row.0.get(2) == Some(&Value::Null) {
            continue;
        }
        let (key, bytes): (i64, _) = (row.narrow(0)?, row.number(2)?);
        let header: EntryHeader = row.wire(1, "an entry's header")?;
        let due = expiry(&header);
        if due > now {
            plan.expires_at = plan.expires_at.min(due);
            continue;
        }
        plan.pruned.payloads += 1;
        plan.pruned.bytes += bytes;
        match plan.dropped.last_mut().filter(|keys| keys.end == key) {
            Some(keys) => keys.end += 1,
            None => plan.dropped.push(key..key + 1),
        }
    }
    Ok(plan)
}
