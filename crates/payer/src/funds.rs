//! What a payer has on the settlement chain, as a value.

use std::collections::BTreeMap;

use tidings_types::{Period, PicoDollarsTotal, ShardId};

/// What a payer has in the vault, as of one block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Funds {
    /// What it has and does not owe for periods that were settled already.
    pub balance: PicoDollarsTotal,
    /// Every shard of the network.
    pub shards: BTreeMap<ShardId, ShardFunds>,
}

/// What a payer lets reports of one shard take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardFunds {
    /// The most that may be taken for one period (SET-009).
    pub cap: Cap,
    /// The last period that was charged: what was used until then is off the balance.
    pub charged_through: Period,
}

/// A cap, and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cap {
    /// In force before `from`; zero where there was none.
    pub before: PicoDollarsTotal,
    /// The period in which `amount` comes into force.
    pub from: Period,
    /// The cap that was set last.
    pub amount: PicoDollarsTotal,
}

impl Cap {
    /// The cap in force in `period`, which is no earlier than any before the cap before it.
    #[must_use]
    pub fn at(&self, period: Period) -> PicoDollarsTotal {
        match period >= self.from {
            true => self.amount,
            false => self.before,
        }
    }
}

impl Funds {
    /// The cap for a shard in `period`; zero for a shard that is not known.
    #[must_use]
    pub fn cap(&self, shard: ShardId, period: Period) -> PicoDollarsTotal {
        self.shards.get(&shard).map_or_else(PicoDollarsTotal::default, |shard| shard.cap.at(period))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_holds_from_its_period_on() {
        let [before, amount] = [3, 5].map(PicoDollarsTotal);
        let cap = Cap { before, from: Period(7), amount };
        let shard = ShardFunds { cap, charged_through: Period(1) };
        let funds = Funds { shards: [(ShardId(2), shard)].into(), ..Funds::default() };
        for (shard, period, expected) in [(2, 6, 3), (2, 7, 5), (2, u64::MAX, 5), (1, 7, 0)] {
            assert_eq!(funds.cap(ShardId(shard), Period(period)).0, expected);
        }
    }
}
