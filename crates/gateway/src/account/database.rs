//! The gateway's own database: users by the hash of their key, what they used and what it cost.
//!
//! The statements are the same for SQLite and PostgreSQL.

/// Runs the same query on whichever database it is.
macro_rules! on {
    ($self:expr, $pool:ident => $query:expr) => {
        match $self {
            Database::Sqlite($pool) => $query,
            Database::Postgres($pool) => $query,
        }
    };
}

/// The sum of two columns that are no less than zero; one that fits no column is the largest.
macro_rules! plus {
    ($left:literal, $right:literal) => {
        concat!(
            "CASE WHEN ",
            $left,
            " > 9223372036854775807 - ",
            $right,
            " THEN 9223372036854775807 ELSE ",
            $left,
            " + ",
            $right,
            " END"
        )
    };
}

/// Says in a transaction who pays for a user; whoever had the name before leaves nobody.
macro_rules! set_payer {
    ($transaction:expr, $name:expr, $payer:expr) => {
        let forget = "DELETE FROM gateway_user_payers WHERE name = $1";
        sqlx::query(forget).bind($name).execute($transaction).await?;
        if let Some(payer) = $payer {
            let enter = "INSERT INTO gateway_user_payers (name, payer) VALUES ($1, $2)";
            let payer = payer.to_string();
            sqlx::query(enter).bind($name).bind(payer).execute($transaction).await?;
        }
    };
}

mod logins;
mod owed;
mod spend;
mod users;

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};

use super::ApiKey;

pub use owed::OwedAmount;
pub use spend::{DAYS_MAX, DaySpend, Spent, UserSpend};
pub use users::{MoneyUsage, Quota, Terms, User, UserUsage};

/// The format that this code reads and writes; a newer one is refused.
///
/// Formats 2 and 3 have tables more than those before, which are brought up to it on opening.
const FORMAT: i64 = 3;

/// One writer at a time is what SQLite can do; the others read.
const CONNECTIONS_MAX: u32 = 4;

/// How long a caller waits for a connection or a lock.
const PATIENCE: Duration = Duration::from_secs(5);

const SCHEMA: [&str; 7] = [
    "CREATE TABLE IF NOT EXISTS gateway_format (format BIGINT NOT NULL PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS gateway_users (
        name TEXT NOT NULL PRIMARY KEY,
        key_handle TEXT NOT NULL UNIQUE,
        key_digest TEXT NOT NULL,
        quota BIGINT NOT NULL,
        window_number BIGINT NOT NULL,
        used BIGINT NOT NULL
    )",
    "CREATE TABLE IF NOT EXISTS gateway_money_quotas (
        name TEXT NOT NULL PRIMARY KEY,
        quota BIGINT NOT NULL,
        window_number BIGINT NOT NULL,
        used BIGINT NOT NULL
    )",
    "CREATE TABLE IF NOT EXISTS gateway_login_keys (
        key_handle TEXT NOT NULL PRIMARY KEY,
        key_digest TEXT NOT NULL,
        name TEXT NOT NULL,
        expires BIGINT NOT NULL
    )",
    "CREATE TABLE IF NOT EXISTS gateway_spend (
        name TEXT NOT NULL,
        day BIGINT NOT NULL,
        envelopes BIGINT NOT NULL,
        bytes BIGINT NOT NULL,
        fee BIGINT NOT NULL,
        PRIMARY KEY (name, day)
    )",
    "CREATE TABLE IF NOT EXISTS gateway_owed (
        payer TEXT NOT NULL,
        shard BIGINT NOT NULL,
        period BIGINT NOT NULL,
        amount BIGINT NOT NULL,
        PRIMARY KEY (payer, shard, period)
    )",
    "CREATE TABLE IF NOT EXISTS gateway_user_payers (
        name TEXT NOT NULL PRIMARY KEY,
        payer TEXT NOT NULL
    )",
];

/// Why the database does not serve.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The URL is neither `sqlite:` nor `postgres:`.
    #[error("the database URL must begin with sqlite: or postgres:")]
    UnknownKind,
    /// The name is taken.
    #[error("there is a user {0} already")]
    UserExists(String),
    /// The name is empty, too long or not plain.
    #[error("a user's name is 1 to 64 letters, digits, dots, dashes or underscores")]
    NameInvalid,
    /// There is no such user.
    #[error("there is no user {0}")]
    UserUnknown(String),
    /// The quota is above 2⁶³ − 1.
    #[error("the quota is too large")]
    QuotaTooLarge,
    /// Written by a later version.
    #[error("the database has format {found}, this version knows {FORMAT}")]
    NewerFormat {
        /// The format found.
        found: i64,
    },
    /// A row holds what nobody wrote there.
    #[error("the database is damaged: {0}")]
    Damaged(&'static str),
    /// The database failed.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
}

/// Users and their use, in SQLite or PostgreSQL.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file.
    Sqlite(SqlitePool),
    /// A server, which several gateways may share.
    Postgres(PgPool),
}

/// Opens the database at `url`, adds a user on these terms, and returns the key, which is stored
/// nowhere (GTW-001).
///
/// # Errors
/// [`DatabaseError`] when the name is taken or no name, or the database fails.
pub async fn add_user(
    url: &str,
    name: &str,
    terms: impl Into<Terms>,
) -> Result<ApiKey, DatabaseError> {
    let database = Database::open(url).await?;
    let key = database.add_user(name, terms).await;
    database.close().await;
    key
}

impl Database {
    /// Opens `sqlite:PATH`, created if it is missing, or `postgres://…`.
    ///
    /// # Errors
    /// [`DatabaseError`] for another URL, a newer format, or a failing database.
    pub async fn open(url: &str) -> Result<Self, DatabaseError> {
        let database = if url.starts_with("sqlite:") {
            let options = SqliteConnectOptions::from_str(url)?
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .busy_timeout(PATIENCE);
            let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX);
            Self::Sqlite(pool.acquire_timeout(PATIENCE).connect_with(options).await?)
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            let pool = PgPoolOptions::new().max_connections(CONNECTIONS_MAX);
            Self::Postgres(pool.acquire_timeout(PATIENCE).connect(url).await?)
        } else {
            return Err(DatabaseError::UnknownKind);
        };
        database.prepare().await?;
        Ok(database)
    }

    async fn prepare(&self) -> Result<(), DatabaseError> {
        for statement in SCHEMA {
            on!(self, pool => sqlx::query(statement).execute(pool).await.map(drop))?;
        }
        let newest = "SELECT MAX(format) FROM gateway_format";
        let found: (Option<i64>,) =
            on!(self, pool => sqlx::query_as(newest).fetch_one(pool).await)?;
        match found.0 {
            Some(found) if found > FORMAT => Err(DatabaseError::NewerFormat { found }),
            Some(FORMAT) => Ok(()),
            // Every table is there by now, and what an older format lacks begins empty.
            _ => {
                let enter =
                    "INSERT INTO gateway_format (format) VALUES ($1) ON CONFLICT DO NOTHING";
                on!(self, pool => sqlx::query(enter).bind(FORMAT).execute(pool).await.map(drop))?;
                Ok(())
            }
        }
    }

    /// Closes every connection.
    pub async fn close(&self) {
        on!(self, pool => pool.close().await);
    }
}

/// An amount as it is stored; one that is larger than any column is the largest.
fn stored(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

fn amount(stored: i64) -> Result<u64, DatabaseError> {
    u64::try_from(stored).map_err(|_| DatabaseError::Damaged("a negative amount"))
}
