//! What nodes say to each other.
//!
//! A link between two nodes has one control stream each way, carrying [`ControlFrame`]s, and
//! one data stream per subscription, opened by the subscriber with a [`FeedRequest`] and
//! answered with [`FeedFrame`]s. Frames are length-prefixed (u32, big-endian).

use tidings_envelope::{
    CertifiedBlock, InclusionProof, LogEntry, LogId, SignedAcknowledgement, SignedCheckpoint,
};
use tidings_order::OrderMessage;
use tidings_types::constants::{FEED_ENTRIES_MAX, HAVE_LOGS_MAX};
use tidings_types::{BoundedVec, CheckpointDigest, Height, LogIndex, LogSize, NetworkId, ShardId};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

/// How much of a log its speaker holds durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Have {
    /// Which log.
    pub log: LogId,
    /// How many entries.
    pub size: LogSize,
}

/// A message on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum ControlFrame {
    /// The first frame each way (REP-002).
    #[tls_codec(discriminant = 1)]
    Hello {
        /// The version of these frames.
        version: u16,
        /// The speaker's network.
        network: NetworkId,
    },
    /// What the speaker holds; repeated when it changes (REP-005).
    #[tls_codec(discriminant = 2)]
    Have(BoundedVec<Have, HAVE_LOGS_MAX>),
    /// The speaker verified and fsynced everything under a checkpoint of the listener's log.
    #[tls_codec(discriminant = 3)]
    Acknowledge {
        /// Whose checkpoint.
        log: LogId,
        /// The checkpoint's size.
        size: LogSize,
        /// The checkpoint's digest.
        checkpoint: CheckpointDigest,
        /// The speaker's signature.
        acknowledgement: SignedAcknowledgement,
    },
    /// About the blocks of an ordered lane.
    #[tls_codec(discriminant = 4)]
    Lane {
        /// Whose ordered lane.
        shard: ShardId,
        /// What is said.
        message: OrderMessage,
    },
    /// The newest checkpoints of logs under which the speaker holds everything, for comparison
    /// (EVD-008).
    #[tls_codec(discriminant = 5)]
    Checkpoints(BoundedVec<SignedCheckpoint, HAVE_LOGS_MAX>),
    /// Please prove an entry under a checkpoint that you showed (REP-014).
    #[tls_codec(discriminant = 6)]
    AskEntry {
        /// Of which log.
        log: LogId,
        /// Which entry.
        index: LogIndex,
        /// The checkpoint's size.
        size: LogSize,
    },
    /// The entry that was asked for.
    #[tls_codec(discriminant = 7)]
    Entry(InclusionProof),
}

/// The first message on a data stream: what the subscriber wants, and from where.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
)]
#[repr(u8)]
pub enum FeedRequest {
    /// Entries of a log from an index on, for as long as the stream lives.
    #[tls_codec(discriminant = 1)]
    Log {
        /// Which log.
        log: LogId,
        /// The first index wanted.
        from: LogIndex,
    },
    /// Final blocks from a height on.
    #[tls_codec(discriminant = 2)]
    Blocks {
        /// Whose ordered lane.
        shard: ShardId,
        /// The first height wanted.
        from: Height,
    },
}

/// Consecutive entries that end where a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct FeedFlush {
    /// In order, from the index that the subscriber expects; at least one.
    pub entries: BoundedVec<LogEntry, FEED_ENTRIES_MAX>,
    /// Covers the log up to the last entry.
    pub checkpoint: SignedCheckpoint,
}

/// A message on a data stream after the request.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum FeedFrame {
    /// Entries of the log.
    #[tls_codec(discriminant = 1)]
    Flush(FeedFlush),
    /// The next final block.
    #[tls_codec(discriminant = 2)]
    Block(CertifiedBlock),
}
