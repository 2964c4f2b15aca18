//! What `tidings devnet-init` lays out, and that it does so once.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidings_envelope::{Registry, RegistryDocument};
use tidings_node::config::NodeConfig;
use tidings_types::ShardId;

use crate::program::{command, json, refused, word};

const PORTS: &str = "21001,21002,21003,21004,21005,21006,21007,21008,21009";

fn words<'a>(dir: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["devnet-init", "--dir", dir, "--ports", PORTS];
    words.extend(more);
    words
}

/// Every file and its contents.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for item in fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn registry(dir: &Path) -> Registry {
    document(dir).latest
}

fn document(dir: &Path) -> RegistryDocument {
    serde_json::from_slice(&fs::read(dir.join("registry.json")).unwrap()).unwrap()
}

#[test]
fn everything_is_laid_out() {
    let folder = tempfile::tempdir().unwrap();
    let layout = json(&words(word(folder.path()), &[]));
    assert_eq!(layout["nodes"].as_array().unwrap().len(), 4);
    for (index, node) in layout["nodes"].as_array().unwrap().iter().enumerate() {
        let config = PathBuf::from(node["config"].as_str().unwrap());
        let config = NodeConfig::load(&config, |_| None).unwrap();
        assert_eq!(node["id"], index + 1);
        assert_eq!(node["http"], format!("http://{}", config.http_listen));
        assert_eq!(node["quic"], config.quic_listen.as_str());
        for key in [&config.signing_key_file, &config.transport_key_file] {
            assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(Path::new(node["log"].as_str().unwrap()).parent().unwrap().is_dir());
    }
    let gateway = &layout["gateway"];
    assert_eq!(fs::read(gateway["api_key_file"].as_str().unwrap()).unwrap().len(), 64);
    let registry = registry(folder.path());
    registry.validate().unwrap();
    assert_eq!((registry.epoch.0, registry.mailbox_buckets), (1, 1));
}

#[test]
fn a_second_run_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let first: Value = json(&words(word(folder.path()), &[]));
    let before = contents(folder.path());
    assert_eq!(json(&words(word(folder.path()), &[])), first);
    assert_eq!(contents(folder.path()), before);
}

#[test]
fn other_ports_make_a_new_epoch_of_the_same_network() {
    let folder = tempfile::tempdir().unwrap();
    json(&words(word(folder.path()), &[]));
    let before = registry(folder.path());
    let ports = PORTS.replace("21001", "21011");
    json(&["devnet-init", "--dir", word(folder.path()), "--ports", &ports]);
    let after = registry(folder.path());
    assert_eq!(after.network_id(), before.network_id());
    assert_eq!(after.epoch, before.epoch.plus(1));
    assert_eq!(after.nodes[0].signing, before.nodes[0].signing);
    assert!(after.nodes[0].http.ends_with(":21011"));
    // What was signed before is judged by the registry of before.
    json(&words(word(folder.path()), &[]));
    assert_eq!(document(folder.path()).earlier, [before, after]);
}

#[test]
fn a_seed_fixes_the_network() {
    let seed = "0a".repeat(32);
    let made = |seed: &str| {
        let folder = tempfile::tempdir().unwrap();
        json(&words(word(folder.path()), &["--seed", seed]));
        registry(folder.path())
    };
    assert_eq!(made(&seed), made(&seed));
    assert_ne!(made(&seed).network_id(), made(&"0b".repeat(32)).network_id());
}

#[test]
fn another_shape_seed_or_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = word(folder.path());
    json(&words(dir, &[]));
    let before = contents(folder.path());
    let check = |more: &[&str], expected: &str| {
        let error = refused(&words(dir, more), 1);
        assert!(error.contains(expected), "{more:?}: {error}");
        assert_eq!(contents(folder.path()), before);
    };
    check(&["--shards", "2"], "another shape");
    check(&["--replication", "3"], "another shape");
    check(&["--period-ms", "2000"], "another shape");
    check(&["--seed", &"0a".repeat(32)], "another seed");
    let postgres = ["--store", "postgres", "--postgres-url", "postgres://localhost"];
    check(&postgres, "another kind of store");
    check(&["--nodes", "5"], "11 ports");
    check(&["--shards", "3"], "power of two");
}

#[test]
fn nodes_on_postgresql_have_a_database_each() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = ["--store", "postgres", "--postgres-url", "postgres://localhost:5433/"];
    json(&words(word(folder.path()), &postgres));
    for index in 0..4 {
        let file = folder.path().join(format!("nodes/{index}/node.toml"));
        let config = NodeConfig::load(&file, |_| None).unwrap();
        assert_eq!(config.database, format!("postgres://localhost:5433/tidings_node_{index}"));
    }
}

#[test]
fn many_shards_have_a_committee_each() {
    let folder = tempfile::tempdir().unwrap();
    let ports: Vec<String> = (21_001..=21_017).map(|port| port.to_string()).collect();
    let output = command(&[
        "devnet-init",
        "--dir",
        word(folder.path()),
        "--nodes",
        "8",
        "--shards",
        "4",
        "--ports",
        &ports.join(","),
    ])
    .output()
    .unwrap();
    assert!(output.status.success());
    let registry = registry(folder.path());
    assert!((0..4).all(|shard| registry.committee(ShardId(shard)).len() == 4));
    registry.validate().unwrap();
}
