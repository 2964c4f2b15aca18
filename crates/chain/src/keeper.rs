//! A registry file that follows the chain.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidings_envelope::{Registry, RegistryDocument};
use tidings_types::{NetworkId, NodeId};

use crate::{Deployment, Endpoints, WatchError, Watcher, WatcherConfig, durable_file};

/// The shortest pause between two looks.
const POLL_MIN: Duration = Duration::from_millis(10);

/// The longest pause after failures in a row.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Why a registry file does not follow the chain.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The chain, or what it says.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a registry.
    #[error("{path} is not a registry: {reason}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file is of another network.
    #[error("{path} is the registry of network {found}, and the contracts are of {expected}")]
    OtherNetwork {
        /// Which file.
        path: PathBuf,
        /// The file's network.
        found: NetworkId,
        /// The contracts' network.
        expected: NetworkId,
    },
}

impl KeepError {
    /// Whether it may pass by itself.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Watch(error) => error.retryable(),
            Self::Io { .. } => true,
            Self::Invalid { .. } | Self::OtherNetwork { .. } => false,
        }
    }
}

/// Keeps a registry file, a [`RegistryDocument`], as new as the chain. Whoever reads the file needs
/// no chain: while it stands still or cannot be reached, the last registry stays in force.
#[derive(Debug)]
pub struct RegistryKeeper {
    path: PathBuf,
    network: NetworkId,
    poll: Duration,
    watcher: Watcher,
    /// All epochs, the newest last.
    epochs: Vec<Registry>,
    /// Whether the file lacks some of them.
    is_behind: bool,
}

impl RegistryKeeper {
    /// Takes up where the file at `path` ends, which need not exist yet.
    ///
    /// # Errors
    /// [`KeepError`] when the file is there and of no use.
    pub fn open(
        path: PathBuf,
        endpoints: Endpoints,
        deployment: Deployment,
        config: WatcherConfig,
    ) -> Result<Self, KeepError> {
        let epochs = read(&path)?;
        let network = deployment.genesis().network_id();
        let other = epochs.iter().map(Registry::network_id).find(|found| *found != network);
        if let Some(found) = other {
            return Err(KeepError::OtherNetwork { path, found, expected: network });
        }
        let known = epochs.last().map(|registry| registry.epoch);
        let watcher = Watcher::new(endpoints, deployment, config, known);
        let poll = config.poll.max(POLL_MIN);
        Ok(Self { path, network, poll, watcher, epochs, is_behind: false })
    }

    /// Whether the newest registry in the file lists this node.
    #[must_use]
    pub fn lists(&self, node: NodeId) -> bool {
        let latest = self.epochs.last().filter(|_| !self.is_behind);
        latest.is_some_and(|registry| registry.node(node).is_some())
    }

    /// Brings the file up to date once; whether it changed.
    ///
    /// # Errors
    /// [`KeepError`]; the file is what it was, and is brought up to date by a later look.
    pub async fn look(&mut self) -> Result<bool, KeepError> {
        let opened = self.watcher.look().await?;
        self.is_behind |= !opened.is_empty();
        self.epochs.extend(opened);
        if !self.is_behind {
            return Ok(false);
        }
        self.write()?;
        self.is_behind = false;
        Ok(true)
    }

    /// Waits until the registry lists this node, however long that takes.
    ///
    /// # Errors
    /// [`KeepError`] that does not pass.
    pub async fn listing(&mut self, node: NodeId) -> Result<(), KeepError> {
        let mut pause = self.poll;
        while !self.lists(node) {
            pause = self.try_look(pause).await?;
            if !self.lists(node) {
                tokio::time::sleep(pause).await;
            }
        }
        Ok(())
    }

    /// Follows the chain for ever.
    ///
    /// # Errors
    /// [`KeepError`] that does not pass; the file keeps the last registry.
    pub async fn follow(mut self) -> Result<std::convert::Infallible, KeepError> {
        let mut pause = self.poll;
        loop {
            pause = self.try_look(pause).await?;
            tokio::time::sleep(pause).await;
        }
    }

    /// Looks once; how long to wait before the next time.
    async fn try_look(&mut self, pause: Duration) -> Result<Duration, KeepError> {
        match self.look().await {
            Ok(changed) => {
                if changed {
                    tracing::info!(network = %self.network, "the chain has another registry");
                }
                Ok(self.poll)
            }
            Err(error) if error.retryable() => {
                tracing::warn!(%error, "the registry on the chain cannot be read now");
                Ok(pause.saturating_mul(2).min(PAUSE_MAX))
            }
            Err(error) => Err(error),
        }
    }

    fn write(&self) -> Result<(), KeepError> {
        let Some((latest, earlier)) = self.epochs.split_last() else { return Ok(()) };
        let document = RegistryDocument { latest: latest.clone(), earlier: earlier.to_vec() };
        let text = serde_json::to_vec_pretty(&document).map_err(|error| KeepError::Invalid {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        durable_file::replace(&self.path, &text)
            .map_err(|source| KeepError::Io { path: self.path.clone(), source })
    }
}

/// The epochs in a file, the newest last; none when there is no file.
fn read(path: &Path) -> Result<Vec<Registry>, KeepError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(KeepError::Io { path: path.into(), source }),
    };
    let invalid = |reason: String| KeepError::Invalid { path: path.into(), reason };
    let document: RegistryDocument =
        serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
    let history = document.history().map_err(|error| invalid(error.to_string()))?;
    Ok(history.iter().map(|registry| registry.as_ref().clone()).collect())
}
