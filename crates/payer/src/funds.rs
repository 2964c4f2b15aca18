//! What a payer has on the settlement chain, as a value.

use std::collections::BTreeMap;

use tidings_envelope::registry::CapRecord;
use tidings_types::{Period, PicoDollars, PicoDollarsTotal, ShardId};

/// What a payer has in the vault, as of one block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Funds {
    /// What it has and does not owe for periods that were settled already.
    pub balance: PicoDollarsTotal,
    /// Every shard of the network.
    pub shards: BTreeMap<ShardId, ShardFunds>,
}

/// What a payer lets reports of one shard take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardFunds {
    /// The most that may be taken for one period (SET-009).
    pub cap: CapRecord,
    /// The last period that was charged: what was used until then is off the balance.
    pub charged_through: Period,
}

impl Funds {
    /// The cap for a shard in `period`; zero for a shard that is not known.
    #[must_use]
    pub fn cap(&self, shard: ShardId, period: Period) -> PicoDollars {
        self.shards.get(&shard).map_or_else(PicoDollars::default, |shard| shard.cap.at(period))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_holds_from_its_period_on() {
        let [before, amount] = [3, 5].map(PicoDollars);
        let cap = CapRecord { shard: ShardId(2), before, from: Period(7), amount };
        let shard = ShardFunds { cap, charged_through: Period(1) };
        let funds = Funds { shards: [(ShardId(2), shard)].into(), ..Funds::default() };
        for (shard, period, expected) in [(2, 6, 3), (2, 7, 5), (2, u64::MAX, 5), (1, 7, 0)] {
            assert_eq!(funds.cap(ShardId(shard), Period(period)).0, expected);
        }
    }
}
