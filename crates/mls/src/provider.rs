//! What openmls runs on: RustCrypto, a generator seeded by the caller, and a store in memory
//! whose changes are handed out as deltas.

use std::collections::BTreeMap;
use std::sync::Mutex;

use openmls_memory_storage::MemoryStorage;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::OpenMlsProvider;
use openmls_traits::random::OpenMlsRand;
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRngCore, RngCore, SeedableRng};
use zeroize::Zeroizing;

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
    storage: MemoryStorage,
    /// What the owner has been told.
    saved: BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>>,
}

impl Provider {
    /// An empty provider; `rng` gives the seed.
    pub(crate) fn new(rng: &mut impl CryptoRngCore) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        Self {
            crypto: RustCrypto::default(),
            rand: SeededRand(Mutex::new(ChaCha20Rng::from_seed(*seed))),
            storage: MemoryStorage::default(),
            saved: BTreeMap::new(),
        }
    }

    /// A provider over what deltas stored before.
    pub(crate) fn load(
        stored: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        rng: &mut impl CryptoRngCore,
    ) -> Self {
        let mut provider = Self::new(rng);
        for (key, value) in stored {
            provider.write(&key, value.clone());
            provider.saved.insert(key, Zeroizing::new(value));
        }
        provider
    }

    /// Writes a value of ours beside those of openmls.
    pub(crate) fn write(&self, key: &[u8], value: Vec<u8>) {
        if let Ok(mut values) = self.storage.values.write() {
            values.insert(key.to_vec(), value);
        }
    }

    /// The value at `key`.
    pub(crate) fn read(&self, key: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.storage.values.read().ok()?.get(key).cloned().map(Zeroizing::new)
    }

    /// Removes the values at `keys`.
    pub(crate) fn remove(&self, keys: impl IntoIterator<Item = Vec<u8>>) {
        if let Ok(mut values) = self.storage.values.write() {
            for key in keys {
                values.remove(&key);
            }
        }
    }

    /// Everything stored, in the order of the keys.
    #[expect(clippy::disallowed_methods, reason = "collected into a sorted map at once")]
    pub(crate) fn entries(&self) -> BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>> {
        let Ok(values) = self.storage.values.read() else { return BTreeMap::new() };
        values.iter().map(|(key, value)| (key.clone(), Zeroizing::new(value.clone()))).collect()
    }

    /// What changed since the last call.
    #[expect(clippy::disallowed_methods, reason = "collected into a sorted map at once")]
    pub(crate) fn take_delta(&mut self) -> Delta {
        let mut changes = BTreeMap::new();
        let Ok(values) = self.storage.values.read() else { return Delta::default() };
        changes.extend(
            values
                .iter()
                .filter(|(key, value)| self.saved.get(*key).is_none_or(|saved| **saved != **value))
                .map(|(key, value)| (key.clone(), Some(Zeroizing::new(value.clone())))),
        );
        let gone = self.saved.keys().filter(|key| !values.contains_key(*key));
        changes.extend(gone.map(|key| (key.clone(), None)));
        drop(values);
        for (key, value) in &changes {
            match value {
                Some(value) => self.saved.insert(key.clone(), value.clone()),
                None => self.saved.remove(key),
            };
        }
        Delta(changes.into_iter().map(|(key, value)| Change { key, value }).collect())
    }
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Provider({} saved values)", self.saved.len())
    }
}

impl OpenMlsProvider for Provider {
    type CryptoProvider = RustCrypto;
    type RandProvider = SeededRand;
    type StorageProvider = MemoryStorage;

    fn storage(&self) -> &MemoryStorage {
        &self.storage
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
        provider.write(b"one", vec![1]);
        provider.write(b"two", vec![2]);
        provider.take_delta().apply_to(&mut stored);
        provider.write(b"one", vec![3]);
        provider.remove([b"two".to_vec()]);
        let delta = provider.take_delta();
        assert_eq!(delta.0.len(), 2);
        delta.apply_to(&mut stored);
        assert_eq!(stored, BTreeMap::from([(b"one".to_vec(), vec![3])]));
        assert!(provider.take_delta().is_empty());
        let mut loaded = Provider::load(stored, &mut rng);
        assert!(loaded.take_delta().is_empty());
    }
}
