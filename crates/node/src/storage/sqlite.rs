//! SQLite: one file in WAL mode, fsynced at every commit.

use std::path::Path;
use std::sync::Arc;

use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{
    Arguments, AssertSqlSafe, ConnectOptions, Connection, Decode, Executor, Row as _, Sqlite as Db,
    TypeInfo, ValueRef,
};

use super::StorageError;
use super::backend::{Backend, Session};
use super::format::{self, FormatStep};
use super::value::{Column, Row, Table, Value, damaged};

/// From an empty file to the current format.
const STEPS: [FormatStep; 4] = [
    FormatStep {
        version: 1,
        description: "initial",
        sql: include_str!("../../migrations/sqlite/0001_initial.sql"),
    },
    FormatStep {
        version: 2,
        description: "registries",
        sql: include_str!("../../migrations/sqlite/0002_registries.sql"),
    },
    FormatStep {
        version: 3,
        description: "tiles",
        sql: include_str!("../../migrations/sqlite/0003_tiles.sql"),
    },
    FormatStep {
        version: 4,
        description: "retention",
        sql: include_str!("../../migrations/sqlite/0004_retention.sql"),
    },
];

/// Rows per statement: beyond this, preparing and binding cost as much as they save.
const INSERT_ROWS_MAX: usize = 64;
/// Enough for every statement, and every power of two of rows in each bulk insert.
const STATEMENTS_CACHED: usize = 256;
/// Readers beyond this wait; SQLite reads are short and two cores serve no more at once.
const READERS_MAX: u32 = 4;
/// Page cache of the writer, which touches a leaf of the topic index per entry, in KiB.
const WRITER_CACHE_KIB: u32 = 64 * 1024;
/// Page cache of each reader, in KiB.
const READER_CACHE_KIB: u32 = 8 * 1024;
/// How many pages the log may reach before it is copied into the file: 16 MiB, so that a page
/// written by many commits is copied once.
const WAL_PAGES: u32 = 4096;
/// To what size the log's file is cut after a burst, in bytes.
const WAL_BYTES_KEPT: u32 = 64 * 1024 * 1024;

/// A SQLite file.
#[derive(Debug)]
pub(super) struct Sqlite {
    writing: SqliteConnectOptions,
    readers: SqlitePool,
}

/// The writing connection.
#[derive(Debug)]
pub(super) struct SqliteSession {
    connection: SqliteConnection,
}

impl Sqlite {
    /// Opens the file at `path`, or creates it.
    pub async fn open(path: &str) -> Result<Self, StorageError> {
        let options = options(Path::new(path));
        let writing = options
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"))
            .pragma("wal_autocheckpoint", WAL_PAGES.to_string())
            .pragma("journal_size_limit", WAL_BYTES_KEPT.to_string());
        let mut connection = writing.connect().await?;
        let prepared = async {
            let migrator = format::migrator(&mut connection, &STEPS).await?;
            migrator.run(&mut connection).await.map_err(StorageError::from)
        };
        let prepared = prepared.await;
        connection.close().await?;
        prepared?;
        let reading =
            options.pragma("query_only", "ON").pragma("cache_size", format!("-{READER_CACHE_KIB}"));
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .test_before_acquire(false)
            .connect_lazy_with(reading);
        Ok(Self { writing, readers })
    }
}

impl Backend for Sqlite {
    type Session = SqliteSession;

    async fn fetch(
        &self,
        sql: &'static str,
        arguments: Vec<Value>,
    ) -> Result<Vec<Row>, StorageError> {
        fetch(&self.readers, sql, arguments).await
    }

    async fn session(&self) -> Result<SqliteSession, StorageError> {
        let connection = self.writing.connect().await?;
        Ok(SqliteSession { connection })
    }

    async fn close(&self) {
        self.readers.close().await;
    }
}

impl Session for SqliteSession {
    async fn begin(&mut self) -> Result<(), StorageError> {
        self.execute("BEGIN IMMEDIATE", Vec::new()).await.map(|_| ())
    }

    async fn commit(&mut self) -> Result<(), StorageError> {
        self.execute("COMMIT", Vec::new()).await.map(|_| ())
    }

    async fn fetch(
        &mut self,
        sql: &'static str,
        arguments: Vec<Value>,
    ) -> Result<Vec<Row>, StorageError> {
        fetch(&mut self.connection, sql, arguments).await
    }

    async fn execute(
        &mut self,
        sql: &'static str,
        arguments: Vec<Value>,
    ) -> Result<u64, StorageError> {
        let query = sqlx::query_with(sql, encode(arguments)?);
        let done = query.execute(&mut self.connection).await.map_err(StorageError::of_write)?;
        Ok(done.rows_affected())
    }

    async fn insert(
        &mut self,
        table: &'static Table,
        columns: Vec<Column>,
    ) -> Result<(), StorageError> {
        let rows = columns.first().map_or(0, Column::len);
        let mut columns: Vec<_> = columns.into_iter().map(ColumnValues::new).collect();
        let mut done = 0;
        while done < rows {
            // Powers of two only, so that few statements serve every number of rows.
            let chunk = INSERT_ROWS_MAX.min(1 << (rows - done).ilog2());
            let mut arguments = SqliteArguments::default();
            arguments.reserve(chunk * columns.len(), 0);
            for _ in 0..chunk {
                for column in &mut columns {
                    column.bind_next(&mut arguments)?;
                }
            }
            let query = sqlx::query_with(AssertSqlSafe(insert_sql(table, chunk)), arguments);
            query.execute(&mut self.connection).await.map_err(StorageError::of_write)?;
            done += chunk;
        }
        Ok(())
    }

    async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the database connection did not close cleanly");
        }
    }
}

/// A column whose values are bound one after the other.
enum ColumnValues {
    Ints(std::vec::IntoIter<i64>),
    Bytes(std::vec::IntoIter<Vec<u8>>),
    Shared(std::vec::IntoIter<Option<Arc<[u8]>>>),
}

impl ColumnValues {
    fn new(column: Column) -> Self {
        match column {
            Column::Ints(values) => Self::Ints(values.into_iter()),
            Column::Bytes(values) => Self::Bytes(values.into_iter()),
            Column::Shared(values) => Self::Shared(values.into_iter()),
        }
    }

    fn bind_next(&mut self, arguments: &mut SqliteArguments) -> Result<(), StorageError> {
        let bound = match self {
            Self::Ints(values) => arguments.add(values.next()),
            Self::Bytes(values) => arguments.add(values.next()),
            Self::Shared(values) => arguments.add(values.next().flatten().map(|b| b.to_vec())),
        };
        bound.map_err(|error| sqlx::Error::Encode(error).into())
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(false)
        .statement_cache_capacity(STATEMENTS_CACHED)
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
}

async fn fetch(
    on: impl Executor<'_, Database = Db>,
    sql: &'static str,
    arguments: Vec<Value>,
) -> Result<Vec<Row>, StorageError> {
    let rows = sqlx::query_with(sql, encode(arguments)?).fetch_all(on).await?;
    rows.iter().map(decode).collect()
}

fn encode(values: Vec<Value>) -> Result<SqliteArguments, StorageError> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        let added = match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Int(value) => arguments.add(value),
            Value::Bytes(bytes) => arguments.add(bytes),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn decode(row: &SqliteRow) -> Result<Row, StorageError> {
    let values = (0..row.len()).map(|index| {
        let value = row.try_get_raw(index)?;
        if value.is_null() {
            return Ok(Value::Null);
        }
        let is_number = value.type_info().name() == "INTEGER";
        let decoded = match is_number {
            true => <i64 as Decode<Db>>::decode(value).map(Value::Int),
            false => <Vec<u8> as Decode<Db>>::decode(value).map(Value::Bytes),
        };
        decoded.map_err(|_| damaged("a column"))
    });
    values.collect::<Result<_, _>>().map(Row)
}

fn insert_sql(table: &Table, rows: usize) -> String {
    let row = format!("({})", vec!["?"; table.columns.len()].join(","));
    let (name, columns) = (table.name, table.columns.join(","));
    let values = vec![row; rows].join(",");
    format!("INSERT INTO {name} ({columns}) VALUES {values} {}", table.on_conflict)
}
