//! Real traffic is billed, charged and paid out on a chain, to the last unit.

use std::path::Path;
use std::time::Instant;

use alloy_primitives::U256;
use serde_json::{Value, json};

use crate::chain::ask;
use crate::program::{json, refused, run, word};
use crate::relay::{self, Lie};
use crate::settled::{BY_HAND, DEPOSIT, SETTLEMENT_DEADLINE, Settled, text_of, wait_for};

/// A period in which there is time for no measurement, so that nobody is jailed.
const PERIOD_MS: u32 = 2_000;

/// A period in which peers are measured.
const MEASURED_PERIOD_MS: u32 = 7_000;

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
        (&json!("800"), 1)
    );
    assert_eq!(
        (&cap["shards"][0]["kept_dollars"], &cap["shards"][0]["coming"]),
        (&json!("800"), &Value::Null)
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
    let newcomer = network.absent_newcomer();
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
    // Who is on probation and cannot be reached is back where it began.
    wait_for("the end of probation", || match standing(newcomer).as_str() {
        "candidate" => Ok(()),
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
