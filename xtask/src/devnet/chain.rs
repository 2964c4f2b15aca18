//! The chain of a development network: an anvil whose state outlives it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::record::{Chain, Record};
use crate::anvil::Anvil;
use crate::contracts;

/// The time between blocks, in seconds.
const BLOCK_SECONDS: &str = "1";
/// How often the state is written, in seconds, should the end be too sudden to write it then.
const STATE_SECONDS: &str = "30";

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
