//! Blocks of the ordered lane, their operations, and the certificates that make them final.

use std::collections::BTreeSet;

use alloy_sol_types::sol;
use tidings_types::constants::{
    BLOCK_OPERATIONS_MAX, COMMITTEE_MEMBERS_MAX, MARKER_PINS_MAX, PROTOCOL_VERSION,
};
use tidings_types::node_key::{NodeKey, NodeSignature, NodeSignatureInvalid, digest};
use tidings_types::{
    BlockHash, BoundedVec, ErrorCode, Hash, Height, Incarnation, NetworkId, NodeId, OperationHash,
    Period, Position, RegistryEpoch, Round, ShardId, Wire, labelled_hash, merkle,
};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::{Checkpoint, OrderedReceipt, PayerEnvelope, Registry};

mod eip712 {
    //! The EIP-712 types, named as wallets and contracts see them.
    super::sol! {
        struct Vote {
            uint16 shard;
            uint64 height;
            uint32 round;
            uint8 step;
            bytes32 block;
        }

        struct OpenIncarnation {
            uint32 node;
            uint16 shard;
            uint32 previous;
            bytes32 nonce;
        }
    }
}

/// The step number of a precommit in a vote.
const PRECOMMIT: u8 = 2;

/// A block of the settlement chain that a Tidings block refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct ChainReference {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The number of a finalised block.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
}

/// What a block's certificate covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct BlockHeader {
    /// The version of this structure.
    pub version: u16,
    /// Whose ordered lane.
    pub shard: ShardId,
    /// From 1, without gaps.
    pub height: Height,
    /// The hash of the block before; zero at height 1.
    pub parent: BlockHash,
    /// The period after the block's operations.
    pub period: Period,
    /// The latest finalised settlement block; none without a chain.
    pub chain_reference: Option<ChainReference>,
    /// The registry epoch whose committee certifies.
    pub registry_epoch: RegistryEpoch,
    /// Hash of the committee that certifies the next block.
    pub next_committee: Hash,
    /// How many operations the root covers.
    pub operations_count: u32,
    /// The RFC 6962 root over the decided operations.
    pub operations_root: Hash,
    /// A digest of the state after the block; equal at every replica (ORD-004).
    pub state_root: Hash,
}

impl BlockHeader {
    /// The block's hash (ORD-011).
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        BlockHash(labelled_hash("block", &[&self.to_wire()]))
    }
}

/// A node's request to open its next incarnation in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct IncarnationRequest {
    /// Who opens.
    pub node: NodeId,
    /// For which shard's logs.
    pub shard: ShardId,
    /// The incarnation it takes to be the last; applies only if it is (ORD-005).
    pub previous: Incarnation,
    /// Tells this process from another with the same key.
    pub nonce: [u8; 32],
    /// By the node's registered key.
    pub signature: NodeSignature,
}

impl IncarnationRequest {
    /// A signed request.
    #[must_use]
    pub fn sign(
        node: NodeId,
        shard: ShardId,
        previous: Incarnation,
        nonce: [u8; 32],
        key: &NodeKey,
        network: NetworkId,
    ) -> Self {
        let mut request = Self { node, shard, previous, nonce, signature: NodeSignature([0; 64]) };
        request.signature = key.sign(&request.digest(network));
        request
    }

    /// Checks that the node's registered key signed (ORD-005).
    ///
    /// # Errors
    /// [`NodeSignatureInvalid`] otherwise, or when the node is unknown.
    pub fn verify(
        &self,
        network: NetworkId,
        registry: &Registry,
    ) -> Result<(), NodeSignatureInvalid> {
        let node = registry.node(self.node).ok_or(NodeSignatureInvalid)?;
        self.signature.verify(&self.digest(network), node.signing)
    }

    fn digest(&self, network: NetworkId) -> Hash {
        let statement = eip712::OpenIncarnation {
            node: self.node.0,
            shard: self.shard.0,
            previous: self.previous.0,
            nonce: self.nonce.into(),
        };
        digest(&statement, network)
    }
}

/// The end of a period, with the logs that are closed for billing.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct PeriodMarker {
    /// The period that begins; one more than the last (ORD-006).
    pub period: Period,
    /// Checkpoints that f+1 replicas acknowledged.
    pub pins: BoundedVec<Checkpoint, MARKER_PINS_MAX>,
}

/// Something to be ordered.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum Operation {
    /// An envelope for the ordered lane.
    #[tls_codec(discriminant = 1)]
    Envelope(PayerEnvelope),
    /// A node opens an incarnation.
    #[tls_codec(discriminant = 2)]
    OpenIncarnation(IncarnationRequest),
    /// A period begins.
    #[tls_codec(discriminant = 3)]
    PeriodMarker(PeriodMarker),
}

impl Operation {
    /// The operation's hash, over its canonical bytes (ORD-011).
    #[must_use]
    pub fn hash(&self) -> OperationHash {
        OperationHash(labelled_hash("operation", &[&self.to_wire()]))
    }
}

/// What became of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum Outcome {
    /// It took effect; the position is the topic's, or the incarnation, or the period.
    #[tls_codec(discriminant = 1)]
    Applied {
        /// The counter after the operation.
        position: Position,
    },
    /// Another operation was first; the position is the current one.
    #[tls_codec(discriminant = 2)]
    Conflict {
        /// The counter as it stands.
        position: Position,
    },
    /// It is invalid and changed nothing.
    #[tls_codec(discriminant = 3)]
    Refused {
        /// Why.
        code: ErrorCode,
    },
}

/// An operation with its outcome; the leaf of a block's Merkle tree is over both.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct DecidedOperation {
    /// What was asked for.
    pub operation: Operation,
    /// What became of it.
    pub outcome: Outcome,
}

/// A block: its header and operations.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Block {
    /// What the certificate covers.
    pub header: BlockHeader,
    /// In the order in which they took effect.
    pub operations: BoundedVec<DecidedOperation, BLOCK_OPERATIONS_MAX>,
}

impl Block {
    /// The leaf hashes of the operations, in order.
    #[must_use]
    pub fn leaves(operations: &[DecidedOperation]) -> Vec<Hash> {
        operations.iter().map(|decided| merkle::leaf_hash(&decided.to_wire())).collect()
    }

    /// Whether header and operations belong together and the version is known (ORD-011).
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        self.header.version == PROTOCOL_VERSION
            && u32::try_from(self.operations.len()) == Ok(self.header.operations_count)
            && merkle::root(&Self::leaves(&self.operations)) == self.header.operations_root
    }
}

/// A committee member's precommit for a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct SignedVote {
    /// Who votes.
    pub node: NodeId,
    /// By the node's registered key, over shard, height, round, step and block hash.
    pub signature: NodeSignature,
}

impl SignedVote {
    /// Votes for the block in `round`.
    #[must_use]
    pub fn sign(
        node: NodeId,
        header: &BlockHeader,
        round: Round,
        key: &NodeKey,
        network: NetworkId,
    ) -> Self {
        Self { node, signature: key.sign(&vote_digest(header, round, network)) }
    }

    /// Checks that the node's registered key signed (ORD-003).
    ///
    /// # Errors
    /// [`NodeSignatureInvalid`] otherwise, or when the node is unknown.
    pub fn verify(
        &self,
        header: &BlockHeader,
        round: Round,
        network: NetworkId,
        registry: &Registry,
    ) -> Result<(), NodeSignatureInvalid> {
        let node = registry.node(self.node).ok_or(NodeSignatureInvalid)?;
        self.signature.verify(&vote_digest(header, round, network), node.signing)
    }
}

/// The votes that make a block final.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Certificate {
    /// The round in which the block was decided.
    pub round: Round,
    /// Precommits by distinct committee members.
    pub votes: BoundedVec<SignedVote, COMMITTEE_MEMBERS_MAX>,
}

impl Certificate {
    /// Checks that a quorum of the shard's committee voted for the block (ORD-003).
    ///
    /// # Errors
    /// [`NodeSignatureInvalid`] when a vote does not verify, comes from outside the committee,
    /// or the quorum is missed.
    pub fn verify(
        &self,
        header: &BlockHeader,
        network: NetworkId,
        registry: &Registry,
    ) -> Result<(), NodeSignatureInvalid> {
        if header.version != PROTOCOL_VERSION {
            return Err(NodeSignatureInvalid);
        }
        let committee = registry.committee(header.shard);
        let mut voters = BTreeSet::new();
        for vote in self.votes.iter() {
            vote.verify(header, self.round, network, registry)?;
            if !committee.contains(&vote.node) || !voters.insert(vote.node) {
                return Err(NodeSignatureInvalid);
            }
        }
        match voters.len() >= registry.certificate_quorum(header.shard) {
            true => Ok(()),
            false => Err(NodeSignatureInvalid),
        }
    }
}

/// A block that is final.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct CertifiedBlock {
    /// The block.
    pub block: Block,
    /// Why it is final.
    pub certificate: Certificate,
}

impl CertifiedBlock {
    /// The proof of what became of the operation at `index`, if there is one.
    #[must_use]
    pub fn receipt(&self, index: u32) -> Option<OrderedReceipt> {
        let place = usize::try_from(index).ok()?;
        let decided = self.block.operations.get(place)?.clone();
        let path = merkle::path(&Block::leaves(&self.block.operations), place);
        Some(OrderedReceipt {
            header: self.block.header,
            certificate: self.certificate.clone(),
            index,
            path: BoundedVec::new(path).ok()?,
            decided,
        })
    }
}

fn vote_digest(header: &BlockHeader, round: Round, network: NetworkId) -> Hash {
    let statement = eip712::Vote {
        shard: header.shard.0,
        height: header.height.0,
        round: round.0,
        step: PRECOMMIT,
        block: header.hash().0.into(),
    };
    digest(&statement, network)
}
