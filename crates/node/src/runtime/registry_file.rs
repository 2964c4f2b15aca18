//! Where the registry comes from: a file, read again when it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidings_envelope::Registry;
use tokio::sync::watch;

/// How often the file is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Where registry snapshots come from.
pub trait RegistrySource: Send + 'static {
    /// The current snapshot, and every later one.
    fn subscribe(&self) -> watch::Receiver<Arc<Registry>>;
}

/// Why a registry file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryFileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a registry.
    #[error("{path} is not a registry: {reason}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A registry in a JSON file.
///
/// A snapshot of another network, of an earlier epoch, or one that breaks a rule is refused
/// with a warning, and the last good one stays in force.
#[derive(Debug)]
pub struct RegistryFile {
    snapshots: watch::Receiver<Arc<Registry>>,
    looking: tokio::task::JoinHandle<()>,
}

impl RegistryFile {
    /// Reads the file, and watches it for as long as this value lives.
    ///
    /// # Errors
    /// [`RegistryFileError`] when the file is not good now.
    pub fn open(path: PathBuf) -> Result<Self, RegistryFileError> {
        let seen = modified(&path);
        let registry = read(&path)?;
        let (sender, snapshots) = watch::channel(Arc::new(registry));
        let looking = tokio::spawn(look(path, seen, sender));
        Ok(Self { snapshots, looking })
    }
}

impl Drop for RegistryFile {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

impl RegistrySource for RegistryFile {
    fn subscribe(&self) -> watch::Receiver<Arc<Registry>> {
        self.snapshots.clone()
    }
}

async fn look(
    path: PathBuf,
    mut seen: Option<SystemTime>,
    snapshots: watch::Sender<Arc<Registry>>,
) {
    let mut interval = tokio::time::interval(LOOK_INTERVAL);
    loop {
        interval.tick().await;
        let now = modified(&path);
        if now == seen {
            continue;
        }
        match read(&path) {
            Ok(registry) => {
                seen = now;
                take_over(&snapshots, registry);
            }
            // It may be half written; the next look will tell.
            Err(error) => tracing::warn!(%error, "the registry was not read again"),
        }
    }
}

fn take_over(snapshots: &watch::Sender<Arc<Registry>>, registry: Registry) {
    let current = snapshots.borrow().clone();
    if registry == *current {
        return;
    }
    if registry.network_id() != current.network_id() || registry.epoch <= current.epoch {
        let (found, known) = (registry.epoch, current.epoch);
        tracing::warn!(%found, %known, "a registry of another network or an old epoch is ignored");
        return;
    }
    tracing::info!(epoch = %registry.epoch, "the registry changed");
    snapshots.send_replace(Arc::new(registry));
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn read(path: &Path) -> Result<Registry, RegistryFileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| RegistryFileError::Unreadable { path: path.into(), source })?;
    let invalid = |reason: String| RegistryFileError::Invalid { path: path.into(), reason };
    let registry: Registry =
        serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
    registry.validate().map_err(|error| invalid(error.to_string()))?;
    Ok(registry)
}
