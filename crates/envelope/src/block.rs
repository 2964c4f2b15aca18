//! Blocks of the ordered lane, their operations, and the certificates that make them final.

use std::collections::BTreeSet;

use alloy_sol_types::sol;
use tidings_types::constants::{BLOCK_OPERATIONS_MAX, COMMITTEE_MEMBERS_MAX, PROTOCOL_VERSION};
use tidings_types::node_key::{NodeKey, NodeSignature, NodeSignatureInvalid, digest};
use tidings_types::{
    BlockHash, BoundedBytes, BoundedVec, ErrorCode, Hash, Height, Incarnation, NetworkId, NodeId,
    OperationHash, Period, Position, RegistryEpoch, Round, ShardId, Wire, labelled_hash, merkle,
};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::{
    Evidence, OrderedReceipt, PayerEnvelope, PeriodStatement, Registry, ReportAttestation, Step,
    Vote,
};

mod eip712 {
    //! The EIP-712 types, named as wallets and contracts see them.
    super::sol! {
        struct OpenIncarnation {
            uint32 node;
            uint16 shard;
            uint32 previous;
            bytes32 nonce;
        }
    }
}

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
    /// The registry epoch that the operations are judged by and whose committee certifies.
    pub registry_epoch: RegistryEpoch,
    /// The registry epoch of the next block; not lower.
    pub next_epoch: RegistryEpoch,
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

    /// The vote whose signatures make a certificate (ORD-003).
    #[must_use]
    pub fn precommit(&self, round: Round) -> Vote {
        let (shard, height, step) = (self.shard, self.height, Step::Precommit);
        Vote { shard, height, round, step, block: Some(self.hash()) }
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

/// The end of a period and the begin of the next.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct PeriodMarker {
    /// The period that begins; one more than the last (ORD-006).
    pub period: Period,
    /// Room for what a later version says of the period; empty in this one.
    pub extension: BoundedBytes<0>,
}

impl PeriodMarker {
    /// The marker of a period.
    #[must_use]
    pub fn new(period: Period) -> Self {
        Self { period, extension: BoundedBytes::default() }
    }
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
    /// A node is shown to have signed what no honest node signs; kept for ever (EVD-006).
    #[tls_codec(discriminant = 4)]
    Evidence(Box<Evidence>),
    /// A member says what it holds and how others served (SET-023).
    #[tls_codec(discriminant = 5)]
    Statement(Box<PeriodStatement>),
    /// A member came to this usage report too (SET-024).
    #[tls_codec(discriminant = 6)]
    Attestation(Box<ReportAttestation>),
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

impl Outcome {
    /// Whether the operation took effect.
    #[must_use]
    pub const fn is_applied(&self) -> bool {
        matches!(self, Self::Applied { .. })
    }
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

/// A committee member's precommit for the block that its certificate is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct CommitSignature {
    /// Who votes.
    pub node: NodeId,
    /// By the node's registered key, over the precommit (ORD-003).
    pub signature: NodeSignature,
}

impl CommitSignature {
    /// Votes for the block in `round`.
    #[must_use]
    pub fn sign(
        node: NodeId,
        header: &BlockHeader,
        round: Round,
        key: &NodeKey,
        network: NetworkId,
    ) -> Self {
        let signed = header.precommit(round).sign(node, key, network);
        Self { node, signature: signed.signature }
    }
}

/// The votes that make a block final.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Certificate {
    /// The round in which the block was decided.
    pub round: Round,
    /// Precommits by distinct committee members.
    pub signatures: BoundedVec<CommitSignature, COMMITTEE_MEMBERS_MAX>,
}

impl Certificate {
    /// Checks that a quorum of the shard's committee voted for the block (ORD-003).
    ///
    /// `registry` is the snapshot of the header's epoch.
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
        let digest = header.precommit(self.round).digest(network);
        let mut voters = BTreeSet::new();
        for commit in self.signatures.iter() {
            let node = registry.node(commit.node).ok_or(NodeSignatureInvalid)?;
            commit.signature.verify(&digest, node.signing)?;
            if !committee.contains(&commit.node) || !voters.insert(commit.node) {
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
        self.receipts().get(index)
    }

    /// The proofs of what became of its operations; the block is hashed once for all of them.
    #[must_use]
    pub fn receipts(&self) -> Receipts<'_> {
        Receipts { certified: self, tree: merkle::Tree::new(Block::leaves(&self.block.operations)) }
    }
}

/// The proofs of what became of a block's operations.
#[derive(Debug)]
pub struct Receipts<'a> {
    certified: &'a CertifiedBlock,
    tree: merkle::Tree,
}

impl Receipts<'_> {
    /// The proof for the operation at `index`, if there is one.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<OrderedReceipt> {
        let place = usize::try_from(index).ok()?;
        let CertifiedBlock { block, certificate } = self.certified;
        Some(OrderedReceipt {
            header: block.header,
            certificate: certificate.clone(),
            index,
            path: BoundedVec::new(self.tree.path(place)).ok()?,
            decided: block.operations.get(place)?.clone(),
        })
    }
}
