//! What a payer may still write at one node, by the caps that it set on the chain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidings_envelope::EntryHeader;
use tidings_types::{EnvelopeId, EthereumAddress, Period, PicoDollars, PicoDollarsTotal, ShardId};

use crate::Cap;

/// The caps of all payers as of one block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caps(BTreeMap<(EthereumAddress, ShardId), Cap>);

impl Caps {
    /// Notes that a payer's cap for a shard is `amount` from a period on.
    ///
    /// Caps are to come in the order in which they were set; the contract lets a payer set the
    /// next one only once the last is in force (SET-009).
    pub fn set(
        &mut self,
        payer: EthereumAddress,
        shard: ShardId,
        from: Period,
        amount: PicoDollarsTotal,
    ) {
        let cap = self.0.entry((payer, shard)).or_default();
        *cap = Cap { before: cap.at(from), from, amount };
    }

    /// The cap in force in `period`; zero for whoever set none.
    #[must_use]
    pub fn at(&self, payer: EthereumAddress, shard: ShardId, period: Period) -> PicoDollarsTotal {
        self.0.get(&(payer, shard)).map_or_else(PicoDollarsTotal::default, |cap| cap.at(period))
    }
}

/// What one envelope will be billed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// To whom.
    pub payer: EthereumAddress,
    /// For which shard.
    pub shard: ShardId,
    /// With which period.
    pub period: Period,
    /// How much.
    pub fee: PicoDollars,
}

impl Due {
    /// What an entry of a shard's log is billed as.
    #[must_use]
    pub fn of(header: &EntryHeader, shard: ShardId) -> Self {
        Self { payer: header.payer, shard, period: header.fee_period, fee: header.fee }
    }
}

/// What a node has taken from each payer, held against its part of the payer's cap (FEE-009).
///
/// Every member of a committee does so for itself, so that all of them together take no more than
/// the cap lets reports charge, wherever the payer writes.
#[derive(Debug, Clone, Default)]
pub struct Allowance {
    /// None until the chain was read; then nobody is held to a cap.
    caps: Option<Arc<Caps>>,
    taken: BTreeMap<(Period, ShardId, EthereumAddress), PicoDollarsTotal>,
    /// The operations among it: they may be submitted again while they are under way.
    operations: BTreeSet<(Period, EnvelopeId)>,
}

impl Allowance {
    /// Takes over the caps as a later block has them.
    pub fn renew(&mut self, caps: Arc<Caps>) {
        self.caps = Some(caps);
    }

    /// Whether the payer's part at one of so many `members` has room for this.
    #[must_use]
    pub fn has_room(&self, due: &Due, members: usize) -> bool {
        let Some(caps) = &self.caps else { return true };
        let cap = caps.at(due.payer, due.shard, due.period);
        let part = cap.0.checked_div(members as u128).unwrap_or_default();
        let taken = self.taken.get(&key(due)).copied().unwrap_or_default();
        taken.0.saturating_add(due.fee.0.into()) <= part
    }

    /// Notes that this was taken.
    pub fn take(&mut self, due: &Due) {
        let taken = self.taken.entry(key(due)).or_default();
        taken.0 = taken.0.saturating_add(due.fee.0.into());
    }

    /// Whether an operation was taken in `period` or the one before it.
    #[must_use]
    pub fn has_operation(&self, id: EnvelopeId, period: Period) -> bool {
        let known = |period| self.operations.contains(&(period, id));
        known(period) || known(period.minus(1))
    }

    /// Notes that an operation was taken.
    pub fn take_operation(&mut self, id: EnvelopeId, due: &Due) {
        if self.operations.insert((due.period, id)) {
            self.take(due);
        }
    }

    /// Forgets what was taken in periods before `period`.
    pub fn forget(&mut self, period: Period) {
        let kept = (period, ShardId(0), EthereumAddress::default());
        if self.taken.first_key_value().is_some_and(|(oldest, _)| *oldest < kept) {
            self.taken = self.taken.split_off(&kept);
        }
        if self.operations.first().is_some_and(|(oldest, _)| *oldest < period) {
            self.operations = self.operations.split_off(&(period, EnvelopeId::default()));
        }
    }
}

fn key(due: &Due) -> (Period, ShardId, EthereumAddress) {
    (due.period, due.shard, due.payer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAYER: EthereumAddress = EthereumAddress([7; 20]);
    const SHARD: ShardId = ShardId(3);

    fn due(period: u64, fee: u64) -> Due {
        Due { payer: PAYER, shard: SHARD, period: Period(period), fee: PicoDollars(fee) }
    }

    fn caps(set: &[(u64, u128)]) -> Arc<Caps> {
        let mut caps = Caps::default();
        for (from, amount) in set {
            caps.set(PAYER, SHARD, Period(*from), PicoDollarsTotal(*amount));
        }
        Arc::new(caps)
    }

    #[test]
    fn a_cap_holds_until_the_next_one_does() {
        let caps = caps(&[(4, 100), (9, 50)]);
        for (period, expected) in [(3, 100), (8, 100), (9, 50), (100, 50)] {
            assert_eq!(caps.at(PAYER, SHARD, Period(period)).0, expected, "in period {period}");
        }
        assert_eq!(caps.at(PAYER, ShardId(0), Period(9)).0, 0, "another shard");
        assert_eq!(caps.at(EthereumAddress([8; 20]), SHARD, Period(9)).0, 0, "another payer");
    }

    #[test]
    fn nobody_is_held_to_caps_that_are_not_known() {
        let mut allowance = Allowance::default();
        assert!(allowance.has_room(&due(1, u64::MAX), 4));
        allowance.take(&due(1, 20));
        allowance.renew(caps(&[(1, 80)]));
        assert!(!allowance.has_room(&due(1, 1), 4), "what was taken before counts");
        assert!(allowance.has_room(&due(2, 20), 4), "each period has its own");
        assert!(!allowance.has_room(&due(2, 21), 4));
        assert!(!allowance.has_room(&due(2, 1), 0), "a committee of none");
    }

    #[test]
    fn an_operation_counts_once_however_often_it_comes() {
        let mut allowance = Allowance::default();
        allowance.renew(caps(&[(1, 80)]));
        let id = EnvelopeId([1; 32]);
        (0..5).for_each(|_| allowance.take_operation(id, &due(5, 10)));
        assert!(allowance.has_room(&due(5, 10), 4));
        assert!([5, 6].map(Period).into_iter().all(|it| allowance.has_operation(id, it)));
        assert!(!allowance.has_operation(id, Period(7)));
        allowance.forget(Period(6));
        assert!(!allowance.has_operation(id, Period(6)));
    }

    #[test]
    fn old_periods_are_forgotten() {
        let mut allowance = Allowance::default();
        allowance.renew(caps(&[(1, 40)]));
        [5, 6, 7].iter().for_each(|period| allowance.take(&due(*period, 10)));
        allowance.forget(Period(7));
        assert_eq!(allowance.taken.len(), 1);
        assert!(!allowance.has_room(&due(7, 1), 4));
    }

    proptest! {
        #[test]
        fn all_members_together_take_no_more_than_the_cap(
            cap in 0..10_000u128,
            members in 1..8usize,
            asked in proptest::collection::vec((0..8usize, 1..500u64), 0..200),
        ) {
            // covers: FEE-009
            let mut nodes = vec![Allowance::default(); members];
            nodes.iter_mut().for_each(|node| node.renew(caps(&[(1, cap)])));
            let mut taken = 0;
            for (node, fee) in asked {
                let node = &mut nodes[node % members];
                if node.has_room(&due(1, fee), members) {
                    node.take(&due(1, fee));
                    taken += u128::from(fee);
                }
            }
            prop_assert!(taken <= cap);
        }
    }
}
