//! What the edge can read: a SQLite file with every XMTP envelope of the network, by topic.
//!
//! One writer takes what the network orders; readers answer clients. The file is made from the
//! network's logs and lanes, and can be made again from them at any time.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Executor, Row};

pub use read::Cursor;
pub use read::Reader;
pub use write::{Entry, IdentifierChange, Reached, Writer};

use crate::place::Mark;

const SCHEMA: &str = include_str!("schema.sql");

/// The format that this code reads and writes; a file of another is made anew.
const FORMAT: i64 = 1;

/// Reads are short, and two cores serve no more at once.
const READERS_MAX: u32 = 4;

/// How long a reader waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// An envelope as the index holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The XMTP topic's bytes.
    pub topic: Vec<u8>,
    /// How clients know it.
    pub mark: Mark,
    /// Rises as this edge came to know envelopes.
    pub arrival: u64,
    /// When an edge took it, in nanoseconds since 1970; rises within a topic and originator.
    pub sent_ns: u64,
    /// When nodes may forget it, in seconds since 1970.
    pub expires_s: u64,
    /// The encoded `ClientEnvelope`.
    pub envelope: Vec<u8>,
}

/// The index does not serve.
#[derive(Debug, thiserror::Error)]
#[error("the index: {0}")]
pub struct IndexError(#[from] sqlx::Error);

/// An open index.
#[derive(Debug)]
pub struct Index {
    /// Enters what the network orders.
    pub writer: Writer,
    /// Answers clients.
    pub reader: Reader,
    /// Answers whoever feeds the writer, who must not wait for clients.
    pub inboxes: Reader,
}

/// Opens the index in the file at `path`, or makes it.
///
/// # Errors
/// [`IndexError`] when the file cannot be used.
pub async fn open(path: &Path) -> Result<Index, IndexError> {
    let options = SqliteConnectOptions::from_str("sqlite:")?
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(PATIENCE)
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    lay_out(&mut connection).await?;
    let writer = Writer::new(connection).await?;
    let reading = options.create_if_missing(false).pragma("query_only", "ON");
    let reader = |connections| {
        let pool = SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(PATIENCE)
            .test_before_acquire(false)
            .connect_lazy_with(reading.clone());
        Reader::new(pool)
    };
    Ok(Index { writer, reader: reader(READERS_MAX), inboxes: reader(1) })
}

async fn lay_out(connection: &mut SqliteConnection) -> Result<(), IndexError> {
    let found: i64 = sqlx::query("PRAGMA user_version").fetch_one(&mut *connection).await?.get(0);
    if found != 0 && found != FORMAT {
        tracing::warn!(found, "the index has another format and is made anew");
        for table in ["envelopes", "newest", "identifiers", "followed_logs", "followed_lanes"] {
            let sql = format!("DROP TABLE IF EXISTS {table}");
            connection.execute(sqlx::AssertSqlSafe(sql)).await?;
        }
    }
    sqlx::raw_sql(SCHEMA).execute(&mut *connection).await?;
    let sql = format!("PRAGMA user_version = {FORMAT}");
    connection.execute(sqlx::AssertSqlSafe(sql)).await?;
    Ok(())
}

/// SQLite's numbers are signed; ours stay below 2⁶³, and what a damaged file holds reads as 0.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}
