//! The sums of a shard since it began, and the reports that state them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use tidings_envelope::UsageReport;
use tidings_envelope::registry::FeeShares;
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{
    EthereumAddress, Hash, MoneyOverflow, NetworkId, NodeId, Period, PicoDollarsTotal,
    RegistryEpoch, ReportDigest, ShardId,
};

use crate::measurement::{Measurement, measurement_tree};
use crate::settlement_tree::{SettlementTree, Word, leaf_hash, word};
use crate::{UsageTally, Work};

/// What payers were billed and nodes earned on one shard, since it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    shard: ShardId,
    usage: BTreeMap<EthereumAddress, PicoDollarsTotal>,
    earnings: BTreeMap<NodeId, PicoDollarsTotal>,
    billed: PicoDollarsTotal,
    last: Option<UsageReport>,
    measurements: Vec<Measurement>,
    trees: Trees,
}

/// The trees over a ledger's sums, once somebody has asked for them: building one takes as long as
/// closing a period, and each payer's charge needs a proof from it.
///
/// They follow from the sums, so they make no difference between ledgers, and no copy has them.
#[derive(Debug, Default)]
struct Trees {
    usage: OnceLock<SettlementTree>,
    earnings: OnceLock<SettlementTree>,
}

impl Clone for Trees {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Trees {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Trees {}

/// What a report adds to a ledger, beside what was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// The last period that is closed.
    pub last: Period,
    /// Whose committee attests.
    pub epoch: RegistryEpoch,
    /// Hash of the pinned log ranges and blocks.
    pub ranges: Hash,
    /// What the committee did.
    pub work: Work,
    /// How it is paid.
    pub shares: FeeShares,
    /// What peers measured of each node, by node.
    pub measurements: Vec<Measurement>,
}

impl Ledger {
    /// The ledger of a shard that has just begun.
    #[must_use]
    pub fn new(shard: ShardId) -> Self {
        Self {
            shard,
            usage: BTreeMap::new(),
            earnings: BTreeMap::new(),
            billed: PicoDollarsTotal::default(),
            last: None,
            measurements: Vec::new(),
            trees: Trees::default(),
        }
    }

    /// Which shard.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// The shard's last report.
    #[must_use]
    pub fn last(&self) -> Option<&UsageReport> {
        self.last.as_ref()
    }

    /// What each payer was billed since the shard began, by address.
    pub fn usage(&self) -> impl Iterator<Item = (EthereumAddress, PicoDollarsTotal)> {
        self.usage.iter().map(|(payer, billed)| (*payer, *billed))
    }

    /// What each node earned since the shard began, by number.
    pub fn earnings(&self) -> impl Iterator<Item = (NodeId, PicoDollarsTotal)> {
        self.earnings.iter().map(|(node, earned)| (*node, *earned))
    }

    /// What the last report says of nodes' service, by number.
    #[must_use]
    pub fn measurements(&self) -> &[Measurement] {
        &self.measurements
    }

    /// What a payer was billed since the shard began.
    #[must_use]
    pub fn billed_to(&self, payer: EthereumAddress) -> PicoDollarsTotal {
        self.usage.get(&payer).copied().unwrap_or_default()
    }

    /// What a node earned since the shard began.
    #[must_use]
    pub fn earned_by(&self, node: NodeId) -> PicoDollarsTotal {
        self.earnings.get(&node).copied().unwrap_or_default()
    }

    /// Closes the periods up to `closing.last`: the ledger after them, whose last report states
    /// it (SET-004).
    ///
    /// `tally` is what was used; what it holds of later periods is left alone, and what it holds
    /// of earlier ones, which came late, is billed now. A pure function of its arguments, so that
    /// every member of the committee comes to the same bytes.
    ///
    /// # Errors
    /// [`MoneyOverflow`] when a sum does not fit, or the work is not what was billed for.
    pub fn close(
        &self,
        tally: &UsageTally,
        closing: &Closing,
        network: NetworkId,
    ) -> Result<Self, MoneyOverflow> {
        let mut after = self.clone();
        let mut billed = PicoDollarsTotal::default();
        for (period, payer, usage) in tally.iter() {
            if period <= closing.last {
                billed = billed.plus(usage.fee.into())?;
                let known = after.usage.entry(payer).or_default();
                *known = known.plus(usage.fee.into())?;
            }
        }
        let work = Work { billed, ..closing.work.clone() };
        for (node, amount) in work.earnings(closing.shares)? {
            let known = after.earnings.entry(node).or_default();
            *known = known.plus(amount)?;
        }
        after.billed = self.billed.plus(billed)?;
        after.measurements.clone_from(&closing.measurements);
        after.last = Some(after.report(self.last.as_ref(), closing, network));
        Ok(after)
    }

    fn report(
        &self,
        before: Option<&UsageReport>,
        closing: &Closing,
        network: NetworkId,
    ) -> UsageReport {
        UsageReport {
            version: PROTOCOL_VERSION,
            shard: self.shard,
            first: before.map_or(Period(1), |before| before.last.plus(1)),
            last: closing.last,
            epoch: closing.epoch,
            previous: before.map_or(ReportDigest::default(), |before| before.digest(network)),
            ranges: closing.ranges,
            usage: self.usage_tree().root(),
            earnings: self.earnings_tree().root(),
            measurements: measurement_tree(&self.measurements).root(),
            billed: self.billed,
        }
    }

    /// The tree over what payers were billed.
    #[must_use]
    pub fn usage_tree(&self) -> &SettlementTree {
        let leaves = || self.usage.iter().map(|(payer, billed)| usage_leaf(*payer, *billed));
        self.trees.usage.get_or_init(|| SettlementTree::new(leaves().collect()))
    }

    /// The tree over what nodes earned.
    #[must_use]
    pub fn earnings_tree(&self) -> &SettlementTree {
        let leaves = || self.earnings.iter().map(|(node, earned)| earnings_leaf(*node, *earned));
        self.trees.earnings.get_or_init(|| SettlementTree::new(leaves().collect()))
    }
}

/// The leaf of a payer: address and sum (SET-005).
#[must_use]
pub fn usage_leaf(payer: EthereumAddress, billed: PicoDollarsTotal) -> Hash {
    let mut address: Word = [0; 32];
    address[12..].copy_from_slice(&payer.0);
    leaf_hash(&[address, word(billed.0)])
}

/// The leaf of a node: number and sum (SET-005).
#[must_use]
pub fn earnings_leaf(node: NodeId, earned: PicoDollarsTotal) -> Hash {
    leaf_hash(&[word(node.0.into()), word(earned.0)])
}

#[cfg(test)]
mod tests {
    use tidings_types::PicoDollars;

    use super::*;
    use crate::{PROTOCOL, Usage};

    const NETWORK: NetworkId = NetworkId([9; 32]);

    fn payer(number: u8) -> EthereumAddress {
        EthereumAddress([number; 20])
    }

    fn tally(uses: &[(u64, u8, u64)]) -> UsageTally {
        let mut tally = UsageTally::new();
        for (period, number, fee) in uses {
            let usage = Usage { envelopes: 1, bytes: 1, fee: PicoDollars(*fee) };
            tally.add(Period(*period), payer(*number), usage).unwrap();
        }
        tally
    }

    fn closing(last: u64, fee: u128) -> Closing {
        Closing {
            last: Period(last),
            epoch: RegistryEpoch(1),
            ranges: [1; 32],
            work: Work {
                originated: [(NodeId(1), PicoDollarsTotal(fee))].into(),
                ..Work::default()
            },
            shares: FeeShares::new(250, 500, 200).unwrap(),
            measurements: Vec::new(),
        }
    }

    #[test]
    fn reports_add_up_and_follow_each_other() {
        // covers: SET-003
        // covers: SET-004
        let uses = [(1, 7, 100), (2, 8, 50), (4, 7, 1_000)];
        let first = Ledger::new(ShardId(0)).close(&tally(&uses), &closing(2, 150), NETWORK);
        let first = first.unwrap();
        assert_eq!(first.billed_to(payer(7)), PicoDollarsTotal(100));
        assert_eq!(first.earned_by(NodeId(1)), PicoDollarsTotal(37));
        assert_eq!(first.earned_by(PROTOCOL), PicoDollarsTotal(113));
        let report = *first.last().unwrap();
        assert_eq!(report.billed, PicoDollarsTotal(150));
        assert!(report.follows(None, NETWORK));
        // What came late is billed in the next report.
        let uses = [(2, 8, 5), (4, 7, 1_000)];
        let second = first.close(&tally(&uses), &closing(4, 1_005), NETWORK).unwrap();
        assert_eq!(second.billed_to(payer(8)), PicoDollarsTotal(55));
        assert_eq!(second.billed_to(payer(7)), PicoDollarsTotal(1_100));
        let next = second.last().unwrap();
        assert!(next.follows(Some(&report), NETWORK));
        assert_eq!((next.first, next.billed), (Period(3), PicoDollarsTotal(1_155)));
        let leaf = usage_leaf(payer(7), PicoDollarsTotal(1_100));
        let path = second.usage_tree().proof(&leaf).unwrap();
        assert_eq!(crate::root_from_proof(leaf, &path), next.usage);
    }

    #[test]
    fn trees_are_those_of_the_sums_whoever_asked_before() {
        // covers: SET-005
        let first = Ledger::new(ShardId(0)).close(&tally(&[(1, 7, 10)]), &closing(1, 10), NETWORK);
        let first = first.unwrap();
        let root = first.usage_tree().root();
        let second = first.close(&tally(&[(2, 8, 10)]), &closing(2, 10), NETWORK).unwrap();
        assert_ne!(second.usage_tree().root(), root);
        assert_ne!(second.earnings_tree().root(), first.earnings_tree().root());
        assert_eq!(first.clone(), first);
        assert_eq!(first.clone().usage_tree().root(), root);
    }

    #[test]
    fn an_empty_period_is_reported_too() {
        // covers: SET-004
        let ledger = Ledger::new(ShardId(0));
        let after = ledger.close(&tally(&[]), &closing(1, 0), NETWORK).unwrap();
        let report = after.last().unwrap();
        assert_eq!((report.usage, report.billed), ([0; 32], PicoDollarsTotal(0)));
        assert!(report.follows(None, NETWORK));
    }

    #[test]
    fn work_that_was_not_billed_for_is_refused() {
        // covers: SET-006
        let ledger = Ledger::new(ShardId(0));
        let refused = ledger.close(&tally(&[(1, 7, 10)]), &closing(1, 1_000), NETWORK);
        assert_eq!(refused, Err(MoneyOverflow));
    }
}
