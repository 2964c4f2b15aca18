//! What payers owe for periods that nobody has settled yet.

use std::collections::BTreeMap;

use tidings_types::{EthereumAddress, Period, PicoDollarsTotal, ShardId};

use super::{Database, DatabaseError, amount};

/// Periods that are kept apart for a shard; older ones are one sum, because only the balance
/// depends on them.
///
/// Unit: periods.
const PERIODS_MAX: u64 = 1_024;

/// Adds to a period; a sum that fits no column is the largest.
const ADD: &str = concat!(
    "INSERT INTO gateway_owed (payer, shard, period, amount) VALUES ($1, $2, $3, $4)
    ON CONFLICT (payer, shard, period) DO UPDATE SET amount = ",
    plus!("gateway_owed.amount", "excluded.amount"),
);

const FORGET: &str = "DELETE FROM gateway_owed WHERE payer = $1 AND shard = $2 AND period <= $3";

const READ: &str = "SELECT shard, period, amount FROM gateway_owed WHERE payer = $1";

/// What is owed for one shard and period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwedAmount {
    /// The shard.
    pub shard: ShardId,
    /// The period that it is billed in.
    pub period: Period,
    /// How much.
    pub amount: PicoDollarsTotal,
}

impl Database {
    /// Adds to what a payer owes, forgets what is settled, and answers with all that is left, of
    /// every gateway that shares the database; all or nothing.
    ///
    /// # Errors
    /// The database's failure; nothing was added then.
    pub async fn add_owed(
        &self,
        payer: EthereumAddress,
        more: &[OwedAmount],
        settled: &BTreeMap<ShardId, Period>,
    ) -> Result<Vec<OwedAmount>, DatabaseError> {
        let payer = payer.to_string();
        let rows: Vec<(i64, i64, i64)> = on!(self, pool => {
            let mut transaction = pool.begin().await?;
            for owed in more {
                sqlx::query(ADD)
                    .bind(&payer)
                    .bind(i64::from(owed.shard.0))
                    .bind(super::stored(owed.period.0))
                    .bind(i64::try_from(owed.amount.0).unwrap_or(i64::MAX))
                    .execute(&mut *transaction)
                    .await?;
            }
            for (shard, through) in settled {
                sqlx::query(FORGET)
                    .bind(&payer)
                    .bind(i64::from(shard.0))
                    .bind(super::stored(through.0))
                    .execute(&mut *transaction)
                    .await?;
            }
            let rows = sqlx::query_as(READ).bind(&payer).fetch_all(&mut *transaction).await?;
            transaction.commit().await?;
            rows
        });
        let rows = rows.into_iter();
        let owed: Vec<_> = rows
            .map(|(shard, period, owed)| {
                let shard = u16::try_from(shard).map_err(|_| DatabaseError::Damaged("a shard"))?;
                Ok(OwedAmount {
                    shard: ShardId(shard),
                    period: Period(amount(period)?),
                    amount: PicoDollarsTotal(amount(owed)?.into()),
                })
            })
            .collect::<Result<_, DatabaseError>>()?;
        // What was added stands whether or not this works; the next call tries again.
        if let Err(error) = self.gather_old(&payer, &owed).await {
            tracing::warn!(%error, "old periods could not be gathered");
        }
        Ok(owed)
    }

    /// Makes one sum of the periods of a shard that are older than [`PERIODS_MAX`].
    async fn gather_old(&self, payer: &str, owed: &[OwedAmount]) -> Result<(), DatabaseError> {
        let mut newest = BTreeMap::<ShardId, Period>::new();
        for owed in owed {
            let known = newest.entry(owed.shard).or_default();
            *known = (*known).max(owed.period);
        }
        for (shard, newest) in newest {
            let kept = newest.minus(PERIODS_MAX);
            let is_old = |owed: &&OwedAmount| owed.shard == shard && owed.period < kept;
            if owed.iter().filter(is_old).count() > 0 {
                self.gather_before(payer, shard, kept).await?;
            }
        }
        Ok(())
    }

    /// Moves what is owed for periods before `kept` to `kept`.
    async fn gather_before(
        &self,
        payer: &str,
        shard: ShardId,
        kept: Period,
    ) -> Result<(), DatabaseError> {
        let take = "DELETE FROM gateway_owed
            WHERE payer = $1 AND shard = $2 AND period < $3 RETURNING amount";
        let (shard, kept) = (i64::from(shard.0), super::stored(kept.0));
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let amounts: Vec<(i64,)> = sqlx::query_as(take)
                .bind(payer).bind(shard).bind(kept).fetch_all(&mut *transaction).await?;
            let sum = amounts.iter().fold(0i64, |sum, (amount,)| sum.saturating_add(*amount));
            sqlx::query(ADD)
                .bind(payer).bind(shard).bind(kept).bind(sum).execute(&mut *transaction).await?;
            transaction.commit().await?;
        });
        Ok(())
    }
}
