//! Real traffic is billed, charged and paid out on a chain, to the last unit.

use std::fs;
use std::path::Path;
use std::process::Stdio;
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
use crate::program::{command, json, refused, run, word};
use crate::relay::{self, Lie};

/// A cap comes into force some periods after it is set, a report two periods after its own, and
/// can be charged ten seconds later.
const SETTLEMENT_DEADLINE: Duration = Duration::from_secs(180);

/// A period in which there is time for no measurement, so that nobody is jailed.
const PERIOD_MS: u32 = 2_000;

/// A period in which peers are measured.
const MEASURED_PERIOD_MS: u32 = 7_000;

/// The one node whose operator's key no process has.
const BY_HAND: u32 = 3;

/// What the layout gives the payer, in units.
const DEPOSIT: u64 = 1_000_000_000;

struct Settled {
    processes: Processes,
    folder: tempfile::TempDir,
    url: String,
    layout: Value,
    deployment: Deployment,
    payer: EthereumAddress,
}

/// Where money is at one block, in units.
#[derive(Debug, PartialEq, Eq)]
struct Money {
    /// The payer's, in the vault.
    balance: U256,
    /// Collected and not paid out.
    pool: U256,
    /// All that the vault counts, and all that it has.
    total: U256,
    in_vault: U256,
    charged: U256,
    collected: U256,
    /// What each node was paid, the protocol last, and what whoever is paid for it has.
    paid: Vec<U256>,
    received: Vec<U256>,
}

impl Settled {
    /// Lays out a network on a chain of its own and starts it.
    fn start(period_ms: u32) -> Self {
        Self::start_with(period_ms, &[])
    }

    fn start_with(period_ms: u32, options: &[&str]) -> Self {
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
        let mut start = |role: &str, process: &Value| {
            let log = fs::File::create(process["log"].as_str().unwrap()).unwrap();
            let mut command = command(&[role, "run", "--config", text_of(&process["config"])]);
            command.stdout(Stdio::null()).stderr(log);
            processes.0.push(command.spawn().unwrap());
        };
        nodes.iter().for_each(|node| start("node", node));
        nodes.iter().for_each(|node| wait_ready(text_of(&node["http"])));
        start("gateway", gateway);
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

    fn node(&self, number: u32) -> &str {
        text_of(&self.layout["nodes"][number as usize]["http"])
    }

    /// The words of a command, with those that lead to the contracts.
    fn words<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        let deployment = text_of(&self.layout["deployment"]);
        [words, &["--deployment", deployment, "--rpc", &self.url]].concat()
    }

    /// Somebody who talks to one node first.
    fn person(&self, name: &str, node: u32) -> (String, String) {
        let home = self.folder.path().join(name);
        let (record, node) = (self.folder.path().join("devnet.json"), format!("node-{node}"));
        let create = ["inbox", "create", "--devnet", word(&record), "--node", &node];
        let made = json(&[create.as_slice(), &["--home", word(&home)]].concat());
        (word(&home).to_owned(), text_of(&made["own"]["address"]).to_owned())
    }

    /// Kills a node, for good.
    fn kill_node(&mut self, node: u32) {
        // The chain is the first process.
        let process = &mut self.processes.0[1 + node as usize];
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// What a node says of itself.
    fn status(&self, node: u32) -> Value {
        let address = self.node(node).strip_prefix("http://").unwrap();
        let answer = get(address, "/v1/status").unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str(body).unwrap()
    }

    /// The period that a node is in.
    fn period(&self) -> u64 {
        self.status(0)["period"].as_u64().unwrap()
    }

    /// The factor of the shard as a node has it.
    fn factor(&self, node: u32) -> u64 {
        self.status(node)["shards"][0]["congestion_permille"].as_u64().unwrap()
    }

    /// What the gateway spent, in picodollars.
    fn spent(&self) -> String {
        let config = text_of(&self.layout["gateway"]["config"]);
        let spend = json(&["gateway", "spend", "--config", config, "--days", "2"]);
        text_of(&spend["total"]["fee_picodollars"]).to_owned()
    }

    /// The newest block, once another follows it: while that one is made, what the EVM node says
    /// of the newest is partly of the next.
    fn whole_block(&self) -> Value {
        let newest = || ask(&self.url, "eth_blockNumber", &json!([]));
        let block = newest();
        wait_for("a block", || if newest() == block { Err(block.to_string()) } else { Ok(()) });
        block
    }

    /// Where money is now.
    fn money(&self) -> Money {
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
    fn is_conserved(&self) {
        let paid: U256 = self.paid.iter().sum();
        assert_eq!(self.in_vault, self.total, "{self:?}");
        assert_eq!(self.balance + self.pool, self.total, "{self:?}");
        assert_eq!(self.total + paid, U256::from(DEPOSIT), "{self:?}");
        assert_eq!(self.balance + self.charged, U256::from(DEPOSIT), "{self:?}");
        assert_eq!((self.charged, self.pool + paid), (self.collected, self.collected), "{self:?}");
        assert_eq!(self.paid, self.received, "{self:?}");
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn wait_for<T>(what: &str, look: impl Fn() -> Result<T, String>) -> T {
    let deadline = Instant::now() + SETTLEMENT_DEADLINE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(state) => assert!(Instant::now() < deadline, "waiting for {what}: {state}"),
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

#[test]
fn what_is_sent_is_billed_charged_and_paid_out() {
    // covers: SET-013
    // covers: SET-014
    // covers: SET-015
    let network = Settled::start(PERIOD_MS);
    let payer = network.payer.to_string();
    let caps = network.words(&["payer", "caps", &payer]);
    let cap = wait_for("the cap", || {
        let caps = json(&caps);
        let cap = caps["shards"][0].clone();
        if cap["dollars"] == "10" { Ok(caps) } else { Err(cap.to_string()) }
    });
    assert_eq!(
        (&cap["reserved_dollars"], cap["shards"].as_array().unwrap().len()),
        (&json!("300"), 1)
    );
    assert_eq!(
        (&cap["shards"][0]["kept_dollars"], &cap["shards"][0]["coming"]),
        (&json!("300"), &Value::Null)
    );
    assert!(run(&caps).contains("10 dollars a period"));

    let (alice, _) = network.person("alice", 0);
    let (bob, of_bob) = network.person("bob", 1);
    run(&["--home", &alice, "dm", &of_bob, "hello"]);
    let heard = json(&["--home", &bob, "conversations"]);
    assert_eq!(heard.as_array().unwrap().len(), 1);
    // Every picodollar that the gateway signed for is billed, and charged as whole units.
    let usage = network.words(&["payer", "usage", &payer, "--node", network.node(2)]);
    let billed = wait_for("the bill", || {
        network.money().is_conserved();
        let bills = json(&usage);
        let bill = &bills[0];
        let is_charged = bill["charged_dollars"] == bill["billed_dollars"];
        // The gateway writes down what it spent a little later.
        let spent = network.spent();
        let is_whole = spent != "0" && bill["billed_picodollars"] == spent.as_str();
        if is_charged && is_whole {
            Ok(spent)
        } else {
            Err(format!("{bills}, and {spent} is spent"))
        }
    });
    let units = U256::from(billed.parse::<u128>().unwrap() / 1_000_000);
    assert!(units > U256::ZERO);
    let money = network.money();
    assert_eq!(money.charged, units);
    assert_eq!(money.balance, U256::from(DEPOSIT) - units);
    assert!(run(&usage).contains("billed"));

    // Nodes claim for themselves and for the protocol; the one without a key is paid by nobody.
    wait_for("claims", || {
        let money = network.money();
        money.is_conserved();
        let own = [0, 1, 2, 4].iter().all(|place| money.paid[*place] > U256::ZERO);
        if own { Ok(()) } else { Err(format!("{money:?}")) }
    });
    claim_by_hand(&network);

    // In the end no more is in the pool than roundings, a unit for each who has a part.
    wait_for("the end", || {
        let money = network.money();
        money.is_conserved();
        if money.pool <= U256::from(5) { Ok(()) } else { Err(format!("{money:?}")) }
    });
    assert_eq!(network.money().charged, units);
}

#[test]
fn a_flood_is_dearer_and_what_it_adds_is_the_protocols() {
    // covers: FEE-008
    // covers: FEE-010
    // covers: SET-006
    let network = Settled::start_with(PERIOD_MS, &["--busy-at", "1024"]);
    let (alice, of_alice) = network.person("alice", 0);
    let (bob, of_bob) = network.person("bob", 1);
    let talk = |number: u32| {
        let text = format!("{number} {}", "flood ".repeat(1_000));
        run(&["--home", &alice, "dm", &of_bob, &text]);
    };
    // Twice the target for a period is four kilobytes, less than one of these texts is.
    let mut sent = 0;
    while (0..4).any(|node| network.factor(node) < 1_300) {
        talk(sent);
        sent += 1;
    }
    let heard = || {
        let read = json(&["--home", &bob, "read", &of_alice, "--limit", "1000"]);
        read.as_array().map_or(0, Vec::len)
    };
    wait_for("the texts", || match heard() {
        all if all == sent as usize => Ok(()),
        some => Err(format!("{some} of {sent}")),
    });
    wait_for("quiet", || match network.factor(1) {
        1_000 => Ok(()),
        factor => Err(factor.to_string()),
    });
    let payer = network.payer.to_string();
    let usage = network.words(&["payer", "usage", &payer, "--node", network.node(2)]);
    // The gateway knows of an operation that it cost no more than this.
    wait_for("the bill", || {
        network.money().is_conserved();
        let (bill, spent) = (json(&usage)[0].clone(), network.spent());
        let billed: u128 = text_of(&bill["billed_picodollars"]).parse().unwrap();
        let spent: u128 = spent.parse().unwrap();
        let is_charged = bill["charged_dollars"] == bill["billed_dollars"];
        match is_charged && billed <= spent && billed > spent / 1_125 * 1_000 {
            true => Ok(()),
            false => Err(format!("{bill}, and {spent} is spent")),
        }
    });
    // Of what is paid out the protocol has more than its twentieth of plain fees.
    wait_for("claims", || {
        let money = network.money();
        money.is_conserved();
        let all: U256 = money.paid.iter().sum();
        let is_dear =
            money.paid[4] > all * U256::from(7) / U256::from(100) && money.paid[0] > U256::ZERO;
        if is_dear { Ok(()) } else { Err(format!("{money:?}")) }
    });
}

#[test]
fn while_the_chain_stands_still_people_talk_and_settlement_catches_up() {
    // covers: SET-013
    const PERIODS: u64 = 10;
    let network = Settled::start(PERIOD_MS);
    let (alice, of_alice) = network.person("alice", 0);
    let (bob, of_bob) = network.person("bob", 1);
    run(&["--home", &alice, "dm", &of_bob, "before"]);

    ask(&network.url, "evm_setIntervalMining", &json!([0]));
    let height = || ask(&network.url, "eth_blockNumber", &json!([]));
    let (stopped_at, since) = (height(), network.period());
    let mut sent = vec!["before".to_owned()];
    let deadline = Instant::now() + SETTLEMENT_DEADLINE;
    while network.period() < since + PERIODS {
        assert!(Instant::now() < deadline, "periods pass without the chain");
        let text = format!("text {}", sent.len());
        run(&["--home", &alice, "send", &of_bob, &text]);
        sent.push(text);
    }
    assert_eq!(height(), stopped_at, "the chain stood still all the while");
    run(&["--home", &bob, "conversations"]);
    let heard = json(&["--home", &bob, "read", &of_alice, "--limit", "1000"]);
    let heard = heard.as_array().unwrap().iter();
    let heard: Vec<&str> = heard.map(|message| text_of(&message["content"]["text"])).collect();
    assert_eq!(heard, sent);

    ask(&network.url, "evm_setIntervalMining", &json!([1]));
    let payer = network.payer.to_string();
    let usage = network.words(&["payer", "usage", &payer, "--node", network.node(2)]);
    wait_for("the bill", || {
        network.money().is_conserved();
        let (bill, spent) = (json(&usage)[0].clone(), network.spent());
        let is_charged = bill["charged_dollars"] == bill["billed_dollars"];
        match is_charged && bill["billed_picodollars"] == spent.as_str() {
            true => Ok(()),
            false => Err(format!("{bill}, and {spent} is spent")),
        }
    });
}

#[test]
fn who_is_gone_for_a_period_is_jailed_by_nobodys_hand() {
    // covers: SET-025
    let mut network = Settled::start(MEASURED_PERIOD_MS);
    let (alice, _) = network.person("alice", 0);
    let (_, of_bob) = network.person("bob", 1);
    run(&["--home", &alice, "dm", &of_bob, "before"]);
    network.kill_node(BY_HAND);
    let status = network.words(&["operator", "status"]);
    let standing = |node: u32| {
        let all = json(&status);
        let of = all.as_array().unwrap().iter().find(|it| it["node"] == node).unwrap();
        text_of(&of["status"]).to_owned()
    };
    wait_for("the jail", || match standing(BY_HAND).as_str() {
        "jailed" => Ok(()),
        other => Err(other.to_owned()),
    });
    for node in 0..BY_HAND {
        assert_eq!(standing(node), "active", "node {node} served well");
    }
    run(&["--home", &alice, "send", &of_bob, "after"]);
}

fn claim_by_hand(network: &Settled) {
    let node = BY_HAND.to_string();
    let earnings = network.words(&["operator", "earnings", &node, "--via", network.node(1)]);
    let before = json(&earnings)[0].clone();
    assert_eq!((&before["shard"], &before["paid_dollars"]), (&json!(0), &json!("0")));
    assert_ne!(before["claimable_dollars"], "0");
    assert_eq!(network.money().paid[BY_HAND as usize], U256::ZERO);

    let folder = Path::new(text_of(&network.layout["nodes"][BY_HAND as usize]["data_dir"]));
    let key = folder.join("operator.key");
    let acting = ["--key-file", word(&key), "--confirmations", "0"];
    let claim = |via: &str, more: &[&str]| {
        let words = ["operator", "claim", &node, "--via", via];
        let all = network.words(&[words.as_slice(), &acting, more].concat());
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    // A node that lies about a proof gets nothing signed.
    let liar = relay::start(network.node(1), Lie { path: "/earnings/", from_end: 4 });
    let words = claim(&liar, &[]);
    refused(&words.iter().map(String::as_str).collect::<Vec<_>>(), 1);
    let foretold = claim(network.node(1), &["--dry-run"]);
    let foretold = run(&foretold.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(foretold.contains("would sign") && foretold.contains("gas"), "{foretold}");
    assert_eq!(network.money().paid[BY_HAND as usize], U256::ZERO);

    let words = claim(network.node(1), &[]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert!(json(&words)[0]["transaction"].is_string());
    let money = network.money();
    money.is_conserved();
    assert!(money.paid[BY_HAND as usize] > U256::ZERO);
    let after = json(&earnings)[0].clone();
    assert_eq!(after["paid_dollars"], before["claimable_dollars"]);
    assert_eq!(after["claimable_dollars"], "0");
    assert!(run(&words).contains("nothing to claim"));
}
