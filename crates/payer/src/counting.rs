//! Counting the pinned entries and the operations of a period: each id once.

use std::collections::{BTreeMap, BTreeSet};

use tidings_envelope::EntryHeader;
use tidings_types::{EnvelopeId, EthereumAddress, LogIndex, NodeId, Period, PicoDollarsTotal};

use crate::holdings::Pin;
use crate::{Usage, UsageTally, Work};

/// How many periods after its fee period an entry is still billed; who keeps it back for longer
/// works for nothing, and ids need not be kept for ever (SET-004).
pub(crate) const LATE_PERIODS_MAX: u64 = 4;

/// One envelope to be billed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) id: EnvelopeId,
    pub(crate) period: Period,
    pub(crate) payer: EthereumAddress,
    pub(crate) usage: Usage,
    /// Whom the originating part goes to; the protocol, if nobody.
    pub(crate) originator: Option<NodeId>,
    /// Who holds it.
    pub(crate) holders: Vec<NodeId>,
    /// Its bytes times the days that it is kept.
    pub(crate) byte_days: u128,
}

impl Charge {
    /// The charge for a pinned entry.
    pub(crate) fn of_entry(pin: &Pin, header: &EntryHeader) -> Self {
        let holds = |(node, size): (&NodeId, &_)| (header.index < end(*size)).then_some(*node);
        Self {
            id: header.envelope_id,
            period: header.fee_period,
            payer: header.payer,
            usage: Usage::of(header),
            originator: Some(pin.log.node),
            holders: pin.holders.iter().filter_map(holds).collect(),
            byte_days: u128::from(header.payload_length) * u128::from(header.retention_days),
        }
    }
}

fn end(size: tidings_types::LogSize) -> LogIndex {
    size.next_index()
}

/// What is known of a shard's envelopes beyond one period: ids that were billed, and entries of
/// periods that are not over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Counter {
    billed: BTreeMap<Period, BTreeSet<EnvelopeId>>,
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
    /// Begins to count what `last` and the periods before it are billed.
    pub(crate) fn begin(&mut self, last: Period) -> Count {
        let mut count = Count { last, tally: UsageTally::new(), work: Work::default() };
        self.billed = self.billed.split_off(&last.minus(LATE_PERIODS_MAX));
        for charge in std::mem::take(&mut self.postponed) {
            self.add(charge, &mut count);
        }
        count
    }

    /// Counts a charge, unless its id was billed before or it comes too late; what belongs to a
    /// later period waits for that.
    pub(crate) fn add(&mut self, charge: Charge, count: &mut Count) {
        if charge.period > count.last {
            self.postponed.push(charge);
            return;
        }
        if charge.period < count.last.minus(LATE_PERIODS_MAX) || self.is_billed(&charge) {
            return;
        }
        if count.add(&charge) {
            self.billed.entry(charge.period).or_default().insert(charge.id);
        }
    }

    /// An id comes back only in periods near the first: its envelope expires (ENV-006).
    fn is_billed(&self, charge: &Charge) -> bool {
        self.billed.values().any(|ids| ids.contains(&charge.id))
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
            *known = PicoDollarsTotal(known.0.saturating_add(charge.usage.fee.0.into()));
        }
        for holder in &charge.holders {
            let known = held.entry(*holder).or_default();
            *known = known.saturating_add(charge.byte_days);
        }
        true
    }
}
