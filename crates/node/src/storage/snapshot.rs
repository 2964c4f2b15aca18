//! Copies of a store, taken while it is in use.

use std::path::Path;

use super::backend::{AnyBackend, Backend, Session};
use super::value::Value;
use super::{Storage, StorageError};

impl Storage {
    /// Writes all that is durable now to a new file, in the form of a store of its own.
    ///
    /// A node that is started from it opens new logs and goes on from where others are, as after
    /// any loss of its disk.
    ///
    /// # Errors
    /// [`StorageError::CopiedElsewhere`] for PostgreSQL, or that the database failed: the file is
    /// there already, or cannot be written.
    pub async fn snapshot(&self, file: &Path) -> Result<(), StorageError> {
        if matches!(self.backend, AnyBackend::Postgres(_)) {
            return Err(StorageError::CopiedElsewhere);
        }
        let mut session = self.backend.session().await?;
        let name = Value::Bytes(file.to_string_lossy().into_owned().into_bytes());
        let copied = session.execute("VACUUM INTO CAST($1 AS TEXT)", vec![name]).await;
        session.close().await;
        copied.map(|_| ())
    }
}
