//! The trees of logs as tiles, so that a proof reads a few rows and not every leaf.

use std::collections::BTreeMap;

use tidings_envelope::{EntryHeader, InclusionProof, LogId, MerklePath, SignedCheckpoint};
use tidings_tlog::{ProofPlan, TILE_HASHES, Tile, TileBuilder, TileId, TileSource};
use tidings_types::{Hash, LogIndex, LogSize, merkle};

use super::backend::{AnySession, Session};
use super::batch::{TILES, entry_key};
use super::value::{Column, Row, Value, damaged, int};
use super::{ROWS_AT_ONCE, Storage, StorageError};

const TILE: &str = "SELECT hashes FROM tiles WHERE log_key = $1 AND level = $2 AND idx = $3";

/// The headers of entries by key.
pub(super) const HEADERS: &str =
    "SELECT header FROM entries WHERE key >= $1 AND key < $2 ORDER BY key";

impl Storage {
    /// The hashes of the proof that `plan` lists; `None` when `log` has not come that far here.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn prove(
        &self,
        log: LogId,
        plan: &ProofPlan,
    ) -> Result<Option<Vec<Hash>>, StorageError> {
        let Some((key, size)) = self.log_reach(log).await? else { return Ok(None) };
        let tail = self.fetch(HEADERS, tail_range(key, size)?.into()).await?;
        let mut tiles = BTreeMap::new();
        for tile in TileSource::tiles_needed(size, plan.subtrees()) {
            let rows = self.fetch(TILE, tile_arguments(key, tile)?.into()).await?;
            // One that is not there lies beyond the log, as the proof will show.
            if let Some(stored) = tile_of(rows)? {
                tiles.insert(tile, stored);
            }
        }
        Ok(plan.build(&TileSource::new(size, leaves(tail)?, tiles)).ok())
    }

    /// The entry at `index` under the checkpoint of `size`; `None` when either is not stored.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn inclusion(
        &self,
        log: LogId,
        index: LogIndex,
        size: LogSize,
    ) -> Result<Option<InclusionProof>, StorageError> {
        let Some(checkpoint) = self.checkpoint_at(log, size).await? else { return Ok(None) };
        let found = self.header_and_path(log, index, size).await?;
        Ok(found.map(|(header, path)| InclusionProof { header, path, checkpoint }))
    }

    /// The header at `index` and its path to the root of the first `size` entries.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn header_and_path(
        &self,
        log: LogId,
        index: LogIndex,
        size: LogSize,
    ) -> Result<Option<(EntryHeader, MerklePath)>, StorageError> {
        let (Some((key, _)), Ok(plan)) =
            (self.log_reach(log).await?, ProofPlan::inclusion(index, size))
        else {
            return Ok(None);
        };
        let Some(path) = self.prove(log, &plan).await? else { return Ok(None) };
        let path = MerklePath::new(path).map_err(|_| damaged("a proof"))?;
        let sql = "SELECT header FROM entries WHERE key = $1";
        let mut rows = self.fetch(sql, vec![Value::Int(entry_key(key, index)?)]).await?;
        let row = rows.first_mut().ok_or(damaged("a log's entries"))?;
        Ok(Some((row.wire(0, "an entry's header")?, path)))
    }

    /// The newest checkpoint of a log, if any of it is stored.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn newest_checkpoint(
        &self,
        log: LogId,
    ) -> Result<Option<SignedCheckpoint>, StorageError> {
        match self.log_reach(log).await? {
            Some((_, size)) => self.checkpoint_at(log, size).await,
            None => Ok(None),
        }
    }

    /// The log's number in this store and how many entries it holds.
    pub(super) async fn log_reach(
        &self,
        log: LogId,
    ) -> Result<Option<(i64, LogSize)>, StorageError> {
        let sql = "SELECT key, size FROM logs WHERE node = $1 AND shard = $2 AND incarnation = $3";
        let rows = self.fetch(sql, super::write::log_arguments(log).into()).await?;
        let reach = |row: &Row| Ok((row.narrow(0)?, LogSize(row.number(1)?)));
        rows.first().map(reach).transpose()
    }

    /// Gives their tiles to logs that were written before there were any.
    pub(super) async fn complete_tiles(&self) -> Result<(), StorageError> {
        let rows = self.fetch("SELECT key, size FROM logs WHERE tiled < size", Vec::new()).await?;
        for row in rows {
            let (key, size) = (row.narrow(0)?, LogSize(row.number(1)?));
            let mut builder = TileBuilder::new();
            while builder.size() < size {
                let from = builder.size().next_index();
                let to = from.plus(ROWS_AT_ONCE).min(size.next_index());
                let range = [Value::Int(entry_key(key, from)?), Value::Int(entry_key(key, to)?)];
                let found = leaves(self.fetch(HEADERS, range.into()).await?)?;
                if found.len() as u64 != to.0 - from.0 {
                    return Err(damaged("a log's entries"));
                }
                builder.extend(found);
            }
            let mut columns = TileRows::default();
            columns.add(key, builder.take_tiles())?;
            let tiled = vec![Value::int(size.0)?, Value::Int(key)];
            self.transaction(async |session| {
                session.insert(&TILES, columns.into_columns()).await?;
                session.execute("UPDATE logs SET tiled = $1 WHERE key = $2", tiled).await
            })
            .await?;
        }
        Ok(())
    }
}

/// What appending to the tree of a log needs, read from the store.
pub(super) async fn resume(
    session: &mut AnySession,
    key: i64,
    size: LogSize,
) -> Result<TileBuilder, StorageError> {
    let tail = leaves(session.fetch(HEADERS, tail_range(key, size)?.into()).await?)?;
    let mut edge = BTreeMap::new();
    for tile in TileBuilder::edge(size) {
        let rows = session.fetch(TILE, tile_arguments(key, tile)?.into()).await?;
        edge.insert(tile, tile_of(rows)?.ok_or(damaged("a tile"))?);
    }
    TileBuilder::resume(size, tail, &edge).map_err(|_| damaged("a log's tree"))
}

/// Tiles as rows.
#[derive(Debug, Default)]
pub(super) struct TileRows {
    log_keys: Vec<i64>,
    levels: Vec<i64>,
    indexes: Vec<i64>,
    hashes: Vec<Vec<u8>>,
}

impl TileRows {
    /// Adds tiles of one log.
    pub fn add(&mut self, key: i64, tiles: BTreeMap<TileId, Tile>) -> Result<(), StorageError> {
        for (id, tile) in tiles {
            self.log_keys.push(key);
            self.levels.push(id.level.into());
            self.indexes.push(int(id.index)?);
            self.hashes.push(tile.to_bytes());
        }
        Ok(())
    }

    /// The columns of the table.
    pub fn into_columns(self) -> Vec<Column> {
        vec![
            Column::Ints(self.log_keys),
            Column::Ints(self.levels),
            Column::Ints(self.indexes),
            Column::Bytes(self.hashes),
        ]
    }
}

/// The keys of the entries after the last full tile of level 0.
fn tail_range(key: i64, size: LogSize) -> Result<[Value; 2], StorageError> {
    let full = size.0 - size.0 % TILE_HASHES as u64;
    let (from, to) = (entry_key(key, LogIndex(full))?, entry_key(key, size.next_index())?);
    Ok([Value::Int(from), Value::Int(to)])
}

fn tile_arguments(key: i64, tile: TileId) -> Result<[Value; 3], StorageError> {
    Ok([Value::Int(key), Value::Int(tile.level.into()), Value::int(tile.index)?])
}

fn tile_of(mut rows: Vec<Row>) -> Result<Option<Tile>, StorageError> {
    let Some(row) = rows.first_mut() else { return Ok(None) };
    Tile::from_bytes(&row.bytes(0)?).map(Some).map_err(|_| damaged("a tile"))
}

fn leaves(rows: Vec<Row>) -> Result<Vec<Hash>, StorageError> {
    rows.into_iter().map(|mut row| Ok(merkle::leaf_hash(&row.bytes(0)?))).collect()
}
