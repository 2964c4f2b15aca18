//! Where the registry comes from: a file, read again when it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidings_envelope::{Registry, RegistryDocument, RegistryHistory, RegistryRefused};
use tokio::sync::watch;

/// How often the file is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Where registry snapshots come from.
pub trait RegistrySource: Send + 'static {
    /// The newest snapshot, and every newer one.
    fn subscribe(&self) -> watch::Receiver<Arc<Registry>>;

    /// All snapshots that are known, again whenever there is another.
    fn history(&self) -> watch::Receiver<Arc<RegistryHistory>>;
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
    /// It does not go with what the node has seen before.
    #[error("{path} does not go with the registries that this node knows: {refused}")]
    Contradiction {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        refused: RegistryRefused,
    },
}

/// A registry in a JSON file, a [`RegistryDocument`].
///
/// A snapshot of another network, one that breaks a rule, or another one of a known epoch is
/// refused with a warning, and the newest good one stays in force.
#[derive(Debug)]
pub struct RegistryFile {
    path: PathBuf,
    snapshots: Arc<Snapshots>,
    latest: watch::Receiver<Arc<Registry>>,
    history: watch::Receiver<Arc<RegistryHistory>>,
    looking: tokio::task::JoinHandle<()>,
}

impl RegistryFile {
    /// Reads the file, and watches it for as long as this value lives.
    ///
    /// # Errors
    /// [`RegistryFileError`] when the file is not good now.
    pub fn open(path: PathBuf) -> Result<Self, RegistryFileError> {
        let mut watched = Watched::open(path.clone())?;
        let snapshots = Arc::clone(&watched.snapshots);
        let (latest, history) = (snapshots.latest.subscribe(), snapshots.history.subscribe());
        let looking = tokio::spawn(async move {
            let mut interval = tokio::time::interval(LOOK_INTERVAL);
            loop {
                interval.tick().await;
                watched.look();
            }
        });
        Ok(Self { path, snapshots, latest, history, looking })
    }

    /// Adds snapshots that were seen before, so that the file may hold the newest alone.
    ///
    /// # Errors
    /// [`RegistryFileError::Contradiction`] when the file holds another snapshot of one of their
    /// epochs, or is of another network.
    pub fn remember(&self, seen: Vec<Registry>) -> Result<(), RegistryFileError> {
        for registry in seen {
            self.snapshots.insert(registry).map_err(|refused| {
                RegistryFileError::Contradiction { path: self.path.clone(), refused }
            })?;
        }
        Ok(())
    }
}

impl Drop for RegistryFile {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

impl RegistrySource for RegistryFile {
    fn subscribe(&self) -> watch::Receiver<Arc<Registry>> {
        self.latest.clone()
    }

    fn history(&self) -> watch::Receiver<Arc<RegistryHistory>> {
        self.history.clone()
    }
}

/// What is known, for everybody who wants to know.
#[derive(Debug)]
struct Snapshots {
    latest: watch::Sender<Arc<Registry>>,
    history: watch::Sender<Arc<RegistryHistory>>,
}

impl Snapshots {
    fn insert(&self, registry: Registry) -> Result<(), RegistryRefused> {
        let mut inserted = Ok(false);
        let registry = Arc::new(registry);
        self.history.send_if_modified(|history| {
            // Most often it is known already, and nothing needs to be copied.
            if history.at(registry.epoch) != Some(&registry) {
                inserted = Arc::make_mut(history).insert(Arc::clone(&registry));
            }
            inserted == Ok(true)
        });
        self.latest.send_if_modified(|latest| {
            let is_newer = inserted == Ok(true) && registry.epoch > latest.epoch;
            if is_newer {
                tracing::info!(epoch = %registry.epoch, "the registry changed");
                *latest = registry;
            }
            is_newer
        });
        inserted.map(|_| ())
    }
}

/// The file as it was when it was last read.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    seen: Option<SystemTime>,
    snapshots: Arc<Snapshots>,
}

impl Watched {
    fn open(path: PathBuf) -> Result<Self, RegistryFileError> {
        let seen = modified(&path);
        let invalid = |refused: RegistryRefused| RegistryFileError::Invalid {
            path: path.clone(),
            reason: refused.to_string(),
        };
        let history = Arc::new(read(&path)?.history().map_err(invalid)?);
        let latest = Arc::clone(history.latest());
        let (latest, history) = (watch::Sender::new(latest), watch::Sender::new(history));
        Ok(Self { path, seen, snapshots: Arc::new(Snapshots { latest, history }) })
    }

    /// Reads the file if it has changed since it was last good.
    fn look(&mut self) {
        let now = modified(&self.path);
        if now == self.seen {
            return;
        }
        match read(&self.path) {
            Ok(RegistryDocument { latest, earlier }) => {
                self.seen = now;
                for registry in earlier.into_iter().chain([latest]) {
                    let epoch = registry.epoch;
                    if let Err(error) = self.snapshots.insert(registry) {
                        tracing::warn!(%epoch, %error, "a snapshot in the registry is ignored");
                    }
                }
            }
            // It may be half written; the next look will tell.
            Err(error) => tracing::warn!(%error, "the registry was not read again"),
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn read(path: &Path) -> Result<RegistryDocument, RegistryFileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| RegistryFileError::Unreadable { path: path.into(), source })?;
    let invalid = |reason: String| RegistryFileError::Invalid { path: path.into(), reason };
    let document: RegistryDocument =
        serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
    document.latest.validate().map_err(|error| invalid(error.to_string()))?;
    Ok(document)
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
            edges: Vec::new(),
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
        let mut watched = Watched::open(path.clone()).unwrap();
        let mut snapshots = watched.snapshots.latest.subscribe();
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
        let mut watched = Watched::open(path.clone()).unwrap();
        let snapshots = watched.snapshots.latest.subscribe();
        std::fs::remove_file(&path).unwrap();
        watched.look();
        assert!(!snapshots.has_changed().unwrap());
    }

    #[tokio::test]
    async fn earlier_snapshots_are_kept_beside_the_newest() {
        // covers: TOP-009
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.json");
        let document = RegistryDocument { latest: registry(1, 5), earlier: vec![registry(1, 2)] };
        write(&path, &serde_json::to_string(&document).unwrap(), 1);
        let source = RegistryFile::open(path.clone()).unwrap();
        let epochs = |source: &RegistryFile| -> Vec<u64> {
            source.history().borrow().iter().map(|registry| registry.epoch.0).collect()
        };
        assert_eq!(epochs(&source), [2, 5]);
        // What the node has seen before counts too, and may be newer than the file.
        source.remember(vec![registry(1, 2), registry(1, 3), registry(1, 7)]).unwrap();
        assert_eq!(epochs(&source), [2, 3, 5, 7]);
        assert_eq!(source.subscribe().borrow().epoch, RegistryEpoch(7));
        let mut other = registry(1, 5);
        other.nodes[0].weight = 9;
        let refused = source.remember(vec![other]);
        assert!(matches!(refused, Err(RegistryFileError::Contradiction { .. })));
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
