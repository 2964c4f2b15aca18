//! Files that hold a secret: made once, readable by their owner only, never overwritten.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rand::RngCore;
use rand::rngs::OsRng;
use zeroize::Zeroizing;

/// A 32-byte secret, wiped when dropped.
pub type Secret = Zeroizing<[u8; 32]>;

/// 32 bytes from the operating system.
#[must_use]
pub fn random() -> Secret {
    let mut secret = Zeroizing::new([0; 32]);
    OsRng.fill_bytes(secret.as_mut_slice());
    secret
}

/// Writes `contents` to a file that does not exist yet, mode 0600, and syncs it.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn create(path: &Path, contents: &[u8]) -> Result<()> {
    let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = open.with_context(|| format!("cannot make {}", path.display()))?;
    let written = file.write_all(contents).and_then(|()| file.sync_all());
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// The secret in the file at `path`, which is made with `fresh` if it is not there.
///
/// # Errors
/// When the file cannot be made or read, or holds something else.
pub fn read_or_create(path: &Path, fresh: impl FnOnce() -> Secret) -> Result<Secret> {
    if path.exists() {
        return read(path);
    }
    let secret = fresh();
    create(path, Zeroizing::new(hex::encode(*secret)).as_bytes())?;
    Ok(secret)
}

/// The secret in the file at `path`: 64 hex digits.
///
/// # Errors
/// When the file cannot be read, may be read by others, or holds something else.
pub fn read(path: &Path) -> Result<Secret> {
    let text = read_private(path)?;
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), secret.as_mut_slice())
        .ok()
        .with_context(|| format!("{} does not hold a key of 64 hex digits", path.display()))?;
    Ok(secret)
}

/// The text of a file that nobody else may read.
///
/// # Errors
/// When the file cannot be read or may be read by others.
pub fn read_private(path: &Path) -> Result<Zeroizing<String>> {
    let cannot = || format!("cannot read {}", path.display());
    let mode = fs::metadata(path).with_context(cannot)?.permissions().mode();
    ensure!(mode & 0o077 == 0, "{0} may be read by others; run `chmod 600 {0}`", path.display());
    Ok(Zeroizing::new(fs::read_to_string(path).with_context(cannot)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let first = read_or_create(&path, random).unwrap();
        assert_eq!(read_or_create(&path, random).unwrap(), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(create(&path, b"other").is_err());
        assert_eq!(read(&path).unwrap(), first);
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path, "00".repeat(32).as_bytes()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn something_else_is_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path, b"zz").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("64 hex digits"));
    }
}
