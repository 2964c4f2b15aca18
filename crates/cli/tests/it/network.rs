//! A network of real processes for one test.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{command, json, run, word};

/// How long anything in a test may take.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks at whether a process is ready.
pub const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Below the ports that systems hand out by themselves, and away from those of xtask.
const PORTS: std::ops::Range<u16> = 24_000..32_000;

/// Four nodes and a gateway; dropped, they are killed.
pub struct Network {
    folder: tempfile::TempDir,
    layout: Value,
    processes: Vec<Child>,
}

impl Network {
    /// Starts a network and waits until all are ready.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports: Vec<String> = free_ports(9).iter().map(u16::to_string).collect();
        let dir = word(folder.path());
        let layout = json(&["devnet-init", "--dir", dir, "--ports", &ports.join(",")]);
        std::fs::write(folder.path().join("devnet.json"), layout.to_string()).unwrap();
        let mut network = Self { folder, layout, processes: Vec::new() };
        for index in 0..4 {
            network.spawn("node", &network.layout["nodes"][index].clone());
        }
        for index in 0..4 {
            wait_ready(&network.node(index));
        }
        network.spawn("gateway", &network.layout["gateway"].clone());
        wait_ready(network.layout["gateway"]["http"].as_str().unwrap());
        network
    }

    /// The base URL of a node.
    pub fn node(&self, index: usize) -> String {
        self.layout["nodes"][index]["http"].as_str().unwrap().to_owned()
    }

    /// The folder of an inbox that does not exist yet.
    pub fn home(&self, name: &str) -> PathBuf {
        self.folder.path().join("homes").join(name)
    }

    /// The file that describes the network.
    pub fn record(&self) -> PathBuf {
        self.folder.path().join("devnet.json")
    }

    /// Makes an inbox whose program talks to one node first.
    pub fn person(&self, name: &str, node: usize) -> Person {
        let home = self.home(name);
        let (record, node) = (self.record(), format!("node-{node}"));
        let create =
            ["inbox", "create", "--devnet", word(&record), "--node", &node, "--home", word(&home)];
        let made = json(&create);
        let address = made["own"]["address"].as_str().unwrap().to_owned();
        Person { home, address }
    }

    /// Kills a node, without a word of warning.
    pub fn kill(&mut self, node: usize) {
        self.processes[node].kill().unwrap();
        self.processes[node].wait().unwrap();
    }

    fn spawn(&mut self, role: &str, process: &Value) {
        let log = std::fs::File::create(process["log"].as_str().unwrap()).unwrap();
        let child = command(&[role, "run", "--config", process["config"].as_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.processes.push(child);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Somebody with an inbox.
pub struct Person {
    /// The folder of the inbox.
    pub home: PathBuf,
    /// The address of the wallet.
    pub address: String,
}

impl Person {
    /// What the program prints for this person.
    pub fn run(&self, words: &[&str]) -> String {
        run(&[&["--home", word(&self.home)], words].concat())
    }

    /// The JSON that the program prints for this person.
    pub fn json(&self, words: &[&str]) -> Value {
        json(&[&["--home", word(&self.home)], words].concat())
    }

    /// The texts of a conversation, oldest first.
    pub fn texts(&self, conversation: &str) -> Vec<String> {
        let messages = self.json(&["read", conversation]);
        let messages = messages.as_array().unwrap().iter();
        messages.map(|message| message["content"]["text"].as_str().unwrap().to_owned()).collect()
    }
}

/// Ports on which nobody listens, TCP and UDP.
pub fn free_ports(count: usize) -> Vec<u16> {
    // Runs side by side begin at different places.
    let span = PORTS.end - PORTS.start;
    let offset = u16::try_from(std::process::id() % u32::from(span)).unwrap();
    let candidates = (0..span).map(|step| PORTS.start + (offset + step) % span);
    let is_free = |port: &u16| {
        let at = (Ipv4Addr::LOCALHOST, *port);
        TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok()
    };
    let free: Vec<u16> = candidates.filter(is_free).take(count).collect();
    assert_eq!(free.len(), count, "there are not {count} free ports");
    free
}

/// Waits until `/readyz` answers 200.
pub fn wait_ready(url: &str) {
    let deadline = Instant::now() + DEADLINE;
    let address = url.strip_prefix("http://").unwrap();
    while !is_ready(address).unwrap_or(false) {
        assert!(Instant::now() < deadline, "{url} is not ready");
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn is_ready(address: &str) -> std::io::Result<bool> {
    Ok(get(address, "/readyz")?.starts_with("HTTP/1.1 200"))
}

/// What a server answers, head and body.
pub fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
