//! Receipts: proof that an envelope is stored, which the asker verifies before believing it.

use std::collections::BTreeSet;

use tidings_types::constants::{
    BLOCK_OPERATIONS_MAX, COMMITTEE_MEMBERS_MAX, MERKLE_PATH_HASHES_MAX,
};
use tidings_types::{BoundedVec, Hash, NetworkId, NodeId, Position, Wire, merkle};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::{
    BlockHeader, Certificate, DecidedOperation, EntryHeader, Outcome, Registry,
    SignedAcknowledgement, SignedCheckpoint,
};

/// How durable an envelope must be before its publisher is answered.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
)]
#[repr(u8)]
pub enum AckLevel {
    /// On the originator's disk.
    Local = 1,
    /// On the disks of f+1 replicas, each of which has signed so.
    Replicated = 2,
}

/// The acknowledgements of one checkpoint, at most one per committee member.
pub type Acknowledgements = BoundedVec<SignedAcknowledgement, COMMITTEE_MEMBERS_MAX>;

/// A proof's hashes, at most one per bit of a 64-bit size.
pub type MerklePath = BoundedVec<Hash, MERKLE_PATH_HASHES_MAX>;

const _: () = assert!(BLOCK_OPERATIONS_MAX < u32::MAX as usize, "operation indexes fit u32");

/// Why a receipt proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptInvalid {
    /// The originator is not in the registry.
    #[error("node {0} is not in the registry")]
    UnknownNode(NodeId),
    /// The originator does not keep the shard that the log is of.
    #[error("node {0} is not in the committee of the log's shard")]
    OutsideCommittee(NodeId),
    /// The entry's topic belongs to another shard than the log.
    #[error("the entry's topic is not of the log's shard")]
    Shard,
    /// The checkpoint's signature is not the originator's.
    #[error("the checkpoint is not signed by its originator")]
    Checkpoint,
    /// The header is not under the checkpoint.
    #[error("the Merkle path does not lead from the entry to the checkpoint")]
    Path,
    /// An acknowledgement is not by a member of the shard's committee, or not of this checkpoint.
    #[error("the acknowledgement of node {0} does not verify")]
    Acknowledgement(NodeId),
    /// Fewer replicas acknowledged than the level asks for.
    #[error("{found} replicas hold the entry, {needed} are needed")]
    TooFew {
        /// How many distinct replicas signed, the originator included.
        found: usize,
        /// How many the level needs.
        needed: usize,
    },
    /// The block's certificate does not reach a quorum.
    #[error("the block certificate does not verify")]
    Certificate,
    /// The structure's version is not known.
    #[error("unknown version")]
    Version,
}

/// Proof that a broadcast envelope is in its originator's log, and on whose disks.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Receipt {
    /// The entry's header; names the envelope and its index.
    pub header: EntryHeader,
    /// From the header's leaf to the checkpoint's root.
    pub path: MerklePath,
    /// Covers the entry.
    pub checkpoint: SignedCheckpoint,
    /// By replicas other than the originator, whose checkpoint counts as its own.
    pub acknowledgements: Acknowledgements,
}

impl Receipt {
    /// Checks every signature and that `level` is reached (LOG-007).
    ///
    /// # Errors
    /// [`ReceiptInvalid`] names the first thing that does not hold.
    pub fn verify(
        &self,
        network: NetworkId,
        registry: &Registry,
        level: AckLevel,
    ) -> Result<(), ReceiptInvalid> {
        let checkpoint = &self.checkpoint.checkpoint;
        let originator = checkpoint.log.node;
        let signer = registry.node(originator).ok_or(ReceiptInvalid::UnknownNode(originator))?;
        self.checkpoint.verify(network, signer.signing).map_err(|_| ReceiptInvalid::Checkpoint)?;
        if !self.header.version_is_known() {
            return Err(ReceiptInvalid::Version);
        }
        let (index, size) = (self.header.index.0, checkpoint.size.0);
        let root = merkle::root_from_path(self.header.hash().0, index, size, &self.path);
        if root != Some(checkpoint.root) {
            return Err(ReceiptInvalid::Path);
        }
        if self.header.topic.shard(registry.shard_count) != checkpoint.log.shard {
            return Err(ReceiptInvalid::Shard);
        }
        self.verify_level(network, registry, level)
    }

    fn verify_level(
        &self,
        network: NetworkId,
        registry: &Registry,
        level: AckLevel,
    ) -> Result<(), ReceiptInvalid> {
        let checkpoint = &self.checkpoint.checkpoint;
        let committee = registry.committee(checkpoint.log.shard);
        if !committee.contains(&checkpoint.log.node) {
            return Err(ReceiptInvalid::OutsideCommittee(checkpoint.log.node));
        }
        let digest = checkpoint.digest(network);
        let mut holders = BTreeSet::from([checkpoint.log.node]);
        for acknowledgement in self.acknowledgements.iter() {
            let replica = acknowledgement.replica;
            let invalid = ReceiptInvalid::Acknowledgement(replica);
            let node = registry.node(replica).filter(|_| committee.contains(&replica));
            let signer = node.ok_or(invalid)?.signing;
            acknowledgement.verify(digest, network, signer).map_err(|_| invalid)?;
            holders.insert(replica);
        }
        let needed = match level {
            AckLevel::Local => 1,
            AckLevel::Replicated => registry.durability_quorum(checkpoint.log.shard),
        };
        match holders.len() {
            found if found < needed => Err(ReceiptInvalid::TooFew { found, needed }),
            _ => Ok(()),
        }
    }
}

/// Proof of what became of an operation in the ordered lane; also how a topic's ordered
/// entries are served.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct OrderedReceipt {
    /// The block that decided it.
    pub header: BlockHeader,
    /// By a quorum of the shard's committee.
    pub certificate: Certificate,
    /// The operation's place in the block, from 0.
    pub index: u32,
    /// From the operation to the block's `operations_root`.
    pub path: MerklePath,
    /// The operation and its outcome.
    pub decided: DecidedOperation,
}

impl OrderedReceipt {
    /// Checks certificate and inclusion (ORD-003).
    ///
    /// # Errors
    /// [`ReceiptInvalid`] names the first thing that does not hold.
    pub fn verify(&self, network: NetworkId, registry: &Registry) -> Result<(), ReceiptInvalid> {
        let certified = self.certificate.verify(&self.header, network, registry);
        certified.map_err(|_| ReceiptInvalid::Certificate)?;
        let leaf = merkle::leaf_hash(&self.decided.to_wire());
        let count = u64::from(self.header.operations_count);
        let root = merkle::root_from_path(leaf, u64::from(self.index), count, &self.path);
        match root == Some(self.header.operations_root) {
            true => Ok(()),
            false => Err(ReceiptInvalid::Path),
        }
    }

    /// Whether it is of the block with this header, whose certificate is verified elsewhere.
    #[must_use]
    pub fn is_of(&self, header: &BlockHeader) -> bool {
        let leaf = merkle::leaf_hash(&self.decided.to_wire());
        let (index, count) = (u64::from(self.index), u64::from(header.operations_count));
        let root = merkle::root_from_path(leaf, index, count, &self.path);
        self.header == *header && root == Some(header.operations_root)
    }

    /// The position that the operation took, if it was applied.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        match self.decided.outcome {
            Outcome::Applied { position } => Some(position),
            Outcome::Conflict { .. } | Outcome::Refused { .. } => None,
        }
    }
}
