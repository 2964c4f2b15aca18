//! The simulated world: machines, links, clients and time.
//!
//! One event at a time is taken from the queue, and everything that it leads to is done or put
//! into the queue; so a run is a function of its scenario.

mod act;
mod call;
mod host;
mod link;
mod process;
mod reports;
mod settle;
mod store;

pub use call::{Answer, Call};

use std::collections::BTreeMap;

use rand_chacha::ChaCha20Rng;
use tidings_envelope::api::AcknowledgedCheckpoint;
use tidings_envelope::{EntryHeader, InclusionProof, LogId, MerklePath, OrderedReceipt};
use tidings_replica::store::TopicHeads;
use tidings_replica::{ExaminedFlush, RequestId};
use tidings_types::NodeId;

use crate::cheat::Habits;
use crate::coverage::Coverage;
use crate::crowd::Crowd;
use crate::ledger::{Check, Ledger, Violation};
use crate::message::Message;
use crate::network::{Ends, Held, LinkId, Network, ends_of};
use crate::scenario::{Cheat, Fault, Happening, Scenario};
use crate::setup::{Seat, Setup};
use crate::time::{Queue, VirtualTime};
use crate::trace::Trace;
use host::{Host, Process, Status};

/// Something that happens at a time.
#[expect(
    clippy::large_enum_variant,
    reason = "events are moved a few times each; a box would cost every one of them"
)]
#[derive(Debug)]
enum Event {
    /// The scenario's act with this place in its list.
    Act(usize),
    /// The other end of a fault.
    Over(Over),
    /// A process lets time pass.
    Tick { seat: Seat, generation: u32 },
    /// A transaction ends.
    Written { seat: Seat, generation: u32 },
    /// A failed transaction is tried again.
    WriteAgain { seat: Seat, generation: u32 },
    /// Entries have been examined.
    Examined { seat: Seat, generation: u32, from: NodeId, flush: ExaminedFlush },
    /// Storage answers a question of the process.
    Found { seat: Seat, generation: u32, found: Found },
    /// A pair of processes is to be connected.
    Dial(Ends),
    /// An end is told that its link is up.
    Up(LinkId, Seat),
    /// An end is told that its link is gone.
    Down(LinkId, Seat),
    /// A way may have been silent for too long.
    Silence(LinkId, Seat, Seat),
    /// A message is there.
    Arrive { link: LinkId, from: Seat, to: Seat, held: Held<Message> },
    /// A client's request is at a node.
    Request(u64),
    /// A node's answer is at the client.
    Answered(u64, Answer),
    /// A client has waited for long enough.
    Late(u64),
    /// An author goes on.
    Author(usize),
    /// A reader reads.
    Read(usize),
    /// A node hears that the registry has changed.
    Registry(Seat),
    /// Everything heals.
    Heal,
    /// Whether all is well is looked at.
    Settle,
}

/// How a fault ends.
#[derive(Debug, Clone)]
enum Over {
    Start(Seat),
    Partition(Vec<(Seat, Seat)>),
    Slow(NodeId, u64),
    Lossy(u64),
    DiskFails(Seat),
    DiskSlow(Seat, u64),
    LieEnds(Seat, u64),
    RestoreBegins(Seat, u64),
    Swap(NodeId),
}

/// What storage found for a process.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
#[derive(Debug)]
enum Found {
    Proof {
        request: RequestId,
        item: usize,
        against: Box<AcknowledgedCheckpoint>,
        found: Option<(EntryHeader, MerklePath)>,
    },
    Inclusion {
        to: Option<NodeId>,
        log: LogId,
        found: Option<InclusionProof>,
    },
    Heads {
        log: LogId,
        found: TopicHeads,
    },
    Decision {
        request: RequestId,
        item: usize,
        found: Option<OrderedReceipt>,
    },
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// What broke, if anything did.
    pub violation: Option<Violation>,
    /// The hash over everything that happened, in hex.
    pub hash: String,
    /// The hash over what clients were told, in hex; wall clocks must not change it.
    pub verdicts: String,
    /// The last lines of the trace, if they were asked for.
    pub lines: Vec<String>,
    /// What the run went through.
    pub coverage: Coverage,
    /// How long it lasted, in virtual milliseconds.
    pub lasted_ms: u64,
    /// How many events there were.
    pub events: u64,
}

/// Everything that is simulated.
pub struct World {
    scenario: Scenario,
    setup: Setup,
    now: VirtualTime,
    queue: Queue<Event>,
    trace: Trace,
    hosts: BTreeMap<Seat, Host>,
    /// The peers that see the second process of a node with two.
    sides: BTreeMap<NodeId, std::collections::BTreeSet<NodeId>>,
    network: Network<Message>,
    next_stream: u64,
    crowd: Crowd,
    calls: BTreeMap<u64, Call>,
    next_call: u64,
    ledger: Ledger,
    coverage: Coverage,
    violation: Option<Violation>,
    is_over: bool,
    healed_at: Option<VirtualTime>,
    targets: Option<settle::Targets>,
    /// Draws what has no place of its own.
    rng: ChaCha20Rng,
    cheat_rng: ChaCha20Rng,
    call_rng: ChaCha20Rng,
}

impl World {
    /// The world at the start of a scenario.
    #[must_use]
    pub fn new(scenario: Scenario, with_lines: bool) -> Self {
        let setup = Setup::new(&scenario.shape);
        let seed = scenario.seed;
        let sides = twins(&scenario);
        let seats: Vec<Seat> = setup
            .nodes()
            .flat_map(|node| {
                let count = 1 + u8::from(sides.contains_key(&node));
                (0..count).map(move |twin| Seat { node, twin })
            })
            .collect();
        let hosts = seats.iter().map(|seat| (*seat, host(&scenario, *seat))).collect();
        let mut ledger = Ledger::new(&setup);
        ledger.byzantine = scenario.faults().filter_map(cheater).collect();
        ledger.chain.beyond = scenario.beyond;
        let network = Network::new(seed, scenario.weather, pairs(&seats, &sides));
        let crowd = Crowd::new(&scenario, &setup);
        let mut world = Self {
            network,
            trace: if with_lines { Trace::with_lines() } else { Trace::default() },
            now: VirtualTime::default(),
            queue: Queue::new(),
            hosts,
            sides,
            next_stream: 1,
            crowd,
            calls: BTreeMap::new(),
            next_call: 0,
            ledger,
            coverage: Coverage::default(),
            violation: None,
            is_over: false,
            healed_at: None,
            targets: None,
            rng: seed.stream("world", 0),
            cheat_rng: seed.stream("cheats", 0),
            call_rng: seed.stream("calls", 0),
            scenario,
            setup,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for (place, act) in self.scenario.acts.iter().enumerate() {
            self.queue.push(act.at, Event::Act(place));
        }
        let length = VirtualTime::from_ms(self.scenario.shape.length_ms);
        self.queue.push(length, Event::Heal);
        let seats: Vec<Seat> = self.hosts.keys().copied().collect();
        for seat in seats {
            self.start(seat);
        }
        let pairs: Vec<Ends> = self.network.pairs().collect();
        for ends in pairs {
            self.queue.push(VirtualTime::from_ms(1), Event::Dial(ends));
        }
        for reader in 0..self.crowd.readers.len() {
            self.queue.push(VirtualTime::from_ms(700), Event::Read(reader));
        }
    }

    /// Runs to the end, or to the first broken invariant.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        while !self.is_over && self.violation.is_none() {
            let Some((at, event)) = self.queue.pop() else { break };
            self.now = at;
            self.take(event);
        }
        let verdicts = self.crowd.verdicts();
        let events = self.trace.events();
        let (hash, lines) = self.trace.finish();
        Outcome {
            violation: self.violation,
            hash,
            verdicts,
            lines,
            coverage: self.coverage,
            lasted_ms: self.now.as_ms(),
            events,
        }
    }

    fn take(&mut self, event: Event) {
        if let Some((seat, until)) = self.standstill(&event) {
            self.coverage.count("held back by a pause");
            self.trace.note(self.now, "held", &[], || format!("{seat}"));
            self.queue.push(until, event);
            return;
        }
        match event {
            Event::Act(place) => self.act(place),
            Event::Over(over) => self.over(over),
            Event::Tick { seat, generation } => self.tick(seat, generation),
            Event::Written { seat, generation } => self.written(seat, generation),
            Event::WriteAgain { seat, generation } => self.write_again(seat, generation),
            Event::Examined { seat, generation, from, flush } => {
                self.input(seat, generation, |replica, now| replica.flush(from, flush, now));
            }
            Event::Found { seat, generation, found } => self.found(seat, generation, found),
            Event::Dial(ends) => self.dial(ends),
            Event::Up(link, seat) => self.link_up(link, seat),
            Event::Down(link, seat) => self.link_down(link, seat),
            Event::Silence(link, from, to) => self.silence(link, from, to),
            Event::Arrive { link, from, to, held } => self.arrive(link, from, to, held),
            Event::Request(call) => self.request(call),
            Event::Answered(call, answer) => self.answered(call, answer),
            Event::Late(call) => self.answered(call, Answer::Lost),
            Event::Author(author) => self.author(author),
            Event::Read(reader) => self.read(reader),
            Event::Registry(seat) => self.hear_registry(seat),
            Event::Heal => self.heal(),
            Event::Settle => self.settle(),
        }
    }

    /// Until when the machine that an event happens on stands still, if it does.
    fn standstill(&self, event: &Event) -> Option<(Seat, VirtualTime)> {
        let seat = match event {
            Event::Tick { seat, .. }
            | Event::Written { seat, .. }
            | Event::WriteAgain { seat, .. }
            | Event::Examined { seat, .. }
            | Event::Found { seat, .. }
            | Event::Up(_, seat)
            | Event::Down(_, seat)
            | Event::Registry(seat)
            | Event::Arrive { to: seat, .. } => *seat,
            Event::Request(call) => self.calls.get(call)?.seat,
            _ => return None,
        };
        let until = self.hosts.get(&seat)?.paused_until;
        (until > self.now).then_some((seat, until))
    }

    fn process(&self, seat: Seat) -> Option<&Process> {
        self.hosts.get(&seat)?.process()
    }

    fn check(&mut self, check: Check) {
        if let Err((invariant, what)) = check
            && self.violation.is_none()
        {
            self.trace.note(self.now, "violation", what.as_bytes(), || what.clone());
            self.violation = Some(Violation { invariant, at: self.now, what });
        }
    }

    fn clear_status(&mut self, seat: Seat, status: Status) -> Option<Box<Process>> {
        let host = self.hosts.get_mut(&seat)?;
        match std::mem::replace(&mut host.status, status) {
            Status::Up(process) => Some(process),
            Status::Down | Status::Refused => None,
        }
    }
}

fn cheater(fault: &Fault) -> Option<NodeId> {
    match fault {
        Fault::Cheat { node, .. } => Some(*node),
        _ => None,
    }
}

/// The nodes that run two processes with one key, and who sees the second.
fn twins(scenario: &Scenario) -> BTreeMap<NodeId, std::collections::BTreeSet<NodeId>> {
    let twins = scenario.faults().filter_map(|fault| match fault {
        Fault::Cheat { node, cheat: Cheat::Twins { side, .. } } => Some((*node, side.clone())),
        _ => None,
    });
    twins.collect()
}

fn pairs(
    seats: &[Seat],
    sides: &BTreeMap<NodeId, std::collections::BTreeSet<NodeId>>,
) -> Vec<Ends> {
    let sees = |by: Seat, seat: Seat| match sides.get(&seat.node) {
        None => true,
        Some(_) if sides.contains_key(&by.node) => by.twin == seat.twin,
        Some(side) => (seat.twin == 1) == side.contains(&by.node),
    };
    let all = seats.iter().flat_map(|one| seats.iter().map(move |other| (*one, *other)));
    let different = all.filter(|(one, other)| one.node < other.node);
    different
        .filter(|(one, other)| sees(*one, *other) && sees(*other, *one))
        .map(|(one, other)| ends_of(one, other))
        .collect()
}

fn host(scenario: &Scenario, seat: Seat) -> Host {
    let place = usize::try_from(seat.node.0.saturating_sub(1)).unwrap_or_default();
    let clock = scenario.clocks.get(place).copied();
    let code = u64::from(seat.node.0) << 8 | u64::from(seat.twin);
    Host {
        status: Status::Down,
        disk: crate::disk::Disk::default(),
        truth: None,
        backup: None,
        clock: clock.unwrap_or(crate::scenario::Clock { wall_offset_s: 0, pace_ppm: 1_000_000 }),
        starts: 0,
        paused_until: VirtualTime::default(),
        failing: 0,
        failures_land: false,
        slow_ms: 0,
        habits: Habits::default(),
        disk_rng: scenario.seed.stream("disk", code),
    }
}

/// Runs a scenario.
#[must_use]
pub fn run(scenario: &Scenario, with_lines: bool) -> Outcome {
    World::new(scenario.clone(), with_lines).run()
}

impl Happening {
    /// One word for the trace.
    fn kind(&self) -> &'static str {
        match self {
            Self::Fault(_) => "fault",
            Self::Work(_) => "work",
        }
    }
}
