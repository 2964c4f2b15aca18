//! Who earned what in a period: operators by the work that they did, the protocol the rest.

use std::collections::BTreeMap;

use tidings_envelope::registry::FeeShares;
use tidings_types::{MoneyOverflow, NodeId, PicoDollarsTotal};

/// The number under which the protocol's share stands in the tree of earnings.
pub const PROTOCOL: NodeId = NodeId(u32::MAX);

const PERMILLE: u128 = 1_000;

/// What a committee did in a period and what was billed for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Work {
    /// All that was billed.
    pub billed: PicoDollarsTotal,
    /// What the envelopes that each node took in would have cost on a shard that is not busy;
    /// an operation of the ordered lane counts for the member whose turn it was to propose.
    pub originated: BTreeMap<NodeId, PicoDollarsTotal>,
    /// The bytes times days that each node holds and has acknowledged.
    pub held: BTreeMap<NodeId, u128>,
    /// What each node did for ordering: one for each member that made a statement.
    pub votes: BTreeMap<NodeId, u128>,
}

impl Work {
    /// What each node earned, and under [`PROTOCOL`] what is left of the bill: all roundings, all
    /// that congestion added, and shares that nobody worked for (SET-006).
    ///
    /// Each amount is rounded down; together they are exactly what was billed.
    ///
    /// # Errors
    /// [`MoneyOverflow`] when a product does not fit, or more was earned than billed.
    pub fn earnings(
        &self,
        shares: FeeShares,
    ) -> Result<BTreeMap<NodeId, PicoDollarsTotal>, MoneyOverflow> {
        let mut earned = BTreeMap::new();
        let mut plain = PicoDollarsTotal::default();
        for (node, fees) in &self.originated {
            plain = plain.plus(*fees)?;
            credit(&mut earned, *node, part(*fees, shares.originate_permille)?)?;
        }
        for (weights, permille) in
            [(&self.held, shares.store_permille), (&self.votes, shares.order_permille)]
        {
            for (node, amount) in split(part(plain, permille)?, weights)? {
                credit(&mut earned, node, amount)?;
            }
        }
        let operators = earned
            .values()
            .try_fold(PicoDollarsTotal::default(), |sum, amount| sum.plus(*amount))?;
        credit(&mut earned, PROTOCOL, self.billed.minus(operators)?)?;
        Ok(earned)
    }
}

fn part(of: PicoDollarsTotal, permille: u32) -> Result<PicoDollarsTotal, MoneyOverflow> {
    let exact = of.0.checked_mul(permille.into()).ok_or(MoneyOverflow)?;
    Ok(PicoDollarsTotal(exact / PERMILLE))
}

/// A pot divided in proportion to weights, each part rounded down.
fn split(
    pot: PicoDollarsTotal,
    weights: &BTreeMap<NodeId, u128>,
) -> Result<Vec<(NodeId, PicoDollarsTotal)>, MoneyOverflow> {
    let sum = weights.values().try_fold(0u128, |sum, weight| sum.checked_add(*weight));
    let sum = sum.ok_or(MoneyOverflow)?;
    let parts = weights.iter().filter(|_| sum > 0).map(|(node, weight)| {
        // The same as `pot × weight ÷ sum`, without a product that a shard's bill could overflow.
        let rest = (pot.0 % sum).checked_mul(*weight).ok_or(MoneyOverflow)?;
        Ok((*node, PicoDollarsTotal(pot.0 / sum * weight + rest / sum)))
    });
    parts.collect()
}

fn credit(
    earned: &mut BTreeMap<NodeId, PicoDollarsTotal>,
    node: NodeId,
    amount: PicoDollarsTotal,
) -> Result<(), MoneyOverflow> {
    let known = earned.entry(node).or_default();
    *known = known.plus(amount)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidings_envelope::registry::SharesTooLarge;

    use super::*;

    fn shares() -> FeeShares {
        FeeShares::new(250, 500, 200).unwrap()
    }

    fn by_node<T>(values: impl IntoIterator<Item = (u32, T)>) -> BTreeMap<NodeId, T> {
        values.into_iter().map(|(node, value)| (NodeId(node), value)).collect()
    }

    #[test]
    fn work_is_paid_and_the_protocol_has_the_rest() {
        // covers: SET-006
        let work = Work {
            billed: PicoDollarsTotal(3_000),
            originated: by_node([(1, PicoDollarsTotal(1_001)), (2, PicoDollarsTotal(999))]),
            held: by_node([(1, 1), (2, 1), (3, 1)]),
            votes: by_node([(2, 3), (3, 1)]),
        };
        let earned = work.earnings(shares()).unwrap();
        // A quarter of 1,001 and of 999; a third of half of 2,000; three and one of four parts of
        // a fifth of 2,000; and what congestion added is the protocol's.
        let expected = [(1, 250 + 333), (2, 249 + 333 + 300), (3, 333 + 100)];
        let operators: u128 = expected.iter().map(|(_, amount)| amount).sum();
        let all = expected.into_iter().chain([(PROTOCOL.0, 3_000 - operators)]);
        assert_eq!(earned, by_node(all.map(|(node, amount)| (node, PicoDollarsTotal(amount)))));
    }

    #[test]
    fn large_bills_over_large_weights_are_shared_exactly() {
        // covers: SET-006
        let billed = PicoDollarsTotal(1 << 74);
        let work = Work {
            billed,
            originated: by_node([(1, billed)]),
            held: by_node([(1, 1 << 60), (2, (1 << 60) - 1)]),
            ..Work::default()
        };
        let earned = work.earnings(FeeShares::new(0, 500, 0).unwrap()).unwrap();
        let half = 1u128 << 73;
        // A half and a half of 1 ÷ (2⁶¹ − 1) of 2⁷³, rounded down, is 2⁷² and 2¹¹.
        let expected = [(1, (1 << 72) + (1 << 11)), (2, half - (1 << 72) - (1 << 11) - 1)];
        for (node, amount) in expected {
            assert_eq!(earned[&NodeId(node)], PicoDollarsTotal(amount), "{node}");
        }
    }

    #[test]
    fn work_that_nobody_did_is_the_protocols() {
        // covers: SET-006
        let work = Work { billed: PicoDollarsTotal(10), ..Work::default() };
        assert_eq!(work.earnings(shares()), Ok(by_node([(PROTOCOL.0, PicoDollarsTotal(10))])));
    }

    #[test]
    fn nobody_earns_more_than_was_billed() {
        // covers: SET-006
        assert_eq!(FeeShares::new(500, 500, 1), Err(SharesTooLarge));
        let originated = by_node([(1, PicoDollarsTotal(1_000))]);
        let work = Work { billed: PicoDollarsTotal(100), originated, ..Work::default() };
        assert_eq!(work.earnings(shares()), Err(MoneyOverflow));
    }
}
