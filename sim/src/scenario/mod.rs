//! What happens in a run: the network's shape and weather, and a list of acts with their times.
//!
//! A scenario follows from its seed alone. A failing one is made smaller by leaving out acts.

mod draw;
mod fault;
mod strain;
mod work;

pub use fault::{Change, Cheat, Fault, Rot};
pub use strain::Strain;
pub use work::{Trick, Work};

use std::collections::BTreeSet;
use std::fmt;

use crate::randomness::Seed;
use crate::time::VirtualTime;

/// How large the network is, and how long it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How many nodes.
    pub nodes: u32,
    /// How many shards, a power of two.
    pub shards: u16,
    /// How many nodes keep a shard.
    pub replication: u16,
    /// How long a period lasts, in milliseconds.
    pub period_ms: u64,
    /// How long acts go on, in milliseconds; then everything heals.
    pub length_ms: u64,
    /// How many people write.
    pub authors: u32,
    /// How many conversations they write in.
    pub topics: u32,
}

/// How good links, clients' calls and disks are when nothing is wrong with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// The least one-way delay between two nodes, drawn per pair, in microseconds.
    pub delay_us: (u64, u64),
    /// What may come on top for each message, in microseconds.
    pub jitter_us: u64,
    /// How many messages in a thousand are lost and repeated by the transport.
    pub loss_permille: u64,
    /// How many client calls in a thousand lose their request or their answer.
    pub lost_calls_permille: u64,
    /// How long a transaction takes, in microseconds.
    pub sync_us: (u64, u64),
}

/// A node's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// How far the wall clock is off, in seconds.
    pub wall_offset_s: i64,
    /// How fast the monotonic clock goes, in millionths of its right pace.
    pub pace_ppm: u64,
}

/// Something that happens at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// Its number, by which a smaller scenario names it.
    pub number: usize,
    /// When.
    pub at: VirtualTime,
    /// What.
    pub what: Happening,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// Something goes wrong.
    Fault(Fault),
    /// A client does something.
    Work(Work),
}

impl fmt::Display for Act {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{} at {}: ", self.number, self.at)?;
        match &self.what {
            Happening::Fault(fault) => write!(formatter, "{fault:?}"),
            Happening::Work(work) => write!(formatter, "{work:?}"),
        }
    }
}

/// A run before it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// What it was drawn from, and what further choices are drawn from.
    pub seed: Seed,
    /// The network.
    pub shape: Shape,
    /// How good things are.
    pub weather: Weather,
    /// One per node, by number.
    pub clocks: Vec<Clock>,
    /// Whether more nodes cheat than the committee tolerates.
    pub beyond: bool,
    /// By time.
    pub acts: Vec<Act>,
}

/// Which part of a scenario is run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The numbers of the acts that happen; all when absent.
    pub keep: Option<BTreeSet<usize>>,
    /// When everything heals, in milliseconds; as drawn when absent.
    pub length_ms: Option<u64>,
}

impl Scenario {
    /// The part of the scenario that a selection names.
    #[must_use]
    pub fn select(mut self, selection: &Selection) -> Self {
        if let Some(keep) = &selection.keep {
            self.acts.retain(|act| keep.contains(&act.number));
        }
        if let Some(length_ms) = selection.length_ms {
            self.shape.length_ms = length_ms;
            self.acts.retain(|act| act.at.as_ms() < length_ms);
        }
        self
    }

    /// The same with every wall clock off by another amount.
    #[must_use]
    pub fn with_wall_clocks(mut self, offset_s: impl Fn(usize) -> i64) -> Self {
        for (place, clock) in self.clocks.iter_mut().enumerate() {
            clock.wall_offset_s = offset_s(place);
        }
        self.acts.retain(|act| !matches!(act.what, Happening::Fault(Fault::ClockJump { .. })));
        self
    }

    /// Each act's fault, if it is one.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.acts.iter().filter_map(|act| match &act.what {
            Happening::Fault(fault) => Some(fault),
            Happening::Work(_) => None,
        })
    }
}
