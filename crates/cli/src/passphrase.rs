//! The passphrase that a user keeps in a file.

use std::path::Path;

use anyhow::{Result, ensure};
use zeroize::Zeroizing;

use crate::failure::UsageError;
use crate::secret_file;

/// The first line of the file, which only its owner may read.
///
/// # Errors
/// When no file is named, or it cannot be read, may be read by others, or is empty.
pub fn read(file: Option<&Path>) -> Result<Zeroizing<String>> {
    let file = file.ok_or_else(|| {
        UsageError(
            "a passphrase is needed; name a file that holds it with --passphrase-file".into(),
        )
    })?;
    let text = secret_file::read_private(file)?;
    let line = text.lines().next().unwrap_or_default();
    ensure!(!line.is_empty(), "{} is empty", file.display());
    Ok(Zeroizing::new(line.to_owned()))
}
