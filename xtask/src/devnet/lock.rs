//! One process at a time works in a network's folder.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::{Context, Result, bail, ensure};

/// The lock file's name in the folder.
pub const FILE: &str = "devnet.lock";

/// The right to work in a folder; given up when dropped.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the folder, making it if need be.
    ///
    /// # Errors
    /// When a network runs in it, or it holds something that is no network's.
    pub fn acquire(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = dir.join(FILE);
        let is_ours = path.exists() || fs::read_dir(dir)?.next().is_none();
        ensure!(
            is_ours,
            "{} holds other things than a network; choose another --dir",
            dir.display()
        );
        let file =
            File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        if file.try_lock().is_err() {
            bail!(
                "a network runs in {}; see `cargo xtask devnet status`, or choose another --dir",
                dir.display()
            );
        }
        Ok(Self { _file: file })
    }
}

/// Whether a network runs in the folder.
pub fn is_held(dir: &Path) -> bool {
    match File::open(dir.join(FILE)) {
        Ok(file) => file.try_lock().is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Waits until no network runs in the folder; false when `limit` passes first.
pub fn wait_until_free(dir: &Path, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while is_held(dir) {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_holder_and_is_ours_or_empty() {
        let dir = std::env::temp_dir().join(format!("tidings-lock-test-{}", std::process::id()));
        let lock = DirLock::acquire(&dir).unwrap();
        assert!(is_held(&dir));
        assert!(DirLock::acquire(&dir).is_err());
        drop(lock);
        assert!(wait_until_free(&dir, Duration::ZERO));
        fs::remove_file(dir.join(FILE)).unwrap();
        fs::write(dir.join("thesis.txt"), "chapter one").unwrap();
        let message = DirLock::acquire(&dir).unwrap_err().to_string();
        assert!(message.contains("other things"), "{message}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
