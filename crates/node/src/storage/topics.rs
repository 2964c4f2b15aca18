//! Reading topics: pages after a cursor, and the newest entries.

use tidings_envelope::api::{TopicCursor, TopicEntry, TopicPage};
use tidings_envelope::{LogEntry, LogId, OrderedReceipt, Topic};
use tidings_types::constants::{PAGE_BYTES_MAX, PAGE_ENTRIES_MAX, PROTOCOL_VERSION};
use tidings_types::{Position, TopicIndex};

use super::value::{Row, Value, damaged, int};
use super::write::log_at;
use super::{Storage, StorageError};

/// Each log that holds the topic, found by jumping from log to log in the index, with the number
/// of the topic's last entry there.
const LOGS_OF_TOPIC: &str = "\
    WITH RECURSIVE holding(log_key) AS ( \
        SELECT min(log_key) FROM entries WHERE topic = $1 \
        UNION ALL \
        SELECT (SELECT min(e.log_key) FROM entries e \
            WHERE e.topic = $1 AND e.log_key > holding.log_key) \
        FROM holding WHERE holding.log_key IS NOT NULL \
    ) \
    SELECT l.key, l.node, l.shard, l.incarnation, \
        (SELECT max(e.topic_index) FROM entries e WHERE e.topic = $1 AND e.log_key = l.key) \
    FROM holding JOIN logs l ON l.key = holding.log_key";

const ORDERED_SIZES: &str = "\
    SELECT o.position, CAST(length(b.header) + length(b.certificate) + length(o.path) \
        + length(p.decided) AS BIGINT) \
    FROM ordered o \
    JOIN blocks b ON b.shard = o.shard AND b.height = o.height \
    JOIN operations p ON p.shard = o.shard AND p.height = o.height AND p.idx = o.idx \
    WHERE o.topic = $1 AND o.position > $2 ORDER BY o.position LIMIT $3";

const ORDERED_ENTRIES: &str = "\
    SELECT o.idx, b.header, b.certificate, o.path, p.decided \
    FROM ordered o \
    JOIN blocks b ON b.shard = o.shard AND b.height = o.height \
    JOIN operations p ON p.shard = o.shard AND p.height = o.height AND p.idx = o.idx \
    WHERE o.topic = $1 AND o.position > $2 AND o.position <= $3 ORDER BY o.position";

const BROADCAST_SIZES: &str = "\
    SELECT topic_index, CAST(length(header) + coalesce(length(payload), 0) AS BIGINT) \
    FROM entries WHERE topic = $1 AND log_key = $2 AND topic_index >= $3 \
    ORDER BY topic_index LIMIT $4";

const BROADCAST_ENTRIES: &str = "\
    SELECT header, payload FROM entries \
    WHERE topic = $1 AND log_key = $2 AND topic_index >= $3 AND topic_index <= $4 \
    ORDER BY topic_index";

/// A log that holds a topic.
struct Holding {
    key: i64,
    log: LogId,
    last: TopicIndex,
}

/// What a page has room for.
struct Room {
    entries: usize,
    bytes: usize,
    is_empty: bool,
}

impl Room {
    fn new(entries: usize, bytes: usize) -> Self {
        Self { entries: entries.clamp(1, PAGE_ENTRIES_MAX), bytes, is_empty: true }
    }

    /// How many rows to ask for: one more than fit, to know whether there are more.
    fn rows(&self) -> Value {
        Value::Int(i64::try_from(self.entries + 1).unwrap_or(i64::MAX))
    }

    /// The number of the last of `rows`, each a number and a size in bytes, that fits, and
    /// whether there are more; the first of a page always fits.
    fn fit(&mut self, rows: &[Row]) -> Result<(Option<u64>, bool), StorageError> {
        let mut last = None;
        for row in rows {
            let bytes = row.narrow::<usize>(1)?;
            if self.entries == 0 || (bytes > self.bytes && !self.is_empty) {
                return Ok((last, true));
            }
            self.entries -= 1;
            self.bytes = self.bytes.saturating_sub(bytes);
            self.is_empty = false;
            last = Some(row.number(0)?);
        }
        Ok((last, false))
    }
}

impl Storage {
    /// What `topic` holds after `cursor`: ordered entries by position, then broadcast entries by
    /// log and topic index, together at most `limit` entries (1 to 1000) and `bytes_max` bytes,
    /// but at least one entry if there is any.
    ///
    /// Logs that the cursor does not name are read from their start. Pruned payloads are absent.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn topic_page(
        &self,
        topic: Topic,
        cursor: &TopicCursor,
        limit: usize,
        bytes_max: usize,
    ) -> Result<TopicPage, StorageError> {
        let mut room = Room::new(limit, bytes_max);
        let (ordered, mut more) = self.ordered_after(topic, cursor.position, &mut room).await?;
        let mut broadcast = Vec::new();
        for holding in self.logs_of(topic).await? {
            let known = cursor.logs.iter().find(|known| known.log == holding.log);
            let next = known.map_or(TopicIndex(0), |known| known.next);
            if next > holding.last {
                continue;
            }
            more |= self.broadcast_from(topic, &holding, next, &mut room, &mut broadcast).await?;
        }
        Ok(TopicPage {
            version: PROTOCOL_VERSION,
            ordered: ordered.try_into().map_err(|_| damaged("a page"))?,
            broadcast: broadcast.try_into().map_err(|_| damaged("a page"))?,
            more: more.into(),
        })
    }

    async fn ordered_after(
        &self,
        topic: Topic,
        after: Position,
        room: &mut Room,
    ) -> Result<(Vec<OrderedReceipt>, bool), StorageError> {
        let Ok(after) = int(after.0) else { return Ok((Vec::new(), false)) };
        let arguments = vec![Value::wire(&topic), Value::Int(after), room.rows()];
        let sizes = self.fetch(ORDERED_SIZES, arguments).await?;
        let (Some(last), more) = room.fit(&sizes)? else { return Ok((Vec::new(), false)) };
        let arguments = vec![Value::wire(&topic), Value::Int(after), Value::int(last)?];
        let rows = self.fetch(ORDERED_ENTRIES, arguments).await?;
        let receipts = rows.into_iter().map(ordered_receipt).collect::<Result<_, _>>()?;
        Ok((receipts, more))
    }

    /// Adds what fits, and says whether the log holds more.
    async fn broadcast_from(
        &self,
        topic: Topic,
        holding: &Holding,
        next: TopicIndex,
        room: &mut Room,
        broadcast: &mut Vec<TopicEntry>,
    ) -> Result<bool, StorageError> {
        if room.entries == 0 {
            return Ok(true);
        }
        let from = [Value::wire(&topic), Value::Int(holding.key), Value::int(next.0)?];
        let mut arguments = Vec::from(from.clone());
        arguments.push(room.rows());
        let sizes = self.fetch(BROADCAST_SIZES, arguments).await?;
        let (Some(last), more) = room.fit(&sizes)? else { return Ok(!sizes.is_empty()) };
        let mut arguments = Vec::from(from);
        arguments.push(Value::int(last)?);
        for row in self.fetch(BROADCAST_ENTRIES, arguments).await? {
            broadcast.push(TopicEntry { log: holding.log, entry: log_entry(row)? });
        }
        Ok(more)
    }

    /// The last entry of `topic` in every log, most recently opened log first; where they exceed
    /// a page in number or bytes, the rest is left out.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn newest(&self, topic: Topic) -> Result<Vec<TopicEntry>, StorageError> {
        let mut room = Room::new(PAGE_ENTRIES_MAX, PAGE_BYTES_MAX);
        let mut holdings = self.logs_of(topic).await?;
        holdings.sort_by_key(|holding| std::cmp::Reverse(holding.key));
        let mut newest = Vec::new();
        for holding in &holdings {
            if self.broadcast_from(topic, holding, holding.last, &mut room, &mut newest).await? {
                break;
            }
        }
        Ok(newest)
    }

    /// The logs that hold `topic`, in the order of their ids.
    async fn logs_of(&self, topic: Topic) -> Result<Vec<Holding>, StorageError> {
        let rows = self.fetch(LOGS_OF_TOPIC, vec![Value::wire(&topic)]).await?;
        let holdings = rows.iter().map(|row| {
            let (key, last) = (row.narrow(0)?, TopicIndex(row.number(4)?));
            Ok(Holding { key, log: log_at(row, 1)?, last })
        });
        let mut holdings = holdings.collect::<Result<Vec<_>, StorageError>>()?;
        holdings.sort_by_key(|holding| holding.log);
        Ok(holdings)
    }
}

fn ordered_receipt(mut row: Row) -> Result<OrderedReceipt, StorageError> {
    Ok(OrderedReceipt {
        index: row.narrow(0)?,
        header: row.wire(1, "a block's header")?,
        certificate: row.wire(2, "a certificate")?,
        path: row.wire(3, "a Merkle path")?,
        decided: row.wire(4, "an operation")?,
    })
}

fn log_entry(mut row: Row) -> Result<LogEntry, StorageError> {
    let header = row.wire(0, "an entry's header")?;
    let payload = row.optional_bytes(1)?.map(TryInto::try_into).transpose();
    Ok(LogEntry { header, payload: payload.map_err(|_| damaged("a payload"))? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entries: usize, bytes: usize, sizes: &[i64], expected: (Option<u64>, bool)) {
        let rows: Vec<_> = (10..)
            .zip(sizes)
            .map(|(number, size)| Row(vec![Value::Int(number), Value::Int(*size)]))
            .collect();
        assert_eq!(Room::new(entries, bytes).fit(&rows).unwrap(), expected);
    }

    #[test]
    fn pages_end_at_their_limits_but_never_empty() {
        check(3, 100, &[], (None, false));
        check(3, 100, &[10, 10, 10], (Some(12), false));
        check(3, 100, &[10, 10, 10, 10], (Some(12), true));
        check(3, 100, &[60, 60], (Some(10), true));
        check(3, 100, &[60, 40], (Some(11), false));
        check(3, 100, &[600, 1], (Some(10), true));
        check(0, 100, &[1, 1], (Some(10), true));
    }
}
