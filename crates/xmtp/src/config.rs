//! An edge's configuration: one TOML file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings_gateway::TlsFiles;
use tidings_types::constants::{RETENTION_DAYS_MAX, RETENTION_DAYS_MIN};
use tidings_types::{EdgeId, EthereumAddress, NetworkId, PicoDollars};

/// What `tidings xmtp-edge run --config` reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeConfig {
    /// Where XMTP clients and other edges connect, gRPC over HTTP/2; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where operators look: `/metrics`, `/healthz`, `/readyz`.
    pub operations: SocketAddr,
    /// The edge's number in the registry.
    pub edge: EdgeId,
    /// Base URLs of the nodes that are asked for the registry at start.
    pub nodes: Vec<String>,
    /// The node to follow while it serves, as the registry lists it; the nearest by default.
    #[serde(default)]
    pub home: Option<String>,
    /// The network that everything must belong to.
    pub network: NetworkId,
    /// Whose balance pays.
    pub payer: EthereumAddress,
    /// Holds the hex secret of the payer's Ed25519 session key, mode 0600.
    pub session_key_file: PathBuf,
    /// Holds the hex secret of the edge's Ed25519 key, mode 0600.
    pub edge_key_file: PathBuf,
    /// The index, a SQLite file that is made anew from the network when it is gone.
    pub index: PathBuf,
    /// PEM files of the certificate chain and key; plain HTTP/2 without.
    #[serde(default)]
    pub tls: Option<TlsFiles>,
    /// `text` or `json`.
    #[serde(default = "text")]
    pub log_format: String,
    /// The most that one envelope may cost, in picodollars; no limit by default.
    #[serde(default)]
    pub envelope_fee_max: Option<PicoDollars>,
    /// How long an envelope is tried before its sender is told.
    #[serde(default = "send_deadline_ms")]
    pub send_deadline_ms: u64,
    /// How long one node may take to answer a batch before another is tried.
    #[serde(default = "attempt_timeout_ms")]
    pub attempt_timeout_ms: u64,
    /// How often each node's status is asked for.
    #[serde(default = "probe_interval_ms")]
    pub probe_interval_ms: u64,
    /// How long a node that lied is left alone.
    #[serde(default = "distrust_ms")]
    pub distrust_ms: u64,
    /// What callers may ask for.
    #[serde(default)]
    pub limits: Limits,
}

/// What one caller, and all together, may ask for (XMTP-010).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests per second that one address may make.
    pub address_requests_per_second: u32,
    /// Requests that an address may save up.
    pub address_burst: u32,
    /// Requests being answered at once.
    pub requests_max: usize,
    /// Streams at once.
    pub streams_max: usize,
    /// Days that nodes keep messages, welcomes and key packages.
    pub message_retention_days: u16,
    /// Days that nodes keep commits, proposals and identity updates.
    pub ordered_retention_days: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            address_requests_per_second: 2_000,
            address_burst: 8_000,
            requests_max: 4_096,
            streams_max: 16_384,
            message_retention_days: 90,
            ordered_retention_days: RETENTION_DAYS_MAX,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not a configuration.
    #[error("{path} is not an edge's configuration: {reason}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl EdgeConfig {
    /// Reads a configuration file; relative paths in it are relative to the file.
    ///
    /// # Errors
    /// [`ConfigError`] names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
        let invalid = |reason: String| ConfigError::Invalid { path: path.into(), reason };
        let mut config: Self = toml::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        config.check().map_err(|reason| invalid(reason.into()))?;
        config.resolve(path.parent().unwrap_or(Path::new(".")));
        Ok(config)
    }

    fn check(&self) -> Result<(), &'static str> {
        let has_scheme = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        let days = RETENTION_DAYS_MIN..=RETENTION_DAYS_MAX;
        match self {
            _ if self.nodes.is_empty() => Err("nodes must name at least one node"),
            _ if !self.nodes.iter().chain(&self.home).all(has_scheme) => {
                Err("nodes must be http or https URLs")
            }
            _ if !["text", "json"].contains(&self.log_format.as_str()) => {
                Err("log_format must be text or json")
            }
            _ if self.probe_interval_ms == 0 => Err("probe_interval_ms must be at least 1"),
            _ if !days.contains(&self.limits.message_retention_days)
                || !days.contains(&self.limits.ordered_retention_days) =>
            {
                Err("messages are kept for 1 to 365 days")
            }
            _ => Ok(()),
        }
    }

    fn resolve(&mut self, folder: &Path) {
        for file in [&mut self.session_key_file, &mut self.edge_key_file, &mut self.index] {
            *file = folder.join(&*file);
        }
        if let Some(tls) = &mut self.tls {
            tls.certificates = folder.join(&tls.certificates);
            tls.key = folder.join(&tls.key);
        }
    }

    pub(crate) fn send_deadline(&self) -> Duration {
        Duration::from_millis(self.send_deadline_ms)
    }

    pub(crate) fn attempt_timeout(&self) -> Duration {
        Duration::from_millis(self.attempt_timeout_ms)
    }

    pub(crate) fn probe_interval(&self) -> Duration {
        Duration::from_millis(self.probe_interval_ms)
    }

    pub(crate) fn distrust(&self) -> Duration {
        Duration::from_millis(self.distrust_ms)
    }
}

fn text() -> String {
    "text".into()
}

fn send_deadline_ms() -> u64 {
    8_000
}

fn attempt_timeout_ms() -> u64 {
    2_000
}

fn probe_interval_ms() -> u64 {
    1_000
}

fn distrust_ms() -> u64 {
    30_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minimal() -> String {
        format!(
            "listen = \"127.0.0.1:0\"\noperations = \"127.0.0.1:0\"\nedge = 1\n\
             nodes = [\"http://127.0.0.1:7400\"]\nnetwork = \"{}\"\npayer = \"0x{}\"\n\
             session_key_file = \"session.key\"\nedge_key_file = \"edge.key\"\nindex = \"i.db\"\n",
            "01".repeat(32),
            "02".repeat(20),
        )
    }

    fn load(text: &str) -> Result<EdgeConfig, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.toml");
        std::fs::write(&path, text).unwrap();
        EdgeConfig::load(&path)
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let config = load(&minimal()).unwrap();
        for path in [&config.session_key_file, &config.edge_key_file, &config.index] {
            assert!(path.is_absolute(), "{}", path.display());
        }
        assert_eq!(config.limits, Limits::default());
    }

    #[test]
    fn mistakes_are_named() {
        for (added, reason) in [
            ("prot = 1", "prot"),
            ("home = \"localhost:1\"", "URLs"),
            ("log_format = \"xml\"", "log_format"),
            ("probe_interval_ms = 0", "probe_interval_ms"),
            ("[limits]\nburst = 1", "burst"),
            ("[limits]\nmessage_retention_days = 0", "1 to 365 days"),
        ] {
            let error = load(&format!("{}{added}", minimal())).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
