//! Looking up users by key, without asking the database for every request.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidings_types::{ErrorCode, EthereumAddress};

use super::{ApiKey, Database, DatabaseError, KeyDigest, Terms, User};

/// How long a user is remembered, and so how long a removed user's key still works at most.
const MEMORY: Duration = Duration::from_secs(5);

/// Users remembered at most.
const USERS_MAX: usize = 16_384;

/// Users by key.
#[derive(Debug)]
pub struct Users {
    database: Database,
    known: Mutex<BTreeMap<String, Known>>,
}

#[derive(Debug)]
struct Known {
    digest: KeyDigest,
    user: User,
    since: Instant,
}

impl Users {
    /// The users of `database`.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database, known: Mutex::default() }
    }

    /// The user with this key at `now_seconds`, if there is one (GTW-001).
    ///
    /// # Errors
    /// [`ErrorCode::StorageUnavailable`] when the database fails.
    pub async fn user(
        &self,
        digest: &KeyDigest,
        now_seconds: u64,
    ) -> Result<Option<User>, ErrorCode> {
        if let Some(user) = self.remembered(digest) {
            return Ok(Some(user));
        }
        let found = self.database.user(digest, now_seconds).await.map_err(unavailable)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match &found {
            None => drop(known.remove(&digest.handle())),
            Some(user) => {
                if known.len() >= USERS_MAX {
                    known.clear();
                }
                let user = user.clone();
                known.insert(
                    digest.handle(),
                    Known { digest: *digest, user, since: Instant::now() },
                );
            }
        }
        Ok(found)
    }

    /// A fresh key for an account that logged in (GTW-020).
    ///
    /// # Errors
    /// [`ErrorCode::StorageUnavailable`] when the database fails.
    pub async fn log_in(
        &self,
        account: EthereumAddress,
        terms: Terms,
        now_seconds: u64,
        expires_seconds: u64,
    ) -> Result<ApiKey, ErrorCode> {
        let key = self.database.log_in(account, terms, now_seconds, expires_seconds).await;
        key.map_err(unavailable)
    }

    fn remembered(&self, digest: &KeyDigest) -> Option<User> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(&digest.handle())?;
        let is_fresh = known.since.elapsed() < MEMORY;
        (is_fresh && known.digest.matches(digest)).then(|| known.user.clone())
    }
}

fn unavailable(error: DatabaseError) -> ErrorCode {
    tracing::error!(%error, "the database failed");
    ErrorCode::StorageUnavailable
}
