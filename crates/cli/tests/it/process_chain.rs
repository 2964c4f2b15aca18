//! A network whose registry is on a chain: made, joined and left with the program alone.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;

use crate::chain::{ACCOUNTS, Chain};
use crate::network::{DEADLINE, POLL_INTERVAL, free_ports, get, wait_ready};
use crate::program::{command, run, word};

/// No waiting, so that a test can go through what takes weeks.
const PLAN: &str = "timelock_seconds = 10
[parameters]
BondMin = 5
UnbondingSeconds = 0
WithdrawalSeconds = 0
ProbationSeconds = 0
EpochSeconds = 0
EpochChurnMax = 4
PeriodMs = 10000
";

impl Chain {
    /// Makes, registers, bonds and admits a node.
    fn add_node(&self, number: u32, ports: (u16, u16)) -> Node {
        let folder = self.file(&format!("node-{number}"));
        let (http, quic) = (format!("127.0.0.1:{}", ports.0), format!("127.0.0.1:{}", ports.1));
        let (url, id) = (format!("http://{http}"), number.to_string());
        let deployment = self.file("deployment.json");
        let init = ["node", "init", "--dir", word(&folder), "--node", &id];
        let at = ["--http-listen", &http, "--quic-listen", &quic, "--http", &url, "--quic", &quic];
        let registry = folder.join("registry.json");
        let on = ["--registry", word(&registry), "--deployment", word(&deployment)];
        run(&[init.as_slice(), &at, &on, &["--rpc", &self.url]].concat());
        let config = folder.join("node.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let quick = text.replace("finality_depth = 64", "finality_depth = 0");
        std::fs::write(&config, quick.replace("poll_ms = 4000", "poll_ms = 50")).unwrap();
        let (signing, transport) = (folder.join("signing.key"), folder.join("transport.key"));
        let made = self.act(&[
            "operator",
            "register",
            "--name",
            &format!("node {number}"),
            "--http",
            &url,
            "--quic",
            &quic,
            "--signing-key-file",
            word(&signing),
            "--transport-key-file",
            word(&transport),
        ]);
        assert_eq!(made["node"], number);
        self.act(&["operator", "bond", &id, "5"]);
        self.act(&["operator", "admit", &id]);
        self.act(&["operator", "graduate", &id]);
        Node { config, url }
    }

    fn spawn(&mut self, node: &Node) {
        let log = std::fs::File::create(node.config.with_extension("log")).unwrap();
        let child = command(&["node", "run", "--config", word(&node.config)])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.processes.0.push(child);
    }
}

struct Node {
    config: PathBuf,
    url: String,
}

impl Node {
    /// Waits until the node's registry file is of this epoch, and answers what it lists.
    fn registry_of(&self, epoch: u64) -> Value {
        let path = self.config.with_file_name("registry.json");
        let deadline = Instant::now() + DEADLINE;
        loop {
            let found = read(&path).filter(|registry| registry["epoch"] == epoch);
            if let Some(registry) = found {
                return registry;
            }
            assert!(Instant::now() < deadline, "{} is not of epoch {epoch}", path.display());
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Waits until the node computes with this epoch.
    fn is_in_epoch(&self, epoch: u64) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = get(self.url.trim_start_matches("http://"), "/v1/status").unwrap();
            if status.contains(&format!("\"registry_epoch\":{epoch}")) {
                return;
            }
            assert!(Instant::now() < deadline, "{} is not in epoch {epoch}: {status}", self.url);
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

#[test]
fn a_network_is_made_joined_and_left_on_a_chain() {
    let mut chain = Chain::start(PLAN);
    let ports = free_ports(8);
    let nodes: Vec<Node> = (0..4u32)
        .zip(ports.chunks(2))
        .map(|(number, pair)| chain.add_node(number, (pair[0], pair[1])))
        .collect();
    assert!(chain.says(&["chain", "check"]).contains("has these contracts"));
    // A node waits for the first registry, so that it may be started before there is one.
    nodes.iter().for_each(|node| chain.spawn(node));
    let foretold = chain.says(&["operator", "advance-epoch", "--dry-run"]);
    assert!(foretold.contains("would sign") && foretold.contains("gas"), "{foretold}");
    chain.act(&["operator", "advance-epoch"]);
    nodes.iter().for_each(|node| wait_ready(&node.url));
    let standing = chain.act(&["operator", "status"]);
    let standing: Vec<&str> =
        standing.as_array().unwrap().iter().map(|node| node["status"].as_str().unwrap()).collect();
    assert_eq!(standing, ["active"; 4]);

    // Somebody pays.
    let payer = ACCOUNTS[0];
    chain.act(&["chain", "mint", payer, "12.5"]);
    chain.act(&["payer", "deposit", "10"]);
    chain.act(&["payer", "add-session-key", &"5a".repeat(32), "4000000000"]);
    let purse = chain.act(&["payer", "status", payer]);
    assert_eq!(purse["balance_dollars"], "10");
    let refusal = chain.refuses(0, 1, &["payer", "deposit", "100"]);
    assert!(refusal.contains("ERC20InsufficientBalance"), "{refusal}");

    // One leaves; the others hear of it, and of the payer, with the next epoch.
    chain.act(&["operator", "exit", "3"]);
    chain.act(&["operator", "advance-epoch"]);
    let registry = nodes[0].registry_of(2);
    let active = |registry: &Value| -> Vec<bool> {
        let nodes = registry["nodes"].as_array().unwrap().iter();
        nodes.map(|node| node["active"].as_bool().unwrap()).collect()
    };
    assert_eq!(active(&registry), [true, true, true, false]);
    assert_eq!(registry["payers"][0]["address"], payer);
    assert_eq!(registry["earlier"].as_array().unwrap().len(), 1);
    nodes[..3].iter().for_each(|node| node.is_in_epoch(2));

    // Without the chain a node starts all the same, with the registry that it has.
    let [anvil, first, ..] = chain.processes.0.as_mut_slice() else { panic!("processes") };
    for process in [anvil, first] {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    chain.spawn(&nodes[0]);
    wait_ready(&nodes[0].url);
    nodes[0].is_in_epoch(2);
}
