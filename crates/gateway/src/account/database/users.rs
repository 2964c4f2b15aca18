//! Users, their keys, and what they have taken of their quotas.

use std::collections::BTreeMap;

use tidings_types::{EthereumAddress, PicoDollars};

use super::{Database, DatabaseError, amount};
use crate::account::{ApiKey, KeyDigest};

/// Takes `$3` in window `$2`, but no more than the quota leaves.
///
/// A window that the clock has left and come back to is the later one, so that a clock put back
/// resets nothing. The sum is never computed where it could be above the quota, and overflow.
macro_rules! take {
    ($table:literal) => {
        concat!(
            "UPDATE ",
            $table,
            " SET used = CASE WHEN window_number >= $2 THEN used ELSE 0 END + $3,
                window_number = CASE WHEN window_number >= $2 THEN window_number ELSE $2 END
            WHERE name = $1 AND $3 <= quota
                AND CASE WHEN window_number >= $2 THEN used ELSE 0 END <= quota - $3"
        )
    };
}

macro_rules! give_back {
    ($table:literal) => {
        concat!(
            "UPDATE ",
            $table,
            " SET used = used - $3 WHERE name = $1 AND window_number = $2 AND used >= $3"
        )
    };
}

/// Users with their quotas of money and payers, where they have them.
macro_rules! users {
    () => {
        "FROM gateway_users u LEFT JOIN gateway_money_quotas m ON m.name = u.name
            LEFT JOIN gateway_user_payers p ON p.name = u.name WHERE "
    };
}

/// A user's quotas in envelopes and money, and payer.
type TermsRow = (i64, Option<i64>, Option<String>);

/// The name of a key's user, the key's digest, and the terms.
type KeyRow = (String, String, i64, Option<i64>, Option<String>);

/// Everything that is kept of a user.
const FORGET: [&str; 5] = [
    "DELETE FROM gateway_login_keys WHERE name = $1",
    "DELETE FROM gateway_user_payers WHERE name = $1",
    "DELETE FROM gateway_money_quotas WHERE name = $1",
    "DELETE FROM gateway_spend WHERE name = $1",
    "DELETE FROM gateway_users WHERE name = $1",
];

/// A user of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Names the user to people.
    pub name: String,
    /// What the user may use in each window.
    pub quota: Quota,
    /// Who pays for the user; the gateway's first payer without (GTW-021).
    pub payer: Option<EthereumAddress>,
}

/// What a new user gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What the user may use in each window.
    pub quota: Quota,
    /// Who pays for the user; the gateway's first payer without (GTW-021).
    pub payer: Option<EthereumAddress>,
}

impl From<Quota> for Terms {
    fn from(quota: Quota) -> Self {
        Self { quota, payer: None }
    }
}

/// What may be used in each window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// In envelopes.
    pub envelopes: u64,
    /// In money; no limit without.
    pub money: Option<PicoDollars>,
}

impl Quota {
    /// So many envelopes, whatever they cost.
    #[must_use]
    pub fn envelopes(envelopes: u64) -> Self {
        Self { envelopes, money: None }
    }
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

/// What the database knows of a user's window in money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MoneyUsage {
    /// Money per window.
    pub quota: PicoDollars,
    /// The last window in which something was taken.
    pub window: i64,
    /// Money taken in it.
    pub used: PicoDollars,
}

impl Database {
    /// Adds a user with a fresh key.
    ///
    /// # Errors
    /// [`DatabaseError`] when the name is taken or no name, or the database fails.
    pub async fn add_user(
        &self,
        name: &str,
        terms: impl Into<Terms>,
    ) -> Result<ApiKey, DatabaseError> {
        let Terms { quota, payer } = terms.into();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(is_plain) {
            return Err(DatabaseError::NameInvalid);
        }
        let (envelopes, money) = columns(quota)?;
        let key = ApiKey::generate();
        let digest = key.digest();
        let statement = "INSERT INTO gateway_users
            (name, key_handle, key_digest, quota, window_number, used) VALUES ($1, $2, $3, $4, 0, 0)";
        let added = on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let added = sqlx::query(statement)
                .bind(name)
                .bind(digest.handle())
                .bind(digest.to_hex())
                .bind(envelopes)
                .execute(&mut *transaction)
                .await;
            if let (Ok(_), Some(money)) = (&added, money) {
                sqlx::query(SET_MONEY).bind(name).bind(money).execute(&mut *transaction).await?;
            }
            if added.is_ok() {
                set_payer!(&mut *transaction, name, payer);
            }
            match added {
                Ok(_) => transaction.commit().await,
                Err(error) => Err(error),
            }
        });
        match added {
            Ok(()) => Ok(key),
            Err(error) if is_unique_violation(&error) => {
                Err(DatabaseError::UserExists(name.to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a user another quota; what was taken in this window stays taken.
    ///
    /// # Errors
    /// [`DatabaseError::UserUnknown`], [`DatabaseError::QuotaTooLarge`], or the database's failure.
    pub async fn set_quota(&self, name: &str, quota: Quota) -> Result<(), DatabaseError> {
        let (envelopes, money) = columns(quota)?;
        let statement = "UPDATE gateway_users SET quota = $2 WHERE name = $1";
        let no_money = "DELETE FROM gateway_money_quotas WHERE name = $1";
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let found = sqlx::query(statement)
                .bind(name).bind(envelopes).execute(&mut *transaction).await?;
            if found.rows_affected() == 0 {
                return Err(DatabaseError::UserUnknown(name.to_owned()));
            }
            let changed = match money {
                Some(money) => sqlx::query(SET_MONEY).bind(name).bind(money),
                None => sqlx::query(no_money).bind(name),
            };
            changed.execute(&mut *transaction).await?;
            transaction.commit().await?;
        });
        Ok(())
    }

    /// Has another payer pay for a user.
    ///
    /// # Errors
    /// [`DatabaseError::UserUnknown`], or the database's failure.
    pub async fn set_payer(&self, name: &str, payer: EthereumAddress) -> Result<(), DatabaseError> {
        // A write, so that nobody else changes the user meanwhile.
        let hold = "UPDATE gateway_users SET name = name WHERE name = $1";
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let held = sqlx::query(hold).bind(name).execute(&mut *transaction).await?;
            if held.rows_affected() == 0 {
                return Err(DatabaseError::UserUnknown(name.to_owned()));
            }
            set_payer!(&mut *transaction, name, Some(payer));
            transaction.commit().await?;
        });
        Ok(())
    }

    /// Who pays for the users that were given a payer.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn payers(&self) -> Result<BTreeMap<String, EthereumAddress>, DatabaseError> {
        let statement = "SELECT name, payer FROM gateway_user_payers";
        let rows: Vec<(String, String)> =
            on!(self, pool => sqlx::query_as(statement).fetch_all(pool).await)?;
        rows.into_iter().map(|(name, payer)| Ok((name, address(&payer)?))).collect()
    }

    /// Removes a user and all that is kept of it; its key is refused from then on.
    ///
    /// # Errors
    /// [`DatabaseError::UserUnknown`], or the database's failure.
    pub async fn remove_user(&self, name: &str) -> Result<(), DatabaseError> {
        let removed = on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let mut removed = 0;
            for statement in FORGET {
                let done = sqlx::query(statement).bind(name).execute(&mut *transaction).await?;
                removed = done.rows_affected();
            }
            transaction.commit().await?;
            removed
        });
        match removed {
            0 => Err(DatabaseError::UserUnknown(name.to_owned())),
            _ => Ok(()),
        }
    }

    /// The user with this key at `now_seconds`, if there is one (GTW-001, GTW-020).
    ///
    /// # Errors
    /// The database's failure.
    pub async fn user(
        &self,
        digest: &KeyDigest,
        now_seconds: u64,
    ) -> Result<Option<User>, DatabaseError> {
        if let Some(user) = self.user_with_own_key(digest).await? {
            return Ok(Some(user));
        }
        let Some(name) = self.logged_in(digest, now_seconds).await? else { return Ok(None) };
        let statement = concat!("SELECT u.quota, m.quota, p.payer ", users!(), "u.name = $1");
        let row: Option<TermsRow> = on!(self, pool => sqlx::query_as(statement)
            .bind(&name).fetch_optional(pool).await)?;
        row.map(|terms| user(name, terms)).transpose()
    }

    async fn user_with_own_key(&self, digest: &KeyDigest) -> Result<Option<User>, DatabaseError> {
        let statement = concat!(
            "SELECT u.name, u.key_digest, u.quota, m.quota, p.payer ",
            users!(),
            "u.key_handle = $1"
        );
        let row: Option<KeyRow> = on!(self, pool => sqlx::query_as(statement)
                .bind(digest.handle()).fetch_optional(pool).await)?;
        let Some((name, stored, envelopes, money, payer)) = row else { return Ok(None) };
        let stored = KeyDigest::from_hex(&stored).ok_or(DatabaseError::Damaged("a key digest"))?;
        if !stored.matches(digest) {
            return Ok(None);
        }
        user(name, (envelopes, money, payer)).map(Some)
    }

    /// Takes `count` envelopes from what a user has left in `window`; false when it is too little,
    /// and nothing is taken then (GTW-003).
    ///
    /// # Errors
    /// The database's failure.
    pub async fn take(&self, name: &str, window: i64, count: u64) -> Result<bool, DatabaseError> {
        self.change(take!("gateway_users"), name, window, count).await
    }

    /// Takes money from what a user has left in `window`; false when it is too little, or the user
    /// has no quota of money, and nothing is taken then (GTW-015).
    ///
    /// # Errors
    /// The database's failure.
    pub async fn take_money(
        &self,
        name: &str,
        window: i64,
        money: PicoDollars,
    ) -> Result<bool, DatabaseError> {
        self.change(take!("gateway_money_quotas"), name, window, money.0).await
    }

    /// Gives back envelopes that were taken in `window` and not used.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn give_back(
        &self,
        name: &str,
        window: i64,
        count: u64,
    ) -> Result<(), DatabaseError> {
        self.change(give_back!("gateway_users"), name, window, count).await.map(drop)
    }

    /// Gives back money that was taken in `window` and not used.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn give_back_money(
        &self,
        name: &str,
        window: i64,
        money: PicoDollars,
    ) -> Result<(), DatabaseError> {
        self.change(give_back!("gateway_money_quotas"), name, window, money.0).await.map(drop)
    }

    /// Whether the statement changed the user's row.
    async fn change(
        &self,
        statement: &'static str,
        name: &str,
        window: i64,
        by: u64,
    ) -> Result<bool, DatabaseError> {
        let Ok(by) = i64::try_from(by) else { return Ok(false) };
        let rows = on!(self, pool => sqlx::query(statement)
            .bind(name).bind(window).bind(by)
            .execute(pool).await.map(|done| done.rows_affected()))?;
        Ok(rows == 1)
    }

    /// What a user has taken.
    ///
    /// # Errors
    /// [`DatabaseError::UserUnknown`], or the database's failure.
    pub async fn usage(&self, name: &str) -> Result<UserUsage, DatabaseError> {
        let statement = "SELECT quota, window_number, used FROM gateway_users WHERE name = $1";
        let (quota, window, used) = self
            .usage_row(statement, name)
            .await?
            .ok_or_else(|| DatabaseError::UserUnknown(name.to_owned()))?;
        Ok(UserUsage { quota, window, used })
    }

    /// What a user with a quota of money has taken of it.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn money_usage(&self, name: &str) -> Result<Option<MoneyUsage>, DatabaseError> {
        let statement =
            "SELECT quota, window_number, used FROM gateway_money_quotas WHERE name = $1";
        let row = self.usage_row(statement, name).await?;
        Ok(row.map(|(quota, window, used)| MoneyUsage {
            quota: PicoDollars(quota),
            window,
            used: PicoDollars(used),
        }))
    }

    async fn usage_row(
        &self,
        statement: &'static str,
        name: &str,
    ) -> Result<Option<(u64, i64, u64)>, DatabaseError> {
        let row: Option<(i64, i64, i64)> = on!(self, pool => sqlx::query_as(statement)
            .bind(name).fetch_optional(pool).await)?;
        row.map(|(quota, window, used)| Ok((amount(quota)?, window, amount(used)?))).transpose()
    }
}

/// Sets a user's quota of money to `$2`.
pub(super) const SET_MONEY: &str =
    "INSERT INTO gateway_money_quotas (name, quota, window_number, used)
    VALUES ($1, $2, 0, 0) ON CONFLICT (name) DO UPDATE SET quota = excluded.quota";

fn user(name: String, (envelopes, money, payer): TermsRow) -> Result<User, DatabaseError> {
    let money = money.map(amount).transpose()?.map(PicoDollars);
    let quota = Quota { envelopes: amount(envelopes)?, money };
    Ok(User { name, quota, payer: payer.as_deref().map(address).transpose()? })
}

fn address(stored: &str) -> Result<EthereumAddress, DatabaseError> {
    stored.parse().map_err(|_| DatabaseError::Damaged("a payer's address"))
}

pub(super) fn columns(quota: Quota) -> Result<(i64, Option<i64>), DatabaseError> {
    let column = |amount| i64::try_from(amount).map_err(|_| DatabaseError::QuotaTooLarge);
    Ok((column(quota.envelopes)?, quota.money.map(|money| column(money.0)).transpose()?))
}

fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}
