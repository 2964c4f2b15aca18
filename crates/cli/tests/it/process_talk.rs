//! People talk by commands; scripts listen; a wallet elsewhere signs; an auditor looks on.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;
use tidings_identity::{EthereumSigner, LocalWallet, WalletRequest};

use crate::network::Network;
use crate::program::{command, json, refused, run, word};
use crate::relay::{self, Lie};

#[test]
fn a_group_talks_and_a_removed_member_is_out() {
    let network = Network::start();
    let people: Vec<_> = ["alice", "bob", "carol"]
        .iter()
        .enumerate()
        .map(|(at, name)| network.person(name, at))
        .collect();
    let [alice, bob, carol] = people.as_slice() else { unreachable!() };
    alice.run(&["group", "create", "us", &bob.address, &carol.address]);
    bob.run(&["send", "us", "one"]);
    carol.run(&["send", "us", "two"]);
    assert_eq!(alice.texts("us"), ["one", "two"]);

    let info = alice.json(&["group", "info", "us"]);
    assert_eq!(info["members"].as_object().unwrap().len(), 3);
    alice.run(&["group", "remove", "us", &carol.address]);
    let error = refused(&["--home", word(&carol.home), "send", "us", "three"], 1);
    assert!(error.contains("not active"), "{error}");
    bob.run(&["send", "us", "four"]);
    assert_eq!(alice.texts("us"), ["one", "two", "four"]);
    assert_eq!(carol.texts("us"), ["one", "two"]);
    let authenticator = |info: Value| info["authenticator"].as_str().unwrap().to_owned();
    assert_eq!(
        authenticator(alice.json(&["group", "info", "us"])),
        authenticator(bob.json(&["group", "info", "us"]))
    );
}

#[test]
fn a_script_hears_every_message_once() {
    let network = Network::start();
    let (alice, bob) = (network.person("alice", 0), network.person("bob", 1));
    alice.run(&["dm", &bob.address, "before"]);
    bob.run(&["conversations"]);
    let mut listening =
        command(&["--home", word(&bob.home), "listen", "--after", "0", "--messages", "2"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
    let mut lines = BufReader::new(listening.stdout.take().unwrap()).lines();
    let mut event = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(event()["content"]["text"], "before");
    alice.run(&["send", &bob.address, "live"]);
    let mut next = event();
    while next["event"] != "message" {
        next = event();
    }
    assert_eq!(next["content"]["text"], "live");
    assert!(listening.wait().unwrap().success());
}

#[test]
fn a_wallet_elsewhere_signs() {
    let network = Network::start();
    let wallet = LocalWallet::from_secret(&[3; 32]).unwrap();
    let address = wallet.address().to_string();
    let (home, record) = (network.home("dora"), network.record());
    let home = word(&home);
    let create = [
        "--home",
        home,
        "inbox",
        "create",
        "--devnet",
        word(&record),
        "--wallet-address",
        &address,
    ];
    // Nobody answers on standard input, so the draft waits.
    let asked = json(&create);
    assert_eq!(asked["waits_for"], address.as_str());
    let request = &asked["request"];
    let digits = request["digest"].as_str().unwrap().trim_start_matches("0x");
    let digest = hex::decode(digits).unwrap().try_into().unwrap();
    let typed_data = request["typed_data"].to_string();
    let signature = wallet.sign(&WalletRequest::TypedData { json: typed_data, digest }).unwrap();
    let signature = format!("0x{}", hex::encode(signature.0));

    let wrong = signature.replace("1b", "1c");
    if wrong != signature {
        refused(&["--home", home, "inbox", "sign", &wrong], 1);
    }
    let made = json(&["--home", home, "inbox", "sign", &signature]);
    assert_eq!(made["own"]["address"], address.as_str());
    assert_eq!(json(&["--home", home, "inbox", "show"])["inbox"], made["inbox"]);

    let other = network.person("emil", 1);
    other.run(&["dm", &address, "hello"]);
    let texts = json(&["--home", home, "read", &other.address]);
    assert_eq!(texts[0]["content"]["text"], "hello");
}

#[test]
fn a_second_wallet_joins_and_is_put_out() {
    let network = Network::start();
    let alice = network.person("alice", 0);
    let key = network.home("wallet.key");
    std::fs::write(&key, "05".repeat(32)).unwrap();
    let wallet = LocalWallet::from_secret(&[5; 32]).unwrap();
    let address = wallet.address().to_string();
    let refusal = refused(
        &[
            "--home",
            word(&alice.home),
            "inbox",
            "add-wallet",
            &address,
            "--wallet-key-file",
            word(&key),
        ],
        1,
    );
    assert!(refusal.contains("chmod 600"), "{refusal}");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let members = |shown: &Value| shown["members"].as_array().unwrap().len();
    let shown = alice.json(&["inbox", "add-wallet", &address, "--wallet-key-file", word(&key)]);
    assert_eq!(members(&shown), 3);
    // Others find the inbox by the new address, too.
    let bob = network.person("bob", 1);
    assert_eq!(bob.json(&["inbox", "show", &address])["inbox"], shown["inbox"]);
    assert_eq!(members(&alice.json(&["inbox", "revoke", &address])), 2);
    refused(&["--home", word(&bob.home), "inbox", "show", &address], 1);
}

#[test]
fn an_auditor_finds_every_log_and_block_in_order() {
    let network = Network::start();
    let (alice, bob) = (network.person("alice", 0), network.person("bob", 1));
    alice.run(&["dm", &bob.address, "hello"]);
    bob.run(&["send", &alice.address, "hello yourself"]);
    for index in 0..4 {
        let report = json(&["audit", &network.node(index), "--once"]);
        assert_eq!(report["clean"], true, "{report}");
        assert!(!report["logs"].as_object().unwrap().is_empty(), "{report}");
        assert!(report["lanes"]["0"]["verified"].as_u64().unwrap() > 0, "{report}");
    }
    let words = run(&["audit", &network.node(0), "--once"]);
    assert!(words.contains("clean"), "{words}");

    // A registry of another network makes the node a stranger.
    let other = tempfile::tempdir().unwrap();
    run(&[
        "devnet-init",
        "--dir",
        word(other.path()),
        "--nodes",
        "1",
        "--replication",
        "1",
        "--ports",
        "1,2,3",
    ]);
    let registry = other.path().join("registry.json");
    let error = refused(&["audit", &network.node(0), "--once", "--registry", word(&registry)], 1);
    assert!(error.contains("network"), "{error}");
}

#[test]
fn an_auditor_finds_a_changed_byte() {
    /// A checkpoint, its signature, and the mark before them.
    const CHECKPOINT_BYTES: usize = 125;
    let network = Network::start();
    let alice = network.person("alice", 0);
    // Some node's log holds the key packages of the new inbox.
    let holds_entries = |index: &usize| {
        let logs = json(&["audit", &network.node(*index), "--once"])["logs"].clone();
        logs.as_object().is_some_and(|logs| !logs.is_empty())
    };
    assert!((0..4).any(|index| holds_entries(&index)), "{}", alice.address);
    let check = |path, from_end, expected: &str| {
        let url = relay::start(&network.node(0), Lie { path, from_end });
        let output = command(&["audit", &url, "--once"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("FAULT") && text.contains(expected), "{text}");
    };
    check("?from=0", 1, "not signed by the log's originator");
    check("?from=0", CHECKPOINT_BYTES + 1, "entry");
    check("/checkpoint", 1, "not signed by the log's originator");
    check("/v1/blocks/", 1, "certificate does not verify");
}

#[test]
fn a_passphrase_opens_an_inbox_and_nothing_else_does() {
    use std::os::unix::fs::PermissionsExt;
    let network = Network::start();
    let (home, record) = (network.home("fred"), network.record());
    let file = |name: &str, text: &str| {
        let path = record.with_file_name(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let (right, wrong) = (file("right", "correct horse\n"), file("wrong", "battery staple\n"));
    let with = |passphrase, words: &[&'static str]| {
        let options: [&str; 4] = ["--home", word(&home), "--passphrase-file", passphrase];
        options.iter().chain(words).map(|word| (*word).to_owned()).collect::<Vec<String>>()
    };
    let mut create = with(word(&right), &["inbox", "create", "--devnet"]);
    create.push(word(&record).to_owned());
    run(&create.iter().map(String::as_str).collect::<Vec<_>>());
    let show = |passphrase| with(passphrase, &["inbox", "show"]);
    run(&show(word(&right)).iter().map(String::as_str).collect::<Vec<_>>());
    let refusal = refused(&show(word(&wrong)).iter().map(String::as_str).collect::<Vec<_>>(), 1);
    assert!(refusal.contains("passphrase"), "{refusal}");
    let refusal = refused(&["--home", word(&home), "inbox", "show"], 1);
    assert!(refusal.contains("--passphrase-file"), "{refusal}");
}
