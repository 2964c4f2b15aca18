//! `tidings node init`: a folder with fresh keys, a configuration, and what to register.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use tidings_envelope::registry::NodeRecord;
use tidings_node::config::NodeConfig;
use tidings_types::NodeId;
use tidings_types::ed25519::SigningKey;
use tidings_types::node_key::NodeKey;

use crate::output::Output;
use crate::secret_file;

/// What to make.
#[derive(Debug, Clone, Args)]
pub struct Init {
    /// The node's folder
    #[arg(long)]
    pub dir: PathBuf,
    /// The node's number in the registry
    #[arg(long)]
    pub node: u32,
    /// A short name for people [default: node-NUMBER]
    #[arg(long)]
    pub name: Option<String>,
    /// The registry file of the network
    #[arg(long, value_name = "FILE")]
    pub registry: PathBuf,
    /// `sqlite:FILE` or `postgres://…`
    #[arg(long, default_value = "sqlite:node.db")]
    pub database: String,
    /// Where clients connect, address and port
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub http_listen: String,
    /// Where peers connect, address and UDP port
    #[arg(long, default_value = "0.0.0.0:9080", value_name = "ADDRESS")]
    pub quic_listen: String,
    /// The URL that clients use from outside
    #[arg(long, value_name = "URL")]
    pub http: String,
    /// The host and port that peers use from outside
    #[arg(long, value_name = "HOST:PORT")]
    pub quic: String,
    /// The file that says where the network's contracts are; the registry file follows them
    #[arg(long, value_name = "FILE", requires = "rpc")]
    pub deployment: Option<PathBuf>,
    /// A provider of the chain; more than half of several must say the same
    #[arg(long, value_delimiter = ',', value_name = "URL", requires = "deployment")]
    pub rpc: Vec<String>,
}

#[derive(Serialize)]
struct Made {
    config: PathBuf,
    /// To be entered in the registry.
    record: NodeRecord,
}

/// Makes the folder; keys that are there stay.
///
/// # Errors
/// When the folder holds a node already or cannot be written.
pub fn run(options: &Init, output: Output) -> Result<()> {
    let config_file = options.dir.join("node.toml");
    ensure!(
        !config_file.exists(),
        "{} is there already; edit it, or choose another folder",
        config_file.display()
    );
    fs::create_dir_all(&options.dir)
        .with_context(|| format!("cannot make {}", options.dir.display()))?;
    let key =
        |name: &str| secret_file::read_or_create(&options.dir.join(name), secret_file::random);
    let signing = NodeKey::from_secret(&*key("signing.key")?)?;
    let transport = SigningKey::from_secret(&*key("transport.key")?);
    fs::write(&config_file, toml::to_string(&configuration(options)?)?)
        .with_context(|| format!("cannot write {}", config_file.display()))?;
    let record = NodeRecord {
        id: NodeId(options.node),
        name: options.name.clone().unwrap_or_else(|| format!("node-{}", options.node)),
        signing: signing.address(),
        transport: transport.public_key(),
        quic: options.quic.clone(),
        http: options.http.clone(),
        weight: 1,
        active: true,
    };
    output.answer(&Made { config: config_file, record }, words)
}

fn configuration(options: &Init) -> Result<NodeConfig> {
    let mut table = toml::toml! {
        signing_key_file = "signing.key"
        transport_key_file = "transport.key"
    };
    let registry = std::path::absolute(&options.registry)?;
    table.insert("node".into(), i64::from(options.node).into());
    table.insert("registry_file".into(), registry.display().to_string().into());
    table.insert("database".into(), options.database.clone().into());
    table.insert("http_listen".into(), options.http_listen.clone().into());
    table.insert("quic_listen".into(), options.quic_listen.clone().into());
    if let Some(deployment) = &options.deployment {
        let deployment = std::path::absolute(deployment)?.display().to_string();
        table.insert(
            "chain".into(),
            toml::Value::try_from(serde_json::json!({
                "deployment_file": deployment,
                "rpc": options.rpc,
            }))?,
        );
    }
    Ok(table.try_into()?)
}

fn words(made: &Made) -> String {
    let record = serde_json::to_string_pretty(&made.record).unwrap_or_default();
    format!(
        "The configuration is {}.\n\
         Back the keys up with `tidings node export-keys`: a lost signing key ends the node.\n\
         Enter this in the registry, then start `tidings node run`:\n{record}",
        made.config.display()
    )
}
