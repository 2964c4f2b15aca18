//! Keys of accounts that logged in with a wallet: several for each, and all of them expire.

use tidings_types::EthereumAddress;

use super::users::{SET_MONEY, columns};
use super::{Database, DatabaseError, Terms};
use crate::account::{ApiKey, KeyDigest};

/// Keys that one account can have at once; the one that expires first gives way to another.
const KEYS_MAX: i64 = 16;

/// Everything but the newest keys of `$1`, and what has expired by `$2`.
const FORGET: &str = "DELETE FROM gateway_login_keys WHERE name = $1 AND (expires <= $2
    OR key_handle NOT IN (SELECT key_handle FROM gateway_login_keys
        WHERE name = $1 ORDER BY expires DESC, key_handle LIMIT $3))";

impl Database {
    /// Gives an account a fresh key that is good until `expires_seconds`; one that was not here
    /// before becomes a user under its address, on these terms (GTW-020).
    ///
    /// # Errors
    /// [`DatabaseError::QuotaTooLarge`], or the database's failure.
    pub async fn log_in(
        &self,
        account: EthereumAddress,
        terms: Terms,
        now_seconds: u64,
        expires_seconds: u64,
    ) -> Result<ApiKey, DatabaseError> {
        let name = account.to_string();
        let (envelopes, money) = columns(terms.quota)?;
        // The user's own key is one that nobody has.
        let (own, key) = (ApiKey::generate().digest(), ApiKey::generate());
        let digest = key.digest();
        let (now, expires) = (super::stored(now_seconds), super::stored(expires_seconds));
        let add_user = "INSERT INTO gateway_users
            (name, key_handle, key_digest, quota, window_number, used)
            VALUES ($1, $2, $3, $4, 0, 0) ON CONFLICT (name) DO NOTHING";
        let add_key = "INSERT INTO gateway_login_keys (key_handle, key_digest, name, expires)
            VALUES ($1, $2, $3, $4)";
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let added = sqlx::query(add_user)
                .bind(&name).bind(own.handle()).bind(own.to_hex()).bind(envelopes)
                .execute(&mut *transaction).await?;
            if let (1, Some(money)) = (added.rows_affected(), money) {
                sqlx::query(SET_MONEY).bind(&name).bind(money).execute(&mut *transaction).await?;
            }
            if added.rows_affected() == 1 {
                set_payer!(&mut *transaction, &name, terms.payer);
            }
            sqlx::query(add_key)
                .bind(digest.handle()).bind(digest.to_hex()).bind(&name).bind(expires)
                .execute(&mut *transaction).await?;
            sqlx::query(FORGET)
                .bind(&name).bind(now).bind(KEYS_MAX).execute(&mut *transaction).await?;
            transaction.commit().await?;
        });
        Ok(key)
    }

    /// Whose key this is that was given for a log-in and is good at `now_seconds`.
    pub(super) async fn logged_in(
        &self,
        digest: &KeyDigest,
        now_seconds: u64,
    ) -> Result<Option<String>, DatabaseError> {
        let statement = "SELECT name, key_digest FROM gateway_login_keys
            WHERE key_handle = $1 AND expires > $2";
        let row: Option<(String, String)> = on!(self, pool => sqlx::query_as(statement)
            .bind(digest.handle()).bind(super::stored(now_seconds))
            .fetch_optional(pool).await)?;
        let Some((name, stored)) = row else { return Ok(None) };
        let stored = KeyDigest::from_hex(&stored).ok_or(DatabaseError::Damaged("a key digest"))?;
        Ok(stored.matches(digest).then_some(name))
    }
}
