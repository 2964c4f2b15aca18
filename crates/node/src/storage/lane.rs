//! Reading the ordered lane's blocks.

use std::collections::BTreeMap;

use tidings_envelope::{Block, CertifiedBlock, DecidedOperation};
use tidings_types::{Height, ShardId};

use super::value::{Value, damaged, int};
use super::{Storage, StorageError};

impl Storage {
    /// The final blocks of `shard` from height `from` on, without a gap, at most `count_max` and
    /// `bytes_max` bytes of operations, but at least one if there is any.
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn blocks(
        &self,
        shard: ShardId,
        from: Height,
        count_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<CertifiedBlock>, StorageError> {
        let Ok(first) = int(from.0) else { return Ok(Vec::new()) };
        let shard = Value::Int(shard.0.into());
        let count_max = Value::Int(i64::try_from(count_max.max(1)).unwrap_or(i64::MAX));
        let sql = "SELECT height, bytes FROM blocks WHERE shard = $1 AND height >= $2 \
             ORDER BY height LIMIT $3";
        let rows = self.fetch(sql, vec![shard.clone(), Value::Int(first), count_max]).await?;
        let (mut bytes, mut last) = (0usize, None);
        for row in &rows {
            bytes = bytes.saturating_add(row.narrow(1)?);
            if last.is_some() && bytes > bytes_max {
                break;
            }
            last = Some(row.number(0)?);
        }
        let Some(last) = last else { return Ok(Vec::new()) };
        self.blocks_between([shard, Value::Int(first), Value::int(last)?]).await
    }

    /// The blocks of a shard between two heights, both included.
    async fn blocks_between(&self, range: [Value; 3]) -> Result<Vec<CertifiedBlock>, StorageError> {
        let sql = "SELECT height, decided FROM operations \
             WHERE shard = $1 AND height >= $2 AND height <= $3 ORDER BY height, idx";
        let mut operations: BTreeMap<u64, Vec<DecidedOperation>> = BTreeMap::new();
        for mut row in self.fetch(sql, range.to_vec()).await? {
            let decided = row.wire(1, "an operation")?;
            operations.entry(row.number(0)?).or_default().push(decided);
        }
        let sql = "SELECT height, header, certificate FROM blocks \
             WHERE shard = $1 AND height >= $2 AND height <= $3 ORDER BY height";
        let mut blocks = Vec::new();
        for mut row in self.fetch(sql, range.to_vec()).await? {
            let operations = operations.remove(&row.number(0)?).unwrap_or_default();
            let operations = operations.try_into().map_err(|_| damaged("a block"))?;
            let block = Block { header: row.wire(1, "a block's header")?, operations };
            blocks.push(CertifiedBlock { block, certificate: row.wire(2, "a certificate")? });
        }
        Ok(blocks)
    }

    /// The last final block of `shard`.
    pub(super) async fn last_block(
        &self,
        shard: ShardId,
    ) -> Result<Option<CertifiedBlock>, StorageError> {
        let sql = "SELECT height FROM blocks WHERE shard = $1 ORDER BY height DESC LIMIT 1";
        let rows = self.fetch(sql, vec![Value::Int(shard.0.into())]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let height = Height(row.number(0)?);
        Ok(self.blocks(shard, height, 1, usize::MAX).await?.pop())
    }
}
