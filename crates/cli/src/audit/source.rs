//! Where an auditor reads: from a node that serves, or from the database of one that does not run.

use anyhow::Result;
use tidings_envelope::api::{BlockPage, LogPage};
use tidings_envelope::{LogId, SignedCheckpoint};
use tidings_types::{Hash, Height, LogSize, ShardId};

use super::disk::Disk;
use super::peer::Peer;

/// A node's logs and blocks.
pub enum Source {
    /// As it serves them.
    Node(Peer),
    /// As they are in its database.
    Disk(Box<Disk>),
}

impl Source {
    /// The logs that are held.
    ///
    /// # Errors
    /// When they cannot be read, here and in all that follows.
    pub async fn logs(&self) -> Result<Vec<LogId>> {
        match self {
            Self::Node(peer) => peer.logs().await,
            Self::Disk(disk) => disk.logs().await,
        }
    }

    /// A stretch of a log.
    ///
    /// # Errors
    /// As [`Self::logs`].
    pub async fn log_page(&self, log: LogId, from: LogSize) -> Result<LogPage> {
        match self {
            Self::Node(peer) => peer.log_page(log, from).await,
            Self::Disk(disk) => disk.log_page(log, from).await,
        }
    }

    /// The newest checkpoint of a log.
    ///
    /// # Errors
    /// As [`Self::logs`].
    pub async fn checkpoint(&self, log: LogId) -> Result<SignedCheckpoint> {
        match self {
            Self::Node(peer) => peer.checkpoint(log).await,
            Self::Disk(disk) => disk.checkpoint(log).await,
        }
    }

    /// The proof that a log at size `new` begins with the log at size `old`.
    ///
    /// # Errors
    /// As [`Self::logs`].
    pub async fn consistency(&self, log: LogId, old: LogSize, new: LogSize) -> Result<Vec<Hash>> {
        match self {
            Self::Node(peer) => peer.consistency(log, old, new).await,
            Self::Disk(disk) => disk.consistency(log, old, new).await,
        }
    }

    /// Blocks from a height on.
    ///
    /// # Errors
    /// As [`Self::logs`].
    pub async fn blocks(&self, shard: ShardId, from: Height) -> Result<BlockPage> {
        match self {
            Self::Node(peer) => peer.blocks(shard, from).await,
            Self::Disk(disk) => disk.blocks(shard, from).await,
        }
    }
}
