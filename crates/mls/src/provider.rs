//! What openmls runs on: RustCrypto, a generator seeded by the caller, and a store whose
//! changes are handed out as deltas.

use std::collections::BTreeMap;
use std::sync::Mutex;

use openmls_rust_crypto::RustCrypto;
use openmls_traits::OpenMlsProvider;
use openmls_traits::random::OpenMlsRand;
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRngCore, RngCore, SeedableRng};
use zeroize::Zeroizing;

use crate::store::{Store, Value};

/// One change to stored state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where; opaque, at most a few hundred bytes.
    pub key: Vec<u8>,
    /// What is stored there now, or `None` when nothing is. Secret.
    pub value: Option<Zeroizing<Vec<u8>>>,
}

/// What changed since the last delta, in the order of the keys (MLS-015).
///
/// The owner writes all of it in one transaction with whatever caused it; until then the stored
/// state is the old one, and consistent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta(pub Vec<Change>);

impl Delta {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies the changes to a plain map, as a database would.
    pub fn apply_to(self, stored: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
        for Change { key, value } in self.0 {
            match value {
                Some(value) => stored.insert(key, value.to_vec()),
                None => stored.remove(&key),
            };
        }
    }
}

/// A generator that the caller seeded.
#[derive(Debug)]
pub(crate) struct SeededRand(Mutex<ChaCha20Rng>);

/// A thread died while it drew random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the random generator is poisoned")]
pub(crate) struct RandPoisoned;

impl OpenMlsRand for SeededRand {
    type Error = RandPoisoned;

    fn random_array<const N: usize>(&self) -> Result<[u8; N], RandPoisoned> {
        let mut bytes = [0; N];
        self.0.lock().map_err(|_| RandPoisoned)?.fill_bytes(&mut bytes);
        Ok(bytes)
    }

    fn random_vec(&self, length: usize) -> Result<Vec<u8>, RandPoisoned> {
        let mut bytes = vec![0; length];
        self.0.lock().map_err(|_| RandPoisoned)?.fill_bytes(&mut bytes);
        Ok(bytes)
    }
}

/// The state of one group, or of one installation, and what openmls needs to work on it.
pub(crate) struct Provider {
    crypto: RustCrypto,
    rand: SeededRand,
    store: Store,
}

impl Provider {
    /// An empty provider; `rng` gives the seed.
    pub(crate) fn new(rng: &mut impl CryptoRngCore) -> Self {
        Self::load([], rng)
    }

    /// A provider over what deltas stored before.
    pub(crate) fn load(
        stored: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        rng: &mut impl CryptoRngCore,
    ) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        Self {
            crypto: RustCrypto::default(),
            rand: SeededRand(Mutex::new(ChaCha20Rng::from_seed(*seed))),
            store: Store::load(stored),
        }
    }

    /// Keys and values, ours beside those of openmls.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Copies the values whose keys pass `filter` to keys with `prefix` before them.
    pub(crate) fn copy_under(&self, prefix: &[u8], filter: impl Fn(&[u8]) -> bool) {
        for (key, value) in self.store.entries() {
            if filter(&key) {
                self.store.write_shared([prefix, &key].concat(), value);
            }
        }
    }

    /// Copies the values under `prefix` from `other`.
    pub(crate) fn copy_from(&self, other: &Self, prefix: &[u8]) {
        for (key, value) in other.store.entries_under(prefix) {
            self.store.write_shared([prefix, &key].concat(), value);
        }
    }

    /// A provider over the values under `prefix` alone, which draws its randomness from this one.
    pub(crate) fn fork(&self, prefix: &[u8]) -> Result<Self, RandPoisoned> {
        let provider = Self::new(&mut ChaCha20Rng::from_seed(self.rand.random_array()?));
        for (key, value) in self.store.entries_under(prefix) {
            provider.store.write_shared(key, value);
        }
        Ok(provider)
    }

    /// What changed since the last call.
    pub(crate) fn take_delta(&mut self) -> Delta {
        let changes = self.store.take_changes().into_iter();
        let change = |(key, value): (_, Option<Value>)| Change {
            key,
            value: value.map(|value| Zeroizing::clone(&value)),
        };
        Delta(changes.map(change).collect())
    }
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Provider({:?})", self.store)
    }
}

impl OpenMlsProvider for Provider {
    type CryptoProvider = RustCrypto;
    type RandProvider = SeededRand;
    type StorageProvider = Store;

    fn storage(&self) -> &Store {
        &self.store
    }

    fn crypto(&self) -> &RustCrypto {
        &self.crypto
    }

    fn rand(&self) -> &SeededRand {
        &self.rand
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_rebuild_the_store() {
        // covers: MLS-015
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut provider = Provider::new(&mut rng);
        let mut stored = BTreeMap::new();
        provider.store().write(b"one", vec![1]);
        provider.store().write(b"two", vec![2]);
        provider.take_delta().apply_to(&mut stored);
        provider.store().write(b"one", vec![3]);
        provider.store().remove(b"two");
        let delta = provider.take_delta();
        assert_eq!(delta.0.len(), 2);
        delta.apply_to(&mut stored);
        assert_eq!(stored, BTreeMap::from([(b"one".to_vec(), vec![3])]));
        assert!(provider.take_delta().is_empty());
        let mut loaded = Provider::load(stored, &mut rng);
        assert!(loaded.take_delta().is_empty());
    }

    #[test]
    fn a_fork_that_succeeds_replaces_the_stored_state() {
        // covers: MLS-015
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut provider = Provider::new(&mut rng);
        let mut stored = BTreeMap::new();
        provider.store().write(b"one", vec![1]);
        provider.copy_under(b"base ", |key| !key.starts_with(b"base "));
        provider.store().write(b"one", vec![2]);
        provider.store().write(b"two", vec![2]);
        provider.take_delta().apply_to(&mut stored);
        let mut fork = provider.fork(b"base ").unwrap();
        fork.store().succeed(provider.store());
        fork.take_delta().apply_to(&mut stored);
        assert_eq!(stored, BTreeMap::from([(b"one".to_vec(), vec![1])]));
    }
}
