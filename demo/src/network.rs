//! A network of `tidings` processes that dies with its handle.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use tidings_envelope::Registry;

use crate::ports::PortLease;

/// How long a process may take until it answers that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a process may take to end after it was told to.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

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
    /// Base URL of its HTTP API.
    pub http: String,
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

#[derive(Debug, Deserialize)]
struct Layout {
    nodes: Vec<NodeLayout>,
    gateway: GatewayLayout,
}

/// A running network; dropping it kills every process and removes every file.
#[derive(Debug)]
pub struct Network {
    folder: tempfile::TempDir,
    layout: Layout,
    nodes: Vec<Option<Child>>,
    gateway: Option<Child>,
    http: reqwest::Client,
    environment: Vec<(String, String)>,
    _ports: Vec<PortLease>,
}

/// The `tidings` binary next to the running program or test.
///
/// # Errors
/// When it has not been built.
pub fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folders = own.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join("tidings")).find(|path| path.is_file());
    found.context("the tidings binary is not built: run `cargo build --workspace` first")
}

impl Network {
    /// Lays out a network, starts every process, and waits until all are ready.
    ///
    /// # Errors
    /// What went wrong, with the end of the log of the process that did not start.
    pub async fn start(options: Options) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let count = usize::try_from(options.nodes)? * 2 + 1;
        let ports: Vec<PortLease> = (0..count).map(|_| PortLease::take()).collect::<Result<_>>()?;
        if let Store::Postgres(url) = &options.store {
            ensure!(url.starts_with("postgres"), "{url} is no PostgreSQL server");
        }
        let layout = lay_out(folder.path(), &options, &ports)?;
        let nodes = layout.nodes.iter().map(|_| None).collect();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
        let mut network = Self {
            folder,
            layout,
            nodes,
            gateway: None,
            http,
            environment: options.environment.clone(),
            _ports: ports,
        };
        for index in 0..network.layout.nodes.len() {
            network.spawn_node(index)?;
        }
        for index in 0..network.layout.nodes.len() {
            network.node_is_ready(index).await?;
        }
        if options.gateway {
            let GatewayLayout { config, log, .. } = &network.layout.gateway;
            let spawned =
                spawn(&["gateway", "run", "--config"], config, log, &network.environment)?;
            network.gateway = Some(spawned);
            let GatewayLayout { http, log, .. } = network.layout.gateway.clone();
            network.ready(&http, &log).await?;
        }
        Ok(network)
    }

    /// The network's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The nodes, in order.
    #[must_use]
    pub fn nodes(&self) -> &[NodeLayout] {
        &self.layout.nodes
    }

    /// The gateway.
    #[must_use]
    pub fn gateway(&self) -> &GatewayLayout {
        &self.layout.gateway
    }

    /// The registry that the nodes read.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn registry(&self) -> Result<Registry> {
        let text = std::fs::read_to_string(self.folder.path().join("registry.json"))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// The process id of a node, if it runs.
    #[must_use]
    pub fn pid(&self, node: usize) -> Option<u32> {
        self.nodes.get(node)?.as_ref().map(Child::id)
    }

    /// Lets no file of a running node grow past so many bytes, or past none without a number.
    ///
    /// # Errors
    /// When the node does not run, or there is no `prlimit`.
    pub fn limit_files(&self, node: usize, bytes: Option<u64>) -> Result<()> {
        let pid = self.pid(node).context("the node does not run")?.to_string();
        let limit = bytes.map_or("unlimited".into(), |bytes| bytes.to_string());
        // The soft limit alone, so that it can be raised again by anybody.
        let limit = format!("--fsize={limit}:");
        let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status()?;
        ensure!(status.success(), "prlimit failed");
        Ok(())
    }

    /// Kills a node by SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When the node does not run.
    pub fn kill_node(&mut self, node: usize) -> Result<()> {
        let mut child = self.nodes[node].take().context("the node does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Stops a node by SIGTERM and waits for its end.
    ///
    /// # Errors
    /// When the node does not run, or does not end in time or in order.
    pub async fn stop_node(&mut self, node: usize) -> Result<()> {
        let child = self.nodes[node].take().context("the node does not run")?;
        stop(child).await
    }

    /// Starts a node again from what it has on disk, without waiting for it.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn spawn_node(&mut self, node: usize) -> Result<()> {
        let NodeLayout { config, log, .. } = &self.layout.nodes[node];
        let spawned = spawn(&["node", "run", "--config"], config, log, &self.environment)?;
        self.nodes[node] = Some(spawned);
        Ok(())
    }

    /// Waits until a node can serve.
    ///
    /// # Errors
    /// When it is not ready in time, with the end of its log.
    pub async fn node_is_ready(&self, node: usize) -> Result<()> {
        let NodeLayout { http, log, .. } = &self.layout.nodes[node];
        self.ready(http, log).await
    }

    /// A client for the processes' HTTP APIs.
    #[must_use]
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    async fn ready(&self, http: &str, log: &Path) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let url = format!("{http}/readyz");
        loop {
            let answer = self.http.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{http} is not ready; its log ends with\n{}", end_of(log));
            }
            // A process that is starting cannot say when it will answer.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops every process in order.
    ///
    /// # Errors
    /// The first process that did not end in time or in order.
    pub async fn stop(mut self) -> Result<()> {
        for child in
            self.gateway.take().into_iter().chain(self.nodes.iter_mut().filter_map(Option::take))
        {
            stop(child).await?;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let running = self.nodes.iter_mut().chain([&mut self.gateway]).filter_map(Option::as_mut);
        for child in running {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn lay_out(folder: &Path, options: &Options, ports: &[PortLease]) -> Result<Layout> {
    let ports: Vec<String> = ports.iter().map(|lease| lease.port().to_string()).collect();
    let mut command = Command::new(binary()?);
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

fn spawn(
    arguments: &[&str],
    config: &Path,
    log: &Path,
    environment: &[(String, String)],
) -> Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    // A file size limit is then an error like that of a full disk, and no signal.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(binary()?);
    command.args(arguments).arg(config).stdin(Stdio::null());
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdout(log.try_clone()?).stderr(log);
    Ok(command.spawn()?)
}

async fn stop(mut child: Child) -> Result<()> {
    let pid = child.id().to_string();
    ensure!(Command::new("kill").args(["-TERM", &pid]).status()?.success(), "cannot signal {pid}");
    let waiting = tokio::task::spawn_blocking(move || child.wait());
    let status =
        tokio::time::timeout(STOP_TIMEOUT, waiting).await.context("it does not stop")???;
    ensure!(status.success(), "the process ended with {status}");
    Ok(())
}

fn end_of(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
