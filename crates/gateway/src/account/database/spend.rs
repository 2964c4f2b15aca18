//! What each user sent on each day, and what it cost.

use tidings_types::PicoDollarsTotal;

use super::{Database, DatabaseError, amount, stored};

/// Days that are kept: a year and a month to compare with.
///
/// Unit: days.
pub const DAYS_MAX: i64 = 400;

/// Adds to a day; a sum that fits no column is the largest.
const ADD: &str = concat!(
    "INSERT INTO gateway_spend (name, day, envelopes, bytes, fee) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (name, day) DO UPDATE SET envelopes = ",
    plus!("gateway_spend.envelopes", "excluded.envelopes"),
    ", bytes = ",
    plus!("gateway_spend.bytes", "excluded.bytes"),
    ", fee = ",
    plus!("gateway_spend.fee", "excluded.fee"),
);

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Envelopes that were stored or ordered.
    pub envelopes: u64,
    /// Their bytes, as they are stored.
    pub bytes: u64,
    /// Their fees.
    pub fee: PicoDollarsTotal,
}

impl Spent {
    /// Adds what was sent besides; a sum that does not fit is the largest.
    pub fn add(&mut self, more: &Self) {
        self.envelopes = self.envelopes.saturating_add(more.envelopes);
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.fee = PicoDollarsTotal(self.fee.0.saturating_add(more.fee.0));
    }
}

/// What was sent on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaySpend {
    /// Days since 1970-01-01, in UTC.
    pub day: i64,
    /// What was sent on it.
    pub spent: Spent,
}

/// What a user sent in some days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSpend {
    /// Who.
    pub name: String,
    /// What was sent in all these days.
    pub spent: Spent,
}

type Row = (i64, i64, i64);

impl Database {
    /// Adds to what users sent on days, all or nothing.
    ///
    /// # Errors
    /// The database's failure; nothing was added then.
    pub async fn add_spend(&self, more: &[(String, i64, Spent)]) -> Result<(), DatabaseError> {
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            for (name, day, spent) in more {
                let fee = i64::try_from(spent.fee.0).unwrap_or(i64::MAX);
                sqlx::query(ADD)
                    .bind(name)
                    .bind(day)
                    .bind(stored(spent.envelopes))
                    .bind(stored(spent.bytes))
                    .bind(fee)
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
        });
        Ok(())
    }

    /// Forgets days that are more than `DAYS_MAX` before `today`.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn forget_spend(&self, today: i64) -> Result<(), DatabaseError> {
        let statement = "DELETE FROM gateway_spend WHERE day <= $1";
        let until = today.saturating_sub(DAYS_MAX);
        on!(self, pool => sqlx::query(statement).bind(until).execute(pool).await.map(drop))?;
        Ok(())
    }

    /// What a user sent from day `first` on, the newest day first; at most `DAYS_MAX` days.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn spend_of(&self, name: &str, first: i64) -> Result<Vec<DaySpend>, DatabaseError> {
        let statement = "SELECT day, envelopes, bytes, fee FROM gateway_spend
            WHERE name = $1 AND day >= $2 ORDER BY day DESC LIMIT $3";
        let rows: Vec<(i64, i64, i64, i64)> = on!(self, pool => sqlx::query_as(statement)
            .bind(name).bind(first).bind(DAYS_MAX).fetch_all(pool).await)?;
        let days = rows.into_iter();
        days.map(|(day, envelopes, bytes, fee)| {
            Ok(DaySpend { day, spent: spent((envelopes, bytes, fee))? })
        })
        .collect()
    }

    /// What every user sent from day `first` on, who spent most first.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn spend_of_all(&self, first: i64) -> Result<Vec<UserSpend>, DatabaseError> {
        // Summed here: a database's sum would have a type of its own, or overflow.
        let statement = "SELECT name, envelopes, bytes, fee FROM gateway_spend
            WHERE day >= $1 ORDER BY name";
        let rows: Vec<(String, i64, i64, i64)> = on!(self, pool => sqlx::query_as(statement)
            .bind(first).fetch_all(pool).await)?;
        let mut users: Vec<UserSpend> = Vec::new();
        for (name, envelopes, bytes, fee) in rows {
            let more = spent((envelopes, bytes, fee))?;
            match users.last_mut().filter(|user| user.name == name) {
                Some(user) => user.spent.add(&more),
                None => users.push(UserSpend { name, spent: more }),
            }
        }
        users.sort_by_key(|user| std::cmp::Reverse(user.spent.fee));
        Ok(users)
    }
}

fn spent((envelopes, bytes, fee): Row) -> Result<Spent, DatabaseError> {
    Ok(Spent {
        envelopes: amount(envelopes)?,
        bytes: amount(bytes)?,
        fee: PicoDollarsTotal(amount(fee)?.into()),
    })
}
