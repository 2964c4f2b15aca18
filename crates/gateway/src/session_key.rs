//! Payers' session keys, read from files that only the gateway's user can read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tidings_types::EthereumAddress;
use tidings_types::ed25519::SigningKey;
use zeroize::Zeroizing;

/// Who can pay, and what signs for each.
pub type SessionKeys = BTreeMap<EthereumAddress, SigningKey>;

/// Why the session key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SessionKeyError {
    /// The file cannot be read.
    #[error("cannot read the session key file {path}: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others may read the file (GTW-002).
    #[error("{path} has mode {mode:03o}; it must be 600, so that nobody else reads the key")]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file does not hold 64 hex digits.
    #[error("{path} does not hold a 32-byte secret in hex")]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
}

/// Reads the hex secret of an Ed25519 key from a file of mode 0600 (GTW-002).
///
/// # Errors
/// [`SessionKeyError`] when the file cannot be read, is open to others, or holds something else.
pub fn read_session_key(path: &Path) -> Result<SigningKey, SessionKeyError> {
    let unreadable = |source| SessionKeyError::Unreadable { path: path.to_owned(), source };
    check_mode(path).map_err(unreadable)??;
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?);
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), secret.as_mut_slice())
        .map_err(|_| SessionKeyError::Malformed { path: path.to_owned() })?;
    Ok(SigningKey::from_secret(&secret))
}

#[cfg(unix)]
fn check_mode(path: &Path) -> std::io::Result<Result<(), SessionKeyError>> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    Ok(match mode & 0o077 {
        0 => Ok(()),
        _ => Err(SessionKeyError::Exposed { path: path.to_owned(), mode }),
    })
}

#[cfg(not(unix))]
fn check_mode(_path: &Path) -> std::io::Result<Result<(), SessionKeyError>> {
    Ok(Ok(()))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn check(text: &str, mode: u32, expected: bool) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session.key");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(read_session_key(&path).is_ok(), expected, "{mode:o}");
    }

    #[test]
    fn the_file_is_nobody_elses_business() {
        // covers: GTW-002
        let secret = "07".repeat(32);
        check(&secret, 0o600, true);
        check(&format!("{secret}\n"), 0o400, true);
        check(&secret, 0o640, false);
        check(&secret, 0o604, false);
        check("07", 0o600, false);
        assert!(read_session_key(Path::new("no such file")).is_err());
    }
}
