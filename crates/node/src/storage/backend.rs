//! What is asked of a database, whichever it is: numbered parameters, numbers and bytes.

use std::future::Future;

use tidings_types::NetworkId;

use super::postgres::{Postgres, PostgresSession};
use super::sqlite::{Sqlite, SqliteSession};
use super::value::{Column, Row, Table, Value};
use super::{StorageError, format};

/// A database that any number of tasks read from, and one session at a time writes to.
///
/// Statements are in the dialect that SQLite and PostgreSQL share.
pub(super) trait Backend: Send + Sync {
    /// A connection to write with.
    type Session: Session;

    /// Runs one reading statement on some connection.
    fn fetch(
        &self,
        sql: &'static str,
        arguments: Vec<Value>,
    ) -> impl Future<Output = Result<Vec<Row>, StorageError>> + Send;

    /// Opens a connection to write with.
    fn session(&self) -> impl Future<Output = Result<Self::Session, StorageError>> + Send;

    /// Ends the reading connections.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// A connection that writes; dropping it undoes an open transaction.
pub(super) trait Session: Send {
    /// Begins a transaction that excludes other writers.
    fn begin(&mut self) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// Makes the transaction durable; it is on disk when this returns.
    fn commit(&mut self) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// Runs one reading statement within the transaction, if there is one.
    fn fetch(
        &mut self,
        sql: &'static str,
        arguments: Vec<Value>,
    ) -> impl Future<Output = Result<Vec<Row>, StorageError>> + Send;

    /// Runs one writing statement and says how many rows it changed.
    fn execute(
        &mut self,
        sql: &'static str,
        arguments: Vec<Value>,
    ) -> impl Future<Output = Result<u64, StorageError>> + Send;

    /// Adds rows in bulk; `columns` are those of the table, all of one length.
    fn insert(
        &mut self,
        table: &'static Table,
        columns: Vec<Column>,
    ) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// Ends the connection, undoing an open transaction.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// The database that the operator chose.
#[derive(Debug)]
pub(super) enum AnyBackend {
    /// A file.
    Sqlite(Sqlite),
    /// A server.
    Postgres(Postgres),
}

/// A writing connection to it.
#[derive(Debug)]
pub(super) enum AnySession {
    /// To a file.
    Sqlite(SqliteSession),
    /// To a server.
    Postgres(PostgresSession),
}

impl AnyBackend {
    /// Opens the database at `url`, brought to the current format, for `network` only.
    pub async fn open(url: &str, network: NetworkId) -> Result<Self, StorageError> {
        let backend = if let Some(path) = url.strip_prefix("sqlite:") {
            Self::Sqlite(Sqlite::open(path.strip_prefix("//").unwrap_or(path)).await?)
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Self::Postgres(Postgres::open(url).await?)
        } else {
            return Err(StorageError::UnknownUrl);
        };
        let mut session = backend.session().await?;
        let checked = format::bind_to_network(&mut session, network).await;
        session.close().await;
        checked.map(|()| backend)
    }
}

impl Backend for AnyBackend {
    type Session = AnySession;

    async fn fetch(
        &self,
        sql: &'static str,
        arguments: Vec<Value>,
    ) -> Result<Vec<Row>, StorageError> {
        match self {
            Self::Sqlite(backend) => backend.fetch(sql, arguments).await,
            Self::Postgres(backend) => backend.fetch(sql, arguments).await,
        }
    }

    async fn session(&self) -> Result<AnySession, StorageError> {
        match self {
            Self::Sqlite(backend) => backend.session().await.map(AnySession::Sqlite),
            Self::Postgres(backend) => backend.session().await.map(AnySession::Postgres),
        }
    }

    async fn close(&self) {
        match self {
            Self::Sqlite(backend) => backend.close().await,
            Self::Postgres(backend) => backend.close().await,
        }
    }
}

impl Session for AnySession {
    async fn begin(&mut self) -> Result<(), StorageError> {
        match self {
            Self::Sqlite(session) => session.begin().await,
            Self::Postgres(session) => session.begin().await,
        }
    }

    async fn commit(&mut self) -> Result<(), StorageError> {
        match self {
            Self::Sqlite(session) => session.commit().await,
            Self::Postgres(session) => session.commit().await,
        }
    }

    async fn fetch(
        &mut self,
        sql: &'static str,
        arguments: Vec<Value>,
    ) -> Result<Vec<Row>, StorageError> {
        match self {
            Self::Sqlite(session) => session.fetch(sql, arguments).await,
            Self::Postgres(session) => session.fetch(sql, arguments).await,
        }
    }

    async fn execute(
        &mut self,
        sql: &'static str,
        arguments: Vec<Value>,
    ) -> Result<u64, StorageError> {
        match self {
            Self::Sqlite(session) => session.execute(sql, arguments).await,
            Self::Postgres(session) => session.execute(sql, arguments).await,
        }
    }

    async fn insert(
        &mut self,
        table: &'static Table,
        columns: Vec<Column>,
    ) -> Result<(), StorageError> {
        match self {
            Self::Sqlite(session) => session.insert(table, columns).await,
            Self::Postgres(session) => session.insert(table, columns).await,
        }
    }

    async fn close(self) {
        match self {
            Self::Sqlite(session) => session.close().await,
            Self::Postgres(session) => session.close().await,
        }
    }
}
