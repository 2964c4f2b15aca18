//! What can go wrong.

use std::collections::BTreeSet;

use tidings_types::NodeId;

/// Something that goes wrong, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed and started again later.
    Crash {
        /// Whose.
        node: NodeId,
        /// How long it stays down, in milliseconds.
        down_ms: u64,
        /// Whether a transaction under way reaches the disk all the same.
        lands: bool,
    },
    /// Every process is killed at once.
    PowerCut {
        /// How long all stay down, in milliseconds.
        down_ms: u64,
        /// Whether transactions under way reach the disks all the same.
        lands: bool,
    },
    /// The process finishes what it has taken, stops, and starts again later.
    Restart {
        /// Whose.
        node: NodeId,
        /// How long it stays down, in milliseconds.
        down_ms: u64,
    },
    /// The process stands still, as when a machine is suspended.
    Pause {
        /// Whose.
        node: NodeId,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// A connection breaks.
    Reset {
        /// One end.
        one: NodeId,
        /// The other end.
        other: NodeId,
    },
    /// Nothing gets from one side to the other.
    Partition {
        /// The nodes on one side.
        side: BTreeSet<NodeId>,
        /// Whether nothing gets back either.
        both_ways: bool,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// Every link of a node is slow.
    Slow {
        /// Whose.
        node: NodeId,
        /// What comes on top of each message's delay, in milliseconds.
        extra_ms: u64,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// Every link loses much.
    Lossy {
        /// How many messages in a thousand.
        permille: u64,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// Transactions fail, as on a full disk or after a failing fsync.
    DiskFails {
        /// Whose.
        node: NodeId,
        /// For how long, in milliseconds.
        for_ms: u64,
        /// Whether what failed reaches the disk all the same.
        lands: bool,
    },
    /// Transactions are slow.
    DiskSlow {
        /// Whose.
        node: NodeId,
        /// How long each takes, in milliseconds.
        sync_ms: u64,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// The disk says that it has written, and has not, until the machine loses its power.
    DiskLies {
        /// Whose.
        node: NodeId,
        /// How much is lost, in milliseconds before the crash.
        for_ms: u64,
        /// How long the process stays down, in milliseconds.
        down_ms: u64,
    },
    /// The node is set up again from a backup.
    Restore {
        /// Whose.
        node: NodeId,
        /// How old the backup is when it is used, in milliseconds.
        age_ms: u64,
        /// How long the process stays down, in milliseconds.
        down_ms: u64,
    },
    /// The disk is lost and replaced by an empty one.
    DiskLost {
        /// Whose.
        node: NodeId,
        /// How long the process stays down, in milliseconds.
        down_ms: u64,
    },
    /// Bits flip on the disk while the process is down.
    BitRot {
        /// Whose.
        node: NodeId,
        /// Where.
        rot: Rot,
        /// How long the process stays down, in milliseconds.
        down_ms: u64,
    },
    /// The wall clock jumps.
    ClockJump {
        /// Whose.
        node: NodeId,
        /// By how much, in seconds.
        by_s: i64,
    },
    /// The registry changes; nodes hear of it one after another.
    Epoch {
        /// In what.
        change: Change,
    },
    /// The node's operator cheats from now on.
    Cheat {
        /// Who.
        node: NodeId,
        /// How.
        cheat: Cheat,
    },
}

/// What changes in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A node's weight, and with it the order of every committee.
    Weight {
        /// Whose.
        node: NodeId,
        /// To what.
        weight: u32,
    },
    /// There is one more payer.
    Payer,
}

/// Where bits flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rot {
    /// In what a log is gone on from.
    Frontier,
    /// In a value of the ordered state.
    State,
    /// In the header of an entry.
    Entry,
    /// In the payload of an entry.
    Payload,
}

/// What a Byzantine node does to its peers and clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cheat {
    /// It runs two processes with one key and shows each to a part of its peers: it votes twice,
    /// proposes twice, and writes one log twice.
    Twins {
        /// The peers that see the second process.
        side: BTreeSet<NodeId>,
        /// When the peers change sides, in milliseconds after the start; never if 0.
        swap_ms: u64,
    },
    /// It keeps some of its messages to itself.
    Omit {
        /// How many in a thousand.
        permille: u64,
        /// From whom.
        victims: BTreeSet<NodeId>,
    },
    /// It holds messages back, so that they come late and out of order.
    Shuffle {
        /// For how long at most, in milliseconds.
        ms_max: u64,
    },
    /// It sends again, to anybody, what it has sent or been sent before.
    Replay {
        /// How often, in a thousand messages.
        permille: u64,
    },
    /// It flips bits in what it sends.
    Garble {
        /// How many messages in a thousand.
        permille: u64,
    },
    /// It says that it holds more than it does, or less.
    Misstate {
        /// Whether more.
        more: bool,
    },
    /// Its clock runs several times too fast, so that it wants periods to begin early.
    Hurry,
    /// It serves final blocks of its own making, with too few signatures.
    Fabricate,
    /// It puts an entry into its log that nobody with the right to signed, and signs over it.
    Forge,
    /// It serves feeds without the payloads.
    Withhold,
    /// It says what it holds and sends nothing of it, and takes no part in votes.
    Starve {
        /// Towards whom.
        victims: BTreeSet<NodeId>,
    },
    /// It answers publishers before it holds anything, or with another's receipt.
    Lie,
    /// It shows readers an old state, or leaves entries out.
    Stale {
        /// How many entries it leaves out of a page.
        left_out: u64,
    },
}

impl Fault {
    /// The node that no longer counts as correct, if there is one.
    #[must_use]
    pub fn culprit(&self) -> Option<NodeId> {
        match self {
            Self::DiskLies { node, .. }
            | Self::Restore { node, .. }
            | Self::DiskLost { node, .. }
            | Self::BitRot { node, .. }
            | Self::Cheat { node, .. } => Some(*node),
            _ => None,
        }
    }
}
