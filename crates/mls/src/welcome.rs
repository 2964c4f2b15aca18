//! Welcomes: a sealed blob that all who are added share, and a sealed pointer for each of them.

use chacha20poly1305::aead::{Aead, KeyInit, Payload as AeadPayload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use rand_core::CryptoRngCore;
use tidings_envelope::{ClientEnvelope, EnvelopeBody, Payload, Topic, padding};
use tidings_types::constants::ENVELOPE_PAYLOAD_BYTES_MAX;
use tidings_types::ed25519::SigningKey;
use tidings_types::{BoundedBytes, NetworkId, TopicId, Wire};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use zeroize::Zeroizing;

use crate::group::GroupId;
use crate::seal::{SealContext, TooLarge};
use crate::secret::Secret;

const BLOB_LABEL: &[u8] = b"tidings welcome blob";

/// Where a sealed blob is and what opens it (MLS-016).
///
/// Committers put it into the commit, so that any member can send pointers again.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct WelcomeReference {
    /// The `group` topic, of a key pair used once, whose one envelope holds the blob.
    pub topic: TopicId,
    /// Opens the blob.
    key: Secret,
}

/// What one who is added, or let back in, is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WelcomePointer {
    /// To which group.
    pub group: GroupId,
    /// Where the welcome is.
    pub reference: WelcomeReference,
}

/// What a blob holds.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub(crate) enum Blob {
    /// An MLS Welcome.
    #[tls_codec(discriminant = 1)]
    Welcome(BoundedBytes<ENVELOPE_PAYLOAD_BYTES_MAX>),
    /// A GroupInfo for a member that was ejected.
    #[tls_codec(discriminant = 2)]
    Rejoin(BoundedBytes<ENVELOPE_PAYLOAD_BYTES_MAX>),
}

/// The key pair and key of a blob that is still to be made.
pub(crate) struct BlobKeys {
    writer: SigningKey,
    key: Secret,
}

impl BlobKeys {
    /// Fresh keys.
    pub(crate) fn generate(rng: &mut impl CryptoRngCore) -> Self {
        let writer = SigningKey::generate(rng);
        let mut key = Secret([0; 32]);
        rng.fill_bytes(&mut key.0);
        Self { writer, key }
    }

    /// What points to the blob.
    pub(crate) fn reference(&self) -> WelcomeReference {
        let topic = Topic::group(&self.writer.public_key());
        WelcomeReference { topic: topic.id, key: self.key.clone() }
    }

    /// The envelope that holds the blob (MLS-016).
    pub(crate) fn seal(
        self,
        blob: &Blob,
        context: &SealContext,
        network: NetworkId,
    ) -> Result<ClientEnvelope, TooLarge> {
        let plaintext = Zeroizing::new(padding::pad(blob.to_wire()));
        let aad = [BLOB_LABEL, network.as_bytes()].concat();
        let ciphertext = ChaCha20Poly1305::new(Key::from_slice(&self.key.0))
            .encrypt(&Nonce::default(), AeadPayload { msg: &plaintext, aad: &aad })
            .map_err(|_| TooLarge)?;
        let payload = Payload::new(ciphertext).map_err(|_| TooLarge)?;
        let topic = Topic::group(&self.writer.public_key());
        let body = EnvelopeBody {
            retention_days: context.retention_days,
            ..EnvelopeBody::broadcast(topic, context.payer, context.not_after, payload)
        };
        Ok(body.sign(&self.writer, network))
    }
}

impl WelcomeReference {
    /// The topic whose one envelope holds the blob.
    #[must_use]
    pub fn blob_topic(&self) -> Topic {
        Topic { kind: tidings_envelope::TopicKind::Group, id: self.topic }
    }

    /// The blob in the payload of an envelope on the referenced topic.
    pub(crate) fn open(&self, envelope: &ClientEnvelope, network: NetworkId) -> Option<Blob> {
        let body = &envelope.body;
        if body.topic != self.blob_topic() {
            return None;
        }
        let aad = [BLOB_LABEL, network.as_bytes()].concat();
        let plaintext = ChaCha20Poly1305::new(Key::from_slice(&self.key.0))
            .decrypt(&Nonce::default(), AeadPayload { msg: &body.payload, aad: &aad })
            .ok()?;
        let plaintext = Zeroizing::new(padding::unpad(plaintext)?);
        Blob::from_wire(&plaintext).ok()
    }
}

/// A pointer could not be sealed to an invitee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the invitee's welcome key is not usable")]
pub struct PointerError;
