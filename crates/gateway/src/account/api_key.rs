//! API keys: 256 random bits in the user's hands, a hash of them in ours.

use rand::RngCore;
use subtle::ConstantTimeEq;
use tidings_types::constants::API_KEY_BYTES;
use tidings_types::labelled_hash;
use zeroize::Zeroizing;

/// The label under which keys are hashed (ENC-004).
const KEY_LABEL: &str = "gateway api key";

/// How many hex digits of the digest find the user's row; the rest is compared in constant time.
const HANDLE_DIGITS: usize = 16;

/// The text is not an API key: 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an API key is {} hex digits", 2 * API_KEY_BYTES)]
pub struct ApiKeyInvalid;

/// A user's key, 32 random bytes; wiped when dropped and never printed (GTW-001).
#[derive(Clone)]
pub struct ApiKey(Zeroizing<[u8; API_KEY_BYTES]>);

/// The hash of a key, which is all that is stored (GTW-001).
#[derive(Debug, Clone, Copy)]
pub struct KeyDigest([u8; 32]);

impl ApiKey {
    /// A fresh key from the operating system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; API_KEY_BYTES]);
        rand::rngs::OsRng.fill_bytes(bytes.as_mut_slice());
        Self(bytes)
    }

    /// Reads the hex form.
    ///
    /// # Errors
    /// [`ApiKeyInvalid`] for any other text.
    pub fn parse(text: &str) -> Result<Self, ApiKeyInvalid> {
        let mut bytes = Zeroizing::new([0; API_KEY_BYTES]);
        hex::decode_to_slice(text, bytes.as_mut_slice()).map_err(|_| ApiKeyInvalid)?;
        Ok(Self(bytes))
    }

    /// The hex form, to be shown to its user once.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.0.as_slice()))
    }

    /// The hash that is stored.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        KeyDigest(labelled_hash(KEY_LABEL, &[self.0.as_slice()]))
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ApiKey(…)")
    }
}

impl KeyDigest {
    /// The part that look-ups may leak: the first 16 hex digits.
    #[must_use]
    pub fn handle(&self) -> String {
        let mut digits = self.to_hex();
        digits.truncate(HANDLE_DIGITS);
        digits
    }

    /// The whole digest in hex, as it is stored.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Reads a stored digest.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Whether both are of one key, in constant time (GTW-001).
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: bool) {
        assert_eq!(ApiKey::parse(text).is_ok(), expected, "{text}");
    }

    #[test]
    fn keys_are_64_hex_digits() {
        check(&"0a".repeat(32), true);
        check(&"0a".repeat(31), false);
        check(&"0a".repeat(33), false);
        check(&"zz".repeat(32), false);
        check("", false);
    }

    #[test]
    fn only_the_key_matches_its_digest() {
        // covers: GTW-001
        let (key, other) = (ApiKey::generate(), ApiKey::generate());
        let stored = KeyDigest::from_hex(&key.digest().to_hex()).unwrap();
        assert!(stored.matches(&ApiKey::parse(&key.reveal()).unwrap().digest()));
        assert!(!stored.matches(&other.digest()));
        assert!(!stored.to_hex().contains(key.reveal().as_str()));
        assert!(!format!("{key:?}").contains(&key.reveal()[..8]));
    }

    #[test]
    fn a_digest_with_one_bit_flipped_does_not_match() {
        // covers: GTW-001
        let digest = ApiKey::generate().digest();
        for bit in 0..256 {
            let mut bytes = digest.0;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!digest.matches(&KeyDigest(bytes)));
        }
    }
}
