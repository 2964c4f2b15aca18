//! Files that are replaced as a whole and survive a crash.

use std::fs::{self, File};
use std::io::{Result, Write as _};
use std::path::Path;

/// Puts `contents` in the place of what is at `path`: after a crash there is the one or the other.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> Result<()> {
    let mut next = path.to_path_buf().into_os_string();
    next.push(".next");
    let mut file = File::create(&next)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(".".as_ref()))?.sync_all()
}
