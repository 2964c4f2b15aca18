//! How far the replicas of a shard hold one's own log, by their signed acknowledgements.

use std::collections::BTreeMap;

use tidings_envelope::{LogId, SignedAcknowledgement, SignedCheckpoint};
use tidings_types::{CheckpointDigest, ErrorCode, EthereumAddress, LogSize, NetworkId, NodeId};

/// Checkpoints that wait for acknowledgements, at most.
///
/// One per flush of 3 ms makes this some 12 s; after a longer silence of the replicas the
/// newest are enough, since each covers all before it.
const PENDING_CHECKPOINTS_MAX: usize = 4_096;

/// Follows the acknowledgements of one log at its originator.
///
/// An acknowledgement counts for exactly the checkpoint it signs, so a receipt never mixes
/// checkpoints; replicas acknowledge each checkpoint they reach.
#[derive(Debug, Clone)]
pub struct AckTracker {
    network: NetworkId,
    log: LogId,
    needed: usize,
    replicas: BTreeMap<NodeId, EthereumAddress>,
    checkpoints: BTreeMap<LogSize, CoveredCheckpoint>,
    covered: Option<LogSize>,
    held: BTreeMap<NodeId, LogSize>,
}

/// A checkpoint and who has signed that they hold what it covers.
#[derive(Debug, Clone)]
pub struct CoveredCheckpoint {
    checkpoint: SignedCheckpoint,
    digest: CheckpointDigest,
    acknowledgements: BTreeMap<NodeId, SignedAcknowledgement>,
}

/// A new checkpoint of one's own log does not go beyond the last, which is a bug of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a checkpoint of size {offered} does not follow the one of size {last}")]
pub struct RegressError {
    /// The size of the last checkpoint.
    pub last: LogSize,
    /// The size of the checkpoint that came.
    pub offered: LogSize,
}

/// Why an acknowledgement does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    /// The replica is not in the shard's committee, or is the originator itself.
    #[error("node {0} is no replica of this log")]
    NotAReplica(NodeId),
    /// The signature is not the replica's over a checkpoint of this size.
    #[error("the acknowledgement of node {0} does not verify")]
    SignatureInvalid(NodeId),
    /// There is no such checkpoint.
    #[error("no checkpoint of size {0} was signed")]
    UnknownCheckpoint(LogSize),
}

impl AckError {
    /// The code that a peer sees.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        ErrorCode::AcknowledgementInvalid
    }
}

impl CoveredCheckpoint {
    /// The checkpoint, signed by the originator.
    #[must_use]
    pub fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }

    /// The acknowledgements of other replicas, by node number.
    pub fn acknowledgements(&self) -> impl ExactSizeIterator<Item = &SignedAcknowledgement> {
        self.acknowledgements.values()
    }

    /// How many nodes hold it, the originator included.
    #[must_use]
    pub fn holders_count(&self) -> usize {
        self.acknowledgements.len() + 1
    }
}

impl AckTracker {
    /// A tracker for `log` that counts a checkpoint as covered when `needed` nodes hold it, the
    /// originator included.
    ///
    /// `replicas` maps the shard's committee to its signing addresses; the originator's own entry
    /// is ignored.
    #[must_use]
    pub fn new(
        network: NetworkId,
        log: LogId,
        needed: usize,
        replicas: impl IntoIterator<Item = (NodeId, EthereumAddress)>,
    ) -> Self {
        let replicas = replicas.into_iter().filter(|(node, _)| *node != log.node).collect();
        Self {
            network,
            log,
            needed,
            replicas,
            checkpoints: BTreeMap::new(),
            covered: None,
            held: BTreeMap::new(),
        }
    }

    /// The log tracked.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.log
    }

    /// Takes over a new registry epoch's committee; acknowledgements of nodes that left no longer
    /// count.
    ///
    /// Answers the size that is covered now, if it grew. It never shrinks: receipts were given.
    pub fn reconfigure(
        &mut self,
        needed: usize,
        replicas: impl IntoIterator<Item = (NodeId, EthereumAddress)>,
    ) -> Option<LogSize> {
        let own = self.log.node;
        self.replicas = replicas.into_iter().filter(|(node, _)| *node != own).collect();
        self.needed = needed;
        for pending in self.checkpoints.values_mut() {
            pending.acknowledgements.retain(|node, _| self.replicas.contains_key(node));
        }
        self.held.retain(|node, _| self.replicas.contains_key(node));
        self.advance()
    }

    /// Adds a checkpoint that is durable at the originator, which counts as its acknowledgement.
    ///
    /// Answers the size that is covered now, if it grew.
    ///
    /// # Errors
    /// [`RegressError`] unless the size is above that of every checkpoint before (LOG-014).
    pub fn publish(&mut self, signed: SignedCheckpoint) -> Result<Option<LogSize>, RegressError> {
        let offered = signed.checkpoint.size;
        if let Some((&last, _)) = self.checkpoints.last_key_value()
            && offered <= last
        {
            return Err(RegressError { last, offered });
        }
        let digest = signed.checkpoint.digest(self.network);
        let pending =
            CoveredCheckpoint { checkpoint: signed, digest, acknowledgements: BTreeMap::new() };
        self.checkpoints.insert(offered, pending);
        if self.checkpoints.len() > PENDING_CHECKPOINTS_MAX {
            let oldest = self.checkpoints.keys().copied().find(|size| Some(*size) != self.covered);
            oldest.and_then(|size| self.checkpoints.remove(&size));
        }
        Ok(self.advance())
    }

    /// Counts a replica's acknowledgement of the checkpoint of `size` (LOG-006, LOG-015).
    ///
    /// Answers the size that is covered now, if it grew. An acknowledgement of a checkpoint older
    /// than the covered one says nothing new and is ignored.
    ///
    /// # Errors
    /// [`AckError`] when it is not a replica's valid signature over that checkpoint.
    pub fn acknowledge(
        &mut self,
        size: LogSize,
        acknowledgement: SignedAcknowledgement,
    ) -> Result<Option<LogSize>, AckError> {
        let replica = acknowledgement.replica;
        let signer = self.replicas.get(&replica).ok_or(AckError::NotAReplica(replica))?;
        let Some(pending) = self.checkpoints.get_mut(&size) else {
            let newest = self.checkpoints.last_key_value().map(|(newest, _)| *newest);
            return match newest.is_some_and(|newest| size < newest) {
                true => Ok(None),
                false => Err(AckError::UnknownCheckpoint(size)),
            };
        };
        acknowledgement
            .verify(pending.digest, self.network, *signer)
            .map_err(|_| AckError::SignatureInvalid(replica))?;
        pending.acknowledgements.insert(replica, acknowledgement);
        let held = self.held.entry(replica).or_default();
        *held = size.max(*held);
        Ok(self.advance())
    }

    /// The newest checkpoint that enough nodes hold, with their signatures.
    #[must_use]
    pub fn covered(&self) -> Option<&CoveredCheckpoint> {
        self.checkpoints.get(&self.covered?)
    }

    /// The newest checkpoint, held by the originator at least.
    #[must_use]
    pub fn newest(&self) -> Option<&CoveredCheckpoint> {
        self.checkpoints.last_key_value().map(|(_, newest)| newest)
    }

    /// How much of the log each replica has signed that it holds; zero where nothing came.
    pub fn held(&self) -> impl Iterator<Item = (NodeId, LogSize)> {
        self.replicas.keys().map(|node| (*node, self.held.get(node).copied().unwrap_or_default()))
    }

    /// Finds the newest covered checkpoint and forgets those before it.
    fn advance(&mut self) -> Option<LogSize> {
        let mut newest_first = self.checkpoints.iter().rev();
        let (&size, _) =
            newest_first.find(|(_, pending)| pending.holders_count() >= self.needed)?;
        if Some(size) <= self.covered {
            return None;
        }
        self.covered = Some(size);
        self.checkpoints = self.checkpoints.split_off(&size);
        Some(size)
    }
}
