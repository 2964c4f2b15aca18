//! The network that the demo plays on, and the one node that it kills.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tidings_demo::{Publisher, evidence};
use tidings_envelope::Registry;
use tidings_types::{NodeId, ShardId};

const PATIENCE: Duration = Duration::from_secs(60);

/// How often the ordered lane is read anew for evidence.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What `devnet.json` says.
#[derive(Debug, Deserialize)]
struct Record {
    binary: PathBuf,
    nodes: Vec<Node>,
    gateway: Gateway,
    #[serde(default)]
    deployment: Option<PathBuf>,
    #[serde(default)]
    chain: Option<Chain>,
}

/// The chain that the network is on.
#[derive(Debug, Deserialize)]
struct Chain {
    url: String,
}

/// A node of the network.
#[derive(Debug, Clone, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u32,
    /// Base URL of its HTTP API.
    pub http: String,
    log: PathBuf,
    config: PathBuf,
    pid: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Gateway {
    http: String,
    api_key_file: PathBuf,
}

/// What a node tells about itself.
#[derive(Debug, Deserialize)]
struct Status {
    logs: Vec<Log>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Log {
    node: u32,
    shard: u32,
    incarnation: u32,
    size: u64,
}

/// A running network.
pub struct Stage {
    folder: PathBuf,
    record: Record,
    http: reqwest::Client,
    revived: Option<Child>,
}

impl Stage {
    /// The network that a `devnet.json` describes.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("no network at {}", path.display()))?;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
        let folder = path.parent().context("a file is in a folder")?.to_path_buf();
        Ok(Self { folder, record: serde_json::from_str(&text)?, http, revived: None })
    }

    /// The nodes in order.
    pub fn nodes(&self) -> &[Node] {
        &self.record.nodes
    }

    /// The gateway's URL and a key to it.
    ///
    /// # Errors
    /// When the key cannot be read.
    pub fn gateway(&self) -> Result<(String, String)> {
        let key = std::fs::read_to_string(&self.record.gateway.api_key_file)?;
        Ok((self.record.gateway.http.clone(), key.trim().into()))
    }

    /// Where the chain is that the network is on, and the file that says where its contracts are.
    ///
    /// # Errors
    /// When it is on none.
    pub fn chain(&self) -> Result<(String, PathBuf)> {
        let Record { chain, deployment, .. } = &self.record;
        let chain = chain.as_ref().context("the network is on no chain")?;
        let deployment = deployment.clone().context("the contracts are nowhere")?;
        Ok((chain.url.clone(), deployment))
    }

    /// The `tidings` program.
    pub fn program(&self) -> PathBuf {
        self.record.binary.clone()
    }

    /// The registry as the network's files have it.
    ///
    /// # Errors
    /// When there is none.
    pub fn registry(&self) -> Result<Registry> {
        let of_network = self.folder.join("registry.json");
        // On a chain every node keeps its own.
        let of_node = self.nodes().first().and_then(|node| node.config.parent());
        let of_node = of_node.map(|folder| folder.join("registry.json"));
        let file = of_node.filter(|file| file.exists()).unwrap_or(of_network);
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("no registry at {}", file.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// The committee of shard 0 as a node knows it, by rising number.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn committee(&self, node: usize) -> Result<Vec<u32>> {
        let registry: Registry =
            self.read(&format!("{}/v1/registry", self.nodes()[node].http)).await?;
        let mut members: Vec<u32> =
            registry.committee(ShardId(0)).into_iter().map(|member| member.0).collect();
        members.sort_unstable();
        Ok(members)
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// When there is no answer, or another one.
    pub async fn read<T: DeserializeOwned>(&self, url: &str) -> Result<T> {
        let answer = self.http.get(url).send().await?;
        ensure!(answer.status().is_success(), "{url} answered {}", answer.status());
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }

    /// A node to be killed: the last, as good as any.
    ///
    /// # Errors
    /// When there is none.
    pub fn victim(&self) -> Result<usize> {
        self.nodes().len().checked_sub(1).context("the network has no nodes")
    }

    /// Kills a node by SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, node: usize) -> Result<u32> {
        let pid = self.nodes()[node].pid.context("the node does not run")?;
        let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status()?;
        ensure!(killed.success(), "process {pid} cannot be killed");
        Ok(pid)
    }

    /// Starts the killed node again from its own disk.
    ///
    /// # Errors
    /// When the process cannot be started or does not become ready.
    pub async fn revive(&mut self, node: usize) -> Result<()> {
        let program = self.record.binary.clone();
        self.start(node, Command::new(program)).await
    }

    /// Starts the killed node again as a program that lies in the way with this name.
    ///
    /// # Errors
    /// When the process cannot be started or does not become ready.
    pub async fn lie(&mut self, node: usize, lie: &str) -> Result<()> {
        let mut command = Command::new(self.record.binary.with_file_name("tidings-byzantine"));
        command.env("TIDINGS_LIE", lie);
        self.start(node, command).await
    }

    async fn start(&mut self, node: usize, mut command: Command) -> Result<()> {
        let Node { log, config, http, .. } = self.nodes()[node].clone();
        let log = OpenOptions::new().append(true).open(log)?;
        command.args(["node", "run", "--config"]).arg(config).stdin(Stdio::null());
        self.revived = Some(command.stdout(log.try_clone()?).stderr(log).spawn()?);
        self.is_ready(&http, PATIENCE).await
    }

    /// Waits until the node at a URL can serve.
    ///
    /// # Errors
    /// When it cannot in time.
    pub async fn is_ready(&self, http: &str, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let url = format!("{http}/readyz");
        while !self.http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            ensure!(Instant::now() < deadline, "the node at {http} does not get ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits until a node holds as much of every log as `other` did when asked.
    ///
    /// # Errors
    /// When it does not get there in time.
    pub async fn catches_up(&self, node: usize, other: usize) -> Result<u64> {
        self.comes_to_hold(&self.nodes()[node].http, other, &|_| false).await
    }

    /// Waits until the node at a URL holds as much of every log as `other` did when asked, but of
    /// logs of nodes that do not count.
    ///
    /// # Errors
    /// When it does not get there in time.
    pub async fn comes_to_hold(
        &self,
        http: &str,
        other: usize,
        is_left_out: &(dyn Fn(u32) -> bool + Sync),
    ) -> Result<u64> {
        let mut wanted = self.status(&self.nodes()[other].http).await?.logs;
        wanted.retain(|log| !is_left_out(log.node));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let held = self.status(http).await?.logs;
            let has = |wanted: &Log| {
                let same = |it: &&Log| {
                    (it.node, it.shard, it.incarnation)
                        == (wanted.node, wanted.shard, wanted.incarnation)
                };
                wanted.size == 0 || held.iter().find(same).is_some_and(|it| it.size >= wanted.size)
            };
            if wanted.iter().all(has) {
                return Ok(held.iter().map(|log| log.size).sum());
            }
            if Instant::now() > deadline {
                bail!("the node holds {held:?}, it should hold {wanted:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs `tidings audit` on a node; it verifies everything that the node holds.
    ///
    /// # Errors
    /// What the audit found.
    pub fn audit(&self, node: usize) -> Result<()> {
        let mut command = Command::new(&self.record.binary);
        let output = command.args(["audit", &self.nodes()[node].http, "--once"]).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the audit failed:\n{said}");
        Ok(())
    }

    /// Waits for evidence against a node in the ordered lane, as another node serves it, and has
    /// it judged; where it was written to.
    ///
    /// # Errors
    /// When there is none in time, or it does not verify.
    pub async fn evidence_against(&self, liar: usize, folder: &Path) -> Result<PathBuf> {
        let other = &self.nodes()[usize::from(liar == 0)];
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = evidence::on_record(&self.record.binary, &other.http, folder)?;
            if let Some(file) = found.into_iter().next() {
                let accused = self.nodes()[liar].id;
                evidence::verify(&self.record.binary, &file, &other.http, accused)?;
                return Ok(file);
            }
            ensure!(Instant::now() < deadline, "the lie has left no evidence");
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Has a node take something in, so that it has a log of its own to lie about.
    ///
    /// # Errors
    /// When the network's files are not where they should be, or the node does not answer.
    pub async fn tempt(&self, node: usize) -> Result<()> {
        let publisher = Publisher::open(&self.folder, self.registry()?)?;
        let Node { http, id, .. } = &self.nodes()[node];
        publisher.tempt((http, NodeId(*id))).await
    }

    async fn status(&self, http: &str) -> Result<Status> {
        self.read(&format!("{http}/v1/status")).await
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut child) = self.revived.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
