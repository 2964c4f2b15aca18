//! SHA-256 and the labels that keep one kind of hash from being taken for another.

use sha2::{Digest, Sha256};

/// A SHA-256 digest, 32 bytes.
pub type Hash = [u8; 32];

/// What every labelled preimage starts with: the protocol's name and major version.
pub(crate) const DOMAIN: &[u8] = b"Tidings 1.0 ";

/// The plain SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// SHA-256 over `"Tidings 1.0 " label 0x00 parts…` (ENC-004).
///
/// The parts are concatenated as they are: each call site uses fixed-length parts, or one
/// canonical structure, so that no two inputs share a preimage.
#[must_use]
pub fn labelled_hash(label: &str, parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(DOMAIN);
    hasher.update(label.as_bytes());
    hasher.update([0]);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_separate_hashes() {
        // covers: ENC-004
        assert_ne!(labelled_hash("a", &[b"x"]), labelled_hash("b", &[b"x"]));
        assert_eq!(labelled_hash("a", &[b"xy"]), labelled_hash("a", &[b"x", b"y"]));
        assert_eq!(labelled_hash("a", &[b"x"]), sha256(b"Tidings 1.0 a\0x"));
    }
}
