//! The chain of a development network: an anvil whose state outlives it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::readiness;
use super::record::{Chain, Record};
use crate::anvil::Anvil;
use crate::contracts;

/// The time between blocks, in seconds.
const BLOCK_SECONDS: &str = "1";
/// How often the state is written, in seconds, should the end be too sudden to write it then.
const STATE_SECONDS: &str = "30";
/// Longer than nodes of a devnet take to look at the chain again.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// Starts a chain on which nothing is yet. Each transaction makes a block, until the network is
/// laid out.
///
/// # Errors
/// When anvil cannot be had, or does not start.
pub fn start(root: &Path, dir: &Path, port: u16) -> Result<Anvil> {
    fs::create_dir_all(folder(dir))?;
    launch(root, dir, port, &[])
}

/// Starts a chain again where it ended.
///
/// # Errors
/// When its state is lost or of no use, or it does not start.
pub fn start_again(root: &Path, record: &Record, chain: &Chain, binary: &Path) -> Result<Anvil> {
    let state = state_file(&record.dir);
    ensure!(
        state.exists(),
        "the chain's state in {} is lost, and the network's registry with it; start with --fresh",
        state.display()
    );
    share_newest_registry(record)?;
    let anvil = launch(root, &record.dir, chain.port, &["--block-time", BLOCK_SECONDS])?;
    let deployment = record.layout.deployment.as_ref().context("the contracts are nowhere")?;
    let output = Command::new(binary)
        .args(["chain", "check", "--rpc", anvil.url(), "--deployment"])
        .arg(deployment)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("the chain came back without the network, so start with --fresh: {}", said.trim());
    }
    Ok(anvil)
}

/// Lets no block follow, and nodes read the last ones: after the end there are no states of old
/// blocks, and an epoch that a node had not read by then could never be read.
pub fn hold(anvil: &Anvil) {
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"evm_setIntervalMining","params":[0]}"#;
    match readiness::tell(anvil.url(), call) {
        Ok(()) => thread::sleep(READ_PAUSE),
        Err(error) => eprintln!("the chain cannot be held: {error:#}"),
    }
}

/// Gives nodes that were down while epochs went by the newest registry that another has read; all
/// read the same.
fn share_newest_registry(record: &Record) -> Result<()> {
    let files = record.layout.nodes.iter().map(|node| node.data_dir.join("registry.json"));
    let files: Vec<(Option<u64>, PathBuf)> = files.map(|file| (epoch_in(&file), file)).collect();
    let Some((newest, source)) = files.iter().max_by_key(|(epoch, _)| *epoch) else {
        return Ok(());
    };
    for (_, behind) in files.iter().filter(|(epoch, _)| epoch < newest) {
        let next = behind.with_extension("new");
        fs::copy(source, &next)
            .and_then(|_| fs::rename(&next, behind))
            .with_context(|| format!("cannot write {}", behind.display()))?;
    }
    Ok(())
}

fn epoch_in(registry: &Path) -> Option<u64> {
    let text = fs::read(registry).ok()?;
    serde_json::from_slice::<serde_json::Value>(&text).ok()?["epoch"].as_u64()
}

/// What the record says of a running chain.
pub fn described(dir: &Path, port: u16, anvil: &Anvil) -> Chain {
    Chain {
        url: anvil.url().to_owned(),
        port,
        data_dir: folder(dir),
        log: log_file(dir),
        pid: Some(anvil.pid()),
    }
}

fn launch(root: &Path, dir: &Path, port: u16, words: &[&str]) -> Result<Anvil> {
    eprintln!("starting the chain at http://127.0.0.1:{port}");
    let program = contracts::anvil(root, None)?;
    let (state, cache) = (state_file(dir), folder(dir).join("cache"));
    let (state, cache) = (state.to_string_lossy(), cache.to_string_lossy());
    let mut all = vec!["--state", &state, "--state-interval", STATE_SECONDS];
    all.extend(["--cache-path", &cache]);
    all.extend(words);
    Anvil::start(&program, port, &all, &log_file(dir))
}

fn folder(dir: &Path) -> PathBuf {
    dir.join("chain")
}

fn state_file(dir: &Path) -> PathBuf {
    folder(dir).join("state.json")
}

fn log_file(dir: &Path) -> PathBuf {
    folder(dir).join("anvil.log")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devnet::record::{Gateway, Layout, Node, Shape, Store};

    #[test]
    fn who_is_behind_gets_the_newest_registry() {
        let dir = std::env::temp_dir().join(format!("tidings-chain-test-{}", std::process::id()));
        let node = |index: usize| {
            let data_dir = dir.join(index.to_string());
            fs::create_dir_all(&data_dir).unwrap();
            let file = data_dir.join("registry.json");
            // The last node has never run.
            if index < 2 {
                fs::write(file, format!("{{\"epoch\":{}}}", index + 4)).unwrap();
            }
            Node {
                name: format!("node-{index}"),
                id: index.into(),
                http: String::new(),
                quic: String::new(),
                log: data_dir.join("node.log"),
                config: data_dir.join("node.toml"),
                data_dir,
                pid: None,
            }
        };
        let gateway = Gateway {
            http: String::new(),
            data_dir: dir.clone(),
            log: dir.clone(),
            config: dir.clone(),
            api_key_file: dir.clone(),
            pid: None,
        };
        let nodes: Vec<Node> = (0..3).map(node).collect();
        let files: Vec<PathBuf> =
            nodes.iter().map(|node| node.data_dir.join("registry.json")).collect();
        let layout = Layout { nodes, gateway, edges: Vec::new(), deployment: None };
        let shape = Shape {
            nodes: 3,
            shards: 1,
            replication: 3,
            store: Store::Sqlite,
            seed: "00".repeat(32),
            xmtp: false,
            chain: true,
        };
        let record = Record::new(dir.clone(), "tidings".into(), shape, Vec::new(), layout);
        share_newest_registry(&record).unwrap();
        for file in files {
            assert_eq!(epoch_in(&file), Some(5), "{}", file.display());
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
