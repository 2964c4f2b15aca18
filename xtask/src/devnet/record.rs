//! devnet.json: what a development network is made of and where it runs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The version of this file's form.
const VERSION: u32 = 1;

/// Where nodes keep their data.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// One SQLite file per node.
    Sqlite,
    /// One PostgreSQL database per node, on one server.
    Postgres,
}

impl Store {
    /// The word for it on a command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// What a network is asked to be.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Number of nodes.
    pub nodes: usize,
    /// Number of shards, a power of two.
    pub shards: usize,
    /// Nodes per shard.
    pub replication: usize,
    /// Where nodes keep their data.
    pub store: Store,
    /// 32 bytes in hex, from which all keys are derived.
    pub seed: String,
    /// Whether each node has an XMTP edge beside it.
    #[serde(default)]
    pub xmtp: bool,
    /// Whether the registry is on a chain of the network's own, and not in a file.
    #[serde(default)]
    pub chain: bool,
}

/// How far the network has come.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Laid out; its processes do not run, or not all of them yet.
    Stopped,
    /// Every process answers.
    Ready,
}

/// A node process.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its id in the registry.
    pub id: serde_json::Value,
    /// Where its HTTP API listens.
    pub http: String,
    /// Where it talks QUIC to other nodes.
    pub quic: String,
    /// Where its data lies.
    pub data_dir: PathBuf,
    /// Where its log is written.
    pub log: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
    /// Its process, while the network runs.
    #[serde(default)]
    pub pid: Option<u32>,
}

/// The gateway process.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Gateway {
    /// Where its HTTP API listens.
    pub http: String,
    /// Where its data lies.
    pub data_dir: PathBuf,
    /// Where its log is written.
    pub log: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
    /// The file with an API key for it.
    pub api_key_file: PathBuf,
    /// Its process, while the network runs.
    #[serde(default)]
    pub pid: Option<u32>,
}

/// The process of an XMTP edge.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// Its name.
    pub name: String,
    /// Its id in the registry.
    pub id: u32,
    /// Where XMTP clients connect.
    pub url: String,
    /// Where operators look.
    pub http: String,
    /// Where its data lies.
    pub data_dir: PathBuf,
    /// Where its log is written.
    pub log: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
    /// Its process, while the network runs.
    #[serde(default)]
    pub pid: Option<u32>,
}

/// What `tidings devnet-init --json` prints.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// The nodes, in the order of their numbers.
    pub nodes: Vec<Node>,
    /// The gateway.
    pub gateway: Gateway,
    /// The XMTP edges, if there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<Edge>,
    /// The file that says where the contracts are, if the network is on a chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<PathBuf>,
}

/// The EVM node of a network that is on a chain.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// Where it listens.
    pub url: String,
    /// Its port.
    pub port: u16,
    /// Where it keeps its state between two runs.
    pub data_dir: PathBuf,
    /// Where its log is written.
    pub log: PathBuf,
    /// Its process, while the network runs.
    #[serde(default)]
    pub pid: Option<u32>,
}

/// The PostgreSQL behind the nodes.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Database {
    /// Its address, without a database.
    pub url: String,
    /// Its port.
    pub port: u16,
    /// Where its data lies.
    pub data_dir: PathBuf,
    /// Its process, while the network runs.
    pub pid: Option<u32>,
}

/// The whole of devnet.json.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The version of this file's form.
    pub version: u32,
    /// How far the network has come.
    pub state: State,
    /// The process that watches over it, while it runs.
    pub supervisor_pid: Option<u32>,
    /// The folder of this network.
    pub dir: PathBuf,
    /// The `tidings` program it runs.
    pub binary: PathBuf,
    /// What it was asked to be.
    pub shape: Shape,
    /// Ports it holds: HTTP and QUIC of each node, two of each edge, then the gateway's.
    pub ports: Vec<u16>,
    /// Its nodes and its gateway.
    #[serde(flatten)]
    pub layout: Layout,
    /// Its PostgreSQL, if it has one.
    pub postgres: Option<Database>,
    /// Its chain, if it is on one.
    #[serde(default)]
    pub chain: Option<Chain>,
}

impl Record {
    /// The record of a network that is laid out and not started.
    pub fn new(
        dir: PathBuf,
        binary: PathBuf,
        shape: Shape,
        ports: Vec<u16>,
        layout: Layout,
    ) -> Self {
        Self {
            version: VERSION,
            state: State::Stopped,
            supervisor_pid: None,
            dir,
            binary,
            shape,
            ports,
            layout,
            postgres: None,
            chain: None,
        }
    }

    /// Where a network in `dir` keeps its record.
    pub fn path(dir: &Path) -> PathBuf {
        dir.join("devnet.json")
    }

    /// Reads the record in `dir`; none when there is none.
    ///
    /// # Errors
    /// When it cannot be read or has another form.
    pub fn load(dir: &Path) -> Result<Option<Self>> {
        let path = Self::path(dir);
        if !path.exists() {
            return Ok(None);
        }
        let text = crate::repository::read(&path)?;
        let record: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} has another form; start with --fresh", path.display()))?;
        Ok((record.version == VERSION).then_some(record))
    }

    /// Writes the record, whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn store(&self) -> Result<()> {
        let path = Self::path(&self.dir);
        let new = path.with_extension("json.new");
        fs::write(&new, self.json()?).with_context(|| format!("cannot write {}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The record as text.
    ///
    /// # Errors
    /// Never in practice: every field has a JSON form.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Enters that no process runs.
    pub fn forget_processes(&mut self) {
        self.state = State::Stopped;
        self.supervisor_pid = None;
        self.layout.gateway.pid = None;
        for node in &mut self.layout.nodes {
            node.pid = None;
        }
        for edge in &mut self.layout.edges {
            edge.pid = None;
        }
        if let Some(postgres) = &mut self.postgres {
            postgres.pid = None;
        }
        if let Some(chain) = &mut self.chain {
            chain.pid = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_read_as_the_program_prints_it() {
        let printed = r#"{"nodes":[{"name":"node-0","id":1,"http":"127.0.0.1:10001",
            "quic":"127.0.0.1:10002","data_dir":"d","log":"l","config":"c"}],
            "gateway":{"http":"127.0.0.1:10003","data_dir":"d","log":"l","config":"c",
            "api_key_file":"k"}}"#;
        let layout: Layout = serde_json::from_str(printed).unwrap();
        let shape = Shape {
            nodes: 1,
            shards: 1,
            replication: 1,
            store: Store::Sqlite,
            seed: "00".repeat(32),
            xmtp: false,
            chain: false,
        };
        let ports = vec![10001, 10002, 10003];
        let record = Record::new("dir".into(), "tidings".into(), shape, ports, layout);
        let again: Record = serde_json::from_str(&record.json().unwrap()).unwrap();
        assert_eq!(again, record);
        assert_eq!(again.layout.nodes[0].pid, None);
    }
}
