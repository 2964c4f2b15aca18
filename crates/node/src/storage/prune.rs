//! Dropping payloads whose retention ended; headers stay, so logs and bills still verify.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use tidings_envelope::{CongestionHistory, EntryHeader, RegistryHistory};
use tidings_payer::billable_through;
use tidings_types::{LogIndex, Period, RegistryEpoch, ShardId};

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

/// How far shards have come, and how long their payloads are kept: no clock, and nothing that an
/// originator wrote but what its payer signed, has a part in it (LOG-018).
#[derive(Debug, Clone)]
pub struct Retention {
    /// Say how long periods are.
    registries: Arc<RegistryHistory>,
    shards: BTreeMap<ShardId, Arc<CongestionHistory>>,
    latest: Period,
}

impl Retention {
    /// How long payloads are kept by what the ordered lanes of `shards` have come to; any other
    /// shard is in the `latest` period.
    #[must_use]
    pub fn new(
        registries: Arc<RegistryHistory>,
        shards: BTreeMap<ShardId, Arc<CongestionHistory>>,
        latest: Period,
    ) -> Self {
        Self { registries, shards, latest }
    }

    /// The last period in which an entry's payload is held: by the longest retention that a
    /// registry has given it since its period, so that longer periods take nothing away from what
    /// was paid for; and as long as somebody who comes back must see it.
    fn last(&self, shard: ShardId, header: &EntryHeader) -> Period {
        let epoch = self.shards.get(&shard).and_then(|history| history.epoch(header.fee_period));
        let since = epoch.unwrap_or(RegistryEpoch::FIRST);
        let later = self.registries.iter().filter(|registry| registry.epoch >= since);
        let shortest = later.min_by_key(|registry| registry.period_ms);
        let registry = shortest.unwrap_or(self.registries.latest());
        registry.payload_kept_through(header).max(billable_through(header.fee_period))
    }

    fn period(&self, shard: ShardId) -> Period {
        self.shards.get(&shard).map_or(self.latest, |history| history.current())
    }

    /// The latest period of all.
    fn newest(&self) -> Period {
        let periods = self.shards.values().map(|history| history.current());
        periods.max().unwrap_or_default().max(self.latest)
    }
}

/// A flush with a payload that is due.
struct DueFlush {
    log_key: i64,
    shard: ShardId,
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
    /// Drops the payloads whose retention has ended.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails; what was dropped before that stays dropped.
    pub async fn prune(&self, retention: &Retention) -> Result<Pruned, StorageError> {
        let mut total = Pruned::default();
        loop {
            let (flushes, pruned) =
                self.transaction(async |session| prune_some(session, retention).await).await?;
            total.payloads += pruned.payloads;
            total.bytes += pruned.bytes;
            if flushes == 0 {
                return Ok(total);
            }
        }
    }
}

/// Prunes a few flushes and says how many.
async fn prune_some(
    session: &mut AnySession,
    retention: &Retention,
) -> Result<(usize, Pruned), StorageError> {
    let sql = "SELECT c.log_key, c.first, c.size, l.shard FROM checkpoints c \
         JOIN logs l ON l.key = c.log_key WHERE c.expires_at < $1 \
         ORDER BY c.expires_at LIMIT $2";
    let newest = Value::Int(expiry(retention.newest()));
    let rows = session.fetch(sql, vec![newest, Value::Int(FLUSHES_AT_ONCE)]).await?;
    let mut total = Pruned::default();
    for row in &rows {
        let flush = DueFlush {
            log_key: row.narrow(0)?,
            first: LogIndex(row.number(1)?),
            size: row.number(2)?,
            shard: ShardId(row.narrow(3)?),
        };
        let pruned = prune_flush(session, &flush, retention).await?;
        total.payloads += pruned.payloads;
        total.bytes += pruned.bytes;
    }
    Ok((rows.len(), total))
}

async fn prune_flush(
    session: &mut AnySession,
    flush: &DueFlush,
    retention: &Retention,
) -> Result<Pruned, StorageError> {
    let sql = "SELECT key, header, CAST(length(payload) AS BIGINT) FROM entries \
         WHERE key >= $1 AND key < $2 ORDER BY key";
    let from = Value::Int(entry_key(flush.log_key, flush.first)?);
    let to = Value::Int(entry_key(flush.log_key, LogIndex(flush.size))?);
    let plan = plan(session.fetch(sql, vec![from, to]).await?, flush.shard, retention)?;
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
fn plan(rows: Vec<Row>, shard: ShardId, retention: &Retention) -> Result<Plan, StorageError> {
    let (period, newest) = (retention.period(shard), retention.newest());
    let mut plan = Plan { dropped: Vec::new(), expires_at: NEVER, pruned: Pruned::default() };
    for mut row in rows {
        if row.0.get(2) == Some(&Value::Null) {
            continue;
        }
        let (key, bytes): (i64, _) = (row.narrow(0)?, row.number(2)?);
        let header: EntryHeader = row.wire(1, "an entry's header")?;
        let last = retention.last(shard, &header);
        if last >= period {
            // Where a shard is behind others, they are looked at again when those go on.
            plan.expires_at = plan.expires_at.min(expiry(last.max(newest)));
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
