//! A network that `tidings devnet-init` puts on a chain, and that runs as laid out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tidings_node::config::NodeConfig;

use crate::chain::{Processes, start_anvil};
use crate::network::{free_ports, get, wait_ready};
use crate::program::{command, json, refused, word};

#[test]
fn a_network_laid_out_on_a_chain_runs() {
    let (anvil, url) = start_anvil();
    let mut processes = Processes(vec![anvil]);
    let folder = tempfile::tempdir().unwrap();
    let ports: Vec<String> = free_ports(9).iter().map(u16::to_string).collect();
    let ports = ports.join(",");
    let words = ["devnet-init", "--dir", word(folder.path()), "--ports", &ports, "--chain", &url];
    let layout = json(&words);
    let deployment = layout["deployment"].as_str().unwrap();
    let before = fs::read(deployment).unwrap();

    // What was done is not done again.
    assert_eq!(json(&words), layout);
    assert_eq!(fs::read(deployment).unwrap(), before);
    let on = ["--deployment", deployment, "--rpc", &url];
    let standing = json(&[["operator", "status"].as_slice(), &on].concat());
    let standing = standing.as_array().unwrap();
    assert_eq!(standing.len(), 4);
    assert!(standing.iter().all(|node| node["status"] == "active"), "{standing:?}");

    let nodes = layout["nodes"].as_array().unwrap();
    for (number, node) in nodes.iter().enumerate() {
        assert_eq!(node["id"], number);
        assert_eq!(standing[number]["http"], node["http"]);
        let config = Path::new(node["config"].as_str().unwrap());
        let chain = NodeConfig::load(config, |_| None).unwrap().chain.unwrap();
        let key = chain.operator_key_file.unwrap();
        assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
        spawn(&mut processes, "node", node);
    }
    nodes.iter().for_each(|node| wait_ready(node["http"].as_str().unwrap()));
    let gateway = &layout["gateway"];
    spawn(&mut processes, "gateway", gateway);
    wait_ready(gateway["http"].as_str().unwrap());
    // The first epoch knows who pays.
    let address = nodes[0]["http"].as_str().unwrap().trim_start_matches("http://");
    let registry = get(address, "/v1/registry").unwrap();
    let payer = fs::read_to_string(gateway["config"].as_str().unwrap()).unwrap();
    let payer = payer.lines().find_map(|line| line.strip_prefix("payer = ")).unwrap();
    assert!(registry.contains(payer), "{payer}: {registry}");
}

#[test]
fn a_folder_keeps_what_its_network_is_on() {
    let (anvil, url) = start_anvil();
    let _processes = Processes(vec![anvil]);
    let folder = tempfile::tempdir().unwrap();
    let words =
        ["devnet-init", "--nodes", "1", "--replication", "1", "--ports", "21001,21002,21003"];
    let words = [words.as_slice(), &["--dir", word(folder.path())]].concat();
    json(&words);
    let refusal = refused(&[words.as_slice(), &["--chain", &url]].concat(), 1);
    assert!(refusal.contains("without a chain"), "{refusal}");
    let refusal = refused(&[words.as_slice(), &["--chain", &url, "--xmtp"]].concat(), 2);
    assert!(refusal.contains("--xmtp"), "{refusal}");
}

fn spawn(processes: &mut Processes, role: &str, process: &Value) {
    let log = fs::File::create(process["log"].as_str().unwrap()).unwrap();
    let child = command(&[role, "run", "--config", process["config"].as_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    processes.0.push(child);
}
