//! A network whose registry is on a chain: made, joined and left with the program alone.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;

use crate::chain::{ACCOUNTS, Chain};
use crate::network::{DEADLINE, POLL_INTERVAL, free_ports, get, wait_ready};
use crate::program::{command, json, run, word};

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
        self.run_in_background("node", &node.config);
    }

    /// Starts a gateway of `payer` that reads its money from the chain; its configuration, and
    /// where it listens.
    fn spawn_gateway(&mut self, payer: &str, nodes: &[Node], port: u16) -> (PathBuf, String) {
        let folder = self.file("gateway");
        std::fs::create_dir(&folder).unwrap();
        let mut secret = std::fs::File::options();
        let secret = secret.write(true).create_new(true).mode(0o600);
        let mut secret = secret.open(folder.join("session.key")).unwrap();
        secret.write_all("07".repeat(32).as_bytes()).unwrap();
        let status = get(nodes[0].url.trim_start_matches("http://"), "/v1/status").unwrap();
        let (_, network) = status.split_once("\"network\":\"").unwrap();
        let (network, listen) = (&network[..64], format!("127.0.0.1:{port}"));
        let urls: Vec<&str> = nodes.iter().map(|node| node.url.as_str()).collect();
        let text = format!(
            "listen = \"{listen}\"\nnodes = {urls:?}\nnetwork = \"{network}\"\n\
             payer = \"{payer}\"\nsession_key_file = \"session.key\"\n\
             database = \"sqlite:gateway.db\"\n[chain]\n\
             deployment_file = \"../deployment.json\"\nrpc = [\"{}\"]\n\
             finality_depth = 0\npoll_ms = 50\n",
            self.url
        );
        let config = folder.join("gateway.toml");
        std::fs::write(&config, text).unwrap();
        self.run_in_background("gateway", &config);
        (config, listen)
    }

    fn run_in_background(&mut self, what: &str, config: &Path) {
        let log = std::fs::File::create(config.with_extension("log")).unwrap();
        let child = command(&[what, "run", "--config", word(config)])
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

/// Waits until a gateway says this of its payer's balance, in picodollars.
fn gateway_says(listen: &str, balance: &str) {
    let expected = format!("\"balance_picodollars\":\"{balance}\"");
    let deadline = Instant::now() + DEADLINE;
    loop {
        let status = get(listen, "/v1/status").unwrap_or_default();
        if status.contains(&expected) {
            return;
        }
        assert!(Instant::now() < deadline, "not {balance}: {status}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

#[test]
fn a_network_is_made_joined_and_left_on_a_chain() {
    let mut chain = Chain::start(PLAN);
    let ports = free_ports(9);
    let nodes: Vec<Node> = (0..4u32)
        .zip(ports[..8].chunks(2))
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

    // A gateway hears what its payer has, and that it has more.
    let (gateway, listen) = chain.spawn_gateway(payer, &nodes, ports[8]);
    gateway_says(&listen, "10000000000000");
    chain.act(&["payer", "deposit", "2.5"]);
    gateway_says(&listen, "12500000000000");
    let add = ["gateway", "add-user", "--config", word(&gateway), "ada", "--money-quota", "0.5"];
    assert_eq!(json(&add)["name"], "ada");
    run(&["gateway", "set-quota", "--config", word(&gateway), "ada", "--quota", "7"]);
    let spend = json(&["gateway", "spend", "--config", word(&gateway), "--days", "2"]);
    assert_eq!(
        (&spend["total"]["envelopes"], &spend["payers"]),
        (&0.into(), &serde_json::json!([{ "payer": payer, "owed_picodollars": "0" }]))
    );

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
