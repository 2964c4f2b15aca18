//! The gateway's own database: users by the hash of their key, and what they used.
//!
//! The statements are the same for SQLite and PostgreSQL.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};

use super::{ApiKey, KeyDigest};

/// The format that this code reads and writes; a newer one is refused.
const FORMAT: i64 = 1;

/// One writer at a time is what SQLite can do; the others read.
const CONNECTIONS_MAX: u32 = 4;

/// How long a caller waits for a connection or a lock.
const PATIENCE: Duration = Duration::from_secs(5);

const SCHEMA: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS gateway_format (format BIGINT NOT NULL PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS gateway_users (
        name TEXT NOT NULL PRIMARY KEY,
        key_handle TEXT NOT NULL UNIQUE,
        key_digest TEXT NOT NULL,
        quota BIGINT NOT NULL,
        window_number BIGINT NOT NULL,
        used BIGINT NOT NULL
    )",
];

/// Takes `$3` envelopes in window `$2`, but no more than the quota leaves.
///
/// A window that the clock has left and come back to is the later one, so that a clock put back
/// resets nothing.
const TAKE: &str = "UPDATE gateway_users SET
        used = CASE WHEN window_number >= $2 THEN used ELSE 0 END + $3,
        window_number = CASE WHEN window_number >= $2 THEN window_number ELSE $2 END
    WHERE name = $1 AND CASE WHEN window_number >= $2 THEN used ELSE 0 END + $3 <= quota";

const GIVE_BACK: &str = "UPDATE gateway_users SET used = used - $3
    WHERE name = $1 AND window_number = $2 AND used >= $3";

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

/// A user of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Names the user to people.
    pub name: String,
    /// Envelopes per window.
    pub quota: u64,
}

/// What the database knows of a user's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserUsage {
    /// Envelopes per window.
    pub quota: u64,
    /// The last window in which something was taken.
    pub window: i64,
    /// Envelopes taken in it.
    pub used: u64,
}

/// Users and their use, in SQLite or PostgreSQL.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file.
    Sqlite(SqlitePool),
    /// A server, which several gateways may share.
    Postgres(PgPool),
}

/// Runs the same query on whichever database it is.
macro_rules! on {
    ($self:expr, $pool:ident => $query:expr) => {
        match $self {
            Database::Sqlite($pool) => $query,
            Database::Postgres($pool) => $query,
        }
    };
}

/// Opens the database at `url`, adds a user with `quota` envelopes per window, and returns the
/// key, which is stored nowhere (GTW-001).
///
/// # Errors
/// [`DatabaseError`] when the name is taken or no name, or the database fails.
pub async fn add_user(url: &str, name: &str, quota: u64) -> Result<ApiKey, DatabaseError> {
    let database = Database::open(url).await?;
    let key = database.add_user(name, quota).await;
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
            Some(_) => Ok(()),
            None => {
                let enter =
                    "INSERT INTO gateway_format (format) VALUES ($1) ON CONFLICT DO NOTHING";
                on!(self, pool => sqlx::query(enter).bind(FORMAT).execute(pool).await.map(drop))?;
                Ok(())
            }
        }
    }

    /// Adds a user with a fresh key.
    ///
    /// # Errors
    /// [`DatabaseError`] when the name is taken or no name, or the database fails.
    pub async fn add_user(&self, name: &str, quota: u64) -> Result<ApiKey, DatabaseError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(is_plain) {
            return Err(DatabaseError::NameInvalid);
        }
        let quota = i64::try_from(quota).map_err(|_| DatabaseError::QuotaTooLarge)?;
        let key = ApiKey::generate();
        let digest = key.digest();
        let statement = "INSERT INTO gateway_users
            (name, key_handle, key_digest, quota, window_number, used) VALUES ($1, $2, $3, $4, 0, 0)";
        let added = on!(self, pool => sqlx::query(statement)
            .bind(name)
            .bind(digest.handle())
            .bind(digest.to_hex())
            .bind(quota)
            .execute(pool)
            .await
            .map(drop));
        match added {
            Ok(()) => Ok(key),
            Err(error) if is_unique_violation(&error) => {
                Err(DatabaseError::UserExists(name.to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a user, whose key is refused from then on.
    ///
    /// # Errors
    /// [`DatabaseError::UserUnknown`], or the database's failure.
    pub async fn remove_user(&self, name: &str) -> Result<(), DatabaseError> {
        let statement = "DELETE FROM gateway_users WHERE name = $1";
        let removed = on!(self, pool => sqlx::query(statement)
            .bind(name).execute(pool).await.map(|done| done.rows_affected()))?;
        match removed {
            0 => Err(DatabaseError::UserUnknown(name.to_owned())),
            _ => Ok(()),
        }
    }

    /// The user with this key, if there is one (GTW-001).
    ///
    /// # Errors
    /// The database's failure.
    pub async fn user(&self, digest: &KeyDigest) -> Result<Option<User>, DatabaseError> {
        let statement = "SELECT name, key_digest, quota FROM gateway_users WHERE key_handle = $1";
        let row: Option<(String, String, i64)> = on!(self, pool => sqlx::query_as(statement)
            .bind(digest.handle()).fetch_optional(pool).await)?;
        let Some((name, stored, quota)) = row else { return Ok(None) };
        let stored = KeyDigest::from_hex(&stored).ok_or(DatabaseError::Damaged("a key digest"))?;
        if !stored.matches(digest) {
            return Ok(None);
        }
        Ok(Some(User { name, quota: amount(quota)? }))
    }

    /// Takes `count` envelopes from what a user has left in `window`; false when it is too little,
    /// and nothing is taken then (GTW-003).
    ///
    /// # Errors
    /// The database's failure.
    pub async fn take(&self, name: &str, window: i64, count: u64) -> Result<bool, DatabaseError> {
        let Ok(count) = i64::try_from(count) else { return Ok(false) };
        let rows = on!(self, pool => sqlx::query(TAKE)
            .bind(name).bind(window).bind(count)
            .execute(pool).await.map(|done| done.rows_affected()))?;
        Ok(rows == 1)
    }

    /// Gives back what was taken in `window` and not used.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn give_back(
        &self,
        name: &str,
        window: i64,
        count: u64,
    ) -> Result<(), DatabaseError> {
        let Ok(count) = i64::try_from(count) else { return Ok(()) };
        on!(self, pool => sqlx::query(GIVE_BACK)
            .bind(name).bind(window).bind(count).execute(pool).await.map(drop))?;
        Ok(())
    }

    /// What a user has taken.
    ///
    /// # Errors
    /// [`DatabaseError::UserUnknown`], or the database's failure.
    pub async fn usage(&self, name: &str) -> Result<UserUsage, DatabaseError> {
        let statement = "SELECT quota, window_number, used FROM gateway_users WHERE name = $1";
        let row: Option<(i64, i64, i64)> = on!(self, pool => sqlx::query_as(statement)
            .bind(name).fetch_optional(pool).await)?;
        let (quota, window, used) =
            row.ok_or_else(|| DatabaseError::UserUnknown(name.to_owned()))?;
        Ok(UserUsage { quota: amount(quota)?, window, used: amount(used)? })
    }

    /// Closes every connection.
    pub async fn close(&self) {
        on!(self, pool => pool.close().await);
    }
}

fn amount(stored: i64) -> Result<u64, DatabaseError> {
    u64::try_from(stored).map_err(|_| DatabaseError::Damaged("a negative amount"))
}

fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}
