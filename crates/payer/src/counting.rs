//! Counting the pinned entries and the operations of a period: each id once.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tidings_envelope::{
    CongestionHistory, EntryHeader, Registry, UNCONGESTED_PERMILLE, uncongested_part,
};
use tidings_types::constants::{
    FEE_PERIODS_BEFORE_EXPIRY_MAX, LATE_PERIODS_MAX, NOT_AFTER_PERIODS_AHEAD_MAX,
};
use tidings_types::{
    EnvelopeId, EthereumAddress, LogIndex, NodeId, Period, PicoDollars, PicoDollarsTotal, ShardId,
};

use crate::holdings::Pin;
use crate::rooms::{Rooms, Source};
use crate::{Usage, UsageTally, Work};

/// How many periods before the one that is billed ids are kept: an entry that is still billed is of
/// a period at most [`LATE_PERIODS_MAX`] before it, and an earlier entry of the same envelope at
/// most as many before that as its expiry allows (FEE-006, SET-004).
const BILLED_PERIODS_KEPT: u64 = LATE_PERIODS_MAX + FEE_PERIODS_BEFORE_EXPIRY_MAX;

/// How many periods before its fee period an entry is pinned at most: nobody honest takes an
/// envelope that expires later (ENV-006), and what waits is kept in memory (SET-004).
pub(crate) const EARLY_PERIODS_MAX: u64 = NOT_AFTER_PERIODS_AHEAD_MAX;

/// The last period in which it may be stated that an entry of `fee_period` is held, for it to be
/// billed (SET-004).
#[must_use]
pub fn billable_through(fee_period: Period) -> Period {
    fee_period.plus(LATE_PERIODS_MAX)
}

/// One envelope to be billed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) id: EnvelopeId,
    pub(crate) period: Period,
    pub(crate) payer: EthereumAddress,
    pub(crate) usage: Usage,
    /// What it would have cost on a shard that is not busy.
    pub(crate) uncongested: PicoDollars,
    /// Whom the originating part goes to; the protocol, if nobody.
    pub(crate) originator: Option<NodeId>,
    /// Which part of its payer's cap it is billed from.
    pub(crate) source: Source,
    /// Who holds it.
    pub(crate) holders: Arc<[NodeId]>,
    /// Its bytes times the days that it is kept.
    pub(crate) byte_days: u128,
}

impl Charge {
    /// The charge for a pinned entry that `holders` hold.
    pub(crate) fn of_entry(
        pin: &Pin,
        header: &EntryHeader,
        congestion: &CongestionHistory,
        holders: Arc<[NodeId]>,
    ) -> Self {
        // What is of a period that is not settled yet is too early to be billed.
        let permille = congestion.permille(header.fee_period).unwrap_or(UNCONGESTED_PERMILLE);
        Self {
            id: header.envelope_id,
            period: header.fee_period,
            payer: header.payer,
            usage: Usage::of(header),
            uncongested: uncongested_part(header.fee, permille),
            originator: Some(pin.log.node),
            source: Source::Node(pin.log.node),
            holders,
            byte_days: u128::from(header.payload_length) * u128::from(header.retention_days),
        }
    }
}

/// Who holds the entries of a pin from the one that is counted on, and up to where that is so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Holders {
    until: LogIndex,
    nodes: Arc<[NodeId]>,
}

impl Holders {
    /// Who holds the entry at `index`; within a pin indexes rise.
    pub(crate) fn at(&mut self, pin: &Pin, index: LogIndex) -> Arc<[NodeId]> {
        if index >= self.until {
            let ends = pin.holders.values().map(|size| size.next_index());
            self.until = ends.filter(|end| index < *end).min().unwrap_or(pin.size.next_index());
            let holds = pin.holders.iter().filter(|(_, size)| index < size.next_index());
            self.nodes = holds.map(|(node, _)| *node).collect();
        }
        Arc::clone(&self.nodes)
    }
}

/// What is known of a shard's envelopes beyond one period: ids that were billed, what payers may
/// still be billed, and entries of periods that are not over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Counter {
    /// Asked and never listed, so that their order is nobody's concern.
    billed: BTreeMap<Period, HashSet<EnvelopeId>>,
    pub(crate) rooms: Rooms,
    postponed: Vec<Charge>,
}

/// The sums of one period while it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) last: Period,
    pub(crate) tally: UsageTally,
    pub(crate) work: Work,
}

impl Counter {
    /// Begins to count what `last` and the periods before it are billed, within the caps of the
    /// registry that closes it.
    pub(crate) fn begin(&mut self, last: Period, registry: &Registry, shard: ShardId) -> Count {
        self.rooms.begin(last, registry, shard);
        let mut count = Count { last, tally: UsageTally::new(), work: Work::default() };
        self.billed = self.billed.split_off(&last.minus(BILLED_PERIODS_KEPT));
        for charge in std::mem::take(&mut self.postponed) {
            self.add(charge, &mut count);
        }
        count
    }

    /// Counts a charge, unless its id was billed before, it comes too late, or its payer's caps
    /// leave no room for it; what belongs to a later period waits for that, unless that is too far
    /// away.
    pub(crate) fn add(&mut self, charge: Charge, count: &mut Count) {
        if charge.period > count.last {
            if charge.period <= count.last.plus(EARLY_PERIODS_MAX) {
                self.postponed.push(charge);
            }
            return;
        }
        if charge.period < count.last.minus(LATE_PERIODS_MAX) || !self.is_first(&charge) {
            return;
        }
        let Charge { payer, period, usage, source, .. } = charge;
        let is_billed = self.rooms.spend(payer, source, period, usage.fee) && count.add(&charge);
        if !is_billed && let Some(ids) = self.billed.get_mut(&period) {
            ids.remove(&charge.id);
        }
    }

    /// Whether the id comes for the first time, which is noted; it comes back only in periods near
    /// the first, since its envelope expires (FEE-006).
    fn is_first(&mut self, charge: &Charge) -> bool {
        let mut others = self.billed.iter().filter(|(period, _)| **period != charge.period);
        !others.any(|(_, ids)| ids.contains(&charge.id))
            && self.billed.entry(charge.period).or_default().insert(charge.id)
    }
}

impl Count {
    /// False when a sum would not fit: nobody is billed so much, and nothing is counted.
    fn add(&mut self, charge: &Charge) -> bool {
        if self.tally.add(charge.period, charge.payer, charge.usage).is_err() {
            return false;
        }
        let Work { originated, held, .. } = &mut self.work;
        if let Some(originator) = charge.originator {
            let known = originated.entry(originator).or_default();
            *known = PicoDollarsTotal(known.0.saturating_add(charge.uncongested.0.into()));
        }
        for holder in charge.holders.iter() {
            let known = held.entry(*holder).or_default();
            *known = known.saturating_add(charge.byte_days);
        }
        true
    }
}
