//! The keys of a development network: from its seed, or from the operating system.

use std::path::Path;

use anyhow::Result;
use tidings_types::ed25519::SigningKey;
use tidings_types::labelled_hash;
use tidings_types::node_key::NodeKey;
use zeroize::Zeroizing;

use crate::secret_file::{self, Secret};

/// Where new keys come from.
pub struct KeySource {
    seed: Option<Secret>,
}

impl KeySource {
    /// Keys that follow from `seed`; random ones without.
    pub fn new(seed: Option<Secret>) -> Self {
        Self { seed }
    }

    /// The secret of the `index`-th key for `purpose`.
    pub fn secret(&self, purpose: &str, index: u32) -> Secret {
        match &self.seed {
            Some(seed) => {
                Zeroizing::new(labelled_hash(purpose, &[&seed[..], &index.to_be_bytes()]))
            }
            None => secret_file::random(),
        }
    }

    /// The secp256k1 key in the file at `path`, made if it is not there.
    ///
    /// # Errors
    /// When the file cannot be made or holds something else.
    pub fn node_key(&self, path: &Path, purpose: &str, index: u32) -> Result<NodeKey> {
        let secret = secret_file::read_or_create(path, || self.secret(purpose, index))?;
        Ok(NodeKey::from_secret(&secret)?)
    }

    /// The Ed25519 key in the file at `path`, made if it is not there.
    ///
    /// # Errors
    /// When the file cannot be made or holds something else.
    pub fn signing_key(&self, path: &Path, purpose: &str, index: u32) -> Result<SigningKey> {
        let secret = secret_file::read_or_create(path, || self.secret(purpose, index))?;
        Ok(SigningKey::from_secret(&secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_every_key() {
        let source = || KeySource::new(Some(Zeroizing::new([7; 32])));
        assert_eq!(source().secret("a", 0), source().secret("a", 0));
        assert_ne!(source().secret("a", 0), source().secret("a", 1));
        assert_ne!(source().secret("a", 0), source().secret("b", 0));
        let random = KeySource::new(None);
        assert_ne!(random.secret("a", 0), random.secret("a", 0));
    }
}
