//! Passkeys: an assertion of WebAuthn whose challenge is the update's text.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use serde::Deserialize;
use tidings_types::sha256;

use super::{AssociationError, PasskeyKey, SignatureKind, SignatureText};

/// A passkey's assertion (WebAuthn Level 2 §7.2), not verified.
///
/// As in XMTP the key and the challenge are judged, and neither ceremony type, origin, flags nor
/// counter: they protect people from phishing at login, and no one but the key's holder can sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasskeyAssertion {
    pub(super) key: PasskeyKey,
    /// In DER.
    pub(super) signature: Vec<u8>,
    pub(super) authenticator_data: Vec<u8>,
    pub(super) client_data: Vec<u8>,
}

/// What is read of the client data; the origin is there to be shown.
#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "origin")]
    _origin: String,
    challenge: String,
}

impl PasskeyAssertion {
    /// Who is said to have signed.
    #[must_use]
    pub const fn key(&self) -> &PasskeyKey {
        &self.key
    }

    /// Checks that the passkey signed `text`, and returns `r` and low `s`.
    pub(super) fn verify(&self, text: &SignatureText) -> Result<[u8; 64], AssociationError> {
        let client: ClientData = serde_json::from_slice(&self.client_data)
            .map_err(|_| AssociationError::ClientDataMalformed)?;
        if client.challenge != BASE64_URL_SAFE_NO_PAD.encode(text.as_str()) {
            return Err(AssociationError::ChallengeMismatch);
        }
        self.check().ok_or(AssociationError::SignatureInvalid { kind: SignatureKind::Passkey })
    }

    fn check(&self) -> Option<[u8; 64]> {
        let key = VerifyingKey::from_sec1_bytes(self.key.as_bytes()).ok()?;
        let signature = Signature::from_der(&self.signature).ok()?;
        let mut signed = self.authenticator_data.clone();
        signed.extend_from_slice(&sha256(&self.client_data));
        key.verify(&signed, &signature).ok()?;
        Some(signature.normalize_s().unwrap_or(signature).to_bytes().into())
    }
}
