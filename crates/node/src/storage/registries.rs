//! Reading the registry's snapshots.

use tidings_envelope::Registry;

use super::value::damaged;
use super::{Storage, StorageError};

impl Storage {
    /// Every snapshot that was stored, oldest first (TOP-009).
    ///
    /// # Errors
    /// [`StorageError`] when the database fails or what it holds cannot be read.
    pub async fn registries(&self) -> Result<Vec<Registry>, StorageError> {
        let sql = "SELECT registry FROM registries ORDER BY epoch";
        let rows = self.fetch(sql, Vec::new()).await?;
        let read = rows.into_iter().map(|mut row| {
            let bytes = row.bytes(0)?;
            serde_json::from_slice(&bytes).map_err(|_| damaged("a registry"))
        });
        read.collect()
    }
}
