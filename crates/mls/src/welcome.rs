//! Welcomes: a sealed blob that all who are added share, and a sealed pointer for each of them.

use chacha20poly1305::aead::{Aead, KeyInit, Payload as AeadPayload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hpke_rs::HpkePublicKey;
use rand_core::CryptoRngCore;
use tidings_envelope::{ClientEnvelope, EnvelopeBody, Payload, Topic, WriteProof, padding};
use tidings_types::constants::{
    ENVELOPE_PAYLOAD_BYTES_MAX, PROTOCOL_VERSION, WELCOME_POINTER_BYTES_MAX,
};
use tidings_types::ed25519::SigningKey;
use tidings_types::{BoundedBytes, NetworkId, TopicId, Wire};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use zeroize::Zeroizing;

use crate::group::GroupId;
use crate::installation::{Installation, welcome_hpke};
use crate::manifest::Invitee;
use crate::seal::{SealContext, TooLarge};
use crate::secret::Secret;

/// An X-Wing encapsulation. Unit: bytes.
const ENCAPSULATION_BYTES: usize = 1_120;

/// An AEAD tag. Unit: bytes.
const AEAD_TAG_BYTES: usize = 16;

/// The fixed length of a pointer before it is sealed. Unit: bytes.
const POINTER_BYTES: usize = WELCOME_POINTER_BYTES_MAX - ENCAPSULATION_BYTES - AEAD_TAG_BYTES;

const POINTER_INFO: &[u8] = b"tidings welcome pointer";
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

/// What one who is added is told.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct WelcomePointer {
    /// The version of this structure.
    pub version: u16,
    /// On which network.
    pub network: NetworkId,
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

    /// The mailbox envelope that points `invitee` to the blob (MLS-016).
    ///
    /// To be sent once the commit is ordered; `buckets` is the network's number of buckets.
    /// Every pointer has the same length.
    ///
    /// # Errors
    /// [`PointerError`] when the invitee's key cannot be encapsulated to.
    pub fn point(
        &self,
        group: GroupId,
        invitee: &Invitee,
        buckets: u32,
        context: &SealContext,
        network: NetworkId,
    ) -> Result<ClientEnvelope, PointerError> {
        let pointer =
            WelcomePointer { version: PROTOCOL_VERSION, network, group, reference: self.clone() };
        let mut plaintext = Zeroizing::new(pointer.to_wire());
        plaintext.resize(POINTER_BYTES, 0);
        let (encapsulation, ciphertext) = welcome_hpke()
            .seal(
                &HpkePublicKey::new(invitee.welcome_key().to_vec()),
                POINTER_INFO,
                network.as_bytes(),
                &plaintext,
                None,
                None,
                None,
            )
            .map_err(|_| PointerError)?;
        let payload =
            Payload::new([encapsulation, ciphertext].concat()).map_err(|_| PointerError)?;
        let topic = Topic::mailbox_of(&invitee.installation(), buckets);
        let body = EnvelopeBody {
            retention_days: context.retention_days,
            ..EnvelopeBody::broadcast(topic, context.payer, context.not_after, payload)
        };
        Ok(ClientEnvelope { body, proof: WriteProof::FeeStamp })
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

impl Installation {
    /// The pointer in a mailbox entry, or `None` when it is not for this installation (MLS-016).
    #[must_use]
    pub fn open_pointer(&self, payload: &[u8]) -> Option<WelcomePointer> {
        if payload.len() != WELCOME_POINTER_BYTES_MAX {
            return None;
        }
        let (encapsulation, ciphertext) = payload.split_at_checked(ENCAPSULATION_BYTES)?;
        let network = self.network();
        let plaintext = self.welcome_secrets().find_map(|secret| {
            welcome_hpke()
                .open(
                    encapsulation,
                    &secret,
                    POINTER_INFO,
                    network.as_bytes(),
                    ciphertext,
                    None,
                    None,
                    None,
                )
                .ok()
        })?;
        let pointer = parse_pointer(&Zeroizing::new(plaintext))?;
        let is_ours = pointer.version == PROTOCOL_VERSION && pointer.network == network;
        is_ours.then_some(pointer)
    }
}

/// The pointer at the start of `plaintext`, followed by zeros alone.
fn parse_pointer(plaintext: &[u8]) -> Option<WelcomePointer> {
    use tls_codec::DeserializeBytes;
    let (pointer, rest) = WelcomePointer::tls_deserialize_bytes(plaintext).ok()?;
    rest.iter().all(|byte| *byte == 0).then_some(pointer)
}

// A pointer and its padding fill the fixed size.
const _: () = assert!(POINTER_BYTES >= 2 + 32 + 32 + 32 + 32);
