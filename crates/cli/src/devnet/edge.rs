//! An XMTP edge of a development network.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tidings_envelope::Registry;
use tidings_envelope::registry::{EdgeRecord, PayerRecord};
use tidings_types::EdgeId;
use tidings_xmtp::EdgeConfig;

use super::keys::KeySource;
use super::{EdgeLayout, loopback, replace};

/// An edge's folder with its keys, and what the registry says of it.
pub struct Keys {
    folder: PathBuf,
    ports: [u16; 2],
    /// For the registry.
    pub edge: EdgeRecord,
    /// Who pays for it.
    pub payer: PayerRecord,
}

/// Makes the folder of the `index`-th edge with its keys; it has a port for clients and one for
/// operators.
///
/// # Errors
/// When the folder cannot be written.
pub fn lay_out_keys(dir: &Path, source: &KeySource, index: u32, ports: [u16; 2]) -> Result<Keys> {
    let id = EdgeId(index + 1);
    let folder = dir.join(name(id));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let wallet = source.node_key(&folder.join("payer.key"), "devnet edge payer", index)?;
    let purpose = "devnet edge payer session";
    let session = source.signing_key(&folder.join("session.key"), purpose, index)?;
    let key = source.signing_key(&folder.join("edge.key"), "devnet edge", index)?;
    let url = format!("http://{}", loopback(ports[0]));
    let edge = EdgeRecord { id, key: key.public_key(), url, active: true };
    let payer = PayerRecord::unlimited(wallet.address(), vec![session.public_key()]);
    Ok(Keys { folder, ports, edge, payer })
}

/// Makes the edge's configuration.
///
/// # Errors
/// When the folder cannot be written.
pub fn lay_out(keys: &Keys, registry: &Registry, home: Option<&str>) -> Result<EdgeLayout> {
    let Keys { folder, ports, edge, .. } = keys;
    let config_file = folder.join("edge.toml");
    let text = configuration(keys, registry, home)?;
    if fs::read_to_string(&config_file).ok().as_ref() != Some(&text) {
        replace(&config_file, &text)?;
    }
    EdgeConfig::load(&config_file)?;
    Ok(EdgeLayout {
        name: name(edge.id),
        id: edge.id.0,
        url: edge.url.clone(),
        http: format!("http://{}", loopback(ports[1])),
        data_dir: folder.clone(),
        log: folder.join("edge.log"),
        config: config_file,
    })
}

fn configuration(keys: &Keys, registry: &Registry, home: Option<&str>) -> Result<String> {
    let mut table = toml::toml! {
        session_key_file = "session.key"
        edge_key_file = "edge.key"
        index = "index.db"
    };
    let nodes: Vec<String> = registry.nodes.iter().map(|node| node.http.clone()).collect();
    table.insert("listen".into(), loopback(keys.ports[0]).into());
    table.insert("operations".into(), loopback(keys.ports[1]).into());
    table.insert("edge".into(), i64::from(keys.edge.id.0).into());
    table.insert("nodes".into(), nodes.into());
    if let Some(home) = home {
        table.insert("home".into(), home.into());
    }
    table.insert("network".into(), registry.network_id().to_string().into());
    table.insert("payer".into(), keys.payer.address.to_string().into());
    Ok(toml::to_string(&table)?)
}

fn name(id: EdgeId) -> String {
    format!("edge-{id}")
}
