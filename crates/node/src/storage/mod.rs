//! Storage of the node: what is durable, in SQLite or PostgreSQL.
//!
//! [`Storage`] is the same over both databases; a private trait holds the little that differs.
//! Nothing is ever overwritten but the ordered state, the log of an agreement that is over and the
//! payloads whose retention ended: a second write of an entry or a block is an error.
//! A write is on disk when it returns; [`Storage::write_all`] merges many into one transaction.

mod backend;
mod batch;
mod error;
mod evidence;
mod format;
mod lane;
mod logs;
mod page;
mod postgres;
mod prune;
mod registries;
mod restore;
mod snapshot;
mod sqlite;
mod tiles;
mod topics;
mod value;
mod write;

use tidings_types::NetworkId;
use tokio::sync::Mutex;

use backend::{AnyBackend, Backend};
use value::{Row, Value};
use write::WriteSession;

pub use error::StorageError;
pub use logs::{RecentEntry, Stats};
pub use page::page_of;
pub use prune::{Pruned, Retention};

/// Entries of one log get keys from `log_key << INDEX_BITS` on.
const INDEX_BITS: u32 = 40;

/// How many rows are read at once where an answer has no bound of its own.
const ROWS_AT_ONCE: u64 = 4096;

/// The node's durable state.
#[derive(Debug)]
pub struct Storage {
    backend: AnyBackend,
    /// The writing connection; absent before the first write and after a failed one.
    writing: Mutex<Option<WriteSession>>,
}

impl Storage {
    /// Opens the store at `url`, `sqlite:PATH` or `postgres://…`, bringing it to the current
    /// format; a SQLite file is created, a PostgreSQL database must exist.
    ///
    /// # Errors
    /// [`StorageError::UnknownUrl`], [`StorageError::NewerFormat`],
    /// [`StorageError::OtherNetwork`], or that the database cannot be used.
    pub async fn open(url: &str, network: NetworkId) -> Result<Self, StorageError> {
        let backend = AnyBackend::open(url, network).await?;
        let storage = Self { backend, writing: Mutex::new(None) };
        storage.complete_tiles().await?;
        Ok(storage)
    }

    /// Ends all connections, after the transaction that is running.
    pub async fn close(&self) {
        if let Some(session) = self.writing.lock().await.take() {
            session.close().await;
        }
        self.backend.close().await;
    }

    async fn fetch(
        &self,
        sql: &'static str,
        arguments: Vec<Value>,
    ) -> Result<Vec<Row>, StorageError> {
        self.backend.fetch(sql, arguments).await
    }
}
