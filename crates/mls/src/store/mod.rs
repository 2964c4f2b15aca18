//! The state of one group, or of one installation: keys and values in memory, and which of them
//! changed (MLS-015).
//!
//! Values are shared, so that a copy of the whole state, as is kept of every epoch until the next
//! is proved, costs its keys.

mod openmls;
mod pack;
mod unpack;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use pack::{Parts, pack, pack_in_parts};
use unpack::{Stored, unpack, unpack_with_parts};

/// A stored value; secret.
pub(crate) type Value = Arc<Zeroizing<Vec<u8>>>;

/// A value cannot be stored or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// The bytes are not what this version writes (environment).
    #[error("the stored value is damaged")]
    Damaged,
    /// The value is of a kind that has no stored form (bug).
    #[error("the value has no stored form")]
    Unsupported,
    /// The value is longer than 2^32 elements (bug).
    #[error("the value is too long")]
    TooLong,
    /// The value refuses its form.
    #[error("{0}")]
    Value(String),
}

/// What kind of value of openmls' a key leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Label {
    JoinConfig = 1,
    Tree = 2,
    InterimTranscriptHash = 3,
    GroupContext = 4,
    ConfirmationTag = 5,
    GroupState = 6,
    MessageSecrets = 7,
    /// What message secrets refer to.
    MessageSecretsPart = 8,
    ResumptionPsks = 9,
    OwnLeafIndex = 10,
    EpochSecrets = 11,
    ExportTree = 12,
    OwnLeafNodes = 13,
    Proposal = 14,
    ProposalRefs = 15,
    SignatureKeyPair = 16,
    EncryptionKeyPair = 17,
    EpochKeyPairs = 18,
    KeyPackage = 19,
    Psk = 20,
}

#[derive(Debug, Default)]
struct Inner {
    values: BTreeMap<Vec<u8>, Value>,
    /// The keys that were written since the last delta.
    dirty: BTreeSet<Vec<u8>>,
}

/// Keys and values.
#[derive(Default)]
pub(crate) struct Store(Mutex<Inner>);

impl Store {
    /// A store over what deltas stored before.
    pub(crate) fn load(stored: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        let shared = |(key, value)| (key, Arc::new(Zeroizing::new(value)));
        let values = stored.into_iter().map(shared).collect();
        Self(Mutex::new(Inner { values, dirty: BTreeSet::new() }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Each write is one insertion, so what a thread leaves behind when it dies is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value at `key`.
    pub(crate) fn read(&self, key: &[u8]) -> Option<Value> {
        self.inner().values.get(key).cloned()
    }

    /// Writes a value.
    pub(crate) fn write(&self, key: &[u8], value: Vec<u8>) {
        self.write_shared(key.to_vec(), Arc::new(Zeroizing::new(value)));
    }

    /// Writes a value that may be shared.
    pub(crate) fn write_shared(&self, key: Vec<u8>, value: Value) {
        let mut inner = self.inner();
        if inner.values.get(&key).is_some_and(|known| known == &value) {
            return;
        }
        inner.dirty.insert(key.clone());
        inner.values.insert(key, value);
    }

    /// Removes a value.
    pub(crate) fn remove(&self, key: &[u8]) {
        let mut inner = self.inner();
        if inner.values.remove(key).is_some() {
            inner.dirty.insert(key.to_vec());
        }
    }

    /// Removes the values whose keys begin with `prefix`.
    pub(crate) fn remove_all(&self, prefix: &[u8]) {
        for key in self.entries_under(prefix).into_keys() {
            self.remove(&[prefix, &key].concat());
        }
    }

    /// Everything stored, in the order of the keys.
    pub(crate) fn entries(&self) -> BTreeMap<Vec<u8>, Value> {
        self.inner().values.clone()
    }

    /// The values whose keys begin with `prefix`, by what follows it.
    pub(crate) fn entries_under(&self, prefix: &[u8]) -> BTreeMap<Vec<u8>, Value> {
        let inner = self.inner();
        let under = inner.values.range(prefix.to_vec()..);
        let under = under.map_while(|(key, value)| {
            Some((key.strip_prefix(prefix)?.to_vec(), Arc::clone(value)))
        });
        under.collect()
    }

    /// The keys that changed since the last call, with what is there now.
    pub(crate) fn take_changes(&self) -> Vec<(Vec<u8>, Option<Value>)> {
        let mut inner = self.inner();
        let dirty = std::mem::take(&mut inner.dirty);
        dirty.into_iter().map(|key| (inner.values.get(&key).cloned(), key)).map(swap).collect()
    }

    /// Makes the next changes those that turn the state that `other` has been told of into this
    /// one's.
    pub(crate) fn succeed(&self, other: &Self) {
        let other = other.inner();
        let mut inner = self.inner();
        let keys: BTreeSet<Vec<u8>> = inner
            .values
            .keys()
            .chain(other.values.keys())
            .filter(|key| inner.values.get(*key) != other.values.get(*key))
            .chain(&other.dirty)
            .cloned()
            .collect();
        inner.dirty = keys;
    }

    fn put(
        &self,
        label: Label,
        key: &impl Serialize,
        value: &impl Serialize,
    ) -> Result<(), StoreError> {
        self.write(&key_of(label, key)?, pack(value)?);
        Ok(())
    }

    fn get<T: DeserializeOwned>(
        &self,
        label: Label,
        key: &impl Serialize,
    ) -> Result<Option<T>, StoreError> {
        let stored = self.read(&key_of(label, key)?);
        stored.map(|bytes| unpack(&bytes)).transpose()
    }

    fn delete(&self, label: Label, key: &impl Serialize) -> Result<(), StoreError> {
        self.remove(&key_of(label, key)?);
        Ok(())
    }

    /// Writes a value whose reading depends on its own form.
    fn put_json(
        &self,
        label: Label,
        key: &impl Serialize,
        value: &impl Serialize,
    ) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(value).map_err(|error| StoreError::Value(error.to_string()));
        self.write(&key_of(label, key)?, bytes?);
        Ok(())
    }

    fn get_json<T: DeserializeOwned>(
        &self,
        label: Label,
        key: &impl Serialize,
    ) -> Result<Option<T>, StoreError> {
        let stored = self.read(&key_of(label, key)?);
        let parse = |bytes: Value| serde_json::from_slice(&bytes).map_err(|_| StoreError::Damaged);
        stored.map(parse).transpose()
    }

    /// Writes a value without what is the same each time.
    fn put_in_parts(
        &self,
        label: Label,
        key: &impl Serialize,
        value: &impl Serialize,
    ) -> Result<(), StoreError> {
        let prefix = key_of(Label::MessageSecretsPart, key)?;
        let known = self.part_ids(&prefix);
        let mut parts = Parts { known: known.clone(), ..Parts::default() };
        let bytes = pack_in_parts(value, &mut parts)?;
        self.write(&key_of(label, key)?, bytes);
        for (id, part) in parts.fresh {
            self.write(&[&prefix[..], &id].concat(), part);
        }
        for id in known.difference(&parts.used) {
            self.remove(&[&prefix[..], id].concat());
        }
        Ok(())
    }

    fn get_with_parts<T: DeserializeOwned>(
        &self,
        label: Label,
        key: &impl Serialize,
    ) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.read(&key_of(label, key)?) else { return Ok(None) };
        let stored = self.entries_under(&key_of(Label::MessageSecretsPart, key)?);
        let parts = stored.into_iter().filter_map(|(id, part)| Some((id.try_into().ok()?, part)));
        let parts: Stored = parts.collect();
        unpack_with_parts(&bytes, &parts).map(Some)
    }

    fn delete_in_parts(&self, label: Label, key: &impl Serialize) -> Result<(), StoreError> {
        self.remove_all(&key_of(Label::MessageSecretsPart, key)?);
        self.delete(label, key)
    }

    fn part_ids(&self, prefix: &[u8]) -> BTreeSet<pack::PartId> {
        let inner = self.inner();
        let under = inner.values.range(prefix.to_vec()..).map_while(|(key, _)| {
            let id = key.strip_prefix(prefix)?;
            Some(id.try_into().unwrap_or_default())
        });
        under.collect()
    }

    fn append(
        &self,
        label: Label,
        key: &impl Serialize,
        item: &impl Serialize,
    ) -> Result<(), StoreError> {
        let mut items: Vec<Vec<u8>> = self.get(label, key)?.unwrap_or_default();
        items.push(pack(item)?);
        self.put(label, key, &items)
    }

    fn remove_item(
        &self,
        label: Label,
        key: &impl Serialize,
        item: &impl Serialize,
    ) -> Result<(), StoreError> {
        let mut items: Vec<Vec<u8>> = self.get(label, key)?.unwrap_or_default();
        let item = pack(item)?;
        items.retain(|known| *known != item);
        self.put(label, key, &items)
    }

    fn list<T: DeserializeOwned>(
        &self,
        label: Label,
        key: &impl Serialize,
    ) -> Result<Vec<T>, StoreError> {
        let items: Vec<Vec<u8>> = self.get(label, key)?.unwrap_or_default();
        items.iter().map(|item| unpack(item)).collect()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Store({} values)", self.inner().values.len())
    }
}

/// A zero byte keeps these keys apart from ours, which are text.
fn key_of(label: Label, key: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![0, label as u8];
    bytes.append(&mut pack(key)?);
    Ok(bytes)
}

fn swap<A, B>((one, two): (A, B)) -> (B, A) {
    (two, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(store: &Store) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let changes = store.take_changes().into_iter();
        changes.map(|(key, value)| (key, value.map(|value| value.to_vec()))).collect()
    }

    #[test]
    fn only_what_changed_is_told() {
        // covers: MLS-015
        let store = Store::load([(b"one".to_vec(), vec![1]), (b"two".to_vec(), vec![2])]);
        assert!(stored(&store).is_empty());
        store.write(b"one", vec![1]);
        assert!(stored(&store).is_empty());
        store.write(b"one", vec![3]);
        store.remove(b"two");
        store.remove(b"three");
        let expected = [(b"one".to_vec(), Some(vec![3])), (b"two".to_vec(), None)];
        assert_eq!(stored(&store), expected);
        assert!(stored(&store).is_empty());
    }

    #[test]
    fn prefixes_are_told_apart() {
        let store = Store::default();
        for key in [&b"a"[..], b"ab", b"abc", b"b"] {
            store.write(key, vec![0]);
        }
        let under: Vec<Vec<u8>> = store.entries_under(b"ab").into_keys().collect();
        assert_eq!(under, [b"".to_vec(), b"c".to_vec()]);
        store.remove_all(b"ab");
        assert_eq!(store.entries().len(), 2);
    }

    #[test]
    fn a_successor_tells_the_difference() {
        // covers: MLS-015
        let old = Store::load([(b"kept".to_vec(), vec![1]), (b"gone".to_vec(), vec![2])]);
        old.write(b"unsaved", vec![3]);
        let new = Store::load([(b"kept".to_vec(), vec![1]), (b"new".to_vec(), vec![4])]);
        new.succeed(&old);
        let expected = [
            (b"gone".to_vec(), None),
            (b"new".to_vec(), Some(vec![4])),
            (b"unsaved".to_vec(), None),
        ];
        assert_eq!(stored(&new), expected);
    }

    #[test]
    fn lists_grow_and_shrink() {
        let store = Store::default();
        for item in [5u16, 6, 7] {
            store.append(Label::ProposalRefs, &1u8, &item).unwrap();
        }
        store.remove_item(Label::ProposalRefs, &1u8, &6u16).unwrap();
        assert_eq!(store.list::<u16>(Label::ProposalRefs, &1u8).unwrap(), [5, 7]);
        assert_eq!(store.list::<u16>(Label::ProposalRefs, &2u8).unwrap(), [0; 0]);
    }
}
