//! The gateway's configuration: one TOML file, which environment variables can override.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings_types::{EthereumAddress, NetworkId, PicoDollars};

/// What `tidings gateway run --config` reads; every field outside the sections can be set by
/// `TIDINGS_GATEWAY_<FIELD>`, lists with commas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where clients connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Base URLs of the nodes that are asked for the registry at start.
    pub nodes: Vec<String>,
    /// The network that registries, batches and receipts must belong to.
    pub network: NetworkId,
    /// Whose balance pays for every user that is given no other payer.
    pub payer: EthereumAddress,
    /// Holds the hex secret of that payer's Ed25519 session key, mode 0600.
    pub session_key_file: PathBuf,
    /// `sqlite:PATH` or `postgres://…`.
    pub database: String,
    /// PEM files of the HTTP certificate chain and key; plain HTTP without.
    #[serde(default)]
    pub tls: Option<TlsFiles>,
    /// Origins that browsers may call from, or `*` for any; none by default.
    #[serde(default)]
    pub cors_origins: Vec<String>,
    /// `text` or `json`.
    #[serde(default = "text")]
    pub log_format: String,
    /// How long a quota's window lasts.
    #[serde(default = "day")]
    pub quota_window_seconds: u64,
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
    /// The chain that has the payer's money; without, spending is not limited by it.
    #[serde(default)]
    pub chain: Option<ChainConfig>,
    /// Who may log in with a wallet; nobody without.
    #[serde(default)]
    pub login: Option<LoginConfig>,
    /// Whether `/metrics` shows what payers have even where there are several; for a gateway whose
    /// metrics only its operator reads.
    #[serde(default)]
    pub metrics_show_funds: bool,
    /// Who pays for users besides `payer`; none by default, and at most [`PAYERS_MAX`] in all.
    #[serde(default)]
    pub payers: Vec<PayerConfig>,
}

/// The most payers of one gateway, each of whose funds are watched.
pub const PAYERS_MAX: usize = 64;

/// A payer and its key (GTW-021).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayerConfig {
    /// Whose balance pays for the users that are given to it.
    pub address: EthereumAddress,
    /// Holds the hex secret of its Ed25519 session key, mode 0600.
    pub session_key_file: PathBuf,
}

/// Who may log in with a wallet, and what they get (GTW-019, GTW-020).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginConfig {
    /// The host, and the port if it is not the scheme's own, that people see and sign for.
    pub domain: String,
    /// EIP-155 id of the chain that messages must name.
    pub chain_id: u64,
    /// `anyone`, or a list of accounts.
    pub who: Who,
    /// Envelopes per window of those who are new.
    #[serde(default = "login_quota")]
    pub quota: u64,
    /// What those who are new may spend per window, in picodollars; no limit by default.
    #[serde(default)]
    pub money_quota: Option<PicoDollars>,
    /// How long a key is good that was given for a log-in.
    #[serde(default = "login_key_seconds")]
    pub key_seconds: u64,
    /// Who pays for those who are new; the gateway's first payer by default.
    #[serde(default)]
    pub payer: Option<EthereumAddress>,
}

/// Whom a gateway lets in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// Every account there is.
    Anyone,
    /// These accounts.
    Only(Vec<EthereumAddress>),
}

/// The settlement chain as a gateway reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// The file that says where the contracts are.
    pub deployment_file: PathBuf,
    /// HTTP URLs of providers; more than half must say the same, and one alone is trusted.
    pub rpc: Vec<String>,
    /// How many blocks must follow before a block counts.
    #[serde(default = "finality_depth")]
    pub finality_depth: u64,
    /// How often the chain is asked, in milliseconds.
    #[serde(default = "poll_ms")]
    pub poll_ms: u64,
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

/// What one caller, and all together, may ask for (GTW-012).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests per second that one address may make.
    pub address_requests_per_second: u32,
    /// Requests that an address may save up.
    pub address_burst: u32,
    /// Requests being answered at once.
    pub requests_max: usize,
    /// Memory for bodies being received or answered, in kilobytes.
    pub body_kilobytes_max: u32,
    /// Time for a request's head, also on an idle connection, in milliseconds.
    pub head_timeout_ms: u64,
    /// Time for a request's body, in milliseconds.
    pub body_timeout_ms: u64,
    /// Time for requests to finish when the gateway stops, in milliseconds.
    pub drain_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            address_requests_per_second: 2_000,
            address_burst: 4_000,
            requests_max: 4_096,
            body_kilobytes_max: 256 << 10,
            head_timeout_ms: 30_000,
            body_timeout_ms: 30_000,
            drain_timeout_ms: 10_000,
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
    #[error("{path} is not a gateway configuration: {reason}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The fields that environment variables can set.
const FIELDS: [(&str, Kind); 14] = [
    ("listen", Kind::Text),
    ("nodes", Kind::List),
    ("network", Kind::Text),
    ("payer", Kind::Text),
    ("session_key_file", Kind::Text),
    ("database", Kind::Text),
    ("cors_origins", Kind::List),
    ("log_format", Kind::Text),
    ("quota_window_seconds", Kind::Number),
    ("envelope_fee_max", Kind::Number),
    ("send_deadline_ms", Kind::Number),
    ("attempt_timeout_ms", Kind::Number),
    ("probe_interval_ms", Kind::Number),
    ("distrust_ms", Kind::Number),
];

/// How a variable's text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    List,
}

impl Kind {
    fn read(self, text: String) -> toml::Value {
        match self {
            Self::Number => match text.parse() {
                Ok(number) => toml::Value::Integer(number),
                Err(_) => toml::Value::String(text),
            },
            Self::List => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                toml::Value::Array(items.map(|item| toml::Value::String(item.into())).collect())
            }
            Self::Text => toml::Value::String(text),
        }
    }
}

impl GatewayConfig {
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
        for (field, kind) in FIELDS {
            if let Some(value) = variable(&format!("TIDINGS_GATEWAY_{}", field.to_uppercase())) {
                table.insert(field.into(), kind.read(value));
            }
        }
        let mut config: Self = table.try_into().map_err(|error| invalid(format!("{error}")))?;
        config.check().map_err(|reason| invalid(reason.into()))?;
        config.resolve(path.parent().unwrap_or(Path::new(".")));
        Ok(config)
    }

    fn check(&self) -> Result<(), &'static str> {
        let has_scheme = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        match self {
            _ if self.nodes.is_empty() => Err("nodes must name at least one node"),
            _ if !self.nodes.iter().all(has_scheme) => Err("nodes must be http or https URLs"),
            _ if !["text", "json"].contains(&self.log_format.as_str()) => {
                Err("log_format must be text or json")
            }
            _ if self.probe_interval_ms == 0 => Err("probe_interval_ms must be at least 1"),
            _ if self.login.as_ref().is_some_and(|login| login.domain.is_empty()) => {
                Err("login.domain must be what people see in their browser")
            }
            _ if self.quota_window_seconds == 0 => Err("quota_window_seconds must be at least 1"),
            _ => self.check_payers(),
        }
    }

    fn check_payers(&self) -> Result<(), &'static str> {
        let different: BTreeSet<_> = self.payers().map(|payer| payer.address).collect();
        let new_users_payer = self.login.as_ref().and_then(|login| login.payer);
        match self.payers.len() + 1 {
            count if count > PAYERS_MAX => Err("there are more payers than one gateway may have"),
            count if count > different.len() => Err("payers must name each payer once"),
            _ if new_users_payer.is_some_and(|payer| !different.contains(&payer)) => {
                Err("login.payer must be one of the payers")
            }
            _ => Ok(()),
        }
    }

    /// Every payer, the one first that pays for users who are given no other.
    pub fn payers(&self) -> impl Iterator<Item = PayerConfig> {
        let first =
            PayerConfig { address: self.payer, session_key_file: self.session_key_file.clone() };
        std::iter::once(first).chain(self.payers.iter().cloned())
    }

    /// Whether it is one of the payers.
    #[must_use]
    pub fn has_payer(&self, address: EthereumAddress) -> bool {
        self.payers().any(|payer| payer.address == address)
    }

    fn resolve(&mut self, folder: &Path) {
        self.session_key_file = folder.join(&self.session_key_file);
        for payer in &mut self.payers {
            payer.session_key_file = folder.join(&payer.session_key_file);
        }
        if let Some(tls) = &mut self.tls {
            tls.certificates = folder.join(&tls.certificates);
            tls.key = folder.join(&tls.key);
        }
        if let Some(chain) = &mut self.chain {
            chain.deployment_file = folder.join(&chain.deployment_file);
        }
        if let Some(file) = self.database.strip_prefix("sqlite:") {
            self.database = format!("sqlite:{}", folder.join(file).display());
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

/// Two epochs of Ethereum.
fn finality_depth() -> u64 {
    64
}

/// A slot of Ethereum: more often there is nothing new.
fn poll_ms() -> u64 {
    12_000
}

fn login_quota() -> u64 {
    1_000
}

/// A month.
fn login_key_seconds() -> u64 {
    30 * 86_400
}

fn day() -> u64 {
    86_400
}

fn send_deadline_ms() -> u64 {
    5_000
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
            "listen = \"127.0.0.1:0\"\nnodes = [\"http://127.0.0.1:7400\"]\nnetwork = \"{}\"\n\
             payer = \"0x{}\"\nsession_key_file = \"session.key\"\ndatabase = \"sqlite:g.db\"\n",
            "01".repeat(32),
            "02".repeat(20),
        )
    }

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<GatewayConfig, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.toml");
        std::fs::write(&path, text).unwrap();
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        GatewayConfig::load(&path, variable)
    }

    fn check_refused(text: &str, variables: &[(&str, &str)], reason: &str) {
        let error = load(text, variables).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn paths_are_relative_to_the_file_and_variables_win() {
        let config = load(
            &minimal(),
            &[
                ("TIDINGS_GATEWAY_NODES", "http://a:1, https://b:2"),
                ("TIDINGS_GATEWAY_SEND_DEADLINE_MS", "7"),
            ],
        )
        .unwrap();
        assert_eq!(config.nodes, ["http://a:1", "https://b:2"]);
        assert_eq!(config.send_deadline(), Duration::from_millis(7));
        assert!(config.session_key_file.is_absolute());
        assert!(config.database.ends_with("/g.db"));
        assert_eq!(config.limits, Limits::default());
    }

    #[test]
    fn who_may_log_in_is_nobody_anyone_or_a_list() {
        // covers: GTW-019
        assert_eq!(load(&minimal(), &[]).unwrap().login, None);
        let login = |who: &str| {
            let login = format!("[login]\ndomain = \"a.example\"\nchain_id = 1\nwho = {who}\n");
            load(&format!("{}{login}", minimal()), &[])
        };
        let anyone = login("\"anyone\"").unwrap().login.unwrap();
        assert_eq!((anyone.who, anyone.quota, anyone.money_quota), (Who::Anyone, 1_000, None));
        let listed = format!("{{ only = [\"0x{}\"] }}", "02".repeat(20));
        let listed = login(&listed).unwrap().login.unwrap();
        assert_eq!(listed.who, Who::Only(vec![EthereumAddress([2; 20])]));
        assert!(login("\"everyone\"").is_err());
        let nowhere = "[login]\ndomain = \"\"\nchain_id = 1\nwho = \"anyone\"\n";
        check_refused(&format!("{}{nowhere}", minimal()), &[], "login.domain");
    }

    #[test]
    fn payers_are_named_once_and_the_first_is_everybodys() {
        // covers: GTW-021
        let payer = |byte: u8| {
            let address = format!("0x{}", hex::encode([byte; 20]));
            format!("[[payers]]\naddress = \"{address}\"\nsession_key_file = \"{byte}.key\"\n")
        };
        let text = |bytes: std::ops::Range<u8>| minimal() + &bytes.map(payer).collect::<String>();
        let config = load(&text(3..5), &[]).unwrap();
        let payers: Vec<_> = config.payers().collect();
        let addresses: Vec<_> = payers.iter().map(|payer| payer.address.0[0]).collect();
        assert_eq!(addresses, [2, 3, 4]);
        assert!(payers.iter().all(|payer| payer.session_key_file.is_absolute()));
        assert!(config.has_payer(EthereumAddress([4; 20])));
        assert!(!config.has_payer(EthereumAddress([5; 20])));
        check_refused(&text(2..4), &[], "once");
        check_refused(&(text(3..4) + &payer(3)), &[], "once");
        assert_eq!(load(&text(3..66), &[]).unwrap().payers().count(), PAYERS_MAX);
        check_refused(&text(3..67), &[], "more payers");
        let login = |byte: u8| {
            let login = "[login]\ndomain = \"a.example\"\nchain_id = 1\nwho = \"anyone\"\n";
            format!("{login}payer = \"0x{}\"\n", hex::encode([byte; 20]))
        };
        assert!(load(&(text(3..4) + &login(3)), &[]).is_ok());
        check_refused(&(text(3..4) + &login(4)), &[], "login.payer");
    }

    #[test]
    fn mistakes_are_named() {
        check_refused(&format!("{}prot = 1", minimal()), &[], "prot");
        check_refused(&minimal(), &[("TIDINGS_GATEWAY_NODES", "")], "nodes");
        check_refused(&minimal(), &[("TIDINGS_GATEWAY_NODES", "localhost:1")], "URLs");
        check_refused(&minimal(), &[("TIDINGS_GATEWAY_LOG_FORMAT", "xml")], "log_format");
        check_refused(&minimal(), &[("TIDINGS_GATEWAY_SEND_DEADLINE_MS", "soon")], "soon");
        check_refused(&format!("{}[limits]\nburst = 1", minimal()), &[], "burst");
        check_refused(&format!("{}[chain]\nrpc = []", minimal()), &[], "deployment_file");
    }
}
