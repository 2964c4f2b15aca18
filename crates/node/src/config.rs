//! A node's configuration: one TOML file, which environment variables can override.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What `tidings node run --config` reads; every field can be set by `TIDINGS_NODE_<FIELD>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The node's number in the registry.
    pub node: u32,
    /// The registry file, re-read when it changes.
    pub registry_file: PathBuf,
    /// The chain that the registry file follows; without, the file is kept by hand.
    #[serde(default)]
    pub chain: Option<ChainConfig>,
    /// Holds the hex secret of the secp256k1 signing key, mode 0600.
    pub signing_key_file: PathBuf,
    /// Holds the hex secret of the Ed25519 transport key, mode 0600.
    pub transport_key_file: PathBuf,
    /// `sqlite:PATH` or `postgres://…`.
    pub database: String,
    /// Where clients connect, `address:port`.
    pub http_listen: String,
    /// Where peers connect, `address:port`, UDP.
    pub quic_listen: String,
    /// Where peers are to be called instead of where the registry says, for private networks.
    #[serde(default)]
    pub peers: Vec<PeerAddress>,
    /// PEM files of the HTTP certificate chain and key; plain HTTP without.
    #[serde(default)]
    pub tls: Option<TlsFiles>,
    /// Origins that browsers may call from; none by default.
    #[serde(default)]
    pub cors_origins: Vec<String>,
    /// `text` or `json`.
    #[serde(default = "text")]
    pub log_format: String,
    /// How long a publisher waits for its acknowledgement level, in milliseconds.
    #[serde(default = "publish_timeout_ms")]
    pub publish_timeout_ms: u64,
    /// Requests per second that one address may make, and as many at once.
    #[serde(default = "requests_per_second")]
    pub requests_per_second: u32,
}

/// The settlement chain as a node reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// The file that says where the contracts are.
    pub deployment_file: PathBuf,
    /// HTTP URLs of providers; more than half must say the same, and one alone is trusted.
    pub rpc: Vec<String>,
    /// Holds the hex secret of the operator's account on the chain, mode 0600, if the node is to act
    /// there.
    #[serde(default)]
    pub operator_key_file: Option<PathBuf>,
    /// How many blocks must follow before a block counts.
    #[serde(default = "finality_depth")]
    pub finality_depth: u64,
    /// How often the chain is asked, in milliseconds.
    #[serde(default = "poll_ms")]
    pub poll_ms: u64,
}

/// Where a peer is to be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerAddress {
    /// The peer's number in the registry.
    pub node: u32,
    /// `host:port`, UDP.
    pub quic: String,
}

/// The PEM files of a TLS server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// Certificate chain.
    pub certificates: PathBuf,
    /// Private key.
    pub key: PathBuf,
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
    #[error("{path} is not a node configuration: {reason}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl NodeConfig {
    /// Reads a configuration file; relative paths in it are relative to the file.
    ///
    /// `variable` looks up an environment variable, which wins over the file.
    ///
    /// # Errors
    /// [`ConfigError`] names the file and what is wrong with it.
    pub fn load(
        path: &Path,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
        let invalid = |reason: String| ConfigError::Invalid { path: path.into(), reason };
        let mut table: toml::Table = text.parse().map_err(|error| invalid(format!("{error}")))?;
        for field in FIELDS {
            if let Some(value) = variable(&format!("TIDINGS_NODE_{}", field.to_uppercase())) {
                let number = value.parse().ok().filter(|_| NUMBERS.contains(field));
                table.insert(
                    (*field).into(),
                    match number {
                        Some(number) => toml::Value::Integer(number),
                        None => toml::Value::String(value),
                    },
                );
            }
        }
        let mut config: Self = table.try_into().map_err(|error| invalid(format!("{error}")))?;
        config.resolve(path.parent().unwrap_or(Path::new(".")));
        Ok(config)
    }

    fn resolve(&mut self, folder: &Path) {
        for path in
            [&mut self.registry_file, &mut self.signing_key_file, &mut self.transport_key_file]
        {
            *path = folder.join(&*path);
        }
        if let Some(chain) = &mut self.chain {
            chain.deployment_file = folder.join(&chain.deployment_file);
            if let Some(key) = &mut chain.operator_key_file {
                *key = folder.join(&*key);
            }
        }
        if let Some(tls) = &mut self.tls {
            tls.certificates = folder.join(&tls.certificates);
            tls.key = folder.join(&tls.key);
        }
        if let Some(file) = self.database.strip_prefix("sqlite:") {
            self.database = format!("sqlite:{}", folder.join(file).display());
        }
    }
}

/// The fields that environment variables can set.
const FIELDS: &[&str] = &[
    "node",
    "registry_file",
    "signing_key_file",
    "transport_key_file",
    "database",
    "http_listen",
    "quic_listen",
    "log_format",
    "publish_timeout_ms",
    "requests_per_second",
];

/// Those of them that are numbers.
const NUMBERS: &[&str] = &["node", "publish_timeout_ms", "requests_per_second"];

fn text() -> String {
    "text".into()
}

/// Two epochs of Ethereum.
fn finality_depth() -> u64 {
    64
}

fn poll_ms() -> u64 {
    4_000
}

fn publish_timeout_ms() -> u64 {
    5_000
}

fn requests_per_second() -> u32 {
    10_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
        node = 1
        registry_file = "../registry.json"
        signing_key_file = "signing.key"
        transport_key_file = "transport.key"
        database = "sqlite:node.db"
        http_listen = "127.0.0.1:0"
        quic_listen = "127.0.0.1:0"
    "#;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<NodeConfig, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        NodeConfig::load(&path, variable)
    }

    #[test]
    fn paths_are_relative_to_the_file_and_variables_win() {
        let config = load(MINIMAL, &[("TIDINGS_NODE_NODE", "7")]).unwrap();
        assert_eq!(config.node, 7);
        assert!(config.signing_key_file.is_absolute());
        assert!(config.database.ends_with("/node.db"));
        assert_eq!(config.log_format, "text");
    }

    #[test]
    fn the_operators_key_lies_beside_the_file() {
        let chain = "[chain]\ndeployment_file = \"d.json\"\nrpc = []";
        let without = load(&format!("{MINIMAL}\n{chain}"), &[]).unwrap().chain.unwrap();
        assert_eq!(without.operator_key_file, None);
        let with = format!("{MINIMAL}\n{chain}\noperator_key_file = \"operator.key\"");
        let key = load(&with, &[]).unwrap().chain.unwrap().operator_key_file.unwrap();
        assert!(key.is_absolute() && key.ends_with("operator.key"), "{}", key.display());
    }

    #[test]
    fn unknown_fields_are_refused() {
        let error = load(&format!("{MINIMAL}\nprot = 1"), &[]).unwrap_err();
        assert!(error.to_string().contains("prot"), "{error}");
    }
}
