//! The newest reports with their sums and attestations, and the offences that are proved here.

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tidings_envelope::{Evidence, SignedAttestation, UsageReport};
use tidings_payer::Ledger;
use tidings_types::{NodeId, OffenceId, Period, ShardId};
use tokio::sync::watch;

/// Reports that are kept with all sums, so that claims can be proved from them.
const LEDGERS_KEPT: usize = 64;

/// Reports that are kept with their attestations: a chain may stand still for so many periods.
const REPORTS_KEPT: usize = 4_096;

/// Offences of one node and kind that are kept to be brought to the court: it has no bond for so
/// many, and could commit any number.
const OFFENCES_PER_NODE_MAX: usize = 256;

/// A report that this node came to, and who else did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestedReport {
    /// The report.
    pub report: UsageReport,
    /// Those who attested it, by node.
    pub attestations: Vec<SignedAttestation>,
    /// Members that attested another one which ends with the same period, with the first field in
    /// which it differs (SET-004).
    pub differing: Vec<(NodeId, &'static str)>,
    /// Whether so many attested it that a contract takes it (SET-002).
    pub is_attested: bool,
}

impl AttestedReport {
    /// A report of which nobody has spoken yet.
    #[must_use]
    pub fn unattested(report: UsageReport) -> Self {
        Self { report, attestations: Vec::new(), differing: Vec::new(), is_attested: false }
    }
}

#[derive(Debug, Default)]
struct Shard {
    reports: BTreeMap<Period, AttestedReport>,
    ledgers: BTreeMap<Period, Arc<Ledger>>,
}

/// What settlement needs of a node, shared between the tasks that write and read it.
#[derive(Debug)]
pub struct SettlementBook {
    shards: RwLock<BTreeMap<ShardId, Shard>>,
    evidence: RwLock<BTreeMap<OffenceId, Arc<Evidence>>>,
    changed: watch::Sender<()>,
}

impl Default for SettlementBook {
    fn default() -> Self {
        Self {
            shards: RwLock::default(),
            evidence: RwLock::default(),
            changed: watch::Sender::new(()),
        }
    }
}

impl SettlementBook {
    /// Tells when a report was added or attested, or an offence proved.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The shards that have reports.
    #[must_use]
    pub fn shards(&self) -> Vec<ShardId> {
        self.read().keys().copied().collect()
    }

    /// At most `max` reports of a shard whose last period is `from` or later, oldest first.
    #[must_use]
    pub fn reports(&self, shard: ShardId, from: Period, max: usize) -> Vec<AttestedReport> {
        let shards = self.read();
        let reports = shards.get(&shard).map(|shard| shard.reports.range(from..));
        reports.into_iter().flatten().take(max).map(|(_, report)| report.clone()).collect()
    }

    /// The last period of a shard that has a report; none before the first.
    #[must_use]
    pub fn last(&self, shard: ShardId) -> Option<Period> {
        self.read().get(&shard)?.reports.last_key_value().map(|(last, _)| *last)
    }

    /// The report of a shard whose last period is `last`.
    #[must_use]
    pub fn report(&self, shard: ShardId, last: Period) -> Option<AttestedReport> {
        self.read().get(&shard)?.reports.get(&last).cloned()
    }

    /// The sums under a report, if it is among the newest.
    #[must_use]
    pub fn ledger(&self, shard: ShardId, last: Period) -> Option<Arc<Ledger>> {
        self.read().get(&shard)?.ledgers.get(&last).cloned()
    }

    /// Every offence that is proved here.
    #[must_use]
    pub fn evidence(&self) -> Vec<Arc<Evidence>> {
        let evidence = self.evidence.read().unwrap_or_else(PoisonError::into_inner);
        evidence.values().cloned().collect()
    }

    pub(crate) fn add_evidence(&self, evidence: &Evidence) {
        let mut known = self.evidence.write().unwrap_or_else(PoisonError::into_inner);
        let is_same = |it: &&Arc<Evidence>| {
            it.accused() == evidence.accused() && discriminant(&***it) == discriminant(evidence)
        };
        if known.values().filter(is_same).count() < OFFENCES_PER_NODE_MAX {
            known.entry(evidence.offence()).or_insert_with(|| Arc::new(evidence.clone()));
        }
        drop(known);
        self.changed.send_replace(());
    }

    /// Adds the report of a period that was closed, with the sums under it; the oldest go when
    /// there are too many.
    pub fn add_report(&self, report: AttestedReport, ledger: Ledger) {
        let mut shards = self.write();
        let shard = shards.entry(report.report.shard).or_default();
        let last = report.report.last;
        shard.ledgers.insert(last, Arc::new(ledger));
        shard.reports.insert(last, report);
        while shard.ledgers.len() > LEDGERS_KEPT {
            shard.ledgers.pop_first();
        }
        while shard.reports.len() > REPORTS_KEPT {
            shard.reports.pop_first();
        }
        drop(shards);
        self.changed.send_replace(());
    }

    /// Says who attested a report that is known here, and whether a contract takes it now; of
    /// another report nothing changes.
    pub fn set_attestations(&self, attested: AttestedReport) {
        let (shard, last) = (attested.report.shard, attested.report.last);
        let mut shards = self.write();
        let known = shards.get_mut(&shard).and_then(|shard| shard.reports.get_mut(&last));
        if let Some(known) = known.filter(|known| known.report == attested.report) {
            *known = attested;
        }
        drop(shards);
        self.changed.send_replace(());
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<ShardId, Shard>> {
        self.shards.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<ShardId, Shard>> {
        self.shards.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tidings_envelope::{Checkpoint, LogId, SignedCheckpoint};
    use tidings_payer::{Closing, UsageTally, Work};
    use tidings_types::node_key::NodeKey;
    use tidings_types::{Incarnation, LogSize, NetworkId, RegistryEpoch};

    use super::*;

    const SHARD: ShardId = ShardId(0);

    fn closed(before: &Ledger) -> Ledger {
        let closing = Closing {
            last: before.last().map_or(Period(1), |report| report.last.plus(1)),
            epoch: RegistryEpoch(1),
            ranges: [1; 32],
            work: Work::default(),
            shares: tidings_envelope::registry::FeeShares::new(250, 500, 200).unwrap(),
            measurements: Vec::new(),
        };
        before.close(&UsageTally::new(), &closing, NetworkId([9; 32])).unwrap()
    }

    fn unattested(ledger: &Ledger) -> AttestedReport {
        AttestedReport::unattested(*ledger.last().unwrap())
    }

    /// A book with the reports of so many periods.
    fn book(periods: usize) -> SettlementBook {
        let (book, mut ledger) = (SettlementBook::default(), Ledger::new(SHARD));
        for _ in 0..periods {
            ledger = closed(&ledger);
            book.add_report(unattested(&ledger), ledger.clone());
        }
        book
    }

    fn periods(reports: &[AttestedReport]) -> Vec<u64> {
        reports.iter().map(|it| it.report.last.0).collect()
    }

    #[test]
    fn a_node_fills_no_memory_with_its_offences() {
        // covers: EVD-007
        let book = SettlementBook::default();
        let key = NodeKey::from_secret(&[1; 32]).unwrap();
        for (node, size) in
            (1..=2 * OFFENCES_PER_NODE_MAX as u64).map(|size| (1, size)).chain([(2, 1)])
        {
            let log = LogId { node: NodeId(node), shard: ShardId(0), incarnation: Incarnation(1) };
            let signed = |root| -> SignedCheckpoint {
                let checkpoint = Checkpoint::new(log, LogSize(size), [root; 32], Period(1));
                checkpoint.sign(&key, NetworkId([9; 32]))
            };
            book.add_evidence(&Evidence::Checkpoints(signed(1), signed(2)));
        }
        assert_eq!(book.evidence().len(), OFFENCES_PER_NODE_MAX + 1, "and others keep theirs");
    }

    #[test]
    fn the_oldest_reports_and_sums_go() {
        let beyond = 3;
        let book = book(REPORTS_KEPT + beyond);
        let first = beyond as u64 + 1;
        let newest = (REPORTS_KEPT + beyond) as u64;
        assert_eq!(book.last(SHARD), Some(Period(newest)));
        assert_eq!(periods(&book.reports(SHARD, Period(0), 2)), [first, first + 1]);
        assert_eq!(book.reports(SHARD, Period(0), usize::MAX).len(), REPORTS_KEPT);
        let oldest_sums = newest + 1 - LEDGERS_KEPT as u64;
        for (period, is_known) in [(oldest_sums - 1, false), (oldest_sums, true), (newest, true)] {
            assert_eq!(book.ledger(SHARD, Period(period)).is_some(), is_known, "{period}");
            assert!(book.report(SHARD, Period(period)).is_some());
        }
        assert!(book.report(SHARD, Period(first - 1)).is_none());
    }

    #[test]
    fn reports_are_read_from_a_period_on() {
        let book = book(5);
        assert_eq!(periods(&book.reports(SHARD, Period(3), 9)), [3, 4, 5]);
        assert_eq!(periods(&book.reports(SHARD, Period(2), 2)), [2, 3]);
        assert!(book.reports(SHARD, Period(6), 9).is_empty());
        assert!(book.reports(ShardId(1), Period(0), 9).is_empty());
        assert_eq!((book.shards(), book.last(ShardId(1))), (vec![SHARD], None));
    }

    #[test]
    fn whoever_waits_hears_of_reports_and_attestations() {
        let (book, ledger) = (SettlementBook::default(), closed(&Ledger::new(SHARD)));
        let mut news = book.subscribe();
        let attested = AttestedReport { is_attested: true, ..unattested(&ledger) };
        // Nobody attests what is not there.
        book.set_attestations(attested.clone());
        assert!(book.report(SHARD, Period(1)).is_none());
        news.mark_unchanged();
        book.add_report(unattested(&ledger), ledger);
        assert!(news.has_changed().unwrap());
        news.mark_unchanged();
        book.set_attestations(attested.clone());
        assert!(news.has_changed().unwrap());
        assert_eq!(book.report(SHARD, Period(1)), Some(attested.clone()));
        // Of another report nothing is known here.
        let mut other = AttestedReport { is_attested: false, ..attested.clone() };
        other.report.usage = [9; 32];
        book.set_attestations(other);
        assert_eq!(book.report(SHARD, Period(1)), Some(attested));
    }
}
