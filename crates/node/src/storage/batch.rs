//! Write sets as rows: everything of a transaction, built before it begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidings_envelope::{Block, EntryHeader, LogId, MerklePath};
use tidings_order::LaneLog;
use tidings_replica::store::{Decided, EntryRecord, Flush, WriteSet};
use tidings_tlog::{Frontier, RecentTree, TileBuilder};
use tidings_types::constants::RETENTION_DAYS_MAX;
use tidings_types::{LogIndex, LogSize, Period, ShardId, Wire};

use super::tiles::TileRows;
use super::value::{Column, Table, damaged, int};
use super::{INDEX_BITS, StorageError};

/// The expiry of a flush that holds no payload to be dropped.
pub(super) const NEVER: i64 = i64::MAX;

static ENTRIES: Table = Table {
    name: "entries",
    columns: &["key", "log_key", "topic_index", "topic", "header", "payload"],
    on_conflict: "",
};

static CHECKPOINTS: Table = Table {
    name: "checkpoints",
    columns: &["log_key", "size", "first", "period", "total_bytes", "expires_at", "checkpoint"],
    on_conflict: "",
};

/// The trees of logs.
pub(super) static TILES: Table = Table {
    name: "tiles",
    columns: &["log_key", "level", "idx", "hashes"],
    // A tile above level 0 is written again as it grows.
    on_conflict: "ON CONFLICT (log_key, level, idx) DO UPDATE SET hashes = excluded.hashes",
};

static BLOCKS: Table = Table {
    name: "blocks",
    columns: &["shard", "height", "bytes", "header", "certificate"],
    on_conflict: "",
};

static OPERATIONS: Table =
    Table { name: "operations", columns: &["shard", "height", "idx", "decided"], on_conflict: "" };

static ORDERED: Table = Table {
    name: "ordered",
    columns: &["topic", "position", "shard", "height", "idx", "path"],
    on_conflict: "",
};

static AGREEMENT: Table = Table {
    name: "agreement",
    columns: &["shard", "height", "place", "record"],
    on_conflict: "ON CONFLICT (shard, height, place) DO NOTHING",
};

static CANDIDATES: Table = Table {
    name: "candidates",
    columns: &["shard", "height", "hash", "block"],
    on_conflict: "ON CONFLICT (shard, height, hash) DO NOTHING",
};

static FORKS: Table = Table {
    name: "forks",
    columns: &["shard", "height", "hash", "certified"],
    on_conflict: "ON CONFLICT (shard, height, hash) DO NOTHING",
};

static STATE: Table = Table {
    name: "state",
    columns: &["shard", "key", "value"],
    on_conflict: "ON CONFLICT (shard, key) DO UPDATE SET value = excluded.value",
};

static EVIDENCE: Table = Table {
    name: "evidence",
    columns: &["offence", "evidence"],
    on_conflict: "ON CONFLICT (offence) DO NOTHING",
};

static REGISTRIES: Table = Table {
    name: "registries",
    columns: &["epoch", "registry"],
    on_conflict: "ON CONFLICT (epoch) DO NOTHING",
};

/// How far a log reaches in storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogState {
    /// Its number in this store.
    pub key: i64,
    /// How many entries it holds.
    pub size: LogSize,
    /// The bytes of all headers and payloads ever written.
    pub total_bytes: u64,
}

/// What a transaction does to one log.
#[derive(Debug, Clone)]
pub(super) struct LogChange {
    /// Before; none for a log that is new.
    pub before: Option<LogState>,
    /// After.
    pub after: LogState,
    /// The frontier's bytes after.
    pub frontier: Vec<u8>,
    /// What appending to the tree needs after.
    pub tiles: TileBuilder,
}

/// The rows of a transaction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Logs that grow.
    pub logs: BTreeMap<LogId, LogChange>,
    /// Keys of the ordered state that disappear.
    pub deleted: Vec<(ShardId, Vec<u8>)>,
    entries: EntryRows,
    checkpoints: CheckpointRows,
    tiles: TileRows,
    blocks: BlockRows,
    operations: OperationRows,
    ordered: OrderedRows,
    /// The heights up to which agreements are over.
    pub decided: BTreeMap<ShardId, i64>,
    agreement: AgreementRows,
    candidates: BTreeMap<BlockKey, Vec<u8>>,
    forks: BTreeMap<BlockKey, Vec<u8>>,
    state: BTreeMap<(ShardId, Vec<u8>), Option<Vec<u8>>>,
    evidence: BTreeMap<[u8; 32], Vec<u8>>,
    registries: BTreeMap<i64, Vec<u8>>,
}

/// Shard, height and hash of a block.
type BlockKey = (i64, i64, [u8; 32]);

#[derive(Debug, Default)]
struct AgreementRows {
    shards: Vec<i64>,
    heights: Vec<i64>,
    places: Vec<i64>,
    records: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct EntryRows {
    keys: Vec<i64>,
    log_keys: Vec<i64>,
    topic_indexes: Vec<i64>,
    topics: Vec<Vec<u8>>,
    headers: Vec<Vec<u8>>,
    payloads: Vec<Option<Arc<[u8]>>>,
}

#[derive(Debug, Default)]
struct CheckpointRows {
    log_keys: Vec<i64>,
    sizes: Vec<i64>,
    firsts: Vec<i64>,
    periods: Vec<i64>,
    total_bytes: Vec<i64>,
    expiries: Vec<i64>,
    checkpoints: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct BlockRows {
    shards: Vec<i64>,
    heights: Vec<i64>,
    bytes: Vec<i64>,
    headers: Vec<Vec<u8>>,
    certificates: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct OperationRows {
    shards: Vec<i64>,
    heights: Vec<i64>,
    indexes: Vec<i64>,
    decided: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct OrderedRows {
    topics: Vec<Vec<u8>>,
    positions: Vec<i64>,
    shards: Vec<i64>,
    heights: Vec<i64>,
    indexes: Vec<i64>,
    paths: Vec<Vec<u8>>,
}

impl Batch {
    /// The rows of `sets`, in their order, on top of `logs`; new logs are numbered after those.
    ///
    /// `trees` holds what appending needs for every log that is not new.
    pub fn build<'a>(
        sets: impl IntoIterator<Item = &'a WriteSet>,
        logs: &BTreeMap<LogId, LogState>,
        trees: &BTreeMap<LogId, TileBuilder>,
    ) -> Result<Self, StorageError> {
        let mut batch = Self::default();
        let mut next_key = logs.values().map(|log| log.key).max().unwrap_or(0) + 1;
        for set in sets {
            for flush in &set.flushes {
                let stored = logs.get(&flush.log).zip(trees.get(&flush.log));
                batch.add_flush(flush, stored, &mut next_key)?;
            }
            for (shard, log) in &set.lane_logs {
                batch.add_lane_log(*shard, log)?;
            }
            for decided in &set.decided {
                batch.add_decided(decided)?;
            }
            for fork in &set.forks {
                batch.forks.insert(block_key(&fork.block)?, fork.to_wire());
            }
            for evidence in &set.evidence {
                batch.evidence.entry(evidence.offence().0).or_insert_with(|| evidence.to_wire());
            }
            for registry in &set.registries {
                let bytes = serde_json::to_vec(&**registry).map_err(|_| damaged("a registry"))?;
                batch.registries.insert(int(registry.epoch.0)?, bytes);
            }
        }
        for change in batch.logs.values_mut() {
            batch.tiles.add(change.after.key, change.tiles.take_tiles())?;
        }
        Ok(batch)
    }

    fn add_flush(
        &mut self,
        flush: &Flush,
        stored: Option<(&LogState, &TileBuilder)>,
        next_key: &mut i64,
    ) -> Result<(), StorageError> {
        let change = self.logs.entry(flush.log).or_insert_with(|| {
            let new = || {
                let key = *next_key;
                *next_key += 1;
                LogState { key, size: LogSize(0), total_bytes: 0 }
            };
            let (before, tiles) = (stored.map(|(log, _)| log.clone()), stored.map(|(_, it)| it));
            let after = before.clone().unwrap_or_else(new);
            let tiles = tiles.cloned().unwrap_or_default();
            LogChange { before, after, frontier: Vec::new(), tiles }
        });
        let log = &mut change.after;
        let (first, mut expires_at) = (log.size, NEVER);
        for record in &flush.entries {
            let (expected, found) = (log.size.next_index(), record.header.index);
            if found != expected {
                return Err(StorageError::NotContiguous { log: flush.log, expected, found });
            }
            let bytes = self.entries.add(log.key, record)?;
            log.size = found.as_size_through();
            change.tiles.append(record.hash.0);
            log.total_bytes = log.total_bytes.saturating_add(bytes);
            if record.payload.is_some() {
                expires_at = expires_at.min(earliest_expiry(&record.header));
            }
        }
        let covered = flush.checkpoint.checkpoint;
        if covered.size != log.size || log.size == first || covered.log != flush.log {
            let (expected, found) = (log.size.next_index(), covered.size.next_index());
            return Err(StorageError::NotContiguous { log: flush.log, expected, found });
        }
        let rows = &mut self.checkpoints;
        rows.log_keys.push(log.key);
        rows.sizes.push(int(log.size.0)?);
        rows.firsts.push(int(first.0)?);
        // Only compared with periods that are reached, so the largest number does for the rest.
        rows.periods.push(i64::try_from(covered.period.0).unwrap_or(i64::MAX));
        rows.total_bytes.push(int(log.total_bytes)?);
        rows.expiries.push(expires_at);
        rows.checkpoints.push(flush.checkpoint.to_wire());
        change.frontier.clone_from(&flush.frontier);
        Ok(())
    }

    fn add_lane_log(&mut self, shard: ShardId, log: &LaneLog) -> Result<(), StorageError> {
        for (place, record) in (log.first..).zip(&log.records) {
            self.agreement.shards.push(shard.0.into());
            self.agreement.heights.push(int(log.height.0)?);
            self.agreement.places.push(int(place)?);
            self.agreement.records.push(record.to_wire());
        }
        for block in &log.blocks {
            self.candidates.insert(block_key(block)?, block.to_wire());
        }
        Ok(())
    }

    fn add_decided(&mut self, decided: &Decided) -> Result<(), StorageError> {
        let block = &decided.certified.block;
        let (shard, height) = (block.header.shard, int(block.header.height.0)?);
        self.decided.insert(shard, height);
        let mut bytes = 0;
        for (index, operation) in (0..).zip(block.operations.iter()) {
            let rows = &mut self.operations;
            rows.shards.push(shard.0.into());
            rows.heights.push(height);
            rows.indexes.push(index);
            rows.decided.push(operation.to_wire());
            bytes += rows.decided.last().map_or(0, Vec::len) as u64;
        }
        let rows = &mut self.blocks;
        rows.shards.push(shard.0.into());
        rows.heights.push(height);
        rows.headers.push(block.header.to_wire());
        rows.certificates.push(decided.certified.certificate.to_wire());
        rows.bytes.push(int(bytes)?);
        self.add_places(decided, height)?;
        for (key, value) in &decided.state {
            self.state.insert((shard, key.clone()), value.clone());
        }
        Ok(())
    }

    fn add_places(&mut self, decided: &Decided, height: i64) -> Result<(), StorageError> {
        if decided.places.is_empty() {
            return Ok(());
        }
        let block = &decided.certified.block;
        let tree = operations_tree(block);
        let prover = tree.prover();
        for place in &decided.places {
            let path = prover.inclusion_proof(LogIndex(place.index.into())).ok();
            let path = path.and_then(|path| MerklePath::new(path).ok());
            let outside = StorageError::OutOfRange { value: place.index.into() };
            let rows = &mut self.ordered;
            rows.paths.push(path.ok_or(outside)?.to_wire());
            rows.topics.push(place.topic.to_wire());
            rows.positions.push(int(place.position.0)?);
            rows.shards.push(block.header.shard.0.into());
            rows.heights.push(height);
            rows.indexes.push(place.index.into());
        }
        Ok(())
    }

    /// The new rows, table by table; what is to be deleted is left in the batch.
    pub fn take_inserts(&mut self) -> Vec<(&'static Table, Vec<Column>)> {
        use Column::{Bytes, Ints};
        let entries = std::mem::take(&mut self.entries);
        let checkpoints = std::mem::take(&mut self.checkpoints);
        let tiles = std::mem::take(&mut self.tiles);
        let blocks = std::mem::take(&mut self.blocks);
        let operations = std::mem::take(&mut self.operations);
        let ordered = std::mem::take(&mut self.ordered);
        let agreement = std::mem::take(&mut self.agreement);
        let (offences, evidence): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.evidence).into_iter().unzip();
        let (epochs, registries): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.registries).into_iter().unzip();
        vec![
            (&ENTRIES, entries.into_columns()),
            (&CHECKPOINTS, checkpoints.into_columns()),
            (&TILES, tiles.into_columns()),
            (
                &BLOCKS,
                vec![
                    Ints(blocks.shards),
                    Ints(blocks.heights),
                    Ints(blocks.bytes),
                    Bytes(blocks.headers),
                    Bytes(blocks.certificates),
                ],
            ),
            (
                &OPERATIONS,
                vec![
                    Ints(operations.shards),
                    Ints(operations.heights),
                    Ints(operations.indexes),
                    Bytes(operations.decided),
                ],
            ),
            (&ORDERED, ordered.into_columns()),
            (
                &AGREEMENT,
                vec![
                    Ints(agreement.shards),
                    Ints(agreement.heights),
                    Ints(agreement.places),
                    Bytes(agreement.records),
                ],
            ),
            (&CANDIDATES, block_columns(std::mem::take(&mut self.candidates))),
            (&FORKS, block_columns(std::mem::take(&mut self.forks))),
            (&STATE, self.take_state()),
            (
                &EVIDENCE,
                vec![Bytes(offences.into_iter().map(Vec::from).collect()), Bytes(evidence)],
            ),
            (&REGISTRIES, vec![Ints(epochs), Bytes(registries)]),
        ]
    }

    fn take_state(&mut self) -> Vec<Column> {
        let (mut shards, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for ((shard, key), value) in std::mem::take(&mut self.state) {
            match value {
                Some(value) => {
                    shards.push(shard.0.into());
                    keys.push(key);
                    values.push(value);
                }
                None => self.deleted.push((shard, key)),
            }
        }
        vec![Column::Ints(shards), Column::Bytes(keys), Column::Bytes(values)]
    }
}

impl EntryRows {
    /// Adds an entry and says how many bytes it has.
    fn add(&mut self, log_key: i64, record: &EntryRecord) -> Result<u64, StorageError> {
        let header = record.header_bytes();
        let bytes = header.len() + record.payload.as_ref().map_or(0, |payload| payload.len());
        // The key after it must exist too, or it would be the first of the next log.
        self.keys.push(entry_key(log_key, record.header.index.plus(1))? - 1);
        self.log_keys.push(log_key);
        // A faulty originator may write any number; its entry is stored all the same.
        self.topic_indexes.push(int(record.header.topic_index.0).unwrap_or(i64::MAX));
        self.topics.push(record.header.topic.to_wire());
        self.headers.push(header);
        self.payloads.push(record.payload.clone());
        Ok(bytes as u64)
    }

    fn into_columns(self) -> Vec<Column> {
        vec![
            Column::Ints(self.keys),
            Column::Ints(self.log_keys),
            Column::Ints(self.topic_indexes),
            Column::Bytes(self.topics),
            Column::Bytes(self.headers),
            Column::Shared(self.payloads),
        ]
    }
}

impl CheckpointRows {
    fn into_columns(self) -> Vec<Column> {
        vec![
            Column::Ints(self.log_keys),
            Column::Ints(self.sizes),
            Column::Ints(self.firsts),
            Column::Ints(self.periods),
            Column::Ints(self.total_bytes),
            Column::Ints(self.expiries),
            Column::Bytes(self.checkpoints),
        ]
    }
}

impl OrderedRows {
    fn into_columns(self) -> Vec<Column> {
        vec![
            Column::Bytes(self.topics),
            Column::Ints(self.positions),
            Column::Ints(self.shards),
            Column::Ints(self.heights),
            Column::Ints(self.indexes),
            Column::Bytes(self.paths),
        ]
    }
}

/// The key of an entry's row.
pub(super) fn entry_key(log_key: i64, index: LogIndex) -> Result<i64, StorageError> {
    let outside = StorageError::OutOfRange { value: index.0 };
    let index = i64::try_from(index.0).ok().filter(|index| *index <= 1 << INDEX_BITS);
    let first = log_key.checked_mul(1 << INDEX_BITS);
    first.zip(index).and_then(|(first, index)| first.checked_add(index)).ok_or(outside)
}

/// A period before which the payload must be held (LOG-018), since a day has a period at least;
/// always before [`NEVER`]. Whoever prunes looks closer.
fn earliest_expiry(header: &EntryHeader) -> i64 {
    expiry(header.fee_period.plus(header.retention_days.min(RETENTION_DAYS_MAX).into()))
}

/// A period as the last one in which something is held.
pub(super) fn expiry(last: Period) -> i64 {
    i64::try_from(last.0).unwrap_or(NEVER).min(NEVER - 1)
}

fn operations_tree(block: &Block) -> RecentTree {
    let mut tree = RecentTree::new(&Frontier::default());
    for leaf in Block::leaves(&block.operations) {
        tree.append(leaf);
    }
    tree
}

fn block_key(block: &Block) -> Result<BlockKey, StorageError> {
    let header = &block.header;
    Ok((header.shard.0.into(), int(header.height.0)?, header.hash().0))
}

fn block_columns(rows: BTreeMap<BlockKey, Vec<u8>>) -> Vec<Column> {
    let mut columns = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for ((shard, height, hash), bytes) in rows {
        columns.0.push(shard);
        columns.1.push(height);
        columns.2.push(hash.to_vec());
        columns.3.push(bytes);
    }
    let (shards, heights, hashes, blocks) = columns;
    vec![Column::Ints(shards), Column::Ints(heights), Column::Bytes(hashes), Column::Bytes(blocks)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_logs_apart() {
        let last = LogIndex((1 << INDEX_BITS) - 1);
        let next = entry_key(4, LogIndex(0)).unwrap();
        assert_eq!(entry_key(3, last).unwrap() + 1, next);
        assert_eq!(entry_key(3, LogIndex(1 << INDEX_BITS)).unwrap(), next);
        assert!(entry_key(3, LogIndex((1 << INDEX_BITS) + 1)).is_err());
        assert!(entry_key(i64::MAX, LogIndex(0)).is_err());
    }
}
