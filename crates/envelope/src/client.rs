//! The client envelope: what a client signs and nobody can change or replay.

use tidings_types::constants::{ENVELOPE_PAYLOAD_BYTES_MAX, PROTOCOL_VERSION};
use tidings_types::ed25519::{PublicKey, Signature, SigningKey, Statement, preimage};
use tidings_types::{
    BoundedBytes, EnvelopeId, EthereumAddress, NetworkId, Period, Position, Wire, labelled_hash,
};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::{Lane, Topic};

/// The label under which topic keys sign (ENC-003).
const WRITE_LABEL: &str = "topic write";

/// The ciphertext of an envelope, at most 1 MiB.
pub type Payload = BoundedBytes<ENVELOPE_PAYLOAD_BYTES_MAX>;

/// The place in the ordered lane that a broadcast envelope presupposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Dependency {
    /// The topic whose ordered entries count.
    pub topic: Topic,
    /// How many of them the sender had applied.
    pub position: Position,
}

/// Everything that the write proof covers.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct EnvelopeBody {
    /// The version of this structure.
    pub version: u16,
    /// What is written to.
    pub topic: Topic,
    /// How it is ordered.
    pub lane: Lane,
    /// Who pays; nobody can present the envelope for another payer.
    pub payer: EthereumAddress,
    /// The last period in which it may be admitted, at most two ahead (ENV-006).
    pub not_after: Period,
    /// How many days it is kept, 1 to 365 (ENV-005).
    pub retention_days: u16,
    /// For an ordered commit, the topic's position that it builds on (ORD-001).
    pub expected_position: Option<Position>,
    /// For a broadcast entry, the ordered position that it presupposes.
    pub depends_on: Option<Dependency>,
    /// The padded ciphertext.
    pub payload: Payload,
}

impl EnvelopeBody {
    /// A broadcast body of the current version without a dependency.
    #[must_use]
    pub fn broadcast(
        topic: Topic,
        payer: EthereumAddress,
        not_after: Period,
        payload: Payload,
    ) -> Self {
        Self {
            version: PROTOCOL_VERSION,
            topic,
            lane: Lane::Broadcast,
            payer,
            not_after,
            retention_days: 30,
            expected_position: None,
            depends_on: None,
            payload,
        }
    }

    /// The envelope's id: a hash of these bytes, so no signature can change it (ENV-003).
    #[must_use]
    pub fn id(&self) -> EnvelopeId {
        EnvelopeId(labelled_hash("envelope id", &[&self.to_wire()]))
    }

    /// Signs the body with a topic key or an installation key.
    #[must_use]
    pub fn sign(self, key: &SigningKey, network: NetworkId) -> ClientEnvelope {
        let signature = key.sign(WRITE_LABEL, network, &self.to_wire());
        let proof = WriteProof::Key { key: key.public_key(), signature };
        ClientEnvelope { body: self, proof }
    }
}

/// Why the writer may write to the topic.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum WriteProof {
    /// The secret of the key that the topic names, or of an edge, signed the body.
    #[tls_codec(discriminant = 1)]
    Key {
        /// The key whose hash is the topic's id, or the key of an edge.
        key: PublicKey,
        /// Over the body, under the label `topic write`.
        signature: Signature,
    },
    /// A mailbox stamp, paid for in the fee.
    #[tls_codec(discriminant = 2)]
    FeeStamp,
    /// The payload carries its own signatures.
    #[tls_codec(discriminant = 3)]
    SelfAuthenticating,
}

/// A body and the proof that its writer may write it.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct ClientEnvelope {
    /// What is written.
    pub body: EnvelopeBody,
    /// Why it may be.
    pub proof: WriteProof,
}

impl ClientEnvelope {
    /// The signature to be checked, if the proof is one.
    #[must_use]
    pub fn statement(&self, network: NetworkId) -> Option<Statement> {
        match &self.proof {
            WriteProof::Key { key, signature } => Some(Statement {
                key: *key,
                message: preimage(WRITE_LABEL, network, &self.body.to_wire()),
                signature: *signature,
            }),
            WriteProof::FeeStamp | WriteProof::SelfAuthenticating => None,
        }
    }
}
