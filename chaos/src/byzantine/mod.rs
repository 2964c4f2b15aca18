//! A node that lies: an honest node behind a proxy that holds its keys.
//!
//! The node itself runs unchanged and in good faith; all that it says to its peers passes through
//! here, where some of it is withheld, or said in another way and signed again.
//! To the node the proxy is all its peers, whose transport keys a devnet's folder holds.
//! So every lie is one that bytes on the wire can tell, and no crate that is shipped has a switch
//! for it.

mod frames;
mod liar;
mod peers;
mod proxy;

pub use liar::{Liar, Lie};

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use tidings_demo::PortLease;
use tidings_envelope::Registry;
use tidings_node::config::{NodeConfig, PeerAddress};
use tidings_node::read_secret;
use tidings_types::NodeId;
use tidings_types::ed25519::SigningKey;
use tidings_types::node_key::NodeKey;

use proxy::Proxy;

/// Runs the node of a devnet's configuration behind `lie`, until `shutdown` completes.
///
/// # Errors
/// When the folder is no devnet's, or the node cannot run.
pub async fn run(
    config_file: &Path,
    lie: Lie,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let mut config = NodeConfig::load(config_file, |_| None)?;
    let folder = config_file.parent().context("a configuration is in a folder")?;
    let registry: Registry = serde_json::from_slice(&std::fs::read(&config.registry_file)?)?;
    let id = NodeId(config.node);
    let key = NodeKey::from_secret(&*read_secret(&config.signing_key_file)?)?;
    let outer: SocketAddr = config.quic_listen.parse()?;
    let port = PortLease::take()?;
    let inner = SocketAddr::from(([127, 0, 0, 1], port.port()));
    let liar = Liar::new(lie, id, key, &registry);
    let mut proxy = Proxy::new(id, outer, inner, liar);
    let keys = transport_keys(&folder.join(".."))?;
    for record in &registry.nodes {
        let key = keys.iter().find(|key| key.public_key() == record.transport);
        let key = key.with_context(|| format!("no key of node {}", record.id))?.clone();
        if let Some(address) = proxy.add(record, key)? {
            config.peers.push(PeerAddress { node: record.id.0, quic: address.to_string() });
        }
    }
    config.quic_listen = inner.to_string();
    let proxying = tokio::spawn(Arc::new(proxy).run());
    let result = tidings_node::run(config, Arc::default(), shutdown).await;
    proxying.abort();
    Ok(result?)
}

/// The keys of all nodes whose folders are in `folder`.
fn transport_keys(folder: &Path) -> Result<Vec<SigningKey>> {
    let mut keys = Vec::new();
    for node in folder.read_dir()? {
        let file = node?.path().join("transport.key");
        if file.exists() {
            keys.push(SigningKey::from_secret(&*read_secret(&file)?));
        }
    }
    Ok(keys)
}
