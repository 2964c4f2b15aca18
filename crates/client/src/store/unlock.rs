//! The key that opens the store: from a passphrase, or from a file.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use rand::RngCore;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::store::StoreError;

/// The side file that says how the key is made; it holds nothing secret.
const UNLOCK_FILE: &str = "unlock.json";

/// The format of the side file.
const UNLOCK_VERSION: u32 = 1;

/// Memory for Argon2id: what OWASP asks for with two passes, doubled.
///
/// Unit: KiB.
const ARGON2_MEMORY_KIB: u32 = 38 * 1_024;

/// Passes over that memory.
const ARGON2_PASSES: u32 = 2;

/// The most memory that a side file can make a client spend, so that a planted one cannot
/// exhaust the machine.
///
/// Unit: KiB.
const ARGON2_MEMORY_KIB_MAX: u32 = 1_024 * 1_024;

/// The most passes that a side file can make a client spend.
const ARGON2_PASSES_MAX: u32 = 64;

/// How the local store is opened.
///
/// The secret is wiped when this is dropped and never shown by `Debug`.
#[derive(Clone)]
pub enum Unlock {
    /// A passphrase; the key is Argon2id of it under a stored salt.
    Passphrase(Zeroizing<String>),
    /// A file with 32 random bytes, readable by its owner only; made when the store is created.
    KeyFile(PathBuf),
}

impl Unlock {
    /// Opens with this passphrase.
    #[must_use]
    pub fn passphrase(text: &str) -> Self {
        Self::Passphrase(Zeroizing::new(text.to_owned()))
    }

    /// Opens with the key in this file.
    #[must_use]
    pub fn key_file(path: impl Into<PathBuf>) -> Self {
        Self::KeyFile(path.into())
    }
}

impl std::fmt::Debug for Unlock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Passphrase(_) => formatter.write_str("Passphrase"),
            Self::KeyFile(path) => formatter.debug_tuple("KeyFile").field(path).finish(),
        }
    }
}

/// A 32-byte key for the database, wiped when dropped.
pub(crate) type StoreKey = Zeroizing<[u8; 32]>;

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Derivation {
    Argon2id { salt: String, memory_kib: u32, passes: u32 },
    KeyFile,
}

#[derive(Serialize, Deserialize)]
struct UnlockRecord {
    version: u32,
    #[serde(flatten)]
    derivation: Derivation,
}

/// Makes a new key for the home directory and records how to find it again.
pub(crate) fn create_key(home: &Path, unlock: &Unlock) -> Result<StoreKey, StoreError> {
    let (key, derivation) = match unlock {
        Unlock::Passphrase(text) => {
            let mut salt = [0; 16];
            OsRng.fill_bytes(&mut salt);
            let key = derive(text, &salt, ARGON2_MEMORY_KIB, ARGON2_PASSES)?;
            let (memory_kib, passes) = (ARGON2_MEMORY_KIB, ARGON2_PASSES);
            (key, Derivation::Argon2id { salt: hex::encode(salt), memory_kib, passes })
        }
        Unlock::KeyFile(path) if path.exists() => (read_key_file(path)?, Derivation::KeyFile),
        Unlock::KeyFile(path) => (write_key_file(path)?, Derivation::KeyFile),
    };
    let record = UnlockRecord { version: UNLOCK_VERSION, derivation };
    let text = serde_json::to_vec_pretty(&record).expect("numbers and strings are always JSON");
    write_private(&home.join(UNLOCK_FILE), &text)?;
    Ok(key)
}

/// Whether a key was made for the home directory.
pub(crate) fn has_key(home: &Path) -> bool {
    home.join(UNLOCK_FILE).exists()
}

/// The key of an existing home directory.
pub(crate) fn load_key(home: &Path, unlock: &Unlock) -> Result<StoreKey, StoreError> {
    let text = std::fs::read(home.join(UNLOCK_FILE)).map_err(|_| StoreError::Absent)?;
    let record: UnlockRecord =
        serde_json::from_slice(&text).map_err(|_| StoreError::Damaged("unlock.json"))?;
    if record.version > UNLOCK_VERSION {
        let (found, known) = (i64::from(record.version), i64::from(UNLOCK_VERSION));
        return Err(StoreError::NewerFormat { found, known });
    }
    match (record.derivation, unlock) {
        (Derivation::Argon2id { salt, memory_kib, passes }, Unlock::Passphrase(text)) => {
            let salt = hex::decode(salt).map_err(|_| StoreError::Damaged("unlock.json"))?;
            if memory_kib > ARGON2_MEMORY_KIB_MAX || passes > ARGON2_PASSES_MAX {
                return Err(StoreError::Damaged("unlock.json"));
            }
            derive(text, &salt, memory_kib, passes)
        }
        (Derivation::KeyFile, Unlock::KeyFile(path)) => read_key_file(path),
        (Derivation::Argon2id { .. }, Unlock::KeyFile(_)) => Err(StoreError::PassphraseNeeded),
        (Derivation::KeyFile, Unlock::Passphrase(_)) => Err(StoreError::KeyFileNeeded),
    }
}

fn derive(text: &str, salt: &[u8], memory_kib: u32, passes: u32) -> Result<StoreKey, StoreError> {
    let params = Params::new(memory_kib, passes, 1, Some(32))
        .map_err(|_| StoreError::Damaged("unlock.json"))?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(text.as_bytes(), salt, key.as_mut_slice())
        .map_err(|_| StoreError::Damaged("unlock.json"))?;
    Ok(key)
}

fn read_key_file(path: &Path) -> Result<StoreKey, StoreError> {
    let mut file = File::open(path).map_err(|_| StoreError::KeyFileUnreadable)?;
    refuse_if_shared(&file)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(33));
    // One byte more than a key, so that a longer file is noticed.
    let read = Read::by_ref(&mut file).take(33).read_to_end(&mut bytes);
    read.map_err(|_| StoreError::KeyFileUnreadable)?;
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() != key.len() {
        return Err(StoreError::KeyFileUnreadable);
    }
    key.copy_from_slice(&bytes);
    Ok(key)
}

fn write_key_file(path: &Path) -> Result<StoreKey, StoreError> {
    let mut key = Zeroizing::new([0; 32]);
    OsRng.fill_bytes(key.as_mut_slice());
    write_private(path, key.as_slice())?;
    Ok(key)
}

/// Writes a file that only its owner can read, durable when this returns.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}

#[cfg(unix)]
fn refuse_if_shared(file: &File) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    match file.metadata()?.permissions().mode() & 0o077 {
        0 => Ok(()),
        _ => Err(StoreError::KeyFileShared),
    }
}

#[cfg(not(unix))]
fn refuse_if_shared(_file: &File) -> Result<(), StoreError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_again() {
        for by_file in [false, true] {
            let home = tempfile::tempdir().unwrap();
            let unlock = match by_file {
                true => Unlock::key_file(home.path().join("key")),
                false => Unlock::passphrase("correct horse"),
            };
            let key = create_key(home.path(), &unlock).unwrap();
            assert_eq!(load_key(home.path(), &unlock).unwrap(), key);
        }
    }

    #[test]
    fn another_passphrase_is_another_key() {
        let home = tempfile::tempdir().unwrap();
        let key = create_key(home.path(), &Unlock::passphrase("one")).unwrap();
        assert_ne!(load_key(home.path(), &Unlock::passphrase("two")).unwrap(), key);
        let by_file = load_key(home.path(), &Unlock::key_file("/nowhere"));
        assert!(matches!(by_file, Err(StoreError::PassphraseNeeded)));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        let unlock = Unlock::key_file(&path);
        create_key(home.path(), &unlock).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load_key(home.path(), &unlock), Err(StoreError::KeyFileShared)));
    }

    #[test]
    fn the_passphrase_is_not_shown() {
        assert_eq!(format!("{:?}", Unlock::passphrase("hunter2")), "Passphrase");
    }
}
