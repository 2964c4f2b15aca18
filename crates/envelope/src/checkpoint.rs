//! Checkpoints and acknowledgements: what a node signs about logs, for a contract to judge.

use alloy_sol_types::sol;
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::node_key::{NodeKey, NodeSignature, NodeSignatureInvalid, digest};
use tidings_types::{
    CheckpointDigest, EthereumAddress, Hash, Incarnation, LogSize, NetworkId, NodeId, Period,
    ShardId,
};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

mod eip712 {
    //! The EIP-712 types, named as wallets and contracts see them.
    super::sol! {
        struct Checkpoint {
            uint32 node;
            uint16 shard;
            uint32 incarnation;
            uint64 size;
            bytes32 root;
            uint64 period;
        }

        struct Acknowledgement {
            uint32 replica;
            bytes32 checkpoint;
        }
    }
}

/// Names a log: one start of one node, for one shard.
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
    serde::Serialize,
    serde::Deserialize,
)]
pub struct LogId {
    /// Who writes it.
    pub node: NodeId,
    /// Which shard's topics it holds.
    pub shard: ShardId,
    /// Which start of the node it belongs to.
    pub incarnation: Incarnation,
}

impl std::fmt::Display for LogId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}/{}", self.node, self.shard, self.incarnation)
    }
}

/// What an originator says its log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Checkpoint {
    /// The version of this structure.
    pub version: u16,
    /// Which log.
    pub log: LogId,
    /// How many entries it holds.
    pub size: LogSize,
    /// The RFC 6962 root over their headers.
    pub root: Hash,
    /// The period in which it was signed.
    pub period: Period,
}

impl Checkpoint {
    /// A checkpoint of the current version.
    #[must_use]
    pub fn new(log: LogId, size: LogSize, root: Hash, period: Period) -> Self {
        Self { version: PROTOCOL_VERSION, log, size, root, period }
    }

    /// The EIP-712 digest that is signed and acknowledged (LOG-005).
    #[must_use]
    pub fn digest(&self, network: NetworkId) -> CheckpointDigest {
        let statement = eip712::Checkpoint {
            node: self.log.node.0,
            shard: self.log.shard.0,
            incarnation: self.log.incarnation.0,
            size: self.size.0,
            root: self.root.into(),
            period: self.period.0,
        };
        CheckpointDigest(digest(&statement, network))
    }

    /// Signs the checkpoint with the originator's key.
    #[must_use]
    pub fn sign(self, key: &NodeKey, network: NetworkId) -> SignedCheckpoint {
        let signature = key.sign(self.digest(network).as_bytes());
        SignedCheckpoint { checkpoint: self, signature }
    }
}

/// A checkpoint with its originator's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct SignedCheckpoint {
    /// What is signed.
    pub checkpoint: Checkpoint,
    /// By the originator's registered key.
    pub signature: NodeSignature,
}

impl SignedCheckpoint {
    /// Checks the version and that `signer` signed it (LOG-005).
    ///
    /// # Errors
    /// [`NodeSignatureInvalid`] otherwise.
    pub fn verify(
        &self,
        network: NetworkId,
        signer: EthereumAddress,
    ) -> Result<(), NodeSignatureInvalid> {
        if self.checkpoint.version != PROTOCOL_VERSION {
            return Err(NodeSignatureInvalid);
        }
        self.signature.verify(self.checkpoint.digest(network).as_bytes(), signer)
    }
}

/// A replica's word that it verified and fsynced every entry under a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct SignedAcknowledgement {
    /// Who acknowledges.
    pub replica: NodeId,
    /// By the replica's registered key, over its number and the checkpoint's digest.
    pub signature: NodeSignature,
}

impl SignedAcknowledgement {
    /// Acknowledges `checkpoint` as `replica`.
    #[must_use]
    pub fn sign(
        replica: NodeId,
        checkpoint: CheckpointDigest,
        key: &NodeKey,
        network: NetworkId,
    ) -> Self {
        let signature = key.sign(&acknowledgement_digest(replica, checkpoint, network));
        Self { replica, signature }
    }

    /// Checks that `signer` acknowledged `checkpoint` (LOG-006).
    ///
    /// # Errors
    /// [`NodeSignatureInvalid`] otherwise.
    pub fn verify(
        &self,
        checkpoint: CheckpointDigest,
        network: NetworkId,
        signer: EthereumAddress,
    ) -> Result<(), NodeSignatureInvalid> {
        let digest = acknowledgement_digest(self.replica, checkpoint, network);
        self.signature.verify(&digest, signer)
    }
}

fn acknowledgement_digest(replica: NodeId, of: CheckpointDigest, network: NetworkId) -> Hash {
    let statement = eip712::Acknowledgement { replica: replica.0, checkpoint: of.0.into() };
    digest(&statement, network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(size: u64) -> Checkpoint {
        let log = LogId { node: NodeId(1), shard: ShardId(0), incarnation: Incarnation(1) };
        Checkpoint::new(log, LogSize(size), [7; 32], Period(3))
    }

    #[test]
    fn checkpoints_bind_network_and_content() {
        // covers: LOG-005
        let (key, network) = (NodeKey::from_secret(&[1; 32]).unwrap(), NetworkId([9; 32]));
        let signed = checkpoint(5).sign(&key, network);
        assert!(signed.verify(network, key.address()).is_ok());
        assert!(signed.verify(NetworkId([8; 32]), key.address()).is_err());
        let moved = SignedCheckpoint { checkpoint: checkpoint(6), ..signed };
        assert!(moved.verify(network, key.address()).is_err());
    }

    #[test]
    fn acknowledgements_bind_the_replica() {
        // covers: LOG-006
        let (key, network) = (NodeKey::from_secret(&[1; 32]).unwrap(), NetworkId([9; 32]));
        let digest = checkpoint(5).digest(network);
        let mut signed = SignedAcknowledgement::sign(NodeId(2), digest, &key, network);
        assert!(signed.verify(digest, network, key.address()).is_ok());
        signed.replica = NodeId(3);
        assert!(signed.verify(digest, network, key.address()).is_err());
    }
}
