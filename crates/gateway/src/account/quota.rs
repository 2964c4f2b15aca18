//! Quotas: what a user may send and spend per window, counted without a write per request.
//!
//! A user's allowance is taken from the database in small leases, before it is used.
//! A crash loses what is left of a lease to its user, and never forgets what was sent (GTW-003).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidings_types::{ErrorCode, PicoDollars, PicoDollarsTotal};

use super::{Database, DatabaseError, User};

/// The most that is leased ahead, in envelopes.
const LEASE_ENVELOPES_MAX: u64 = 256;

/// The part of a quota that is leased ahead at most: one in this many.
const LEASE_PARTS: u64 = 16;

/// What is left of a lease.
#[derive(Debug, Default)]
struct Lease {
    window: i64,
    /// In envelopes.
    left: u64,
    /// In picodollars.
    money_left: u64,
}

/// What a request takes of its user's quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Take {
    /// How many envelopes.
    pub envelopes: u64,
    /// What they cost.
    pub money: PicoDollarsTotal,
}

/// What a request was charged, so that it can be refunded.
#[derive(Debug)]
pub struct Charge {
    lease: Arc<tokio::sync::Mutex<Lease>>,
    window: i64,
    money: PicoDollars,
}

/// A user's use in the current window.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct UsageReport {
    /// Envelopes sent.
    pub used: u64,
    /// Envelopes that may be sent.
    pub quota: u64,
    /// Money spent, for a user with a quota of money.
    pub money: Option<MoneyReport>,
    /// How long a window lasts.
    pub window_seconds: u64,
}

/// A user's spending in the current window, in decimal: a JSON number would lose precision.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MoneyReport {
    /// Picodollars spent.
    pub used_picodollars: String,
    /// Picodollars that may be spent.
    pub quota_picodollars: String,
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

    /// Charges what a request may take at `now_seconds` (GTW-003, GTW-015).
    ///
    /// # Errors
    /// [`ErrorCode::QuotaExceeded`] when less is left, and nothing is charged then;
    /// [`ErrorCode::StorageUnavailable`] when the database fails.
    pub async fn charge(
        &self,
        user: &User,
        wanted: Take,
        now_seconds: u64,
    ) -> Result<Charge, ErrorCode> {
        let window = self.window_at(now_seconds);
        let lease = self.lease(&user.name);
        let mut held = lease.lock().await;
        if held.window < window {
            *held = Lease { window, ..Lease::default() };
        }
        self.fill(&mut held, user, wanted.envelopes).await?;
        // Who has no quota of money is charged none, and has none refunded.
        let mut money = PicoDollars(0);
        if user.quota.money.is_some() {
            money = u64::try_from(wanted.money.0)
                .map(PicoDollars)
                .map_err(|_| ErrorCode::QuotaExceeded)?;
            self.fill_money(&mut held, user, money).await?;
        }
        held.left -= wanted.envelopes;
        held.money_left -= money.0;
        let window = held.window;
        drop(held);
        Ok(Charge { lease, window, money })
    }

    /// Brings a lease to at least `count` envelopes, and ahead of that if so many are left.
    async fn fill(&self, held: &mut Lease, user: &User, count: u64) -> Result<(), ErrorCode> {
        let needed = count.saturating_sub(held.left);
        let ahead = LEASE_ENVELOPES_MAX.min(user.quota.envelopes / LEASE_PARTS);
        for extension in [needed.max(ahead), needed].into_iter().filter(|_| needed > 0) {
            let taken = self.database.take(&user.name, held.window, extension).await;
            if taken.map_err(unavailable)? {
                held.left += extension;
                return Ok(());
            }
        }
        match needed {
            0 => Ok(()),
            _ => Err(ErrorCode::QuotaExceeded),
        }
    }

    /// Brings a lease to at least so much money, and ahead of that if so much is left.
    async fn fill_money(
        &self,
        held: &mut Lease,
        user: &User,
        money: PicoDollars,
    ) -> Result<(), ErrorCode> {
        let needed = money.0.saturating_sub(held.money_left);
        let ahead = user.quota.money.unwrap_or_default().0 / LEASE_PARTS;
        for extension in [needed.max(ahead), needed].into_iter().filter(|_| needed > 0) {
            let extension = PicoDollars(extension);
            let taken = self.database.take_money(&user.name, held.window, extension).await;
            if taken.map_err(unavailable)? {
                held.money_left += extension.0;
                return Ok(());
            }
        }
        match needed {
            0 => Ok(()),
            _ => Err(ErrorCode::QuotaExceeded),
        }
    }

    /// What the user has used at `now_seconds`.
    ///
    /// # Errors
    /// [`ErrorCode::StorageUnavailable`] when the database fails.
    pub async fn usage(&self, user: &User, now_seconds: u64) -> Result<UsageReport, ErrorCode> {
        let lease = self.lease(&user.name);
        let held = lease.lock().await;
        let stored = self.database.usage(&user.name).await.map_err(unavailable)?;
        let money = self.database.money_usage(&user.name).await.map_err(unavailable)?;
        let now = self.window_at(now_seconds);
        let used = |window: i64, taken: u64, unused: u64| {
            let taken = if window >= now { taken } else { 0 };
            taken.saturating_sub(if held.window == window { unused } else { 0 })
        };
        Ok(UsageReport {
            used: used(stored.window, stored.used, held.left),
            quota: stored.quota,
            money: money.map(|money| MoneyReport {
                used_picodollars: used(money.window, money.used.0, held.money_left).to_string(),
                quota_picodollars: money.quota.0.to_string(),
            }),
            window_seconds: self.window_seconds,
        })
    }

    /// Gives every unused lease back, so that a restart costs nobody anything.
    pub async fn return_leases(&self) {
        let leases = std::mem::take(&mut *self.table());
        for (name, lease) in leases {
            let mut held = lease.lock().await;
            let Lease { window, left, money_left } = std::mem::take(&mut *held);
            if let Err(error) = self.give_back(&name, window, left, money_left).await {
                tracing::warn!(%error, user = name, left, "a lease could not be given back");
            }
        }
    }

    async fn give_back(
        &self,
        name: &str,
        window: i64,
        envelopes: u64,
        money: u64,
    ) -> Result<(), DatabaseError> {
        if envelopes > 0 {
            self.database.give_back(name, window, envelopes).await?;
        }
        if money > 0 {
            self.database.give_back_money(name, window, PicoDollars(money)).await?;
        }
        Ok(())
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
    /// Gives back what was charged and not used: envelopes that were refused, and what the others
    /// cost less (GTW-003, GTW-015).
    pub async fn refund(self, unused: Take) {
        let mut held = self.lease.lock().await;
        if held.window == self.window {
            held.left = held.left.saturating_add(unused.envelopes);
            let money = u64::try_from(unused.money.0).unwrap_or(u64::MAX).min(self.money.0);
            held.money_left = held.money_left.saturating_add(money);
        }
    }
}

fn unavailable(error: DatabaseError) -> ErrorCode {
    tracing::error!(%error, "the database failed");
    ErrorCode::StorageUnavailable
}

#[cfg(test)]
mod tests {
    use super::super::Quota;
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
        subject_with(Quota::envelopes(quota)).await
    }

    async fn subject_with(quota: Quota) -> Subject {
        let directory = tempfile::tempdir().unwrap();
        let quotas = open(&directory).await;
        quotas.database.add_user("ada", quota).await.unwrap();
        let user = User { name: "ada".into(), quota, payer: None };
        Subject { directory, quotas, user }
    }

    fn take(envelopes: u64, money: u128) -> Take {
        Take { envelopes, money: PicoDollarsTotal(money) }
    }

    impl Subject {
        async fn spend(&self, money: u128, now: u64) -> Result<Charge, ErrorCode> {
            self.quotas.charge(&self.user, take(1, money), now).await
        }

        async fn check_spent(&self, now: u64, expected: u64) {
            let usage = self.quotas.usage(&self.user, now).await.unwrap();
            assert_eq!(usage.money.unwrap().used_picodollars, expected.to_string());
        }

        async fn check(&self, count: u64, now: u64, expected: Result<u64, ErrorCode>) {
            let charge = self.quotas.charge(&self.user, take(count, 0), now).await.map(drop);
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
        let charge = subject.quotas.charge(&subject.user, take(4, 0), 0).await.unwrap();
        charge.refund(take(1, 0)).await;
        subject.check(1, 0, Ok(4)).await;
        // A refund of an old window is worth nothing in the new one.
        let charge = subject.quotas.charge(&subject.user, take(1, 0), 100).await.unwrap();
        subject.check(4, 200, Ok(4)).await;
        charge.refund(take(1, 0)).await;
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

    #[tokio::test]
    async fn money_has_a_quota_of_its_own() {
        // covers: GTW-015
        let quota = Quota { envelopes: 1_000, money: Some(PicoDollars(100)) };
        let subject = subject_with(quota).await;
        let exceeded = async |money, now| {
            assert_eq!(subject.spend(money, now).await.unwrap_err(), ErrorCode::QuotaExceeded);
        };
        let charge = subject.spend(70, 0).await.unwrap();
        subject.check_spent(0, 70).await;
        exceeded(31, 0).await;
        exceeded(u128::MAX, 0).await;
        // It cost less than was thought.
        charge.refund(take(0, 20)).await;
        subject.check_spent(0, 50).await;
        subject.spend(50, 0).await.unwrap();
        exceeded(1, 99).await;
        subject.spend(0, 99).await.unwrap();
        subject.spend(100, 100).await.unwrap();
        exceeded(1, 50).await;
    }

    #[tokio::test]
    async fn spenders_at_once_share_the_quota_and_a_restart_gives_nothing_back() {
        // covers: GTW-015
        let quota = Quota { envelopes: 1_000, money: Some(PicoDollars(25)) };
        let mut subject = subject_with(quota).await;
        let spending = (0..40).map(|_| subject.spend(1, 0));
        let spent = futures_util::future::join_all(spending).await;
        assert_eq!(spent.iter().filter(|spent| spent.is_ok()).count(), 25);
        drop(spent);
        subject.quotas = open(&subject.directory).await;
        assert_eq!(subject.spend(1, 0).await.unwrap_err(), ErrorCode::QuotaExceeded);
    }

    #[tokio::test]
    async fn money_leased_and_not_spent_is_given_back_on_stopping() {
        // covers: GTW-015
        let quota = Quota { envelopes: 1_000, money: Some(PicoDollars(160)) };
        let mut subject = subject_with(quota).await;
        subject.spend(1, 0).await.unwrap();
        subject.quotas.return_leases().await;
        subject.quotas = open(&subject.directory).await;
        subject.spend(159, 0).await.unwrap();
        assert_eq!(subject.spend(1, 0).await.unwrap_err(), ErrorCode::QuotaExceeded);
    }
}
