//! Evidence: positive proof, for anybody, that a node signed what no honest node signs.

use tidings_types::{EthereumAddress, NetworkId, merkle};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::receipt::MerklePath;
use crate::{EntryHeader, SignedCheckpoint};

/// An entry's header and where a signed checkpoint puts it.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct InclusionProof {
    /// The entry.
    pub header: EntryHeader,
    /// From the header's leaf to the checkpoint's root.
    pub path: MerklePath,
    /// Signed by the originator.
    pub checkpoint: SignedCheckpoint,
}

impl InclusionProof {
    /// Whether the checkpoint covers the header at the header's index.
    #[must_use]
    pub fn holds(&self) -> bool {
        let checkpoint = &self.checkpoint.checkpoint;
        let (index, size) = (self.header.index.0, checkpoint.size.0);
        let root = merkle::root_from_path(self.header.hash().0, index, size, &self.path);
        root == Some(checkpoint.root)
    }
}

/// A provable offence of one node.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum Evidence {
    /// Two checkpoints of one log and size with different roots.
    #[tls_codec(discriminant = 1)]
    Checkpoints(SignedCheckpoint, SignedCheckpoint),
    /// Two different entries at one index of one log.
    #[tls_codec(discriminant = 2)]
    Entries(InclusionProof, InclusionProof),
}

/// The evidence proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the evidence does not prove an offence")]
pub struct EvidenceInvalid;

impl Evidence {
    /// Checks that the node with `signer` as its key contradicted itself (LOG-008).
    ///
    /// # Errors
    /// [`EvidenceInvalid`] when a signature is not `signer`'s or there is no contradiction.
    pub fn verify(
        &self,
        network: NetworkId,
        signer: EthereumAddress,
    ) -> Result<(), EvidenceInvalid> {
        let (one, two) = self.checkpoints();
        let contradicts = match self {
            Self::Checkpoints(one, two) => {
                let (one, two) = (&one.checkpoint, &two.checkpoint);
                one.size == two.size && one.root != two.root
            }
            Self::Entries(one, two) => {
                let differ = one.header.hash() != two.header.hash();
                one.holds() && two.holds() && one.header.index == two.header.index && differ
            }
        };
        if !contradicts || one.checkpoint.log != two.checkpoint.log {
            return Err(EvidenceInvalid);
        }
        one.verify(network, signer).map_err(|_| EvidenceInvalid)?;
        two.verify(network, signer).map_err(|_| EvidenceInvalid)
    }

    fn checkpoints(&self) -> (&SignedCheckpoint, &SignedCheckpoint) {
        match self {
            Self::Checkpoints(one, two) => (one, two),
            Self::Entries(one, two) => (&one.checkpoint, &two.checkpoint),
        }
    }
}
