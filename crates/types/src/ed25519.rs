//! Ed25519 for what is verified in bulk: topic writes, installation statements, payer batches.
//!
//! One verdict, however it is reached (ENC-006): `s` below the group order, `A` and `R` in
//! canonical encoding, `A` not of small order, then the cofactored equation of ZIP-215,
//! alone or in a batch.

use std::sync::LazyLock;

use curve25519_dalek::constants::EIGHT_TORSION;
use ed25519_dalek::Signer;
use ed25519_zebra::{VerificationKey, VerificationKeyBytes, batch};
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use zeroize::Zeroizing;

use crate::NetworkId;
use crate::hash::DOMAIN;

/// An Ed25519 public key in its 32-byte encoding; may be any bytes until a signature verifies.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
)]
pub struct PublicKey(pub [u8; 32]);

/// An Ed25519 signature, `R` then `s`.
#[derive(Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Signature(pub [u8; 64]);

/// The signature does not verify under the one verdict of ENC-006.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Ed25519 signature does not verify")]
pub struct SignatureInvalid;

/// What a signature is over: `"Tidings 1.0 " label 0x00 network_id body` (ENC-003).
#[must_use]
pub fn preimage(label: &str, network: NetworkId, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(DOMAIN.len() + label.len() + 33 + body.len());
    bytes.extend_from_slice(DOMAIN);
    bytes.extend_from_slice(label.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(network.as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// An Ed25519 signing key; its secret is wiped when it is dropped.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A fresh key.
    pub fn generate(rng: &mut impl CryptoRngCore) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(secret.as_mut_slice());
        Self::from_secret(&secret)
    }

    /// The key with this 32-byte secret (RFC 8032 §5.1.5).
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(secret))
    }

    /// The 32-byte secret, wiped when dropped.
    #[must_use]
    pub fn to_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `body` under `label` for `network` (ENC-003).
    #[must_use]
    pub fn sign(&self, label: &str, network: NetworkId, body: &[u8]) -> Signature {
        Signature(self.0.sign(&preimage(label, network, body)).to_bytes())
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SigningKey({:?})", self.public_key())
    }
}

impl PublicKey {
    /// Checks one signature by the verdict of ENC-006.
    ///
    /// # Errors
    /// [`SignatureInvalid`] for any input that fails it.
    pub fn verify(
        &self,
        label: &str,
        network: NetworkId,
        body: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureInvalid> {
        verify_preimage(self, &preimage(label, network, body), signature)
    }
}

/// One signature to be checked with others; `message` is a [`preimage`].
#[derive(Debug, Clone)]
pub struct Statement {
    /// Who is said to have signed.
    pub key: PublicKey,
    /// The whole signed text.
    pub message: Vec<u8>,
    /// The signature.
    pub signature: Signature,
}

impl Statement {
    /// Checks this signature alone, by the verdict of ENC-006.
    ///
    /// # Errors
    /// [`SignatureInvalid`] for any input that fails it.
    pub fn verify(&self) -> Result<(), SignatureInvalid> {
        verify_preimage(&self.key, &self.message, &self.signature)
    }
}

/// Checks many signatures at once; the answer for each is the one [`PublicKey::verify`] gives.
///
/// `rng` blinds the batch equation; the verdicts do not depend on it but with negligible
/// probability.
pub fn verify_batch(statements: &[Statement], rng: &mut impl CryptoRngCore) -> Vec<bool> {
    let mut verdicts: Vec<bool> = statements.iter().map(encodings_are_canonical).collect();
    let mut verifier = batch::Verifier::new();
    for (statement, _) in statements.iter().zip(&verdicts).filter(|(_, canonical)| **canonical) {
        verifier.queue((
            VerificationKeyBytes::from(statement.key.0),
            ed25519_zebra::Signature::from(statement.signature.0),
            &statement.message,
        ));
    }
    if verifier.verify(&mut *rng).is_ok() {
        return verdicts;
    }
    for (verdict, statement) in verdicts.iter_mut().zip(statements) {
        *verdict = statement.verify().is_ok();
    }
    verdicts
}

fn encodings_are_canonical(statement: &Statement) -> bool {
    key_is_acceptable(&statement.key) && point_is_canonical(&nonce_point(&statement.signature))
}

fn verify_preimage(
    key: &PublicKey,
    message: &[u8],
    signature: &Signature,
) -> Result<(), SignatureInvalid> {
    if !key_is_acceptable(key) || !point_is_canonical(&nonce_point(signature)) {
        return Err(SignatureInvalid);
    }
    VerificationKey::try_from(key.0)
        .and_then(|key| key.verify(&ed25519_zebra::Signature::from(signature.0), message))
        .map_err(|_| SignatureInvalid)
}

fn nonce_point(signature: &Signature) -> [u8; 32] {
    let mut point = [0; 32];
    point.copy_from_slice(&signature.0[..32]);
    point
}

/// The encodings of the points of small order; computing them costs as much as a signature.
static SMALL_ORDER: LazyLock<[[u8; 32]; 8]> =
    LazyLock::new(|| EIGHT_TORSION.map(|point| point.compress().0));

fn key_is_acceptable(key: &PublicKey) -> bool {
    point_is_canonical(&key.0) && !SMALL_ORDER.contains(&key.0)
}

/// Whether `y` is reduced and the sign bit is clear where `x` is zero (RFC 8032 §5.1.3).
fn point_is_canonical(encoding: &[u8; 32]) -> bool {
    const P_MINUS_ONE: [u8; 32] = {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xec;
        bytes[31] = 0x7f;
        bytes
    };
    const ONE: [u8; 32] = {
        let mut bytes = [0; 32];
        bytes[0] = 1;
        bytes
    };
    let mut y = *encoding;
    let sign = y[31] & 0x80 != 0;
    y[31] &= 0x7f;
    let reduced = y.iter().rev().le(P_MINUS_ONE.iter().rev());
    let x_is_zero = y == ONE || y == P_MINUS_ONE;
    reduced && !(sign && x_is_zero)
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "PublicKey({})", hex::encode(self.0))
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Signature({})", hex::encode(self.0))
    }
}

impl std::str::FromStr for PublicKey {
    type Err = crate::ParseIdError;

    fn from_str(text: &str) -> Result<Self, crate::ParseIdError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| crate::ParseIdError { expected: 32 })?;
        Ok(Self(bytes))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    const NETWORK: NetworkId = NetworkId([3; 32]);

    fn statement(seed: u64) -> Statement {
        let key = SigningKey::generate(&mut ChaCha20Rng::seed_from_u64(seed));
        let body = seed.to_be_bytes();
        Statement {
            key: key.public_key(),
            message: preimage("test", NETWORK, &body),
            signature: key.sign("test", NETWORK, &body),
        }
    }

    /// A signature that satisfies the cofactored equation with a torsion component in `R`
    /// (and in `A` when `mixed_key`), which cofactorless verifiers refuse.
    fn torsion_statement(torsion: usize, mixed_key: bool) -> Statement {
        use curve25519_dalek::{Scalar, constants::ED25519_BASEPOINT_POINT};
        use sha2::{Digest, Sha512};
        let (secret, nonce) = (Scalar::from(77u64), Scalar::from(99u64));
        let point = EIGHT_TORSION[torsion];
        let mut key = secret * ED25519_BASEPOINT_POINT;
        if mixed_key {
            key += point;
        }
        let key = PublicKey(key.compress().0);
        let nonce_point = (nonce * ED25519_BASEPOINT_POINT + point).compress().0;
        let message = preimage("test", NETWORK, b"torsion");
        let hash = Sha512::new().chain_update(nonce_point).chain_update(key.0);
        let challenge = Scalar::from_hash(hash.chain_update(&message));
        let response = nonce + challenge * secret;
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&nonce_point);
        signature[32..].copy_from_slice(response.as_bytes());
        Statement { key, message, signature: Signature(signature) }
    }

    fn check_alone_and_in_batch(subject: &Statement, expected: bool) {
        let alone = subject.verify().is_ok();
        assert_eq!(alone, expected);
        for place in 0..4 {
            let mut batch: Vec<_> = (0..3).map(statement).collect();
            batch.insert(place, subject.clone());
            let verdicts = verify_batch(&batch, &mut ChaCha20Rng::seed_from_u64(9));
            for (index, verdict) in verdicts.iter().enumerate() {
                assert_eq!(*verdict, if index == place { expected } else { true });
            }
        }
    }

    #[test]
    fn torsion_gets_one_verdict_at_every_batch_position() {
        // covers: ENC-006
        for torsion in 0..8 {
            check_alone_and_in_batch(&torsion_statement(torsion, false), true);
            check_alone_and_in_batch(&torsion_statement(torsion, true), true);
        }
    }

    #[test]
    fn small_order_keys_and_loose_encodings_are_refused() {
        // covers: ENC-006
        for point in EIGHT_TORSION {
            let mut subject = statement(1);
            subject.key = PublicKey(point.compress().0);
            check_alone_and_in_batch(&subject, false);
        }
        let mut unreduced = [0xff; 32];
        unreduced[0] = 0xed;
        unreduced[31] = 0x7f;
        assert!(!point_is_canonical(&unreduced));
        let mut negative_zero = [0; 32];
        negative_zero[0] = 1;
        negative_zero[31] = 0x80;
        assert!(!point_is_canonical(&negative_zero));
    }

    #[test]
    fn unreduced_s_is_refused() {
        // covers: ENC-006
        let mut subject = statement(2);
        // Adding the group order to s keeps the equation but not the encoding.
        let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let mut carry = 0u16;
        for (byte, add) in subject.signature.0[32..].iter_mut().zip(order.unwrap()) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
        check_alone_and_in_batch(&subject, false);
    }

    #[test]
    fn label_and_network_are_bound() {
        // covers: ENC-003
        let key = SigningKey::from_secret(&[5; 32]);
        let signature = key.sign("one", NETWORK, b"body");
        let public = key.public_key();
        assert!(public.verify("one", NETWORK, b"body", &signature).is_ok());
        assert!(public.verify("two", NETWORK, b"body", &signature).is_err());
        assert!(public.verify("one", NetworkId([4; 32]), b"body", &signature).is_err());
    }
}
