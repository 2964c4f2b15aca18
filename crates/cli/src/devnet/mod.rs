//! `tidings devnet-init`: keys, registry and configuration of a network on one machine, which is on
//! a chain of its own or has its registry in a file.

mod chain;
mod edge;
mod gateway;
mod keys;
mod node;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;
use tidings_envelope::registry::{EdgeRecord, FeeSchedule, NodeRecord, PayerRecord};
use tidings_envelope::{CongestionRule, Registry, RegistryDocument};
use tidings_types::constants::{COMMITTEE_MEMBERS_MAX, DEVNET_PERIOD_MS};
use tidings_types::{Genesis, GenesisSalt, RegistryEpoch};
use zeroize::Zeroizing;

use crate::output::Output;
use crate::secret_file::Secret;
use chain::{Chain, Joining};
use keys::KeySource;

/// Up to this many nodes share one mailbox bucket: their users are too few to hide in more.
const MAILBOX_NODES_MAX: u32 = 16;

/// Where nodes keep their data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Store {
    /// One SQLite file per node.
    Sqlite,
    /// One PostgreSQL database per node, `tidings_node_0` and on, which exist already.
    Postgres,
}

/// What to lay out.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct DevnetInit {
    /// The network's folder; what it holds is kept
    #[arg(long)]
    pub dir: PathBuf,
    /// Number of nodes
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub nodes: u32,
    /// Number of shards, a power of two
    #[arg(long, default_value_t = 1)]
    pub shards: u16,
    /// Nodes per shard
    #[arg(long, default_value_t = 4)]
    pub replication: u16,
    /// 32 bytes in hex, from which all keys are derived [default: random keys]
    #[arg(long)]
    pub seed: Option<String>,
    /// Where nodes keep their data
    #[arg(long, value_enum, default_value_t = Store::Sqlite)]
    pub store: Store,
    /// The PostgreSQL server, without a database
    #[arg(long, required_if_eq("store", "postgres"))]
    pub postgres_url: Option<String>,
    /// Lay out an XMTP edge for each node, too
    #[arg(long)]
    pub xmtp: bool,
    /// How long a period lasts, in milliseconds
    #[arg(long, default_value_t = DEVNET_PERIOD_MS, value_name = "MS", value_parser = clap::value_parser!(u64).range(1_000..=86_400_000))]
    pub period_ms: u64,
    /// The load of a shard, in bytes per second, above which it becomes dearer with each period
    #[arg(long, default_value_t = CongestionRule::default().target_bytes, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1_024..=1_073_741_824))]
    pub busy_at: u64,
    /// Put the network on the chain at this URL, an anvil, with an operator for each node [default:
    /// a registry file, and no chain]
    #[arg(long, value_name = "URL", conflicts_with = "xmtp")]
    pub chain: Option<String>,
    /// HTTP and QUIC port of each node, then the clients' and operators' port of each edge, then
    /// the gateway's port
    #[arg(long, value_delimiter = ',', required = true)]
    pub ports: Vec<u16>,
}

/// A node as laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeLayout {
    /// Its name.
    pub name: String,
    /// Its number in the registry.
    pub id: u32,
    /// Base URL of its HTTP API.
    pub http: String,
    /// Where peers connect, `address:port`.
    pub quic: String,
    /// Its folder.
    pub data_dir: PathBuf,
    /// Where its log is to be written.
    pub log: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
}

/// The gateway as laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GatewayLayout {
    /// Base URL of its HTTP API.
    pub http: String,
    /// Its folder.
    pub data_dir: PathBuf,
    /// Where its log is to be written.
    pub log: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// The file with an API key for it.
    pub api_key_file: PathBuf,
}

/// An XMTP edge as laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EdgeLayout {
    /// Its name.
    pub name: String,
    /// Its number in the registry.
    pub id: u32,
    /// Where XMTP clients connect.
    pub url: String,
    /// Base URL of what operators look at.
    pub http: String,
    /// Its folder.
    pub data_dir: PathBuf,
    /// Where its log is to be written.
    pub log: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
}

/// Everything laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// The nodes, by rising id.
    pub nodes: Vec<NodeLayout>,
    /// The gateway.
    pub gateway: GatewayLayout,
    /// The XMTP edges, by rising id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<EdgeLayout>,
    /// The file that says where the contracts are, if the network is on a chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<PathBuf>,
}

/// Lays the network out and prints where everything is.
///
/// # Errors
/// When the shape is impossible, the folder holds a network of another shape, or cannot be written.
pub async fn run(options: &DevnetInit, output: Output) -> Result<()> {
    let layout = lay_out(options).await?;
    output.answer(&layout, |layout| {
        format!(
            "{} nodes and a gateway are laid out in {}",
            layout.nodes.len(),
            options.dir.display()
        )
    })
}

/// Lays the network out; keys and data that are there stay.
///
/// # Errors
/// As for [`run`].
pub async fn lay_out(options: &DevnetInit) -> Result<Layout> {
    let seed = options.seed.as_deref().map(parse_seed).transpose()?;
    let Ports { nodes: node_ports, edges: edge_ports, gateway: gateway_port } = ports(options)?;
    fs::create_dir_all(&options.dir)
        .with_context(|| format!("cannot make {}", options.dir.display()))?;
    let dir = std::path::absolute(&options.dir)?;
    let registry_file = dir.join("registry.json");
    let previous = read_registry(&registry_file)?;
    let source = KeySource::new(seed);
    let chain = match &options.chain {
        Some(rpc) => {
            ensure!(previous.is_none(), "{} is of a network without a chain", dir.display());
            Some(Chain::deploy(&dir, options, &source, rpc).await?)
        }
        None => None,
    };
    let mut nodes = Vec::new();
    let mut records = Vec::new();
    for (index, ports) in (0u32..).zip(node_ports) {
        let (layout, record) = node::lay_out(&dir, options, &source, index, ports, chain.as_ref())?;
        nodes.push(layout);
        records.push(record);
    }
    let (folder, payer) = gateway::lay_out_keys(&dir, &source)?;
    let edges = (0u32..).zip(edge_ports);
    let edges = edges.map(|(index, ports)| edge::lay_out_keys(&dir, &source, index, ports));
    let edges: Vec<_> = edges.collect::<Result<_>>()?;
    let latest = previous.as_ref().map(|document| &document.latest);
    let mut payers = vec![payer.clone()];
    payers.extend(edges.iter().map(|keys| keys.payer.clone()));
    let listed = edges.iter().map(|keys| keys.edge.clone()).collect();
    let genesis = chain.as_ref().map(|chain| chain.deployment.genesis());
    let registry = registry(options, &source, (records, payers, listed), latest, genesis)?;
    if let Some(chain) = &chain {
        let joining = nodes.iter().zip(&registry.nodes);
        let joining: Vec<Joining> =
            joining.map(|(layout, record)| Joining { folder: &layout.data_dir, record }).collect();
        chain.populate(&source, &joining, &payer, &folder.join("payer.key")).await?;
    } else if latest != Some(&registry) {
        // What was signed under an earlier epoch is judged by its registry for ever.
        let earlier = previous.into_iter().flat_map(|RegistryDocument { latest, mut earlier }| {
            earlier.push(latest);
            earlier
        });
        let document = RegistryDocument { latest: registry.clone(), earlier: earlier.collect() };
        replace(&registry_file, &(serde_json::to_string_pretty(&document)? + "\n"))?;
    }
    let gateway =
        gateway::lay_out(&folder, &registry, &payer, gateway_port, chain.as_ref()).await?;
    let edges = edges.iter().zip(&registry.nodes);
    let edges = edges.map(|(keys, node)| edge::lay_out(keys, &registry, Some(&node.http)));
    let edges = edges.collect::<Result<_>>()?;
    Ok(Layout { nodes, gateway, edges, deployment: chain.map(|chain| chain.deployment_file) })
}

fn parse_seed(text: &str) -> Result<Secret> {
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text, seed.as_mut_slice())
        .context("a seed is 32 bytes in hex, 64 digits")?;
    Ok(seed)
}

/// Who listens where.
struct Ports {
    /// HTTP and QUIC of each node.
    nodes: Vec<[u16; 2]>,
    /// Clients' and operators' of each edge.
    edges: Vec<[u16; 2]>,
    /// The gateway's.
    gateway: u16,
}

fn ports(options: &DevnetInit) -> Result<Ports> {
    let nodes = usize::try_from(options.nodes)?;
    let edges = if options.xmtp { nodes } else { 0 };
    let wanted = (nodes + edges) * 2 + 1;
    let Some((gateway, pairs)) = options.ports.split_last() else { bail!("no ports are given") };
    ensure!(
        options.ports.len() == wanted,
        "{nodes} nodes, {edges} edges and a gateway need {wanted} ports, not {}",
        options.ports.len()
    );
    let (pairs, _) = pairs.as_chunks::<2>();
    let (nodes, edges) = pairs.split_at(nodes);
    Ok(Ports { nodes: nodes.to_vec(), edges: edges.to_vec(), gateway: *gateway })
}

fn read_registry(path: &Path) -> Result<Option<RegistryDocument>> {
    if !path.exists() {
        return Ok(None);
    }
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let registry = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a registry", path.display()))?;
    Ok(Some(registry))
}

/// The registry of this shape; genesis and, if nothing changed, epoch are those of the previous one.
fn registry(
    options: &DevnetInit,
    source: &KeySource,
    (nodes, payers, edges): (Vec<NodeRecord>, Vec<PayerRecord>, Vec<EdgeRecord>),
    previous: Option<&Registry>,
    on_chain: Option<Genesis>,
) -> Result<Registry> {
    let salt = || GenesisSalt(*source.secret("devnet genesis salt", 0));
    let genesis = on_chain
        .or_else(|| previous.map(|old| old.genesis))
        .unwrap_or_else(|| Genesis::without_chain(salt()));
    let congestion = CongestionRule { target_bytes: options.busy_at, ..CongestionRule::default() };
    let mut registry = Registry {
        genesis,
        epoch: previous.map_or(RegistryEpoch(1), |old| old.epoch),
        shard_count: options.shards,
        replication_factor: options.replication,
        period_ms: options.period_ms,
        mailbox_buckets: options.nodes.div_ceil(MAILBOX_NODES_MAX),
        nodes,
        payers,
        edges,
        fees: FeeSchedule { congestion, ..FeeSchedule::default() },
    };
    ensure!(
        options.replication > 0
            && u32::from(options.replication) <= options.nodes
            && usize::from(options.replication) <= COMMITTEE_MEMBERS_MAX,
        "a shard has 1 to {} nodes",
        options.nodes.min(u32::try_from(COMMITTEE_MEMBERS_MAX)?)
    );
    registry.validate()?;
    if let Some(old) = previous {
        ensure_same_shape(old, &registry)?;
        ensure!(
            options.seed.is_none() || old.genesis == Genesis::without_chain(salt()),
            "the folder holds a network of another seed; choose another folder"
        );
        if *old != registry {
            // Nodes and clients take a changed registry for new by its epoch.
            registry.epoch = old.epoch.plus(1);
        }
    }
    Ok(registry)
}

fn ensure_same_shape(old: &Registry, new: &Registry) -> Result<()> {
    let keys = |registry: &Registry| -> Vec<_> {
        registry.nodes.iter().map(|node| (node.id, node.signing, node.transport)).collect()
    };
    ensure!(
        old.shard_count == new.shard_count
            && old.replication_factor == new.replication_factor
            && old.period_ms == new.period_ms
            && keys(old) == keys(new),
        "the folder holds a network of another shape; choose another folder"
    );
    Ok(())
}

/// Writes a file whole or not at all.
fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// An address on this machine.
fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
