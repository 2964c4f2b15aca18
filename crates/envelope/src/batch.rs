//! Payer batches: one signature by which a payer takes on the fees of many envelopes.

use tidings_types::constants::{BATCH_ENVELOPES_MAX, MERKLE_PATH_HASHES_MAX, PROTOCOL_VERSION};
use tidings_types::ed25519::{PublicKey, Signature, SigningKey, Statement, preimage};
use tidings_types::{
    BatchId, BoundedVec, EnvelopeId, EthereumAddress, Hash, NetworkId, NodeId, Period, PicoDollars,
    RegistryEpoch, ShardId, Wire, labelled_hash, merkle,
};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::ClientEnvelope;

const BATCH_LABEL: &str = "payer batch";

/// Who may carry the batch's envelopes (ENV-008).
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
pub enum Target {
    /// One node, for the broadcast lane.
    #[tls_codec(discriminant = 1)]
    Node(NodeId),
    /// Any replica of the shard, for the ordered lane, where an id is billed once.
    #[tls_codec(discriminant = 2)]
    Shard(ShardId),
}

/// What the payer signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct BatchHeader {
    /// The version of this structure.
    pub version: u16,
    /// Whose balance pays.
    pub payer: EthereumAddress,
    /// The payer's registered key that signs.
    pub session_key: PublicKey,
    /// Who may carry the envelopes.
    pub target: Target,
    /// The registry epoch in which the session key was looked up.
    pub registry_epoch: RegistryEpoch,
    /// The last period in which the envelopes may be admitted.
    pub not_after: Period,
    /// The most that each envelope may cost.
    pub max_fee: PicoDollars,
    /// How many envelope ids the root covers, 1 to 1024.
    pub count: u32,
    /// The RFC 6962 root over the envelope ids in order (ENV-007).
    pub root: Hash,
}

/// A batch header with the session key's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct PayerBatch {
    /// What is signed.
    pub header: BatchHeader,
    /// By the session key, under the label `payer batch`.
    pub signature: Signature,
}

impl BatchHeader {
    /// The root over `ids`, in order (ENV-007).
    #[must_use]
    pub fn root_of(ids: &[EnvelopeId]) -> Hash {
        merkle::root(&leaves(ids))
    }

    /// Signs the header with the payer's session key.
    #[must_use]
    pub fn sign(self, key: &SigningKey, network: NetworkId) -> PayerBatch {
        let signature = key.sign(BATCH_LABEL, network, &self.to_wire());
        PayerBatch { header: self, signature }
    }
}

impl PayerBatch {
    /// The batch's id, a hash of its header.
    #[must_use]
    pub fn id(&self) -> BatchId {
        BatchId(labelled_hash("batch id", &[&self.header.to_wire()]))
    }

    /// The signature to be checked.
    #[must_use]
    pub fn statement(&self, network: NetworkId) -> Statement {
        Statement {
            key: self.header.session_key,
            message: preimage(BATCH_LABEL, network, &self.header.to_wire()),
            signature: self.signature,
        }
    }

    /// Whether the signature is the session key's.
    #[must_use]
    pub fn signature_is_valid(&self, network: NetworkId) -> bool {
        let header = &self.header;
        let body = header.to_wire();
        header.session_key.verify(BATCH_LABEL, network, &body, &self.signature).is_ok()
    }

    /// Whether the header's version and count are ones that exist.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let count = usize::try_from(self.header.count).unwrap_or(usize::MAX);
        self.header.version == PROTOCOL_VERSION && (1..=BATCH_ENVELOPES_MAX).contains(&count)
    }
}

/// One envelope with the proof that its payer signed for it; what a log stores.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct PayerEnvelope {
    /// The client's part.
    pub envelope: ClientEnvelope,
    /// The payer's signature over the batch.
    pub batch: PayerBatch,
    /// The envelope's place in the batch, from 0.
    pub index: u32,
    /// From the envelope's id to the batch's root.
    pub path: BoundedVec<Hash, MERKLE_PATH_HASHES_MAX>,
}

impl PayerEnvelope {
    /// Whether the batch's root covers this envelope at its index (ENV-007).
    #[must_use]
    pub fn is_covered(&self) -> bool {
        let leaf = merkle::leaf_hash(self.envelope.body.id().as_bytes());
        let (index, count) = (u64::from(self.index), u64::from(self.batch.header.count));
        merkle::root_from_path(leaf, index, count, &self.path) == Some(self.batch.header.root)
    }
}

/// The Merkle paths of all `ids` to their common root, in order.
#[must_use]
pub(crate) fn paths(ids: &[EnvelopeId]) -> Vec<Vec<Hash>> {
    let tree = merkle::Tree::new(leaves(ids));
    (0..ids.len()).map(|index| tree.path(index)).collect()
}

fn leaves(ids: &[EnvelopeId]) -> Vec<Hash> {
    ids.iter().map(|id| merkle::leaf_hash(id.as_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_rfc_6962() {
        // covers: ENV-007
        for count in 1..70u8 {
            let ids: Vec<_> = (0..count).map(|id| EnvelopeId([id; 32])).collect();
            let leaves = leaves(&ids);
            for (index, path) in paths(&ids).into_iter().enumerate() {
                assert_eq!(path, merkle::path(&leaves, index), "{index} of {count}");
            }
        }
    }
}
