//! A payer's budget: what the chain says that it has, and what the gateway spent since.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tidings_payer::Funds;
use tidings_types::{ErrorCode, EthereumAddress, Period, PicoDollarsTotal, ShardId};
use tokio::sync::watch;

use super::owed::Ledger;
use super::{Database, DatabaseError, OwedAmount};

/// A payer's funds as whoever watches the chain sees them; none before they are known.
pub type FundsWatch = watch::Receiver<Option<Funds>>;

/// Refuses what a payer cannot pay for (GTW-017). Without a watch nothing is refused, and nothing
/// is counted either.
#[derive(Debug)]
pub struct Budget {
    payer: EthereumAddress,
    database: Database,
    state: Option<Mutex<State>>,
    /// Held while the database is written to; what was forgotten there as settled.
    writing: tokio::sync::Mutex<BTreeMap<ShardId, Period>>,
}

#[derive(Debug)]
struct State {
    watch: FundsWatch,
    is_known: bool,
    ledger: Ledger,
}

/// Money set aside for a request; put back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    /// None where there is no limit.
    budget: Option<Arc<Budget>>,
    period: Period,
    held: BTreeMap<ShardId, PicoDollarsTotal>,
}

/// A payer's funds for people and programs; amounts are picodollars in decimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FundsReport {
    /// On the chain, at the depth of finality.
    #[serde(serialize_with = "in_decimal")]
    pub balance_picodollars: PicoDollarsTotal,
    /// Of it, what is spent and not charged yet.
    #[serde(serialize_with = "in_decimal")]
    pub owed_picodollars: PicoDollarsTotal,
    /// What is left.
    #[serde(serialize_with = "in_decimal")]
    pub available_picodollars: PicoDollarsTotal,
    /// Every shard in the present period.
    pub shards: Vec<ShardReport>,
}

/// What may be spent for a shard in the present period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ShardReport {
    /// The shard.
    pub shard: ShardId,
    /// The most that may be spent.
    #[serde(serialize_with = "in_decimal")]
    pub cap_picodollars: PicoDollarsTotal,
    /// What is spent of it.
    #[serde(serialize_with = "in_decimal")]
    pub spent_picodollars: PicoDollarsTotal,
}

impl Budget {
    /// The budget of `payer`, with what is written of its debts.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn open(
        database: Database,
        payer: EthereumAddress,
        watch: Option<FundsWatch>,
    ) -> Result<Self, DatabaseError> {
        let state = match watch {
            None => None,
            Some(watch) => {
                let mut ledger = Ledger::default();
                ledger.wrote(&[], &database.add_owed(payer, &[], &BTreeMap::new()).await?);
                Some(Mutex::new(State { watch, is_known: false, ledger }))
            }
        };
        Ok(Self { payer, database, state, writing: tokio::sync::Mutex::default() })
    }

    /// Whether nothing is known of the payer's funds, and so nothing can be spent.
    pub fn is_unknown(&self) -> bool {
        self.state().is_some_and(|state| !state.is_known)
    }

    /// Whether the payer lets nothing be taken in `period`, for no shard, and so nothing can be
    /// spent.
    pub fn has_no_cap(&self, period: Option<Period>) -> bool {
        let (Some(state), Some(period)) = (self.state(), period) else { return false };
        let funds = state.ledger.funds();
        funds.shards.keys().all(|shard| funds.cap(*shard, period).0 == 0)
    }

    /// Sets money aside in `period` before anything is sent.
    ///
    /// # Errors
    /// [`ErrorCode::InsufficientFunds`] when the payer has less, [`ErrorCode::NotReady`] while its
    /// funds or the period are not known.
    pub fn reserve(
        self: &Arc<Self>,
        period: Option<Period>,
        wanted: BTreeMap<ShardId, PicoDollarsTotal>,
    ) -> Result<Reservation, ErrorCode> {
        let Some(mut state) = self.state() else {
            return Ok(Reservation { budget: None, period: Period(0), held: BTreeMap::new() });
        };
        let period = period.filter(|_| state.is_known).ok_or(ErrorCode::NotReady)?;
        state.ledger.reserve(period, &wanted).map_err(|shortage| {
            tracing::warn!(payer = %self.payer, %shortage, "a request is refused");
            ErrorCode::InsufficientFunds
        })?;
        Ok(Reservation { budget: Some(Arc::clone(self)), period, held: wanted })
    }

    /// Writes what was spent, and reads what other gateways on the same database did.
    ///
    /// # Errors
    /// The database's failure; what was spent is kept for the next time.
    pub async fn write(&self) -> Result<(), DatabaseError> {
        let mut forgotten = self.writing.lock().await;
        let Some((spent, settled)) =
            self.state().map(|state| (state.ledger.unwritten(), state.ledger.settled()))
        else {
            return Ok(());
        };
        let is_new = |shard: &ShardId, through: &Period| forgotten.get(shard) != Some(through);
        let newly: BTreeMap<_, _> = settled
            .iter()
            .filter(|(shard, through)| is_new(shard, through))
            .map(|(shard, through)| (*shard, *through))
            .collect();
        let all = self.database.add_owed(self.payer, &spent, &newly).await?;
        *forgotten = settled;
        if let Some(mut state) = self.state() {
            state.ledger.wrote(&spent, &all);
        }
        Ok(())
    }

    /// What the payer has and owes; none where there is no limit, or before it is known.
    pub fn report(&self, period: Option<Period>) -> Option<FundsReport> {
        let state = self.state().filter(|state| state.is_known)?;
        let (funds, owed) = (state.ledger.funds(), state.ledger.owed());
        let shards = period.into_iter().flat_map(|period| {
            let shards = funds.shards.keys();
            shards.map(move |shard| (*shard, period))
        });
        Some(FundsReport {
            balance_picodollars: funds.balance,
            owed_picodollars: owed,
            available_picodollars: PicoDollarsTotal(funds.balance.0.saturating_sub(owed.0)),
            shards: shards
                .map(|(shard, period)| ShardReport {
                    shard,
                    cap_picodollars: funds.cap(shard, period).into(),
                    spent_picodollars: state.ledger.spent(shard, period),
                })
                .collect(),
        })
    }

    /// The state, with the newest funds taken note of.
    fn state(&self) -> Option<MutexGuard<'_, State>> {
        let mut state = self.state.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let has_changed = !state.is_known || state.watch.has_changed().unwrap_or(true);
        if has_changed {
            let funds = state.watch.borrow_and_update().clone();
            if let Some(funds) = funds {
                state.ledger.learn(funds);
                state.is_known = true;
            }
        }
        Some(state)
    }
}

impl Reservation {
    /// Puts back what was set aside, and enters what was spent instead.
    pub fn settle(self, spent: &[OwedAmount]) {
        // Before what was set aside is put back: nobody sees the money as free in between.
        if let Some(mut state) = self.budget.as_deref().and_then(Budget::state) {
            for spent in spent {
                state.ledger.post(spent);
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(mut state) = self.budget.as_deref().and_then(Budget::state) {
            state.ledger.release(self.period, &self.held);
        }
    }
}

fn in_decimal<S: serde::Serializer>(
    amount: &PicoDollarsTotal,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&amount.0)
}
