//! A machine and the node process on it.

use std::collections::{BTreeMap, VecDeque};

use rand_chacha::ChaCha20Rng;
use tidings_envelope::LogId;
use tidings_replica::store::WriteSet;
use tidings_replica::wire::FeedRequest;
use tidings_replica::{Now, Replica, RequestId, WriteTicket};
use tidings_types::{NodeId, ShardId, TimestampSeconds};

use crate::cheat::Habits;
use crate::disk::Disk;
use crate::network::LinkId;
use crate::scenario::Clock;
use crate::time::VirtualTime;

/// The wall clock when a run begins, in seconds since 1970; any moment does.
const BEGIN_S: i64 = 1_800_000_000;

/// How often a busy process lets time pass, as the node's own runtime does.
const TICK_MS: u64 = 100;

/// How often an idle one does: what it tells its peers then, it has told them before.
const IDLE_TICK_MS: u64 = 1_000;

/// How long a process counts as busy after something happened.
const BUSY_MS: u64 = 1_500;

/// What is fed: one log, or the blocks of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A log's entries.
    Log(LogId),
    /// A shard's blocks.
    Blocks(ShardId),
}

impl From<FeedRequest> for Subject {
    fn from(request: FeedRequest) -> Self {
        match request {
            FeedRequest::Log { log, .. } => Self::Log(log),
            FeedRequest::Blocks { shard, .. } => Self::Blocks(shard),
        }
    }
}

/// A feed that a process follows.
#[derive(Debug, Clone, Copy)]
pub struct Followed {
    /// Who serves it.
    pub peer: NodeId,
    /// On which link.
    pub link: LinkId,
    /// What was asked for.
    pub request: FeedRequest,
}

/// A feed that a process serves.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    /// To whom.
    pub peer: NodeId,
    /// On which link.
    pub link: LinkId,
    /// What.
    pub subject: Subject,
    /// The index or height that comes next.
    pub next: u64,
}

/// The transaction that a process has under way.
#[derive(Debug, Default)]
pub struct Transaction {
    /// The sets in it, in order; empty while none is under way.
    pub sets: Vec<WriteSet>,
    /// The last set's ticket.
    pub ticket: Option<WriteTicket>,
}

/// A node process and everything in its memory.
pub struct Process {
    /// The real thing.
    pub replica: Replica,
    /// Which start of its machine's process it is.
    pub generation: u32,
    started_at: VirtualTime,
    /// When it last let time pass, by its own clock.
    pub ticked_at_ms: u64,
    /// When it will next, by its own clock.
    pub tick_due_ms: Option<u64>,
    busy_until_ms: u64,
    /// The links that it knows to be up.
    pub links: BTreeMap<NodeId, LinkId>,
    /// The feeds that it follows, by stream.
    pub followed: BTreeMap<u64, Followed>,
    /// The feeds that it serves, by stream.
    pub served: BTreeMap<u64, Served>,
    /// Write sets that wait for the transaction under way.
    pub queued: VecDeque<(WriteTicket, WriteSet)>,
    /// The transaction under way.
    pub writing: Transaction,
    /// The client calls that wait for an answer.
    pub calls: BTreeMap<RequestId, u64>,
    /// The next request's number.
    pub next_request: u64,
    /// When the examination that was begun last ends.
    pub examined_at: VirtualTime,
    /// Blinds signature batches.
    pub rng: ChaCha20Rng,
}

impl Process {
    /// A process that has just been started.
    #[must_use]
    pub fn new(replica: Replica, generation: u32, now: VirtualTime, rng: ChaCha20Rng) -> Self {
        Self {
            replica,
            generation,
            started_at: now,
            ticked_at_ms: 0,
            tick_due_ms: None,
            busy_until_ms: BUSY_MS,
            links: BTreeMap::new(),
            followed: BTreeMap::new(),
            served: BTreeMap::new(),
            queued: VecDeque::new(),
            writing: Transaction::default(),
            calls: BTreeMap::new(),
            next_request: 0,
            examined_at: now,
            rng,
        }
    }

    /// Its monotonic clock, which goes at its machine's pace.
    #[must_use]
    pub fn local_ms(&self, clock: Clock, now: VirtualTime) -> u64 {
        let elapsed_us = u128::from(now.since_us(self.started_at));
        let local_ms = elapsed_us * u128::from(clock.pace_ppm) / 1_000_000_000;
        u64::try_from(local_ms).unwrap_or(u64::MAX)
    }

    /// When its monotonic clock shows so many milliseconds, at the earliest.
    #[must_use]
    pub fn moment_of(&self, clock: Clock, local_ms: u64) -> VirtualTime {
        let elapsed_us = u128::from(local_ms) * 1_000_000_000 / u128::from(clock.pace_ppm.max(1));
        self.started_at.plus_us(u64::try_from(elapsed_us).unwrap_or(u64::MAX).saturating_add(1))
    }

    /// Notes that something happened that may need time to pass soon.
    pub fn stir(&mut self, local_ms: u64) {
        self.busy_until_ms = local_ms + BUSY_MS;
    }

    /// When it must let time pass next, by its own clock.
    #[must_use]
    pub fn wake_at_ms(&self, local_ms: u64) -> u64 {
        let interval_ms = if local_ms < self.busy_until_ms { TICK_MS } else { IDLE_TICK_MS };
        let regular = self.ticked_at_ms + interval_ms;
        // The node's runtime takes a due time that has passed for now; so does this, but a
        // millisecond later, so that time passes.
        let due = self.replica.poll_timeout_ms().unwrap_or(regular).min(regular);
        due.max(local_ms + 1)
    }

    /// The feed that is followed at a peer, by its stream.
    #[must_use]
    pub fn stream_of(&self, peer: NodeId, subject: Subject) -> Option<u64> {
        let mut streams = self.followed.iter();
        let found = streams.find(|(_, followed)| {
            followed.peer == peer && Subject::from(followed.request) == subject
        });
        found.map(|(stream, _)| *stream)
    }
}

/// Whether a machine's process runs.
pub enum Status {
    /// It runs.
    Up(Box<Process>),
    /// It does not.
    Down,
    /// It was started and refused to go on from what it found.
    Refused,
}

/// A machine.
pub struct Host {
    /// Whether it does.
    pub status: Status,
    /// What its storage holds and would still hold after a crash.
    pub disk: Disk,
    /// What the storage holds in truth, while it lies about it.
    pub truth: Option<Box<Disk>>,
    /// A backup to be restored.
    pub backup: Option<Box<Disk>>,
    /// Its clocks.
    pub clock: Clock,
    /// How often a process was started here.
    pub starts: u32,
    /// Until when it stands still.
    pub paused_until: VirtualTime,
    /// How many faults make its transactions fail, and whether they land all the same.
    pub failing: u32,
    /// Whether what fails reaches the disk all the same.
    pub failures_land: bool,
    /// How long a transaction takes on top, in milliseconds.
    pub slow_ms: u64,
    /// What its operator does with what the process sends.
    pub habits: Habits,
    /// Draws the durations of transactions.
    pub disk_rng: ChaCha20Rng,
}

impl Host {
    /// Its process, if it runs.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        match &self.status {
            Status::Up(process) => Some(process),
            Status::Down | Status::Refused => None,
        }
    }

    /// Its process, if it runs, to be changed.
    pub fn process_mut(&mut self) -> Option<&mut Process> {
        match &mut self.status {
            Status::Up(process) => Some(process),
            Status::Down | Status::Refused => None,
        }
    }

    /// The time as the process sees it.
    #[must_use]
    pub fn now(&self, now: VirtualTime) -> Now {
        let wall_s = i64::try_from(now.as_ms() / 1_000).unwrap_or_default();
        let wall_s = BEGIN_S + self.clock.wall_offset_s + wall_s;
        let clock = self.clock;
        Now {
            monotonic_ms: self.process().map_or(0, |process| process.local_ms(clock, now)),
            timestamp: TimestampSeconds(wall_s.unsigned_abs()),
        }
    }
}
