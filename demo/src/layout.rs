//! What a network is asked to be, and where `tidings devnet-init` put it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::ports::PortLease;
use crate::process::binary;
use crate::relay::Place;

/// Where nodes keep their data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// In SQLite files.
    Sqlite,
    /// In databases of their own on this server, a URL without a database.
    Postgres(String),
}

/// What network to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many nodes.
    pub nodes: u32,
    /// How many shards.
    pub shards: u16,
    /// How many nodes keep a shard.
    pub replication: u16,
    /// Where nodes keep their data.
    pub store: Store,
    /// Whether to start the gateway too.
    pub gateway: bool,
    /// The seed of a relay on every link, or none for direct links.
    pub relay: Option<u64>,
    /// Whether every node's disk and clock can be made bad; needs a C compiler.
    pub faults: bool,
    /// Where to put it, which stays; a folder that is removed with the network if there is none.
    pub folder: Option<PathBuf>,
    /// Environment variables of every process.
    pub environment: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 4,
            shards: 1,
            replication: 4,
            store: Store::Sqlite,
            gateway: false,
            relay: None,
            faults: false,
            folder: None,
            environment: Vec::new(),
        }
    }
}

/// A node as `tidings devnet-init` laid it out.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeLayout {
    /// Its name.
    pub name: String,
    /// Its number in the registry.
    pub id: u32,
    /// Base URL of its HTTP API, past any relay.
    pub http: String,
    /// Where it listens for its peers, `address:port`, past any relay.
    pub quic: String,
    /// Its folder.
    pub data_dir: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
}

/// The gateway as `tidings devnet-init` laid it out.
#[derive(Debug, Clone, Deserialize)]
pub struct GatewayLayout {
    /// Base URL of its HTTP API.
    pub http: String,
    /// Where its output goes.
    pub log: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// Holds the API key of its first user.
    pub api_key_file: PathBuf,
}

/// Everything laid out.
#[derive(Debug, Deserialize)]
pub(crate) struct Layout {
    pub(crate) nodes: Vec<NodeLayout>,
    pub(crate) gateway: GatewayLayout,
}

impl Layout {
    /// Lays out a network in `folder`, on two ports for each node and one for the gateway.
    ///
    /// # Errors
    /// What `tidings devnet-init` says.
    pub(crate) fn make(folder: &Path, options: &Options, ports: &[PortLease]) -> Result<Self> {
        let ports: Vec<String> = ports.iter().map(|lease| lease.port().to_string()).collect();
        let mut command = Command::new(binary("tidings")?);
        command.arg("devnet-init").arg("--dir").arg(folder);
        command.arg("--nodes").arg(options.nodes.to_string());
        command.arg("--shards").arg(options.shards.to_string());
        command.arg("--replication").arg(options.replication.to_string());
        command.arg("--ports").arg(ports.join(","));
        match &options.store {
            Store::Sqlite => command.args(["--store", "sqlite"]),
            Store::Postgres(url) => command.args(["--store", "postgres", "--postgres-url", url]),
        };
        let output = command.arg("--json").output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Has registry and gateway name a relay's ports instead of the nodes', two for each node;
    /// answers where the relay belongs.
    ///
    /// # Errors
    /// When a file is not what `tidings devnet-init` writes.
    pub(crate) fn relay_through(&self, folder: &Path, ports: &[PortLease]) -> Result<Vec<Place>> {
        let registry_file = folder.join("registry.json");
        let mut registry: Value = serde_json::from_slice(&std::fs::read(&registry_file)?)?;
        let mut gateway = std::fs::read_to_string(&self.gateway.config)?;
        let records = registry["nodes"].as_array_mut().context("the registry lists no nodes")?;
        let mut places = Vec::new();
        for ((layout, record), ports) in self.nodes.iter().zip(records).zip(ports.chunks(2)) {
            let [quic, http] = ports else { continue };
            let place = Place {
                quic: layout.quic.parse()?,
                http: address_of(&layout.http)?,
                public_quic: SocketAddr::from(([127, 0, 0, 1], quic.port())),
                public_http: SocketAddr::from(([127, 0, 0, 1], http.port())),
            };
            let public_http = format!("http://{}", place.public_http);
            gateway = gateway.replace(&layout.http, &public_http);
            record["quic"] = place.public_quic.to_string().into();
            record["http"] = public_http.into();
            places.push(place);
        }
        ensure!(places.len() == self.nodes.len(), "there are too few ports for the relay");
        std::fs::write(registry_file, serde_json::to_string_pretty(&registry)?)?;
        std::fs::write(&self.gateway.config, gateway)?;
        Ok(places)
    }
}

fn address_of(url: &str) -> Result<SocketAddr> {
    let address = url.strip_prefix("http://").context("a node of a devnet speaks plain HTTP")?;
    Ok(address.parse()?)
}
