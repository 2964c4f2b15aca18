//! Reading back, at a start, what the replica goes on from.

use std::collections::BTreeMap;

use tidings_envelope::{Block, EntryHeader, LogId, Topic};
use tidings_order::{LogRecord, RestoredAgreement};
use tidings_replica::store::{Restored, RestoredLane, RestoredLog, TopicHeads};
use tidings_types::{EntryHash, Height, LogIndex, ShardId, TopicIndex, Wire, merkle};

use super::batch::entry_key;
use super::tiles::HEADERS;
use super::value::{Value, damaged};
use super::write::log_at;
use super::{ROWS_AT_ONCE, Storage, StorageError};

/// The last entry of each topic in each log that is its node's newest for the shard, a page at a
/// time by topic and log.
const TOPIC_HEADS: &str = "\
    SELECT h.topic, h.log_key, h.last, e.header \
    FROM ( \
        SELECT topic, log_key, max(topic_index) AS last FROM entries \
        WHERE (topic, log_key) > ($1, $2) AND log_key IN ( \
            SELECT l.key FROM logs l WHERE NOT EXISTS ( \
                SELECT 1 FROM logs n WHERE n.node = l.node AND n.shard = l.shard \
                    AND n.incarnation > l.incarnation)) \
        GROUP BY topic, log_key ORDER BY topic, log_key LIMIT $3 \
    ) h \
    JOIN entries e \
        ON e.topic = h.topic AND e.log_key = h.log_key AND e.topic_index = h.last \
    ORDER BY h.topic, h.log_key";

impl Storage {
    /// Everything that the replica needs to go on.
    ///
    /// Topics are filled in only for the newest incarnation of a node in a shard, the one that
    /// may still grow.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn load(&self) -> Result<Restored, StorageError> {
        Ok(Restored {
            logs: self.load_logs().await?,
            lanes: self.load_lanes().await?,
            evidence: self.evidence().await?,
        })
    }

    /// The last entry of each topic of a log.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn topic_heads_of(&self, log: LogId) -> Result<TopicHeads, StorageError> {
        let mut heads = TopicHeads::new();
        let Some((key, size)) = self.log_reach(log).await? else { return Ok(heads) };
        let mut from = LogIndex(0);
        while from < size.next_index() {
            let to = from.plus(ROWS_AT_ONCE).min(size.next_index());
            let range = [Value::Int(entry_key(key, from)?), Value::Int(entry_key(key, to)?)];
            for mut row in self.fetch(HEADERS, range.into()).await? {
                let bytes = row.bytes(0)?;
                let header =
                    EntryHeader::from_wire(&bytes).map_err(|_| damaged("an entry's header"))?;
                let hash = EntryHash(merkle::leaf_hash(&bytes));
                heads.insert(header.topic, (header.topic_index.plus(1), hash));
            }
            from = to;
        }
        Ok(heads)
    }

    async fn load_logs(&self) -> Result<BTreeMap<LogId, RestoredLog>, StorageError> {
        let sql = "SELECT l.node, l.shard, l.incarnation, c.checkpoint, l.frontier FROM logs l \
             JOIN checkpoints c ON c.log_key = l.key AND c.size = l.size";
        let mut logs = BTreeMap::new();
        for mut row in self.fetch(sql, Vec::new()).await? {
            let restored = RestoredLog {
                checkpoint: row.wire(3, "a checkpoint")?,
                frontier: row.bytes(4)?,
                topics: BTreeMap::new(),
            };
            logs.insert(log_at(&row, 0)?, restored);
        }
        let ids = self.logs_by_key().await?;
        for (key, topics) in self.topic_heads().await? {
            let log = ids.get(&key).and_then(|log| logs.get_mut(log));
            log.ok_or(damaged("a log"))?.topics = topics;
        }
        Ok(logs)
    }

    async fn topic_heads(&self) -> Result<BTreeMap<i64, TopicHeads>, StorageError> {
        let mut heads: BTreeMap<i64, TopicHeads> = BTreeMap::new();
        let mut after = (Vec::new(), 0);
        loop {
            let limit = Value::int(ROWS_AT_ONCE)?;
            let arguments = vec![Value::Bytes(after.0), Value::Int(after.1), limit];
            let rows = self.fetch(TOPIC_HEADS, arguments).await?;
            let is_last = (rows.len() as u64) < ROWS_AT_ONCE;
            after = (Vec::new(), 0);
            for mut row in rows {
                let (topic, key) = (row.bytes(0)?, row.narrow(1)?);
                let count = TopicIndex(row.number(2)?).plus(1);
                let hash = EntryHash(merkle::leaf_hash(&row.bytes(3)?));
                let known = Topic::from_wire(&topic).map_err(|_| damaged("a topic"))?;
                heads.entry(key).or_default().insert(known, (count, hash));
                after = (topic, key);
            }
            if is_last {
                return Ok(heads);
            }
        }
    }

    async fn load_lanes(&self) -> Result<BTreeMap<ShardId, RestoredLane>, StorageError> {
        let sql = "SELECT shard FROM blocks UNION SELECT shard FROM agreement";
        let mut lanes = BTreeMap::new();
        for row in self.fetch(sql, Vec::new()).await? {
            let shard = ShardId(row.narrow(0)?);
            let head = self.last_block(shard).await?;
            let decided = head.as_ref().map(|certified| certified.block.header.height);
            let next = decided.unwrap_or_default().plus(1);
            let agreement = self.load_agreement(shard, next).await?;
            let state = self.load_state(shard).await?;
            lanes.insert(shard, RestoredLane { head, agreement, state });
        }
        Ok(lanes)
    }

    async fn load_agreement(
        &self,
        shard: ShardId,
        height: Height,
    ) -> Result<RestoredAgreement, StorageError> {
        let at = || -> Result<_, StorageError> {
            Ok(vec![Value::Int(shard.0.into()), Value::int(height.0)?])
        };
        let sql = "SELECT place, record FROM agreement \
             WHERE shard = $1 AND height = $2 ORDER BY place";
        let mut records: Vec<LogRecord> = Vec::new();
        for mut row in self.fetch(sql, at()?).await? {
            if row.number(0)? != records.len() as u64 {
                return Err(damaged("the log of an agreement"));
            }
            records.push(row.wire(1, "a record of an agreement")?);
        }
        let sql = "SELECT block FROM candidates WHERE shard = $1 AND height = $2";
        let rows = self.fetch(sql, at()?).await?.into_iter();
        let blocks: Vec<Block> =
            rows.map(|mut row| row.wire(0, "a proposed block")).collect::<Result<_, _>>()?;
        let sql = "SELECT COUNT(*) FROM forks WHERE shard = $1";
        let rows = self.fetch(sql, vec![Value::Int(shard.0.into())]).await?;
        let halted = rows.first().map_or(Ok(0), |row| row.number(0))? > 0;
        Ok(RestoredAgreement { records, blocks, halted })
    }

    async fn load_state(&self, shard: ShardId) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StorageError> {
        let (mut state, mut from) = (BTreeMap::new(), Vec::new());
        loop {
            let sql = "SELECT key, value FROM state WHERE shard = $1 AND key >= $2 \
                 ORDER BY key LIMIT $3";
            let limit = Value::int(ROWS_AT_ONCE)?;
            let arguments = vec![Value::Int(shard.0.into()), Value::Bytes(from), limit];
            let rows = self.fetch(sql, arguments).await?;
            let is_last = (rows.len() as u64) < ROWS_AT_ONCE;
            from = Vec::new();
            for mut row in rows {
                let key = row.bytes(0)?;
                // The least key after this one.
                from = [key.as_slice(), &[0]].concat();
                state.insert(key, row.bytes(1)?);
            }
            if is_last {
                return Ok(state);
            }
        }
    }
}
