//! The payer gateway of a development network.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tidings_envelope::Registry;
use tidings_envelope::registry::PayerRecord;
use tidings_gateway::{DatabaseError, GatewayConfig, Quota};

use super::chain::Chain;
use super::keys::KeySource;
use super::{GatewayLayout, loopback, replace};
use crate::secret_file;

/// Envelopes per window that the network's user may send: as good as unlimited.
const QUOTA: u64 = 1_000_000_000;

/// How many names are tried for the user, should a run have died before it kept the key.
const USER_NAMES_MAX: u32 = 16;

/// Makes the gateway's folder with its keys; the folder, and the payer for the registry.
///
/// # Errors
/// When the folder cannot be written.
pub fn lay_out_keys(dir: &Path, source: &KeySource) -> Result<(PathBuf, PayerRecord)> {
    let folder = dir.join("gateway");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let wallet = source.node_key(&folder.join("payer.key"), "devnet payer", 0)?;
    let session = source.signing_key(&folder.join("session.key"), "devnet payer session", 0)?;
    let payer = PayerRecord::unlimited(wallet.address(), vec![session.public_key()]);
    Ok((folder, payer))
}

/// Makes the gateway's configuration, and its user with an API key.
///
/// # Errors
/// When the folder cannot be written.
pub async fn lay_out(
    folder: &Path,
    registry: &Registry,
    payer: &PayerRecord,
    port: u16,
    chain: Option<&Chain>,
) -> Result<GatewayLayout> {
    let config_file = folder.join("gateway.toml");
    let text = configuration(registry, payer, port, chain)?;
    if fs::read_to_string(&config_file).ok().as_ref() != Some(&text) {
        replace(&config_file, &text)?;
    }
    let config = GatewayConfig::load(&config_file, |_| None)?;
    let api_key_file = folder.join("api-key");
    if !api_key_file.exists() {
        add_user(&config.database, &api_key_file).await?;
    }
    Ok(GatewayLayout {
        http: format!("http://{}", loopback(port)),
        data_dir: folder.to_path_buf(),
        log: folder.join("gateway.log"),
        config: config_file,
        api_key_file,
    })
}

fn configuration(
    registry: &Registry,
    payer: &PayerRecord,
    port: u16,
    chain: Option<&Chain>,
) -> Result<String> {
    let mut table = toml::toml! {
        session_key_file = "session.key"
        database = "sqlite:gateway.db"
    };
    let nodes: Vec<String> = registry.nodes.iter().map(|node| node.http.clone()).collect();
    table.insert("listen".into(), loopback(port).into());
    table.insert("nodes".into(), nodes.into());
    table.insert("network".into(), registry.network_id().to_string().into());
    table.insert("payer".into(), payer.address.to_string().into());
    if let Some(chain) = chain {
        table.insert("chain".into(), chain.following("../chain/deployment.json").into());
    }
    Ok(toml::to_string(&table)?)
}

async fn add_user(database: &str, api_key_file: &Path) -> Result<()> {
    for attempt in 1..=USER_NAMES_MAX {
        let (name, quota) = (format!("devnet-{attempt}"), Quota::envelopes(QUOTA));
        match tidings_gateway::add_user(database, &name, quota).await {
            Ok(key) => return secret_file::create(api_key_file, key.reveal().as_bytes()),
            Err(DatabaseError::UserExists(_)) => {}
            Err(error) => return Err(error).context("cannot add a user to the gateway"),
        }
    }
    bail!("{} is lost; start the network afresh", api_key_file.display())
}
