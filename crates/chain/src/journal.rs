//! What was signed and is not certain yet, on disk before it is sent.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use alloy::primitives::{B256, Bytes};
use serde::{Deserialize, Serialize};

use crate::durable_file;

/// How many finished calls are kept, the newest; older ones are forgotten.
const FINISHED_MAX: usize = 4_096;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a journal.
    #[error("{path} is no journal of transactions: {reason}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// One signed form of a call; another one pays more for the same place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) hash: B256,
    pub(crate) bytes: Bytes,
    pub(crate) max_fee: u128,
    pub(crate) priority_fee: u128,
}

/// What is known of one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Entry {
    /// Signed, and perhaps sent. All attempts share one nonce, so at most one is ever carried out.
    Pending { call: B256, nonce: u64, gas: u64, attempts: Vec<Attempt> },
    /// On the chain, for good.
    Finished { call: B256, order: u64, hash: B256, block: u64, succeeded: bool },
}

impl Entry {
    /// Which call it is, whatever its key.
    pub(crate) fn call(&self) -> B256 {
        match self {
            Self::Pending { call, .. } | Self::Finished { call, .. } => *call,
        }
    }
}

/// All calls of one account, by the key that their caller gave them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entries {
    entries: BTreeMap<String, Entry>,
    finished: u64,
}

impl Entries {
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(crate) fn put(&mut self, key: &str, entry: Entry) {
        self.entries.insert(key.into(), entry);
    }

    /// Keys of what is not finished.
    pub(crate) fn pending(&self) -> Vec<String> {
        let pending =
            self.entries.iter().filter(|(_, entry)| matches!(entry, Entry::Pending { .. }));
        pending.map(|(key, _)| key.clone()).collect()
    }

    /// The nonce after all that are pending.
    pub(crate) fn next_nonce(&self) -> u64 {
        let after = |entry: &Entry| match entry {
            Entry::Pending { nonce, .. } => Some(nonce.saturating_add(1)),
            Entry::Finished { .. } => None,
        };
        self.entries.values().filter_map(after).max().unwrap_or(0)
    }

    pub(crate) fn finish(
        &mut self,
        key: &str,
        call: B256,
        hash: B256,
        block: u64,
        succeeded: bool,
    ) {
        self.finished += 1;
        let order = self.finished;
        self.put(key, Entry::Finished { call, order, hash, block, succeeded });
        let oldest = self.finished.saturating_sub(FINISHED_MAX as u64);
        self.entries
            .retain(|_, entry| !matches!(entry, Entry::Finished { order, .. } if *order <= oldest));
    }
}

/// Where an account's calls are kept. What was saved must outlive a crash.
pub trait Journal: Send + Sync {
    /// What was saved last; nothing at first.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be read.
    fn load(&mut self) -> Result<Entries, JournalError>;

    /// Keeps `entries`, durably.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be written; nothing may be sent then.
    fn save(&mut self, entries: &Entries) -> Result<(), JournalError>;
}

/// A journal that is gone with the process, for what a person does once and looks at.
#[derive(Debug, Default)]
pub struct MemoryJournal(Entries);

impl Journal for MemoryJournal {
    fn load(&mut self) -> Result<Entries, JournalError> {
        Ok(self.0.clone())
    }

    fn save(&mut self, entries: &Entries) -> Result<(), JournalError> {
        self.0 = entries.clone();
        Ok(())
    }
}

/// A journal in one JSON file, replaced as a whole.
#[derive(Debug)]
pub struct FileJournal {
    path: PathBuf,
}

impl FileJournal {
    /// The journal at this path, which need not exist yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn io(&self, source: std::io::Error) -> JournalError {
        JournalError::Io { path: self.path.clone(), source }
    }
}

impl Journal for FileJournal {
    fn load(&mut self) -> Result<Entries, JournalError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Entries::default());
            }
            Err(error) => return Err(self.io(error)),
        };
        serde_json::from_slice(&text).map_err(|error| JournalError::Invalid {
            path: self.path.clone(),
            reason: error.to_string(),
        })
    }

    fn save(&mut self, entries: &Entries) -> Result<(), JournalError> {
        let text = serde_json::to_vec(entries).map_err(|error| JournalError::Invalid {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        durable_file::replace(&self.path, &text).map_err(|source| self.io(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(nonce: u64) -> Entry {
        Entry::Pending { call: B256::ZERO, nonce, gas: 21_000, attempts: Vec::new() }
    }

    #[test]
    fn what_was_saved_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.json");
        let mut journal = FileJournal::new(path.clone());
        assert_eq!(journal.load().unwrap(), Entries::default());
        let mut entries = Entries::default();
        entries.put("report 1", pending(7));
        entries.finish("report 0", B256::ZERO, B256::ZERO, 12, true);
        journal.save(&entries).unwrap();
        assert_eq!(FileJournal::new(path.clone()).load().unwrap(), entries);
        assert_eq!(entries.next_nonce(), 8);
        assert_eq!(entries.pending(), ["report 1"]);
        fs::write(&path, "{").unwrap();
        assert!(matches!(journal.load(), Err(JournalError::Invalid { .. })));
    }

    #[test]
    fn what_is_pending_is_never_forgotten() {
        let mut entries = Entries::default();
        entries.put("first", pending(0));
        for number in 0..FINISHED_MAX + 10 {
            entries.finish(&number.to_string(), B256::ZERO, B256::ZERO, 1, true);
        }
        assert!(entries.get("first").is_some());
        assert_eq!(entries.entries.len(), FINISHED_MAX + 1);
        assert!(entries.get("9").is_none() && entries.get("10").is_some());
    }
}
