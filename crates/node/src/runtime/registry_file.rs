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
        let (mut watched, snapshots) = Watched::open(path)?;
        let looking = tokio::spawn(async move {
            let mut interval = tokio::time::interval(LOOK_INTERVAL);
            loop {
                interval.tick().await;
                watched.look();
            }
        });
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

/// The file as it was when it was last read.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    seen: Option<SystemTime>,
    snapshots: watch::Sender<Arc<Registry>>,
}

impl Watched {
    fn open(path: PathBuf) -> Result<(Self, watch::Receiver<Arc<Registry>>), RegistryFileError> {
        let seen = modified(&path);
        let registry = read(&path)?;
        let (snapshots, receiver) = watch::channel(Arc::new(registry));
        Ok((Self { path, seen, snapshots }, receiver))
    }

    /// Reads the file if it has changed since it was last good.
    fn look(&mut self) {
        let now = modified(&self.path);
        if now == self.seen {
            return;
        }
        match read(&self.path) {
            Ok(registry) => {
                self.seen = now;
                self.take_over(registry);
            }
            // It may be half written; the next look will tell.
            Err(error) => tracing::warn!(%error, "the registry was not read again"),
        }
    }

    fn take_over(&self, registry: Registry) {
        let current = self.snapshots.borrow().clone();
        if registry == *current {
            return;
        }
        if registry.network_id() != current.network_id() || registry.epoch <= current.epoch {
            let (found, known) = (registry.epoch, current.epoch);
            tracing::warn!(%found, %known, "a registry of another network or old epoch is ignored");
            return;
        }
        tracing::info!(epoch = %registry.epoch, "the registry changed");
        self.snapshots.send_replace(Arc::new(registry));
    }
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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use tidings_envelope::registry::{FeeSchedule, NodeRecord};
    use tidings_types::ed25519::SigningKey;
    use tidings_types::{EthereumAddress, Genesis, NodeId, RegistryEpoch};

    use super::*;

    /// A registry of one node in the network with this salt.
    fn registry(salt: u8, epoch: u64) -> Registry {
        let node = NodeRecord {
            id: NodeId(1),
            name: "one".into(),
            signing: EthereumAddress([1; 20]),
            transport: SigningKey::from_secret(&[1; 32]).public_key(),
            quic: "127.0.0.1:1".into(),
            http: "http://127.0.0.1:2".into(),
            weight: 1,
            active: true,
        };
        Registry {
            genesis: Genesis::without_chain([salt; 32].into()),
            epoch: RegistryEpoch(epoch),
            shard_count: 1,
            replication_factor: 1,
            period_ms: 10_000,
            mailbox_buckets: 1,
            nodes: vec![node],
            payers: Vec::new(),
            fees: FeeSchedule::default(),
        }
    }

    fn json(salt: u8, epoch: u64) -> String {
        serde_json::to_string(&registry(salt, epoch)).unwrap()
    }

    /// Writes the file with a time of change of its own, however coarse the clock is.
    fn write(path: &Path, text: &str, change: u64) {
        std::fs::write(path, text).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(change)).unwrap();
    }

    /// Changes a file of epoch 5 into `text`; `expected` is the epoch in force after that.
    fn check(text: &str, expected: u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.json");
        write(&path, &json(1, 5), 1);
        let (mut watched, mut snapshots) = Watched::open(path.clone()).unwrap();
        watched.look();
        assert!(!snapshots.has_changed().unwrap());
        write(&path, text, 2);
        watched.look();
        assert_eq!(snapshots.has_changed().unwrap(), expected != 5, "{text}");
        assert_eq!(*snapshots.borrow_and_update().as_ref(), registry(1, expected));
        // Whatever it was, what is good and newer is taken over after it.
        write(&path, &json(1, 9), 3);
        watched.look();
        assert!(snapshots.has_changed().unwrap());
        assert_eq!(snapshots.borrow().epoch, RegistryEpoch(9));
    }

    #[test]
    fn only_a_newer_registry_of_the_same_network_is_taken_over() {
        check(&json(1, 6), 6);
        check(&json(1, 8), 8);
        check(&json(1, 5), 5);
        check(&json(1, 4), 5);
        check(&json(2, 6), 5);
        let other_weight = json(1, 5).replace("\"weight\":1", "\"weight\":2");
        assert_ne!(other_weight, json(1, 5));
        check(&other_weight, 5);
    }

    #[test]
    fn a_broken_file_is_ignored() {
        check("", 5);
        check("{", 5);
        check(json(1, 6).get(..40).unwrap(), 5);
        check(&json(1, 6).replace("\"shard_count\":1", "\"shard_count\":3"), 5);
    }

    #[test]
    fn a_missing_file_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.json");
        assert!(matches!(Watched::open(path.clone()), Err(RegistryFileError::Unreadable { .. })));
        write(&path, "{}", 1);
        assert!(matches!(Watched::open(path.clone()), Err(RegistryFileError::Invalid { .. })));
        write(&path, &json(1, 5), 1);
        let (mut watched, snapshots) = Watched::open(path.clone()).unwrap();
        std::fs::remove_file(&path).unwrap();
        watched.look();
        assert!(!snapshots.has_changed().unwrap());
    }

    #[tokio::test]
    async fn the_file_is_watched_while_the_source_lives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.json");
        write(&path, &json(1, 5), 1);
        let source = RegistryFile::open(path.clone()).unwrap();
        let mut snapshots = source.subscribe();
        assert_eq!(snapshots.borrow_and_update().epoch, RegistryEpoch(5));
        write(&path, &json(1, 6), 2);
        snapshots.changed().await.unwrap();
        assert_eq!(snapshots.borrow_and_update().epoch, RegistryEpoch(6));
        drop(source);
        // Nobody looks any more, so nothing can change.
        assert!(snapshots.changed().await.is_err());
    }
}
