//! A network of `tidings` processes that dies with its handle.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tidings_envelope::Registry;

use crate::faults::{FaultLibrary, NodeFaults};
use crate::layout::{GatewayLayout, Layout, NodeLayout, Options, Store};
use crate::ports::PortLease;
use crate::process::{self, Program, binary};
use crate::relay::{Place, Relay};

/// How long a process may take until it answers that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A running network; dropping it kills every process.
#[derive(Debug)]
pub struct Network {
    folder: Folder,
    layout: Layout,
    nodes: Vec<Option<Child>>,
    gateway: Option<Child>,
    relay: Option<(Relay, Vec<Place>)>,
    faults: Vec<NodeFaults>,
    http: reqwest::Client,
    environment: Vec<(String, String)>,
    _ports: Vec<PortLease>,
}

/// Where a network's files are.
#[derive(Debug)]
enum Folder {
    /// They are removed with this.
    Passing(tempfile::TempDir),
    /// They stay.
    Lasting(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Passing(folder) => folder.path(),
            Self::Lasting(folder) => folder,
        }
    }
}

impl Network {
    /// Lays out a network, starts every process, and waits until all are ready.
    ///
    /// # Errors
    /// What went wrong, with the end of the log of the process that did not start.
    pub async fn start(options: Options) -> Result<Self> {
        let mut network = Self::lay_out(&options).await?;
        for index in 0..network.layout.nodes.len() {
            network.spawn_node(index)?;
        }
        for index in 0..network.layout.nodes.len() {
            network.node_is_ready(index).await?;
        }
        if options.gateway {
            network.start_gateway().await?;
        }
        Ok(network)
    }

    /// Lays out a network and starts nothing of it but the relay.
    async fn lay_out(options: &Options) -> Result<Self> {
        let folder = match &options.folder {
            Some(folder) => {
                std::fs::create_dir_all(folder)?;
                Folder::Lasting(std::path::absolute(folder)?)
            }
            None => Folder::Passing(tempfile::tempdir()?),
        };
        let take = |count: usize| (0..count).map(|_| PortLease::take()).collect::<Result<Vec<_>>>();
        let count = usize::try_from(options.nodes)?;
        let mut ports = take(count * 2 + 1)?;
        if let Store::Postgres(url) = &options.store {
            ensure!(url.starts_with("postgres"), "{url} is no PostgreSQL server");
        }
        let layout = Layout::make(folder.path(), options, &ports)?;
        let mut relay = None;
        if let Some(seed) = options.relay {
            let public = take(count * 2)?;
            let places = layout.relay_through(folder.path(), &public)?;
            relay = Some((Relay::start(seed, &places).await?, places));
            ports.extend(public);
        }
        let mut faults = Vec::new();
        if options.faults {
            let library = FaultLibrary::compile(folder.path())?;
            faults = (0..count).map(|node| library.of_node(node)).collect::<Result<_>>()?;
        }
        Ok(Self {
            folder,
            nodes: layout.nodes.iter().map(|_| None).collect(),
            layout,
            gateway: None,
            relay,
            faults,
            http: reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?,
            environment: options.environment.clone(),
            _ports: ports,
        })
    }

    async fn start_gateway(&mut self) -> Result<()> {
        let GatewayLayout { http, config, log, .. } = self.layout.gateway.clone();
        let (path, words) = (&binary("tidings")?, &["gateway", "run", "--config"]);
        let program = Program { path, words, config: &config, log: &log };
        self.gateway = Some(program.spawn(&self.environment)?);
        self.ready(&http, &log).await
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

    /// Where everybody else reaches a node's HTTP API: through the relay, if there is one.
    #[must_use]
    pub fn public_http(&self, node: usize) -> String {
        match &self.relay {
            Some((_, places)) => format!("http://{}", places[node].public_http),
            None => self.layout.nodes[node].http.clone(),
        }
    }

    /// The relay on every link.
    ///
    /// # Errors
    /// When the network was started without one.
    pub fn relay(&self) -> Result<&Relay> {
        let (relay, _) = self.relay.as_ref().context("the network has no relay")?;
        Ok(relay)
    }

    /// The disk and the clock of a node.
    ///
    /// # Errors
    /// When the network was started without faults.
    pub fn faults(&self, node: usize) -> Result<&NodeFaults> {
        self.faults.get(node).context("the network was started without faults")
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

    /// Halts a node by SIGSTOP, or lets it go on by SIGCONT.
    ///
    /// # Errors
    /// When the node does not run.
    pub fn halt_node(&self, node: usize, halted: bool) -> Result<()> {
        let child = self.nodes[node].as_ref().context("the node does not run")?;
        process::signal(child, if halted { "STOP" } else { "CONT" })
    }

    /// Stops a node by SIGTERM and waits for its end.
    ///
    /// # Errors
    /// When the node does not run, or does not end in time or in order.
    pub async fn stop_node(&mut self, node: usize) -> Result<()> {
        let child = self.nodes[node].take().context("the node does not run")?;
        process::stop(child).await
    }

    /// Starts a node again from what it has on disk, without waiting for it.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn spawn_node(&mut self, node: usize) -> Result<()> {
        self.spawn_node_as(node, &binary("tidings")?, &[])
    }

    /// Starts a node as another program that takes the same words, with further variables.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn spawn_node_as(
        &mut self,
        node: usize,
        path: &Path,
        variables: &[(&str, &str)],
    ) -> Result<()> {
        let NodeLayout { config, log, .. } = &self.layout.nodes[node];
        let program = Program { path, words: &["node", "run", "--config"], config, log };
        let mut environment = self.environment.clone();
        environment.extend(self.faults.get(node).map(NodeFaults::environment).unwrap_or_default());
        let further = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        environment.extend(further);
        self.nodes[node] = Some(program.spawn(&environment)?);
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
                bail!("{http} is not ready; its log ends with\n{}", process::end_of(log));
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
            process::stop(child).await?;
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
