//! Quotas: how many envelopes a user may send per window, counted without a write per request.
//!
//! A user's allowance is taken from the database in small leases, before it is used.
//! A crash loses what is left of a lease to its user, and never forgets what was sent (GTW-003).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidings_types::ErrorCode;

use super::{Database, DatabaseError, User};

/// The most that is leased ahead, in envelopes.
const LEASE_ENVELOPES_MAX: u64 = 256;

/// The part of a quota that is leased ahead at most: one in this many.
const LEASE_PARTS: u64 = 16;

/// What is left of a lease.
#[derive(Debug, Default)]
struct Lease {
    window: i64,
    left: u64,
}

/// What a request was charged, so that it can be refunded.
#[derive(Debug)]
pub struct Charge {
    lease: Arc<tokio::sync::Mutex<Lease>>,
    window: i64,
}

/// A user's use in the current window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct UsageReport {
    /// Envelopes sent.
    pub used: u64,
    /// Envelopes that may be sent.
    pub quota: u64,
    /// How long a window lasts.
    pub window_seconds: u64,
}

/// All users' leases.
#[derive(Debug)]
pub struct Quotas {
    database: Database,
    window_seconds: u64,
    leases: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Lease>>>>,
}

impl Quotas {
    /// Quotas over windows of `window_seconds`, at least 1, kept in `database`.
    #[must_use]
    pub fn new(database: Database, window_seconds: u64) -> Self {
        Self { database, window_seconds: window_seconds.max(1), leases: Mutex::default() }
    }

    /// Charges `count` envelopes at `now_seconds` (GTW-003).
    ///
    /// # Errors
    /// [`ErrorCode::QuotaExceeded`] when less is left, and nothing is charged then;
    /// [`ErrorCode::StorageUnavailable`] when the database fails.
    pub async fn charge(
        &self,
        user: &User,
        count: u64,
        now_seconds: u64,
    ) -> Result<Charge, ErrorCode> {
        let window = self.window_at(now_seconds);
        let lease = self.lease(&user.name);
        let mut held = lease.lock().await;
        if held.window < window {
            *held = Lease { window, left: 0 };
        }
        if held.left < count {
            let needed = count - held.left;
            let ahead = LEASE_ENVELOPES_MAX.min(user.quota / LEASE_PARTS);
            held.left += self.extend(&user.name, held.window, needed, needed.max(ahead)).await?;
        }
        held.left -= count;
        let window = held.window;
        drop(held);
        Ok(Charge { lease, window })
    }

    /// Leases `wanted` envelopes, or `needed` when that many are not left.
    async fn extend(
        &self,
        name: &str,
        window: i64,
        needed: u64,
        wanted: u64,
    ) -> Result<u64, ErrorCode> {
        for count in [wanted, needed] {
            if self.database.take(name, window, count).await.map_err(unavailable)? {
                return Ok(count);
            }
        }
        Err(ErrorCode::QuotaExceeded)
    }

    /// What the user has used at `now_seconds`.
    ///
    /// # Errors
    /// [`ErrorCode::StorageUnavailable`] when the database fails.
    pub async fn usage(&self, user: &User, now_seconds: u64) -> Result<UsageReport, ErrorCode> {
        let lease = self.lease(&user.name);
        let held = lease.lock().await;
        let stored = self.database.usage(&user.name).await.map_err(unavailable)?;
        let taken = if stored.window >= self.window_at(now_seconds) { stored.used } else { 0 };
        let unused = if held.window == stored.window { held.left } else { 0 };
        Ok(UsageReport {
            used: taken.saturating_sub(unused),
            quota: stored.quota,
            window_seconds: self.window_seconds,
        })
    }

    /// Gives every unused lease back, so that a restart costs nobody anything.
    pub async fn return_leases(&self) {
        let leases = std::mem::take(&mut *self.table());
        for (name, lease) in leases {
            let mut held = lease.lock().await;
            let left = std::mem::take(&mut held.left);
            if left > 0
                && let Err(error) = self.database.give_back(&name, held.window, left).await
            {
                tracing::warn!(%error, user = name, left, "a lease could not be given back");
            }
        }
    }

    fn window_at(&self, now_seconds: u64) -> i64 {
        i64::try_from(now_seconds / self.window_seconds).unwrap_or(i64::MAX)
    }

    fn lease(&self, name: &str) -> Arc<tokio::sync::Mutex<Lease>> {
        let mut table = self.table();
        match table.get(name) {
            Some(lease) => Arc::clone(lease),
            None => Arc::clone(table.entry(name.to_owned()).or_default()),
        }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<tokio::sync::Mutex<Lease>>>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Charge {
    /// Gives `count` of the charged envelopes back, for those that were refused (GTW-003).
    pub async fn refund(self, count: u64) {
        let mut held = self.lease.lock().await;
        if held.window == self.window {
            held.left = held.left.saturating_add(count);
        }
    }
}

fn unavailable(error: DatabaseError) -> ErrorCode {
    tracing::error!(%error, "the database failed");
    ErrorCode::StorageUnavailable
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 100;

    struct Subject {
        directory: tempfile::TempDir,
        quotas: Quotas,
        user: User,
    }

    async fn open(directory: &tempfile::TempDir) -> Quotas {
        let url = format!("sqlite:{}", directory.path().join("gateway.db").display());
        Quotas::new(Database::open(&url).await.unwrap(), WINDOW)
    }

    async fn subject(quota: u64) -> Subject {
        let directory = tempfile::tempdir().unwrap();
        let quotas = open(&directory).await;
        quotas.database.add_user("ada", quota).await.unwrap();
        let user = User { name: "ada".into(), quota };
        Subject { directory, quotas, user }
    }

    impl Subject {
        async fn check(&self, count: u64, now: u64, expected: Result<u64, ErrorCode>) {
            let charge = self.quotas.charge(&self.user, count, now).await.map(drop);
            assert_eq!(charge.err(), expected.err());
            if let Ok(used) = expected {
                assert_eq!(self.quotas.usage(&self.user, now).await.unwrap().used, used);
            }
        }
    }

    #[tokio::test]
    async fn a_window_holds_the_quota_and_the_next_one_again() {
        // covers: GTW-003
        let subject = subject(5).await;
        subject.check(3, 0, Ok(3)).await;
        subject.check(3, 99, Err(ErrorCode::QuotaExceeded)).await;
        subject.check(2, 99, Ok(5)).await;
        subject.check(1, 99, Err(ErrorCode::QuotaExceeded)).await;
        subject.check(5, 100, Ok(5)).await;
        // A clock put back finds the later window, used up.
        subject.check(1, 50, Err(ErrorCode::QuotaExceeded)).await;
    }

    #[tokio::test]
    async fn leases_end_exactly_at_the_quota() {
        // covers: GTW-003
        let subject = subject(1_000).await;
        for used in 1..=1_000 {
            subject.check(1, 0, Ok(used)).await;
        }
        subject.check(1, 0, Err(ErrorCode::QuotaExceeded)).await;
    }

    #[tokio::test]
    async fn a_refund_can_be_used_again() {
        // covers: GTW-003
        let subject = subject(4).await;
        let charge = subject.quotas.charge(&subject.user, 4, 0).await.unwrap();
        charge.refund(1).await;
        subject.check(1, 0, Ok(4)).await;
        // A refund of an old window is worth nothing in the new one.
        let charge = subject.quotas.charge(&subject.user, 1, 100).await.unwrap();
        subject.check(4, 200, Ok(4)).await;
        charge.refund(1).await;
        subject.check(1, 200, Err(ErrorCode::QuotaExceeded)).await;
    }

    #[tokio::test]
    async fn a_crash_forgets_nothing_and_a_shutdown_takes_nothing() {
        // covers: GTW-003
        let mut subject = subject(160).await;
        subject.check(5, 0, Ok(5)).await;
        // A lease of ten was taken; the crash loses its other half.
        subject.quotas = open(&subject.directory).await;
        subject.check(5, 0, Ok(15)).await;
        subject.quotas.return_leases().await;
        subject.quotas = open(&subject.directory).await;
        subject.check(145, 0, Ok(160)).await;
        subject.check(1, 0, Err(ErrorCode::QuotaExceeded)).await;
    }
}
