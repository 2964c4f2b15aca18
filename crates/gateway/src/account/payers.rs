//! Who pays for whom, and whether it can.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use tidings_envelope::Registry;
use tidings_types::ed25519::PublicKey;
use tidings_types::{ErrorCode, EthereumAddress, Period};

use super::{Budget, Database, DatabaseError, FundsReport, FundsWatch, User};
use crate::session_key::SessionKeys;

/// What is known of each payer's funds; a payer without a watch is not limited by them.
pub type FundsWatches = BTreeMap<EthereumAddress, FundsWatch>;

/// The gateway's payers.
#[derive(Debug)]
pub struct Payers {
    /// Who pays for users that are given no other.
    first: EthereumAddress,
    purses: BTreeMap<EthereumAddress, Purse>,
}

/// How a payer is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayerReport {
    /// Who.
    pub payer: EthereumAddress,
    /// Whether it can pay now, and has something left to pay with.
    pub can_pay: bool,
    /// What it has and owes, where there is a limit and once it is known.
    pub funds: Option<FundsReport>,
}

/// A payer as the gateway spends for it.
#[derive(Debug)]
pub struct Purse {
    payer: EthereumAddress,
    session_key: PublicKey,
    budget: Arc<Budget>,
}

impl Payers {
    /// The payers that `keys` sign for, with what is written of their debts.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn open(
        database: &Database,
        first: EthereumAddress,
        keys: &SessionKeys,
        mut funds: FundsWatches,
    ) -> Result<Self, DatabaseError> {
        let mut purses = BTreeMap::new();
        for (payer, key) in keys {
            let budget = Budget::open(database.clone(), *payer, funds.remove(payer)).await?;
            let (session_key, budget) = (key.public_key(), Arc::new(budget));
            purses.insert(*payer, Purse { payer: *payer, session_key, budget });
        }
        Ok(Self { first, purses })
    }

    /// Who pays for a user, or for everybody else (GTW-021).
    ///
    /// # Errors
    /// [`ErrorCode::PayerUnknown`] when the user's payer is none of the gateway's any more: nobody
    /// else pays then.
    pub fn of(&self, user: Option<&User>) -> Result<&Purse, ErrorCode> {
        let payer = user.and_then(|user| user.payer).unwrap_or(self.first);
        self.purses.get(&payer).ok_or(ErrorCode::PayerUnknown)
    }

    /// How every payer is off under this registry; without one, none can pay.
    pub fn reports(&self, registry: Option<&Registry>, period: Option<Period>) -> Vec<PayerReport> {
        let report = |purse: &Purse| {
            let funds = purse.report(period);
            let is_empty = funds.as_ref().is_some_and(|it| it.available_picodollars.0 == 0);
            let is_ready = registry.is_some_and(|now| purse.obstacle(now, period).is_none());
            PayerReport { payer: purse.payer, can_pay: is_ready && !is_empty, funds }
        };
        self.purses.values().map(report).collect()
    }

    /// Why none of them can pay now, if none can: what keeps the one that pays for everybody else
    /// (GTW-011).
    pub fn obstacle(&self, registry: &Registry, period: Option<Period>) -> Option<&'static str> {
        let mut others = self.purses.values().filter(|purse| purse.payer != self.first);
        let of_first = self.purses.get(&self.first).and_then(|it| it.obstacle(registry, period))?;
        match others.any(|purse| purse.obstacle(registry, period).is_none()) {
            true => None,
            false => Some(of_first),
        }
    }

    /// Writes what every payer spent, all at once; each is tried, whatever became of the others.
    ///
    /// # Errors
    /// A failure of the database's; what was spent is kept for the next time.
    pub async fn write(&self) -> Result<(), DatabaseError> {
        let written = join_all(self.purses.values().map(|purse| purse.budget.write())).await;
        written.into_iter().collect()
    }
}

impl Purse {
    /// Whose money it is.
    #[must_use]
    pub fn payer(&self) -> EthereumAddress {
        self.payer
    }

    /// What may be spent of it.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// What the payer has and owes, where there is a limit and once it is known.
    #[must_use]
    pub fn report(&self, period: Option<Period>) -> Option<FundsReport> {
        self.budget.report(period)
    }

    /// Why the payer cannot pay now, if it cannot.
    fn obstacle(&self, registry: &Registry, period: Option<Period>) -> Option<&'static str> {
        if !registry.session_key_is_known(self.payer, &self.session_key) {
            Some("the session key is not registered for the payer")
        } else if self.budget.is_unknown() {
            Some("the payer's funds are not known yet")
        } else if self.budget.has_no_cap(period) {
            Some("no cap of the payer is in force in this period")
        } else if self.is_short_in(registry) {
            Some("too little of the payer's balance is left for its caps")
        } else if self.has_no_cap_in(registry, period) {
            Some("the registry has no cap of the payer for this period")
        } else {
            None
        }
    }

    /// Whether nodes take nothing from the payer, because it has too little left (SET-026).
    fn is_short_in(&self, registry: &Registry) -> bool {
        registry.payer(self.payer).is_some_and(|payer| payer.is_short)
    }

    /// Whether they take nothing, because the snapshot of the registry shows no cap: one that was
    /// set since the last epoch comes with the next.
    fn has_no_cap_in(&self, registry: &Registry, period: Option<Period>) -> bool {
        let record = registry.payer(self.payer).zip(period);
        record.is_some_and(|(payer, period)| !payer.can_pay(period))
    }
}
