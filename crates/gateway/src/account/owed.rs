//! What a payer owes beyond what the chain shows, against what it has there: a pure ledger.

use std::collections::BTreeMap;

use tidings_payer::Funds;
use tidings_types::{Period, PicoDollarsTotal, ShardId};

use super::OwedAmount;

/// Which shard and period something is billed in.
type Key = (ShardId, Period);

/// Why an amount cannot be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    /// What the payer has is owed already.
    #[error("the payer's balance is used up")]
    Balance,
    /// What may be taken for the shard and period is.
    #[error("the payer's cap for shard {shard} in period {period} is used up")]
    Cap {
        /// The shard.
        shard: ShardId,
        /// The period.
        period: Period,
    },
}

/// A payer's funds, and everything that is owed of them. The sum of what is owed, here and on the
/// chain, never exceeds what the payer had when it was reserved (GTW-017).
#[derive(Debug, Default)]
pub struct Ledger {
    funds: Funds,
    /// Set aside for what is under way.
    held: Amounts,
    /// Spent, and not written yet.
    posted: Amounts,
    /// Spent, and written.
    written: Amounts,
}

/// Amounts by shard and period, with their sum.
#[derive(Debug, Default)]
struct Amounts {
    by_key: BTreeMap<Key, u128>,
    sum: u128,
}

impl Ledger {
    /// Takes note of what the payer has now; what was charged in the meantime is owed no more.
    pub fn learn(&mut self, funds: Funds) {
        self.funds = funds;
        for amounts in [&mut self.posted, &mut self.written] {
            amounts.retain(|(shard, period)| period > charged_through(&self.funds, shard));
        }
    }

    /// What the payer has.
    pub fn funds(&self) -> &Funds {
        &self.funds
    }

    /// Sets amounts aside in `period`, all or none.
    ///
    /// # Errors
    /// [`Shortage`] when the payer has less.
    pub fn reserve(
        &mut self,
        period: Period,
        wanted: &BTreeMap<ShardId, PicoDollarsTotal>,
    ) -> Result<(), Shortage> {
        let sum = wanted.values().fold(0u128, |sum, amount| sum.saturating_add(amount.0));
        if self.owed().0.saturating_add(sum) > self.funds.balance.0 {
            return Err(Shortage::Balance);
        }
        for (shard, amount) in wanted {
            let spent = self.spent(*shard, period).0.saturating_add(amount.0);
            if spent > self.funds.cap(*shard, period).0.into() {
                return Err(Shortage::Cap { shard: *shard, period });
            }
        }
        for (shard, amount) in wanted {
            self.held.add((*shard, period), amount.0);
        }
        Ok(())
    }

    /// Puts back what was set aside in `period`.
    pub fn release(&mut self, period: Period, held: &BTreeMap<ShardId, PicoDollarsTotal>) {
        for (shard, amount) in held {
            self.held.take((*shard, period), amount.0);
        }
    }

    /// Enters what was spent, unless it was charged already.
    pub fn post(&mut self, spent: &OwedAmount) {
        if spent.period > charged_through(&self.funds, spent.shard) {
            self.posted.add((spent.shard, spent.period), spent.amount.0);
        }
    }

    /// What is to be written.
    pub fn unwritten(&self) -> Vec<OwedAmount> {
        let posted = self.posted.by_key.iter();
        posted.map(|((shard, period), amount)| owed(*shard, *period, *amount)).collect()
    }

    /// Takes note that `done` was written, and of all that is written now.
    pub fn wrote(&mut self, done: &[OwedAmount], all: &[OwedAmount]) {
        for owed in done {
            self.posted.take((owed.shard, owed.period), owed.amount.0);
        }
        self.written = Amounts::default();
        for owed in all {
            if owed.period > charged_through(&self.funds, owed.shard) {
                self.written.add((owed.shard, owed.period), owed.amount.0);
            }
        }
    }

    /// All that is owed and not charged, what is set aside included.
    pub fn owed(&self) -> PicoDollarsTotal {
        let parts = [&self.held, &self.posted, &self.written];
        PicoDollarsTotal(parts.iter().fold(0, |sum: u128, part| sum.saturating_add(part.sum)))
    }

    /// What is owed for one shard and period, what is set aside included.
    pub fn spent(&self, shard: ShardId, period: Period) -> PicoDollarsTotal {
        let parts = [&self.held, &self.posted, &self.written];
        let of = |part: &&Amounts| part.by_key.get(&(shard, period)).copied().unwrap_or(0);
        PicoDollarsTotal(parts.iter().map(of).fold(0, u128::saturating_add))
    }

    /// The last charged period of every shard.
    pub fn settled(&self) -> BTreeMap<ShardId, Period> {
        let shards = self.funds.shards.iter();
        shards.map(|(shard, funds)| (*shard, funds.charged_through)).collect()
    }
}

impl Amounts {
    fn add(&mut self, key: Key, amount: u128) {
        let known = self.by_key.entry(key).or_default();
        let after = known.saturating_add(amount);
        self.sum = self.sum.saturating_add(after - *known);
        *known = after;
    }

    fn take(&mut self, key: Key, amount: u128) {
        let Some(known) = self.by_key.get_mut(&key) else { return };
        let taken = amount.min(*known);
        *known -= taken;
        self.sum = self.sum.saturating_sub(taken);
        if *known == 0 {
            self.by_key.remove(&key);
        }
    }

    fn retain(&mut self, keep: impl Fn(Key) -> bool) {
        self.by_key.retain(|key, _| keep(*key));
        self.sum = self.by_key.values().fold(0, |sum, amount| sum.saturating_add(*amount));
    }
}

fn charged_through(funds: &Funds, shard: ShardId) -> Period {
    funds.shards.get(&shard).map_or(Period(0), |shard| shard.charged_through)
}

fn owed(shard: ShardId, period: Period, amount: u128) -> OwedAmount {
    OwedAmount { shard, period, amount: PicoDollarsTotal(amount) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidings_envelope::registry::CapRecord;
    use tidings_payer::ShardFunds;
    use tidings_types::PicoDollars;

    use super::*;

    fn funds(balance: u128, cap: u64, charged_through: u64) -> Funds {
        let of_shard = |number| {
            let (shard, before, amount) = (ShardId(number), PicoDollars(cap), PicoDollars(1));
            let cap = CapRecord { shard, before, from: Period(9), amount };
            (shard, ShardFunds { cap, charged_through: Period(charged_through) })
        };
        let shards = (0..2).map(of_shard).collect();
        Funds { balance: PicoDollarsTotal(balance), shards }
    }

    fn ledger(balance: u128, cap: u64) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.learn(funds(balance, cap, 0));
        ledger
    }

    fn wanted(amounts: &[(u16, u128)]) -> BTreeMap<ShardId, PicoDollarsTotal> {
        amounts.iter().map(|(shard, amount)| (ShardId(*shard), PicoDollarsTotal(*amount))).collect()
    }

    #[test]
    fn neither_balance_nor_cap_is_exceeded() {
        // covers: GTW-017
        let mut ledger = ledger(10, 7);
        let cap =
            |shard, period| Err(Shortage::Cap { shard: ShardId(shard), period: Period(period) });
        assert_eq!(ledger.reserve(Period(3), &wanted(&[(0, 8)])), cap(0, 3));
        assert_eq!(ledger.reserve(Period(3), &wanted(&[(0, 2), (1, 8)])), cap(1, 3));
        assert_eq!(ledger.owed().0, 0, "all or none");
        ledger.reserve(Period(3), &wanted(&[(0, 7), (1, 1)])).unwrap();
        assert_eq!(ledger.reserve(Period(3), &wanted(&[(0, 1)])), cap(0, 3));
        assert_eq!(ledger.reserve(Period(4), &wanted(&[(0, 3)])), Err(Shortage::Balance));
        ledger.reserve(Period(4), &wanted(&[(0, 2)])).unwrap();
        assert_eq!(ledger.reserve(Period(4), &wanted(&[(1, u128::MAX)])), Err(Shortage::Balance));
        // Another cap holds from period 9 on, and a shard that is not known has none.
        ledger.release(Period(3), &wanted(&[(0, 7)]));
        assert_eq!(ledger.reserve(Period(9), &wanted(&[(0, 2)])), cap(0, 9));
        assert_eq!(ledger.reserve(Period(3), &wanted(&[(2, 1)])), cap(2, 3));
    }

    #[test]
    fn what_is_charged_is_owed_no_more() {
        // covers: GTW-017
        let mut ledger = ledger(10, 7);
        ledger.post(&owed(ShardId(0), Period(3), 4));
        ledger.post(&owed(ShardId(0), Period(4), 3));
        let unwritten = ledger.unwritten();
        // Another gateway on the same database spent besides.
        let written = [owed(ShardId(0), Period(3), 6), owed(ShardId(0), Period(4), 3)];
        ledger.post(&owed(ShardId(1), Period(4), 1));
        ledger.wrote(&unwritten, &written);
        assert_eq!(ledger.owed().0, 10);
        assert_eq!(ledger.unwritten(), [owed(ShardId(1), Period(4), 1)]);
        assert_eq!(ledger.reserve(Period(5), &wanted(&[(0, 1)])), Err(Shortage::Balance));
        ledger.learn(funds(4, 7, 3));
        assert_eq!(ledger.owed().0, 4);
        ledger.post(&owed(ShardId(1), Period(3), 9));
        assert_eq!(ledger.owed().0, 4, "this was charged before it was entered");
        assert_eq!(ledger.settled()[&ShardId(1)], Period(3));
    }

    proptest! {
        #[test]
        fn no_order_of_spending_is_too_much(
            steps in prop::collection::vec((0u16..2, 1u64..4, 0u128..30, any::<bool>()), 1..200)
        ) {
            // covers: GTW-017
            let (balance, cap) = (300, 90);
            let mut ledger = ledger(balance, cap);
            let mut reserved = Vec::new();
            for (shard, period, amount, settles) in steps {
                let request = wanted(&[(shard, amount)]);
                if ledger.reserve(Period(period), &request).is_ok() {
                    reserved.push((shard, period, amount, request));
                }
                if settles && !reserved.is_empty() {
                    let (shard, period, amount, request) = reserved.swap_remove(0);
                    ledger.release(Period(period), &request);
                    ledger.post(&owed(ShardId(shard), Period(period), amount / 2));
                }
                prop_assert!(ledger.owed().0 <= balance);
                for period in 1..4 {
                    prop_assert!(ledger.spent(ShardId(shard), Period(period)).0 <= cap.into());
                }
            }
            for (_, period, _, request) in reserved {
                ledger.release(Period(period), &request);
            }
            let posted: u128 = ledger.unwritten().iter().map(|owed| owed.amount.0).sum();
            prop_assert_eq!(ledger.owed().0, posted);
        }
    }
}
