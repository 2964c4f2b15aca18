//! The seal around every MLS message on a group topic: nodes and outsiders see neither epochs
//! nor senders nor membership (MLS-010).

use chacha20poly1305::aead::{Aead, KeyInit, Payload as AeadPayload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use sha2::Sha256;
use tidings_envelope::{ClientEnvelope, EnvelopeBody, Payload, padding};
use tidings_types::constants::ENVELOPE_PAYLOAD_BYTES_MAX;
use tidings_types::{EthereumAddress, NetworkId, Period, Wire};
use zeroize::Zeroizing;

use crate::generation::Generation;

/// Length of the transcript tag. Unit: bytes.
pub(crate) const TAG_BYTES: usize = 8;

const SALT_BYTES: usize = 32;
const DIGEST_BYTES: usize = 32;

/// What the sender of an envelope chooses besides its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealContext {
    /// Who pays.
    pub payer: EthereumAddress,
    /// The last period in which the envelope may be admitted, at most two ahead (ENV-006).
    pub not_after: Period,
    /// How many days it is kept, 1 to 365 (ENV-005).
    pub retention_days: u16,
}

/// Eight bytes that name a member's view of the group's history (MLS-011).
pub(crate) type TranscriptTag = [u8; TAG_BYTES];

/// A payload is not sealed by a holder of the generation's seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payload is not sealed under this topic's key")]
pub(crate) struct SealInvalid;

/// A message is larger than one envelope holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is larger than one envelope")]
pub(crate) struct TooLarge;

/// What a seal holds.
pub(crate) struct Opened {
    /// The sender's transcript tag.
    pub(crate) tag: TranscriptTag,
    /// The MLS message.
    pub(crate) message: Vec<u8>,
}

/// Seals `message` into `body`, whose payload is still empty, and signs it (MLS-010).
///
/// `salt` is fresh.
pub(crate) fn seal(
    generation: &Generation,
    body: EnvelopeBody,
    tag: TranscriptTag,
    message: &[u8],
    salt: [u8; SALT_BYTES],
    network: NetworkId,
) -> Result<ClientEnvelope, TooLarge> {
    let mut plaintext = Vec::with_capacity(TAG_BYTES.saturating_add(message.len()));
    plaintext.extend_from_slice(&tag);
    plaintext.extend_from_slice(message);
    let plaintext = padding::pad(plaintext);

    let seal_key = generation.seal_key();
    let digest = digest(&seal_key, &salt, &plaintext);
    let ciphertext = Cipher::new(&seal_key, &salt, &digest)
        .seal(&plaintext, &public_fields(&body))
        .ok_or(TooLarge)?;
    let payload = [&salt[..], &digest[..], &ciphertext].concat();
    if payload.len() > ENVELOPE_PAYLOAD_BYTES_MAX {
        return Err(TooLarge);
    }
    let payload = Payload::new(payload).map_err(|_| TooLarge)?;
    Ok(EnvelopeBody { payload, ..body }.sign(generation.key(), network))
}

/// Opens the payload of `body` (MLS-010).
pub(crate) fn open(generation: &Generation, body: &EnvelopeBody) -> Result<Opened, SealInvalid> {
    let (salt, rest) = body.payload.split_first_chunk::<SALT_BYTES>().ok_or(SealInvalid)?;
    let (claimed, ciphertext) = rest.split_first_chunk::<DIGEST_BYTES>().ok_or(SealInvalid)?;
    let seal_key = generation.seal_key();
    let aad = public_fields(body);
    let plaintext =
        Cipher::new(&seal_key, salt, claimed).open(ciphertext, &aad).ok_or(SealInvalid)?;
    if digest(&seal_key, salt, &plaintext) != *claimed {
        return Err(SealInvalid);
    }
    let plaintext = padding::unpad(plaintext).ok_or(SealInvalid)?;
    let (tag, message) = plaintext.split_first_chunk::<TAG_BYTES>().ok_or(SealInvalid)?;
    Ok(Opened { tag: *tag, message: message.to_vec() })
}

/// The body's bytes with an empty payload.
fn public_fields(body: &EnvelopeBody) -> Vec<u8> {
    EnvelopeBody { payload: Payload::default(), ..body.clone() }.to_wire()
}

/// A keyed hash of salt and padded plaintext; it keeps keys apart even if a salt repeats, and
/// tells those without the key nothing about guessable messages.
fn digest(seal_key: &[u8; 32], salt: &[u8; SALT_BYTES], plaintext: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut input = Zeroizing::new(Vec::with_capacity(plaintext.len().saturating_add(64)));
    input.extend_from_slice(b"tidings seal digest");
    input.extend_from_slice(salt);
    input.extend_from_slice(plaintext);
    Hkdf::<Sha256>::extract(Some(seal_key), &input).0.into()
}

struct Cipher {
    cipher: ChaCha20Poly1305,
    nonce: Nonce,
}

impl Cipher {
    fn new(seal_key: &[u8; 32], salt: &[u8; SALT_BYTES], digest: &[u8; DIGEST_BYTES]) -> Self {
        let mut output = Zeroizing::new([0; 44]);
        Hkdf::<Sha256>::new(Some(salt), seal_key)
            .expand_multi_info(&[b"tidings seal", digest], output.as_mut_slice())
            .expect("44 bytes are two blocks of HKDF-SHA256");
        let (key, nonce) = output.split_at(32);
        Self {
            cipher: ChaCha20Poly1305::new(Key::from_slice(key)),
            nonce: *Nonce::from_slice(nonce),
        }
    }

    fn seal(&self, plaintext: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
        self.cipher.encrypt(&self.nonce, AeadPayload { msg: plaintext, aad }).ok()
    }

    fn open(&self, ciphertext: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
        self.cipher.decrypt(&self.nonce, AeadPayload { msg: ciphertext, aad }).ok()
    }
}

#[cfg(test)]
mod tests {
    use tidings_envelope::Topic;

    use super::*;
    use crate::secret::Secret;

    const NETWORK: NetworkId = NetworkId([1; 32]);

    fn body(generation: &Generation) -> EnvelopeBody {
        let payer = EthereumAddress([2; 20]);
        EnvelopeBody::broadcast(generation.topic(), payer, Period(3), Payload::default())
    }

    fn sealed(generation: &Generation) -> ClientEnvelope {
        seal(generation, body(generation), [7; 8], b"message", [4; 32], NETWORK).unwrap()
    }

    #[test]
    fn seals_open_under_their_own_fields_only() {
        // covers: MLS-010
        let generation = Generation::new(Secret([1; 32]));
        let envelope = sealed(&generation);
        let opened = open(&generation, &envelope.body).unwrap();
        assert_eq!((opened.tag, opened.message), ([7; 8], b"message".to_vec()));
        let edits: [fn(&mut EnvelopeBody); 4] = [
            |body| body.payer = EthereumAddress([3; 20]),
            |body| body.not_after = Period(4),
            |body| body.retention_days = 31,
            |body| body.topic = Topic::mailbox(1),
        ];
        for edit in edits {
            let mut changed = envelope.body.clone();
            edit(&mut changed);
            assert!(open(&generation, &changed).is_err());
        }
        assert!(open(&Generation::new(Secret([2; 32])), &envelope.body).is_err());
    }

    #[test]
    fn sizes_are_padded_and_bounded() {
        // covers: MLS-010
        let generation = Generation::new(Secret([1; 32]));
        let length = |message: &[u8]| {
            let sealed =
                seal(&generation, body(&generation), [0; 8], message, [5; 32], NETWORK).unwrap();
            sealed.body.payload.len()
        };
        assert_eq!(length(b"yes"), length(b"certainly not"));
        let large = vec![0; ENVELOPE_PAYLOAD_BYTES_MAX];
        let refused = seal(&generation, body(&generation), [0; 8], &large, [5; 32], NETWORK);
        assert_eq!(refused, Err(TooLarge));
    }

    #[test]
    fn a_repeated_salt_repeats_no_key() {
        // covers: MLS-010
        let key = [9; 32];
        assert_ne!(digest(&key, &[1; 32], b"one"), digest(&key, &[1; 32], b"two"));
    }

    #[test]
    fn seals_are_those_of_the_vectors() {
        // covers: MLS-008
        // covers: MLS-010
        let text = include_str!("../../../spec/vectors/mls/seals.json");
        let file: serde_json::Value = serde_json::from_str(text).unwrap();
        for case in file["cases"].as_array().unwrap() {
            let bytes = |name: &str| hex::decode(case[name].as_str().unwrap()).unwrap();
            let generation = Generation::new(Secret(bytes("seed").try_into().unwrap()));
            assert_eq!(generation.key().public_key().0[..], bytes("topic_key"));
            assert_eq!(generation.topic().to_wire(), bytes("topic"));
            assert_eq!(generation.seal_key()[..], bytes("seal_key"));
            let empty = EnvelopeBody::from_wire(&bytes("empty_body")).unwrap();
            let (tag, salt) = (bytes("tag").try_into().unwrap(), bytes("salt").try_into().unwrap());
            let message = bytes("message");
            let envelope = seal(&generation, empty, tag, &message, salt, NETWORK).unwrap();
            assert_eq!(envelope.body.to_wire(), bytes("body"));
            assert_eq!(open(&generation, &envelope.body).unwrap().message, message);
        }
    }
}
