//! A node's keys in one file under a passphrase: Argon2id, then ChaCha20-Poly1305.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce};
use clap::Args;
use rand::RngCore;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::output::Output;
use crate::secret_file::{self, Secret};

/// The format of a backup.
const VERSION: u32 = 1;

/// Bound into the ciphertext, so that nothing else decrypts as a backup.
const PURPOSE: &[u8] = b"tidings node keys 1";

/// Memory for Argon2id, in KiB: a backup is opened rarely and may be attacked for years.
const MEMORY_KIB: u32 = 256 * 1024;

/// The most memory that a backup file can make us spend, in KiB.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;

/// Passes over that memory.
const PASSES: u32 = 3;

/// The most passes that a backup file can make us spend.
const PASSES_MAX: u32 = 64;

/// The keys of a node, by file name.
const FILES: [&str; 2] = ["signing.key", "transport.key"];

/// What to back up.
#[derive(Debug, Clone, Args)]
pub struct Export {
    /// The node's folder
    #[arg(long)]
    pub dir: PathBuf,
    /// The backup to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// What to bring back.
#[derive(Debug, Clone, Args)]
pub struct Restore {
    /// The node's folder; keys that are there are never overwritten
    #[arg(long)]
    pub dir: PathBuf,
    /// The backup to read
    #[arg(long = "from", value_name = "FILE")]
    pub backup: PathBuf,
}

/// A backup as it lies in its file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    version: u32,
    memory_kib: u32,
    passes: u32,
    salt: String,
    ciphertext: String,
}

/// Writes the keys of a node to a backup.
///
/// # Errors
/// When the keys cannot be read or the backup exists already.
pub fn export(options: &Export, passphrase: &str, output: Output) -> Result<()> {
    let mut plain = Zeroizing::new(Vec::with_capacity(32 * FILES.len()));
    for name in FILES {
        plain.extend_from_slice(secret_file::read(&options.dir.join(name))?.as_slice());
    }
    let backup = seal(&plain, passphrase, MEMORY_KIB)?;
    secret_file::create(&options.out, serde_json::to_string_pretty(&backup)?.as_bytes())?;
    answer(output, &options.out, "The keys are backed up in")
}

/// Brings the keys of a node back.
///
/// # Errors
/// When the passphrase is not the backup's, or a key is there already.
pub fn restore(options: &Restore, passphrase: &str, output: Output) -> Result<()> {
    let text = std::fs::read_to_string(&options.backup)
        .with_context(|| format!("cannot read {}", options.backup.display()))?;
    let backup: Backup = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a backup of keys", options.backup.display()))?;
    let plain = open(&backup, passphrase)?;
    let (keys, rest) = plain.as_chunks::<32>();
    ensure!(keys.len() == FILES.len() && rest.is_empty(), "the backup holds something else");
    for name in FILES {
        let path = options.dir.join(name);
        ensure!(!path.exists(), "{} is there already; nothing is overwritten", path.display());
    }
    std::fs::create_dir_all(&options.dir)?;
    for (name, key) in FILES.iter().zip(keys) {
        let digits = Zeroizing::new(hex::encode(key));
        secret_file::create(&options.dir.join(name), digits.as_bytes())?;
    }
    answer(output, &options.dir, "The keys are back in")
}

fn answer(output: Output, path: &Path, words: &str) -> Result<()> {
    output.answer(&serde_json::json!({ "path": path }), |_| format!("{words} {}", path.display()))
}

fn seal(plain: &[u8], passphrase: &str, memory_kib: u32) -> Result<Backup> {
    ensure!(!passphrase.is_empty(), "the passphrase is empty");
    let mut salt = [0; 16];
    OsRng.fill_bytes(&mut salt);
    let key = derive(passphrase, &salt, memory_kib, PASSES)?;
    // A key belongs to one salt, so it seals one message and the nonce can be fixed.
    let sealed = ChaCha20Poly1305::new(Key::from_slice(&*key))
        .encrypt(&Nonce::default(), Payload { msg: plain, aad: PURPOSE })
        .map_err(|_| anyhow!("the keys cannot be sealed"))?;
    Ok(Backup {
        version: VERSION,
        memory_kib,
        passes: PASSES,
        salt: hex::encode(salt),
        ciphertext: hex::encode(sealed),
    })
}

fn open(backup: &Backup, passphrase: &str) -> Result<Zeroizing<Vec<u8>>> {
    ensure!(backup.version == VERSION, "the backup is of version {}", backup.version);
    ensure!(
        backup.memory_kib <= MEMORY_KIB_MAX && backup.passes <= PASSES_MAX,
        "the backup asks for more work than any backup needs"
    );
    let salt = hex::decode(&backup.salt).context("the backup is damaged")?;
    let sealed = hex::decode(&backup.ciphertext).context("the backup is damaged")?;
    let key = derive(passphrase, &salt, backup.memory_kib, backup.passes)?;
    let payload = Payload { msg: &sealed, aad: PURPOSE };
    ChaCha20Poly1305::new(Key::from_slice(&*key))
        .decrypt(&Nonce::default(), payload)
        .map(Zeroizing::new)
        .map_err(|_| anyhow!("the passphrase is not the backup's, or the backup is damaged"))
}

fn derive(passphrase: &str, salt: &[u8], memory_kib: u32, passes: u32) -> Result<Secret> {
    let failed = |error| anyhow!("the backup's key cannot be derived: {error}");
    let params = Params::new(memory_kib, passes, 1, Some(32)).map_err(failed)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, key.as_mut_slice())
        .map_err(failed)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Output = Output { json: false };

    fn folder_with_keys() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in FILES {
            secret_file::read_or_create(&folder.path().join(name), secret_file::random).unwrap();
        }
        folder
    }

    #[test]
    fn keys_come_back_under_their_passphrase_only() {
        let sealed = seal(&[7; 64], "right", 64).unwrap();
        assert_eq!(open(&sealed, "right").unwrap().as_slice(), [7; 64]);
        assert!(open(&sealed, "wrong").is_err());
        assert!(seal(&[7; 64], "", 64).is_err());
    }

    #[test]
    fn a_backup_that_asks_for_too_much_work_is_refused() {
        let mut sealed = seal(&[7; 64], "right", 64).unwrap();
        sealed.memory_kib = MEMORY_KIB_MAX + 1;
        assert!(open(&sealed, "right").unwrap_err().to_string().contains("more work"));
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = folder_with_keys();
        let out = folder.path().join("backup.json");
        let export_options = Export { dir: folder.path().into(), out: out.clone() };
        export(&export_options, "pass", QUIET).unwrap();
        assert!(export(&export_options, "pass", QUIET).is_err());
        let there = Restore { dir: folder.path().into(), backup: out.clone() };
        assert!(restore(&there, "pass", QUIET).is_err());
        let elsewhere = Restore { dir: folder.path().join("new"), backup: out };
        restore(&elsewhere, "pass", QUIET).unwrap();
        for name in FILES {
            let old = secret_file::read(&folder.path().join(name)).unwrap();
            assert_eq!(secret_file::read(&elsewhere.dir.join(name)).unwrap(), old);
        }
    }
}
