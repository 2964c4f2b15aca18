//! A network on a chain of its own, and where the money on it is.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alloy_primitives::U256;
use serde_json::{Value, json};
use tidings_chain::contracts::node_registry::NodeRegistry;
use tidings_chain::contracts::{DevnetDollar, PayerVault, UsageSettlement};
use tidings_chain::{Deployment, address};
use tidings_payer::PROTOCOL;
use tidings_types::EthereumAddress;

use crate::chain::{Processes, ask, start_anvil, view};
use crate::network::{POLL_INTERVAL, free_ports, get, wait_ready};
use crate::program::{command, json, word};

/// A cap comes into force some periods after it is set, a report two periods after its own, and
/// can be charged ten seconds later.
pub const SETTLEMENT_DEADLINE: Duration = Duration::from_secs(180);

/// The one node whose operator's key no process has.
pub const BY_HAND: u32 = 3;

/// What the layout gives the payer, in units.
pub const DEPOSIT: u64 = 1_000_000_000;

/// A network on a chain of its own, whose nodes settle, but for one that does nothing by itself.
pub struct Settled {
    pub processes: Processes,
    pub folder: tempfile::TempDir,
    pub url: String,
    pub layout: Value,
    pub deployment: Deployment,
    pub payer: EthereumAddress,
}

/// Where money is at one block, in units.
#[derive(Debug, PartialEq, Eq)]
pub struct Money {
    /// The payer's, in the vault.
    pub balance: U256,
    /// Collected and not paid out.
    pub pool: U256,
    /// All that the vault counts, and all that it has.
    pub total: U256,
    pub in_vault: U256,
    pub charged: U256,
    pub collected: U256,
    /// What each node was paid, the protocol last, and what whoever is paid for it has.
    pub paid: Vec<U256>,
    pub received: Vec<U256>,
}

impl Settled {
    /// Lays out a network on a chain of its own and starts it.
    pub fn start(period_ms: u32) -> Self {
        Self::start_with(period_ms, &[])
    }

    /// The same with other options of the layout.
    pub fn start_with(period_ms: u32, options: &[&str]) -> Self {
        let (anvil, url) = start_anvil();
        let mut processes = Processes(vec![anvil]);
        let folder = tempfile::tempdir().unwrap();
        let ports: Vec<String> = free_ports(9).iter().map(u16::to_string).collect();
        let ports = ports.join(",");
        let words = ["devnet-init", "--dir", word(folder.path()), "--ports", &ports];
        let period_ms = period_ms.to_string();
        let on_chain = ["--chain", &url, "--period-ms", &period_ms];
        let words = [words.as_slice(), &on_chain, options].concat();
        let layout = json(&words);
        fs::write(folder.path().join("devnet.json"), layout.to_string()).unwrap();
        let deployment = fs::read(layout["deployment"].as_str().unwrap()).unwrap();
        let nodes = layout["nodes"].as_array().unwrap();
        let config = text_of(&nodes[BY_HAND as usize]["config"]);
        let text = fs::read_to_string(config).unwrap();
        let kept = text.lines().filter(|line| !line.starts_with("operator_key_file"));
        fs::write(config, kept.collect::<Vec<_>>().join("\n")).unwrap();
        let gateway = &layout["gateway"];
        processes.0.extend(nodes.iter().map(|node| spawn("node", node)));
        nodes.iter().for_each(|node| wait_ready(text_of(&node["http"])));
        processes.0.push(spawn("gateway", gateway));
        wait_ready(text_of(&gateway["http"]));
        let payer = fs::read_to_string(text_of(&gateway["config"])).unwrap();
        let payer = payer.lines().find_map(|line| line.strip_prefix("payer = ")).unwrap();
        Self {
            payer: payer.trim_matches('"').parse().unwrap(),
            deployment: serde_json::from_slice(&deployment).unwrap(),
            processes,
            folder,
            url,
            layout,
        }
    }

    pub fn node(&self, number: u32) -> &str {
        text_of(&self.layout["nodes"][number as usize]["http"])
    }

    /// The words of a command, with those that lead to the contracts.
    pub fn words<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        let deployment = text_of(&self.layout["deployment"]);
        [words, &["--deployment", deployment, "--rpc", &self.url]].concat()
    }

    /// Somebody who talks to one node first.
    pub fn person(&self, name: &str, node: u32) -> (String, String) {
        let home = self.folder.path().join(name);
        let (record, node) = (self.folder.path().join("devnet.json"), format!("node-{node}"));
        let create = ["inbox", "create", "--devnet", word(&record), "--node", &node];
        let made = json(&[create.as_slice(), &["--home", word(&home)]].concat());
        (word(&home).to_owned(), text_of(&made["own"]["address"]).to_owned())
    }

    /// Kills a node, for good.
    pub fn kill_node(&mut self, node: u32) {
        // The chain is the first process.
        let process = &mut self.processes.0[1 + node as usize];
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// The number of a node that the council has admitted and that never ran.
    pub fn absent_newcomer(&self) -> u32 {
        let number = self.layout["nodes"].as_array().unwrap().len();
        let number = u32::try_from(number).unwrap();
        let key = |name: &str| {
            let path = self.folder.path().join(name);
            fs::write(&path, format!("{:064x}", 0x7100 + name.len())).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            word(&path).to_owned()
        };
        let (signing, transport) = (key("absent-signing.key"), key("absent-transport.key"));
        let founder = self.folder.path().join("chain/deployer.key");
        let id = number.to_string();
        let places = ["--http", "http://127.0.0.1:9", "--quic", "127.0.0.1:9"];
        let keys = ["--signing-key-file", &signing, "--transport-key-file", &transport];
        let register = ["operator", "register", "--name", "absent"];
        for words in [
            [register.as_slice(), &places, &keys].concat(),
            vec!["operator", "bond", &id, "100000"],
            vec!["operator", "admit", &id],
        ] {
            let acting = ["--key-file", word(&founder), "--confirmations", "0"];
            json(&self.words(&[words.as_slice(), &acting].concat()));
        }
        number
    }

    /// Stops all nodes where they are, or lets them go on.
    pub fn signal_nodes(&self, signal: &str) {
        // The chain is the first process, and the gateway the last.
        for node in &self.processes.0[1..self.processes.0.len() - 1] {
            let sent = Command::new("kill").args([signal, &node.id().to_string()]).status();
            assert!(sent.unwrap().success());
        }
    }

    /// Kills the gateway, and does something before it is started again.
    pub fn restart_gateway(&mut self, meanwhile: impl FnOnce(&Self)) {
        let gateway = self.processes.0.last_mut().unwrap();
        gateway.kill().unwrap();
        gateway.wait().unwrap();
        meanwhile(self);
        let gateway = self.layout["gateway"].clone();
        *self.processes.0.last_mut().unwrap() = spawn("gateway", &gateway);
        wait_ready(text_of(&gateway["http"]));
    }

    /// What a node says of itself.
    pub fn status(&self, node: u32) -> Value {
        let address = self.node(node).strip_prefix("http://").unwrap();
        let answer = get(address, "/v1/status").unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str(body).unwrap()
    }

    /// The period that a node is in.
    pub fn period(&self) -> u64 {
        self.status(0)["period"].as_u64().unwrap()
    }

    /// The factor of the shard as a node has it.
    pub fn factor(&self, node: u32) -> u64 {
        self.status(node)["shards"][0]["congestion_permille"].as_u64().unwrap()
    }

    /// What the gateway spent, in picodollars.
    pub fn spent(&self) -> String {
        text_of(&self.spending()["total"]["fee_picodollars"]).to_owned()
    }

    /// What each user of the gateway spent, and who pays.
    pub fn spending(&self) -> Value {
        json(&["gateway", "spend", "--config", self.gateway_config(), "--days", "2"])
    }

    pub fn gateway_config(&self) -> &str {
        text_of(&self.layout["gateway"]["config"])
    }

    /// The newest block, once another follows it: while that one is made, what the EVM node says
    /// of the newest is partly of the next.
    pub fn whole_block(&self) -> Value {
        let newest = || ask(&self.url, "eth_blockNumber", &json!([]));
        let block = newest();
        wait_for("a block", || if newest() == block { Err(block.to_string()) } else { Ok(()) });
        block
    }

    /// Where money is now.
    pub fn money(&self) -> Money {
        let block = self.whole_block();
        let Deployment { vault, settlement, dollar, registry, .. } = self.deployment;
        let payer = address(self.payer);
        let held = |whose| {
            view(&self.url, dollar, &DevnetDollar::balanceOfCall { account: whose }, &block)
        };
        let (mut paid, mut received) = (Vec::new(), Vec::new());
        for node in [0, 1, 2, 3, PROTOCOL.0] {
            let call = UsageSettlement::paidOfCall { shard: 0, node };
            paid.push(view(&self.url, settlement, &call, &block));
            let to = match node == PROTOCOL.0 {
                true => view(&self.url, settlement, &UsageSettlement::treasuryCall {}, &block),
                false => {
                    let call = NodeRegistry::nodeCall { id: node };
                    view(&self.url, registry, &call, &block).payout
                }
            };
            received.push(held(to));
        }
        let pool = PayerVault::poolOfCall { settlement_: address(settlement), shard: 0 };
        let charged = UsageSettlement::chargedOfCall { shard: 0, payer };
        let collected = UsageSettlement::collectedOfCall { shard: 0 };
        Money {
            balance: view(&self.url, vault, &PayerVault::balanceOfCall { payer }, &block),
            pool: view(&self.url, vault, &pool, &block),
            total: view(&self.url, vault, &PayerVault::totalCall {}, &block),
            in_vault: held(address(vault)),
            charged: view(&self.url, settlement, &charged, &block),
            collected: view(&self.url, settlement, &collected, &block),
            paid,
            received,
        }
    }
}

impl Money {
    /// Nothing is lost and nothing is made, whatever the nodes do meanwhile.
    pub fn is_conserved(&self) {
        let paid: U256 = self.paid.iter().sum();
        assert_eq!(self.in_vault, self.total, "{self:?}");
        assert_eq!(self.balance + self.pool, self.total, "{self:?}");
        assert_eq!(self.total + paid, U256::from(DEPOSIT), "{self:?}");
        assert_eq!(self.balance + self.charged, U256::from(DEPOSIT), "{self:?}");
        assert_eq!((self.charged, self.pool + paid), (self.collected, self.collected), "{self:?}");
        assert_eq!(self.paid, self.received, "{self:?}");
    }
}

/// Starts a process as it is laid out.
fn spawn(role: &str, process: &Value) -> Child {
    let log = fs::File::options().create(true).append(true).open(text_of(&process["log"]));
    let mut command = command(&[role, "run", "--config", text_of(&process["config"])]);
    command.stdout(Stdio::null()).stderr(log.unwrap()).spawn().unwrap()
}

pub fn text_of(value: &Value) -> &str {
    value.as_str().unwrap()
}

pub fn wait_for<T>(what: &str, look: impl Fn() -> Result<T, String>) -> T {
    let deadline = Instant::now() + SETTLEMENT_DEADLINE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(state) => assert!(Instant::now() < deadline, "waiting for {what}: {state}"),
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}
