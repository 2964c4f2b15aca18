//! Why a storage operation failed, and what that means to a client.

use tidings_envelope::LogId;
use tidings_types::{ErrorCode, LogIndex, NetworkId};

/// A storage operation failed and changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Caller: the URL names no kind of storage that there is.
    #[error("a storage URL begins with `sqlite:` or `postgres://`")]
    UnknownUrl,
    /// Caller: a later release wrote the store; this one would misread it.
    #[error("the store has format {found}, this release knows formats up to {known}")]
    NewerFormat {
        /// The version of the store.
        found: i64,
        /// The latest version that this code reads.
        known: i64,
    },
    /// Caller: the store belongs to another network.
    #[error("the store belongs to network {found}")]
    OtherNetwork {
        /// The network in the store.
        found: NetworkId,
    },
    /// Caller: the database has a better way to be copied.
    #[error("a PostgreSQL database is copied by pg_dump")]
    CopiedElsewhere,
    /// Environment: the database refuses or is away; may pass.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// Environment: the store could not be brought to the current format.
    #[error("the store's format could not be updated: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// Environment: what was read is not what was written.
    #[error("the store is damaged: {what} cannot be read")]
    Damaged {
        /// What was to be read.
        what: &'static str,
    },
    /// Bug: something that is written once was written again.
    #[error("already stored: {what}")]
    AlreadyStored {
        /// What the database says about it.
        what: String,
    },
    /// Bug: entries do not follow what is stored, or a checkpoint does not cover them exactly.
    #[error("log {log}: entry {found} came where {expected} was due")]
    NotContiguous {
        /// Which log.
        log: LogId,
        /// The index due.
        expected: LogIndex,
        /// The index that came.
        found: LogIndex,
    },
    /// Bug: a number is too large for the database.
    #[error("{value} is out of range")]
    OutOfRange {
        /// The number.
        value: u64,
    },
}

impl StorageError {
    /// The code that a client sees.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Database(_) | Self::Migration(_) => ErrorCode::StorageUnavailable,
            _ => ErrorCode::Internal,
        }
    }

    /// Tells a row that exists from a database that is away.
    pub(super) fn of_write(error: sqlx::Error) -> Self {
        match error.as_database_error() {
            Some(refusal) if refusal.is_unique_violation() => {
                Self::AlreadyStored { what: refusal.message().to_owned() }
            }
            _ => Self::Database(error),
        }
    }
}
