//! PostgreSQL: a server, reached by URL.

use std::str::FromStr;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow};
use sqlx::{
    Arguments, AssertSqlSafe, ConnectOptions, Connection, Decode, Executor, Postgres as Db,
    Row as _, TypeInfo, ValueRef,
};

use super::StorageError;
use super::backend::{Backend, Session};
use super::format::{self, FormatStep};
use super::value::{Column, Row, Table, Value, damaged};

/// From an empty database to the current format.
const STEPS: [FormatStep; 4] = [
    FormatStep {
        version: 1,
        description: "initial",
        sql: include_str!("../../migrations/postgres/0001_initial.sql"),
    },
    FormatStep {
        version: 2,
        description: "registries",
        sql: include_str!("../../migrations/postgres/0002_registries.sql"),
    },
    FormatStep {
        version: 3,
        description: "tiles",
        sql: include_str!("../../migrations/postgres/0003_tiles.sql"),
    },
    FormatStep {
        version: 4,
        description: "retention",
        sql: include_str!("../../migrations/postgres/0004_retention.sql"),
    },
];

/// Rows per statement; more save nothing.
const INSERT_ROWS_MAX: usize = 2048;
/// Bytes per statement, far below the protocol's limit of 1 GiB per message.
const INSERT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Readers beyond this wait.
const READERS_MAX: u32 = 8;

/// A PostgreSQL database.
#[derive(Debug)]
pub(super) struct Postgres {
    options: PgConnectOptions,
    readers: PgPool,
}

/// The writing connection.
#[derive(Debug)]
pub(super) struct PostgresSession {
    connection: PgConnection,
}

impl Postgres {
    /// Opens the database at `url`, which must exist.
    pub async fn open(url: &str) -> Result<Self, StorageError> {
        let options = PgConnectOptions::from_str(url)?
            .application_name("tidings-node")
            .disable_statement_logging();
        let mut connection = options.connect().await?;
        let migrator = format::migrator(&mut connection, &STEPS).await?;
        migrator.run(&mut connection).await?;
        connection.close().await?;
        let readers =
            PgPoolOptions::new().max_connections(READERS_MAX).connect_lazy_with(options.clone());
        Ok(Self { options, readers })
    }
}

impl Backend for Postgres {
    type Session = PostgresSession;

    async fn fetch(
        &self,
        sql: &'static str,
        arguments: Vec<Value>,
    ) -> Result<Vec<Row>, StorageError> {
        fetch(&self.readers, sql, arguments).await
    }

    async fn session(&self) -> Result<PostgresSession, StorageError> {
        let mut session = PostgresSession { connection: self.options.connect().await? };
        // The server's configuration may have it off; an acknowledgement means the disk.
        session.execute("SET synchronous_commit TO on", Vec::new()).await?;
        // An abandoned connection may hold the lock until the server notices.
        session.execute("SET lock_timeout TO '5s'", Vec::new()).await?;
        Ok(session)
    }

    async fn close(&self) {
        self.readers.close().await;
    }
}

impl Session for PostgresSession {
    async fn begin(&mut self) -> Result<(), StorageError> {
        // In one message, which only the unprepared protocol allows; readers are not held up.
        let sql = "BEGIN; LOCK TABLE logs IN EXCLUSIVE MODE";
        sqlx::raw_sql(sql).execute(&mut self.connection).await?;
        Ok(())
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
        let mut first = 0;
        while first < rows {
            let end = chunk_end(&columns, first, rows);
            let mut arguments = PgArguments::default();
            for column in &columns {
                bind(&mut arguments, column, first..end)?;
            }
            let query = sqlx::query_with(AssertSqlSafe(insert_sql(table, &columns)), arguments);
            query.execute(&mut self.connection).await.map_err(StorageError::of_write)?;
            first = end;
        }
        Ok(())
    }

    async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the database connection did not close cleanly");
        }
    }
}

/// Where the statement that begins with row `first` ends: at least one row on.
fn chunk_end(columns: &[Column], first: usize, rows: usize) -> usize {
    let last = rows.min(first + INSERT_ROWS_MAX);
    let mut bytes = 0;
    for row in first..last {
        bytes += columns.iter().map(|column| column.bytes_at(row)).sum::<usize>();
        if bytes > INSERT_BYTES_MAX {
            return row.max(first + 1);
        }
    }
    last
}

fn bind(
    arguments: &mut PgArguments,
    column: &Column,
    rows: std::ops::Range<usize>,
) -> Result<(), StorageError> {
    let bound = match column {
        Column::Ints(values) => arguments.add(&values[rows]),
        Column::Bytes(values) => arguments.add(&values[rows]),
        Column::Shared(values) => {
            let values: Vec<_> = values[rows].iter().map(Option::as_deref).collect();
            arguments.add(values)
        }
    };
    bound.map_err(|error| sqlx::Error::Encode(error).into())
}

async fn fetch(
    on: impl Executor<'_, Database = Db>,
    sql: &'static str,
    arguments: Vec<Value>,
) -> Result<Vec<Row>, StorageError> {
    let rows = sqlx::query_with(sql, encode(arguments)?).fetch_all(on).await?;
    rows.iter().map(decode).collect()
}

fn encode(values: Vec<Value>) -> Result<PgArguments, StorageError> {
    let mut arguments = PgArguments::default();
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

fn decode(row: &PgRow) -> Result<Row, StorageError> {
    let values = (0..row.len()).map(|index| {
        let value = row.try_get_raw(index)?;
        if value.is_null() {
            return Ok(Value::Null);
        }
        let is_number = value.type_info().name() == "INT8";
        let decoded = match is_number {
            true => <i64 as Decode<Db>>::decode(value).map(Value::Int),
            false => <Vec<u8> as Decode<Db>>::decode(value).map(Value::Bytes),
        };
        decoded.map_err(|_| damaged("a column"))
    });
    values.collect::<Result<_, _>>().map(Row)
}

fn insert_sql(table: &Table, columns: &[Column]) -> String {
    let arrays = columns.iter().enumerate().map(|(index, column)| match column {
        Column::Ints(_) => format!("${}::bigint[]", index + 1),
        Column::Bytes(_) | Column::Shared(_) => format!("${}::bytea[]", index + 1),
    });
    let (name, names) = (table.name, table.columns.join(","));
    let arrays = arrays.collect::<Vec<_>>().join(",");
    let conflict = table.on_conflict;
    format!("INSERT INTO {name} ({names}) SELECT * FROM unnest({arrays}) {conflict}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_cut_by_rows_and_by_bytes() {
        let small = [Column::Ints(vec![0; 5000])];
        assert_eq!(chunk_end(&small, 0, 5000), INSERT_ROWS_MAX);
        assert_eq!(chunk_end(&small, 4096, 5000), 5000);
        let large = [Column::Bytes(vec![vec![0; INSERT_BYTES_MAX / 2]; 4])];
        assert_eq!(chunk_end(&large, 0, 4), 2);
        let huge = [Column::Bytes(vec![vec![0; INSERT_BYTES_MAX + 1]; 2])];
        assert_eq!(chunk_end(&huge, 0, 2), 1);
    }
}
