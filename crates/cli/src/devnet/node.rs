//! One node of a development network.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tidings_envelope::registry::NodeRecord;
use tidings_node::config::NodeConfig;
use tidings_types::NodeId;

use super::chain::Chain;
use super::keys::KeySource;
use super::{DevnetInit, NodeLayout, Store, loopback, replace};

/// Makes the folder of the `index`-th node, with keys and configuration.
///
/// # Errors
/// When the folder cannot be written or keeps its data in another kind of store.
pub fn lay_out(
    dir: &Path,
    options: &DevnetInit,
    source: &KeySource,
    index: u32,
    [http, quic]: [u16; 2],
    chain: Option<&Chain>,
) -> Result<(NodeLayout, NodeRecord)> {
    let folder = dir.join("nodes").join(index.to_string());
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let signing = source.node_key(&folder.join("signing.key"), "devnet node signing", index)?;
    let transport =
        source.signing_key(&folder.join("transport.key"), "devnet node transport", index)?;
    // On a chain the registry gives the numbers, from 0 on.
    let id = if chain.is_some() { index } else { index + 1 };
    let config = configuration(options, index, id, [http, quic], chain)?;
    let config_file = folder.join("node.toml");
    write_config(&config_file, &config)?;
    let layout = NodeLayout {
        name: format!("node-{index}"),
        id,
        http: format!("http://{}", loopback(http)),
        quic: loopback(quic),
        log: folder.join("node.log"),
        data_dir: folder,
        config: config_file,
    };
    let record = NodeRecord {
        id: NodeId(id),
        name: layout.name.clone(),
        signing: signing.address(),
        transport: transport.public_key(),
        quic: layout.quic.clone(),
        http: layout.http.clone(),
        weight: 1,
        active: true,
    };
    Ok((layout, record))
}

fn configuration(
    options: &DevnetInit,
    index: u32,
    id: u32,
    [http, quic]: [u16; 2],
    chain: Option<&Chain>,
) -> Result<NodeConfig> {
    let database = match options.store {
        Store::Sqlite => "sqlite:node.db".to_owned(),
        Store::Postgres => {
            let url = options.postgres_url.as_deref().context("--postgres-url is missing")?;
            format!("{}/tidings_node_{index}", url.trim_end_matches('/'))
        }
    };
    let required = toml::toml! {
        signing_key_file = "signing.key"
        transport_key_file = "transport.key"
    };
    let mut table = required;
    table.insert("node".into(), i64::from(id).into());
    // The one is everybody's and laid out; the other follows the chain, each node's its own.
    let registry = if chain.is_some() { "registry.json" } else { "../../registry.json" };
    table.insert("registry_file".into(), registry.into());
    table.insert("database".into(), database.into());
    table.insert("http_listen".into(), loopback(http).into());
    table.insert("quic_listen".into(), loopback(quic).into());
    if let Some(chain) = chain {
        let mut following = chain.following("../../chain/deployment.json");
        following.insert("operator_key_file".into(), "operator.key".into());
        table.insert("chain".into(), following.into());
    }
    Ok(table.try_into()?)
}

/// Writes the configuration unless the same is there; refuses to change the store.
fn write_config(path: &Path, config: &NodeConfig) -> Result<()> {
    if path.exists() {
        let text = fs::read_to_string(path)?;
        let old: NodeConfig = toml::from_str(&text)
            .with_context(|| format!("{} is not a configuration", path.display()))?;
        ensure!(
            old.database.starts_with("sqlite:") == config.database.starts_with("sqlite:"),
            "{} keeps its data in another kind of store; choose another folder",
            path.display()
        );
        if old == *config {
            return Ok(());
        }
    }
    replace(path, &toml::to_string(config)?)
}
