//! What users spend, gathered in memory and written once a second.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Database, DatabaseError, DaySpend, Spent};

/// Seconds in a day.
const DAY_SECONDS: u64 = 86_400;

/// Spending by user and day (GTW-016). A crash forgets what was not written yet.
#[derive(Debug)]
pub struct Books {
    database: Database,
    unwritten: Mutex<BTreeMap<(String, i64), Spent>>,
    /// Held while the database is written to, so that who waits for it finds everything there.
    writing: tokio::sync::Mutex<Option<i64>>,
}

impl Books {
    /// Books that are kept in `database`.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database, unwritten: Mutex::default(), writing: tokio::sync::Mutex::default() }
    }

    /// Enters what a user sent at `now_seconds`.
    pub fn enter(&self, name: &str, spent: &Spent, now_seconds: u64) {
        if *spent != Spent::default() {
            self.unwritten().entry((name.to_owned(), day_of(now_seconds))).or_default().add(spent);
        }
    }

    /// Writes what was entered, and forgets days long past.
    ///
    /// # Errors
    /// The database's failure; what was entered is kept for the next time.
    pub async fn write(&self, now_seconds: u64) -> Result<(), DatabaseError> {
        let today = day_of(now_seconds);
        let mut forgotten_on = self.writing.lock().await;
        let taken = std::mem::take(&mut *self.unwritten());
        let rows: Vec<_> =
            taken.iter().map(|((name, day), spent)| (name.clone(), *day, *spent)).collect();
        if !rows.is_empty()
            && let Err(error) = self.database.add_spend(&rows).await
        {
            let mut unwritten = self.unwritten();
            for (key, spent) in taken {
                unwritten.entry(key).or_default().add(&spent);
            }
            return Err(error);
        }
        if forgotten_on.is_none_or(|day| day < today) {
            self.database.forget_spend(today).await?;
            *forgotten_on = Some(today);
        }
        Ok(())
    }

    /// What is written of a user from day `first` on, the newest day first.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn spend_of(&self, name: &str, first: i64) -> Result<Vec<DaySpend>, DatabaseError> {
        self.database.spend_of(name, first).await
    }

    fn unwritten(&self) -> MutexGuard<'_, BTreeMap<(String, i64), Spent>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The day of a time in seconds since 1970.
pub fn day_of(now_seconds: u64) -> i64 {
    i64::try_from(now_seconds / DAY_SECONDS).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use tidings_types::PicoDollarsTotal;

    use super::super::Quota;
    use super::*;

    fn spent(envelopes: u64) -> Spent {
        Spent {
            envelopes,
            bytes: 10 * envelopes,
            fee: PicoDollarsTotal(100 * u128::from(envelopes)),
        }
    }

    #[tokio::test]
    async fn what_is_entered_is_written_by_user_and_day() {
        // covers: GTW-016
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("gateway.db").display());
        let database = Database::open(&url).await.unwrap();
        database.add_user("ada", Quota::envelopes(1)).await.unwrap();
        let books = Books::new(database.clone());
        let check = async |expected: &[(i64, u64)]| {
            let days =
                expected.iter().map(|(day, count)| DaySpend { day: *day, spent: spent(*count) });
            assert_eq!(database.spend_of("ada", 0).await.unwrap(), days.collect::<Vec<_>>());
        };
        books.enter("ada", &spent(1), 0);
        books.enter("ada", &spent(2), DAY_SECONDS - 1);
        books.enter("ada", &spent(4), DAY_SECONDS);
        books.enter("ada", &spent(0), 5 * DAY_SECONDS);
        check(&[]).await;
        books.write(DAY_SECONDS).await.unwrap();
        books.write(DAY_SECONDS).await.unwrap();
        check(&[(1, 4), (0, 3)]).await;
        // A database that is closed for a while loses nothing.
        books.enter("ada", &spent(8), DAY_SECONDS);
        let closed = Books { database: Database::open(&url).await.unwrap(), ..books };
        closed.database.close().await;
        assert!(closed.write(DAY_SECONDS).await.is_err());
        let again = Books { database: database.clone(), ..closed };
        again.write(DAY_SECONDS).await.unwrap();
        check(&[(1, 12), (0, 3)]).await;
        // Days are kept for so long.
        again.write(401 * DAY_SECONDS).await.unwrap();
        check(&[]).await;
    }
}
