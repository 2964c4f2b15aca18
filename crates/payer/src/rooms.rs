//! How much reports may still bill each payer (SET-026).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidings_envelope::Registry;
use tidings_types::constants::LATE_PERIODS_MAX;
use tidings_types::{EthereumAddress, NodeId, Period, PicoDollars, ShardId};

use crate::caps::CapTable;

/// What caps allow and reports have not billed.
///
/// A period adds its cap; of what is left after it no more stays than the caps of the last
/// [`LATE_PERIODS_MAX`] periods add up to, which is what may still come for them. The vault allows
/// as much (SET-010), so that what is billed can be paid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rooms {
    caps: Caps,
    /// How many members the committee had when each period began that is not closed.
    members: BTreeMap<Period, u64>,
    /// The payers that are short of money in a period, by the snapshot of its epoch.
    short: BTreeMap<Period, BTreeSet<EthereumAddress>>,
    /// Of whoever was billed lately; all others have all of it.
    left: HashMap<EthereumAddress, Left>,
    /// The period that is closed.
    last: Period,
}

/// What a payer has left in all, and of the parts of its cap.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Left {
    all: Room,
    parts: Vec<(Source, Room)>,
}

/// Which part of a payer's cap something is billed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// That for the entries which a node took in.
    Node(NodeId),
    /// That for what the lane ordered, whoever proposed it (ORD-034).
    Lane,
}

/// An amount after the report of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    after: Period,
    amount: u128,
}

impl Rooms {
    /// A period begins in a block of this registry: notes how many share its caps while it lasts,
    /// and who is short of money in the next, `settled`.
    pub(crate) fn begin_period(
        &mut self,
        (period, settled): (Period, Period),
        registry: &Registry,
        shard: ShardId,
    ) {
        self.members.insert(period, registry.committee(shard).len() as u64);
        let short = registry.payers.iter().filter(|payer| payer.is_short);
        let short: BTreeSet<_> = short.map(|payer| payer.address).collect();
        if !short.is_empty() {
            self.short.insert(settled, short);
        }
    }

    /// Begins the report of `last`, whose caps are those of `registry`.
    #[expect(clippy::disallowed_methods, reason = "each is kept or dropped by itself")]
    pub(crate) fn begin(&mut self, last: Period, registry: &Registry, shard: ShardId) {
        self.last = last;
        // What was taken in while there were fewer members was up to larger parts.
        let members = self.members.get(&last).copied().unwrap_or(u64::MAX);
        self.caps.begin(last, registry, shard, members);
        self.members = self.members.split_off(&last.plus(1));
        // Who was billed so long ago has all that may be left by now.
        self.left.retain(|_, left| left.all.after.plus(LATE_PERIODS_MAX) >= last);
        self.short = self.short.split_off(&last.minus(LATE_PERIODS_MAX));
    }

    /// Takes what is billed for a period from what its payer has left, in all and of the part that
    /// is for it; false if either is less, or nothing.
    pub(crate) fn spend(
        &mut self,
        payer: EthereumAddress,
        source: Source,
        period: Period,
        fee: PicoDollars,
    ) -> bool {
        let (last, caps, fee) = (self.last, &self.caps, u128::from(fee.0));
        if self.short.get(&period).is_some_and(|short| short.contains(&payer)) {
            return false;
        }
        if !caps.has(payer, last) {
            return false;
        }
        let known = self.left.get_mut(&payer);
        let is_begun = known.as_ref().is_some_and(|left| left.all.after == last);
        if !is_begun && caps.of(payer, None, last).is_none() {
            return true;
        }
        let before = known.as_ref().map(|left| left.all);
        let all = caps.room(payer, None, before, last);
        let place = known.as_ref().and_then(|left| left.place(source));
        let before = known.as_ref().zip(place).map(|(left, place)| left.parts[place].1);
        let part = caps.room(payer, Some(source), before, last);
        let least = part.min(all);
        if least == 0 || least < fee {
            return false;
        }
        let all = Room { after: last, amount: all - fee };
        let part = (source, Room { after: last, amount: part - fee });
        match known {
            None => {
                self.left.insert(payer, Left { all, parts: vec![part] });
            }
            Some(left) => left.set(all, part, place),
        }
        true
    }
}

impl Left {
    fn place(&self, source: Source) -> Option<usize> {
        self.parts.iter().position(|(known, _)| *known == source)
    }

    fn set(&mut self, all: Room, part: (Source, Room), place: Option<usize>) {
        self.all = all;
        match place {
            Some(place) => self.parts[place] = part,
            None => self.parts.push(part),
        }
    }
}

/// The caps of the period that is closed and of those before it that still matter, each as it was
/// when its own report was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Caps(BTreeMap<Period, PeriodCaps>);

/// A snapshot's caps, and among how many nodes each is divided in a period.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PeriodCaps {
    /// Periods of one epoch share it.
    table: Arc<CapTable>,
    members: u64,
}

impl Caps {
    /// Adds the caps of `last`, divided among no more than so many members and their lane.
    fn begin(&mut self, last: Period, registry: &Registry, shard: ShardId, members: u64) {
        let newest = self.0.values().next_back().map(|of_period| &of_period.table);
        let table = newest.filter(|table| table.epoch == registry.epoch).map(Arc::clone);
        let table = table.unwrap_or_else(|| Arc::new(CapTable::new(registry, shard)));
        let members = members.min(table.members);
        self.0.insert(last, PeriodCaps { table, members });
        // What is left of whoever was billed last so long ago goes by the caps before that.
        self.0 = self.0.split_off(&last.minus(2 * LATE_PERIODS_MAX));
    }

    /// Whether the snapshot of a period has a payer.
    fn has(&self, payer: EthereumAddress, period: Period) -> bool {
        self.0.get(&period).is_some_and(|of_period| of_period.table.has(payer))
    }

    /// What is left before anything is billed by the report of `last`, given what was left before.
    fn room(
        &self,
        payer: EthereumAddress,
        source: Option<Source>,
        before: Option<Room>,
        last: Period,
    ) -> u128 {
        let add = |amount: u128, period: Period| {
            let kept = amount.min(self.kept_after(payer, source, period.minus(1)));
            kept.saturating_add(self.of(payer, source, period).unwrap_or_default())
        };
        match before.filter(|room| room.after.plus(LATE_PERIODS_MAX) >= last) {
            // Of what was billed before that nothing is to be seen any more.
            None => add(u128::MAX, last),
            Some(room) => (room.after.0 + 1..=last.0).map(Period).fold(room.amount, add),
        }
    }

    /// The most that stays after the report of a period.
    fn kept_after(&self, payer: EthereumAddress, source: Option<Source>, period: Period) -> u128 {
        let first = period.minus(LATE_PERIODS_MAX - 1);
        let periods = (first.0..=period.0).map(Period);
        periods.filter_map(|period| self.of(payer, source, period)).fold(0, u128::saturating_add)
    }

    /// A payer's cap for a period, or a part of it; none where there is no limit.
    fn of(&self, payer: EthereumAddress, source: Option<Source>, period: Period) -> Option<u128> {
        let Some(PeriodCaps { table, members }) = self.0.get(&period) else { return Some(0) };
        let cap = match source {
            None => table.cap(payer, period),
            Some(_) => table.part(payer, period, *members),
        };
        cap.map(|cap| cap.0.into())
    }
}
