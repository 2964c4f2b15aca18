//! Command lines, exit codes, and errors that say what to do next.

use crate::program::{json, refused, run, word};

#[test]
fn a_misspelt_command_line_ends_with_2() {
    for words in [
        &["inbux"][..],
        &["dm"],
        &["dm", "nobody"],
        &["group", "add", "g"],
        &["node", "run"],
        &["inspect"],
        &["inspect", "no-such-kind", "-"],
        &["inbox", "revoke", "somebody"],
        &["chat"],
    ] {
        refused(words, 2);
    }
}

#[test]
fn an_inbox_needs_a_network() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let error = refused(&["--home", word(&home), "inbox", "create"], 2);
    assert!(error.contains("--devnet"), "{error}");
    assert!(!home.exists());
}

#[test]
fn without_an_inbox_the_way_to_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let home = word(folder.path());
    for words in [&["conversations"][..], &["listen"], &["inbox", "show"], &["send", "x", "y"]] {
        let words = [&["--home", home], words].concat();
        let error = refused(&words, 1);
        assert!(error.contains("inbox create"), "{words:?}: {error}");
    }
    let error = refused(&["--json", "--home", home, "conversations"], 1);
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert!(error["error"].is_string() && error["retryable"] == false, "{error}");
}

#[test]
fn a_gateway_that_is_not_there_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let (home, key) = (folder.path().join("home"), folder.path().join("api-key"));
    std::fs::write(&key, "00".repeat(32)).unwrap();
    let words = |key| {
        let home = home.to_str().unwrap();
        [
            "--home",
            home,
            "inbox",
            "create",
            "--gateway",
            "http://127.0.0.1:1",
            "--api-key-file",
            key,
        ]
    };
    let error = refused(&words(word(&key)), 1);
    assert!(error.contains("chmod 600"), "{error}");
    set_private(&key);
    let error = refused(&words(word(&key)), 1);
    assert!(error.contains("network runs"), "{error}");
    assert!(!home.join("tidings.db").exists());
}

fn set_private(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(&["completions", shell]);
        assert!(script.contains("conversations"), "{shell}");
    }
}

#[test]
fn an_operator_lets_a_user_in() {
    let folder = tempfile::tempdir().unwrap();
    let dir = word(folder.path());
    run(&["devnet-init", "--dir", dir, "--nodes", "1", "--replication", "1", "--ports", "1,2,3"]);
    let config = folder.path().join("gateway/gateway.toml");
    let add = |name, more: &[&str]| {
        let words = ["gateway", "add-user", "--config", word(&config), name];
        [&words, more].concat().join(" ")
    };
    let words = add("dora", &["--quota", "7"]);
    let made = json(&words.split(' ').collect::<Vec<_>>());
    assert_eq!((made["quota"].as_u64(), made["api_key"].as_str().unwrap().len()), (Some(7), 64));
    assert!(refused(&words.split(' ').collect::<Vec<_>>(), 1).contains("already"));
    // Only the gateway's payers pay.
    let stranger = "0x0101010101010101010101010101010101010101";
    let words = add("emil", &["--payer", stranger]);
    assert!(refused(&words.split(' ').collect::<Vec<_>>(), 1).contains("none of the gateway"));
    let set_payer = ["gateway", "set-payer", "--config", word(&config), "dora"];
    assert!(refused(&[set_payer.as_slice(), &[stranger]].concat(), 1).contains(stranger));
    refused(&set_payer, 2);
    let text = std::fs::read_to_string(&config).unwrap();
    let payer = text.lines().find_map(|line| line.strip_prefix("payer = ")).unwrap();
    let payer = payer.trim_matches('"');
    assert_eq!(json(&[set_payer.as_slice(), &[payer]].concat())["payer"], payer);
    let file = folder.path().join("key-of-emil");
    run(&add("emil", &["--api-key-file", word(&file)]).split(' ').collect::<Vec<_>>());
    assert_eq!(std::fs::read(&file).unwrap().len(), 64);
}

#[test]
fn an_operator_makes_a_node_and_backs_up_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (node, backup, restored) = (at("node"), at("backup"), at("restored"));
    let (registry, passphrase) = (at("registry.json"), at("passphrase"));
    let init = [
        "node",
        "init",
        "--dir",
        &node,
        "--node",
        "5",
        "--registry",
        &registry,
        "--http",
        "https://tidings.example",
        "--quic",
        "tidings.example:9080",
    ];
    let made = json(&init);
    assert_eq!(made["record"]["id"], 5);
    assert_eq!(made["record"]["name"], "node-5");
    assert!(refused(&init, 1).contains("is there already"));

    std::fs::write(&passphrase, "correct horse\n").unwrap();
    set_private(passphrase.as_ref());
    let export = ["node", "export-keys", "--dir", &node, "--out", &backup];
    assert!(refused(&export, 2).contains("--passphrase-file"));
    run(&[&["--passphrase-file", &passphrase], &export[..]].concat());
    let restore = ["node", "restore-keys", "--dir", &restored, "--from", &backup];
    run(&[&["--passphrase-file", &passphrase], &restore[..]].concat());
    for key in ["signing.key", "transport.key"] {
        let read = |folder: &str| std::fs::read(format!("{folder}/{key}")).unwrap();
        assert_eq!(read(&node), read(&restored));
    }
}
