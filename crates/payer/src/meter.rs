//! From the ordered lane and the pinned entries to a shard's usage reports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidings_envelope::{
    Block, CongestionHistory, DecidedOperation, EntryHeader, LogId, Operation, Outcome,
    PayerEnvelope, PeriodStatement, Registry, RegistryHistory, Service, Tariff,
    UNCONGESTED_PERMILLE, UsageReport, uncongested_part,
};
use tidings_types::{
    BlockHash, Hash, Height, MoneyOverflow, NetworkId, NodeId, Period, RegistryEpoch, ShardId,
    Wire, labelled_hash,
};
use tls_codec::Size;

use crate::counting::{Charge, Count, Counter, Holders};
use crate::holdings::{Holdings, Pin};
use crate::rooms::Source;
use crate::{Closing, Ledger, Usage, Work, medians};

/// How many periods after a period its report is made: evidence against who signed two histories
/// of a log in it is on record by then.
const REPORT_DELAY_PERIODS: u64 = 2;

/// Blocks or entries were handed over that do not follow what was taken before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MeterError {
    /// The block is not the next one.
    #[error("height {0} does not follow")]
    Height(Height),
    /// A period is over, and its entries have not been counted yet.
    #[error("period {0} is to be closed first")]
    Unclosed(Period),
    /// An entry is not the next one of the pins.
    #[error("entry {index} of log {log} is not the next one that is pinned")]
    Entry {
        /// Its log.
        log: LogId,
        /// Its index.
        index: u64,
    },
    /// The registry of an epoch is not known here yet.
    #[error("the registry of epoch {0} is not known here")]
    Registry(RegistryEpoch),
    /// A sum exceeds all money.
    #[error(transparent)]
    Overflow(#[from] MoneyOverflow),
}

/// What was ordered in one period.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct PeriodRecord {
    statements: BTreeMap<NodeId, PeriodStatement>,
    charges: Vec<Charge>,
}

/// A period whose entries are to be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Open {
    pins: Vec<Pin>,
    next: (usize, u64),
    holders: Holders,
    /// Of the pins that were counted, the roots that their entries have.
    roots: BTreeMap<LogId, Hash>,
    /// The block that had it counted.
    block: BlockHash,
    /// To be counted after the entries (SET-026): where a committee has changed, all parts together
    /// can exceed a cap.
    operations: Vec<Charge>,
    count: Count,
    /// What the report adds, but for the work, which is counted.
    closing: Closing,
}

/// Computes one shard's reports: a pure function of its blocks, of the headers that they pin, and
/// of registries (SET-004).
///
/// Give it every block in order; when a block ends a period, [`Meter::pins`] says which entries
/// are to be counted before the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    network: NetworkId,
    ledger: Ledger,
    shard: ShardId,
    height: Height,
    period: Period,
    records: BTreeMap<Period, PeriodRecord>,
    holdings: Holdings,
    /// Logs of which two histories are on record.
    forked: BTreeSet<LogId>,
    congestion: CongestionHistory,
    counter: Counter,
    open: Option<Open>,
}

impl Meter {
    /// The meter of a shard before its first block.
    #[must_use]
    pub fn new(shard: ShardId, network: NetworkId) -> Self {
        Self {
            network,
            ledger: Ledger::new(shard),
            shard,
            height: Height::default(),
            period: Period::default(),
            records: BTreeMap::new(),
            holdings: Holdings::default(),
            forked: BTreeSet::new(),
            congestion: CongestionHistory::default(),
            counter: Counter::default(),
            open: None,
        }
    }

    /// The height of the last block taken.
    #[must_use]
    pub fn height(&self) -> Height {
        self.height
    }

    /// The sums up to the last period that was closed.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The shard's congestion factors, as the blocks have settled them (FEE-010).
    #[must_use]
    pub fn congestion(&self) -> &CongestionHistory {
        &self.congestion
    }

    /// Takes the next final block.
    ///
    /// # Errors
    /// [`MeterError`] when it does not follow, a period is to be closed first, or a registry is
    /// missing; nothing has changed then.
    pub fn take_block(
        &mut self,
        block: &Block,
        registries: &RegistryHistory,
    ) -> Result<(), MeterError> {
        let header = &block.header;
        if let Some(open) = &self.open {
            return Err(MeterError::Unclosed(open.count.last));
        }
        if header.shard != self.shard || header.height != self.height.plus(1) {
            return Err(MeterError::Height(header.height));
        }
        let epoch = header.registry_epoch;
        let registry = registries.at(epoch).ok_or(MeterError::Registry(epoch))?;
        self.height = header.height;
        let turn = turn(header.height, registry, self.shard);
        for decided in block.operations.iter() {
            self.take_operation(decided, turn, registry);
        }
        let closes = self.period.0.checked_sub(REPORT_DELAY_PERIODS).map(Period);
        let next = self.ledger.last().map_or(Period(1), |report| report.last.plus(1));
        if closes == Some(next) {
            self.open = Some(self.begin(next, registry, header.hash()));
        }
        Ok(())
    }

    /// `turn` is the member whose turn it was to propose.
    fn take_operation(
        &mut self,
        decided: &DecidedOperation,
        turn: Option<NodeId>,
        registry: &Registry,
    ) {
        let is_applied = decided.outcome.is_applied();
        match &decided.operation {
            Operation::PeriodMarker(marker) if is_applied => {
                self.begin_period(marker.period, registry);
            }
            Operation::Evidence(evidence) if is_applied => {
                self.forked.extend(evidence.forked_log());
            }
            Operation::Statement(statement) if is_applied => {
                let record = self.records.entry(statement.period).or_default();
                record.statements.insert(statement.node, (**statement).clone());
            }
            Operation::Envelope(envelope) => {
                let congestion_permille = self.congestion.permille(self.period);
                let congestion_permille = congestion_permille.unwrap_or(UNCONGESTED_PERMILLE);
                let tariff = Tariff { schedule: &registry.fees, congestion_permille };
                let charge = charge(envelope, decided.outcome, self.period, turn, tariff);
                // What was ordered before the first marker is billed with the first period.
                let period = self.period.max(Period(1));
                self.records.entry(period).or_default().charges.extend(charge);
            }
            _ => {}
        }
    }

    /// A marker begins a period and settles the factor of the next (FEE-010), and who is short of
    /// money in it (SET-026).
    fn begin_period(&mut self, period: Period, registry: &Registry) {
        let committee = registry.committee(self.shard);
        let record = self.records.get(&self.period);
        let statements = record.into_iter().flat_map(|record| record.statements.values());
        let statements = statements.filter(|it| committee.contains(&it.node));
        let stated: Vec<u64> = statements.map(|statement| statement.taken).collect();
        let change = self.congestion.change(registry, self.shard, &stated);
        self.congestion.begin(period, change);
        let periods = (period, self.congestion.settled());
        self.counter.rooms.begin_period(periods, registry, self.shard);
        self.period = period;
    }

    /// Pins what was stated in `last`, and counts what was ordered in it.
    fn begin(&mut self, last: Period, registry: &Registry, block: BlockHash) -> Open {
        let PeriodRecord { statements, charges } = self.records.remove(&last).unwrap_or_default();
        let committee = registry.committee(self.shard);
        let by_members = statements.values().filter(|it| committee.contains(&it.node));
        by_members.clone().for_each(|statement| self.holdings.note(statement));
        let needed = registry.durability_quorum(self.shard);
        let pins = self.holdings.pin(last, &committee, needed, &self.forked);
        let mut count = self.counter.begin(last, registry, self.shard);
        // Whoever was not there in the period took nothing in.
        let was_there = |it: &NodeId| statements.contains_key(it);
        let charges = charges
            .into_iter()
            .map(|charge| Charge { originator: charge.originator.filter(was_there), ..charge });
        let operations = charges.collect();
        count.work.votes = statements.keys().map(|member| (*member, 1)).collect();
        let closing = Closing {
            last,
            epoch: registry.epoch,
            // What is counted says the rest.
            ranges: Hash::default(),
            work: Work::default(),
            shares: registry.fees.shares,
            measurements: medians(
                &said(by_members, &[committee.as_slice(), &registry.on_trial(self.shard)].concat()),
                registry.speakers_needed(self.shard),
            ),
        };
        let next = (0, pins.first().map_or(0, |pin| pin.from.0));
        let (holders, roots) = (Holders::default(), BTreeMap::new());
        Open { pins, next, holders, roots, block, operations, count, closing }
    }

    /// The stretches of logs to be counted now, in this order; none while no period is to be
    /// closed.
    #[must_use]
    pub fn pins(&self) -> Option<&[Pin]> {
        self.open.as_ref().map(|open| open.pins.as_slice())
    }

    /// Counts the next pinned entry, pin by pin and in each by rising index.
    ///
    /// # Errors
    /// [`MeterError::Entry`] when it is another one; nothing has changed then.
    pub fn count(&mut self, log: LogId, header: &EntryHeader) -> Result<(), MeterError> {
        let wrong = MeterError::Entry { log, index: header.index.0 };
        let open = self.open.as_mut().ok_or(wrong)?;
        let (place, index) = open.next;
        let pin = open.pins.get(place).filter(|pin| pin.log == log).ok_or(wrong)?;
        if header.index.0 != index {
            return Err(wrong);
        }
        let holders = open.holders.at(pin, header.index);
        let charge = Charge::of_entry(pin, header, &self.congestion, holders);
        self.counter.add(charge, &mut open.count);
        if index + 1 == pin.size.0 {
            open.next = (place + 1, open.pins.get(place + 1).map_or(0, |pin| pin.from.0));
            open.holders = Holders::default();
        } else {
            open.next = (place, index + 1);
        }
        Ok(())
    }

    /// Notes the root that the entries of a pin have here, once they are all counted; that of a
    /// log with another history than others hold makes another report.
    pub fn counted(&mut self, log: LogId, root: Hash) {
        if let Some(open) = &mut self.open {
            open.roots.insert(log, root);
        }
    }

    /// Closes the period once everything that is pinned was counted; answers its report.
    ///
    /// # Errors
    /// [`MeterError`] when entries are missing, or a sum does not fit.
    pub fn close(&mut self) -> Result<UsageReport, MeterError> {
        let Some(open) = &mut self.open else { return Err(MeterError::Unclosed(self.period)) };
        if let Some(pin) = open.pins.get(open.next.0) {
            return Err(MeterError::Entry { log: pin.log, index: open.next.1 });
        }
        if let Some(pin) = open.pins.iter().find(|pin| !open.roots.contains_key(&pin.log)) {
            return Err(MeterError::Entry { log: pin.log, index: pin.size.0 });
        }
        open.closing.ranges = ranges(open.block, &open.pins, &open.roots);
        for charge in std::mem::take(&mut open.operations) {
            self.counter.add(charge, &mut open.count);
        }
        let closing = Closing { work: open.count.work.clone(), ..open.closing.clone() };
        let ledger = self.ledger.close(&open.count.tally, &closing, self.network)?;
        let report = *ledger.last().ok_or(MeterError::Unclosed(closing.last))?;
        self.ledger = ledger;
        self.open = None;
        Ok(report)
    }
}

/// Whose turn it was to propose the block at `height`, in its first round (ORD-016).
fn turn(height: Height, registry: &Registry, shard: ShardId) -> Option<NodeId> {
    let mut members = registry.committee(shard);
    members.sort_unstable();
    let count = members.len() as u64;
    let place = height.0.checked_rem(count)?;
    members.get(usize::try_from(place).ok()?).copied()
}

/// What an operation costs, by what became of it (SET-004).
///
/// By the schedule of the epoch that ordered it, and the factor of the period: the epoch that its
/// batch names may be none at all, and then nobody could go on.
fn charge(
    envelope: &PayerEnvelope,
    outcome: Outcome,
    period: Period,
    originator: Option<NodeId>,
    tariff: Tariff<'_>,
) -> Option<Charge> {
    let body = &envelope.envelope.body;
    let owed = tariff.decided_fee(envelope, outcome)?;
    let bytes = u64::try_from(envelope.tls_serialized_len()).ok()?;
    Some(Charge {
        id: body.id(),
        period,
        payer: body.payer,
        usage: Usage { envelopes: 1, bytes, fee: owed },
        uncongested: uncongested_part(owed, tariff.congestion_permille),
        originator,
        source: Source::Lane,
        holders: Arc::default(),
        byte_days: 0,
    })
}

/// A digest of what a report is computed from: with the roots that the entries have, whatever
/// members said that they were (SET-023).
fn ranges(block: BlockHash, pins: &[Pin], roots: &BTreeMap<LogId, Hash>) -> Hash {
    let root = |pin: &Pin| roots.get(&pin.log).copied().unwrap_or_default();
    let pins: Vec<u8> = pins.iter().flat_map(|pin| pin_bytes(pin, root(pin))).collect();
    labelled_hash("report ranges", &[&block.0, &pins])
}

fn pin_bytes(pin: &Pin, root: Hash) -> Vec<u8> {
    let mut bytes = pin.log.to_wire();
    bytes.extend(pin.from.to_wire());
    bytes.extend(pin.size.to_wire());
    bytes.extend(root);
    for (node, size) in &pin.holders {
        bytes.extend(node.to_wire());
        bytes.extend(size.to_wire());
    }
    bytes
}

/// What members say of those that they measure: each other, and who is on trial (SET-007).
fn said<'a>(
    by_members: impl Iterator<Item = &'a PeriodStatement>,
    measured: &[NodeId],
) -> BTreeMap<(NodeId, NodeId), Service> {
    let mut said = BTreeMap::new();
    for statement in by_members {
        for peer in statement.measured.iter().filter(|it| measured.contains(&it.node)) {
            said.insert((statement.node, peer.node), peer.service);
        }
    }
    said
}
