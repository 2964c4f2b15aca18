//! Secrets in files that nobody else can read.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read it.
    #[error("{path} can be read by others; run: chmod 600 {path}")]
    Exposed {
        /// Which file.
        path: PathBuf,
    },
    /// It does not hold 32 bytes in hex, or they are no key.
    #[error("{path} does not hold a key: 64 hex digits are expected")]
    Invalid {
        /// Which file.
        path: PathBuf,
    },
}

/// Reads a 32-byte secret in hex from a file with mode 0600 or less.
///
/// # Errors
/// [`KeyFileError`] names the file and what to do.
pub fn read_secret(path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    use std::os::unix::fs::PermissionsExt;
    let unreadable = |source| KeyFileError::Unreadable { path: path.into(), source };
    let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.into() });
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?);
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), secret.as_mut_slice())
        .map_err(|_| KeyFileError::Invalid { path: path.into() })?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn check(text: &str, mode: u32) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        read_secret(&path).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_must_be_whole_and_private() {
        assert_eq!(check(&format!("{}\n", "ab".repeat(32)), 0o600), Ok(()));
        assert!(check(&"ab".repeat(32), 0o644).unwrap_err().contains("chmod"));
        assert!(check("abcd", 0o600).unwrap_err().contains("64 hex digits"));
        assert!(read_secret(Path::new("nowhere.key")).is_err());
    }
}
