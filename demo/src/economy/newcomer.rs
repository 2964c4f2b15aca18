//! A fifth operator joins with a bond and a node.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidings_chain::contracts::TidingsToken;
use tidings_chain::{Call, Wallet, address};
use tidings_demo::PortLease;

use super::accounts::Accounts;
use super::{LOOK_INTERVAL, PATIENCE};
use crate::stage::Stage;
use crate::story::tell;

/// What the node is called.
pub(super) const NAME: &str = "newcomer";

/// The bond, in tokens: the first value of `BondMin`.
const BOND_TOKENS: u64 = 100_000;

/// A node that has joined; it ends with the demo.
pub(super) struct Newcomer {
    id: u32,
    http: String,
    process: Child,
    _ports: Vec<PortLease>,
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Has somebody new register, bond and start a node, and waits until it has a seat.
///
/// # Errors
/// When a contract refuses, or it has no seat in time.
pub(super) async fn join(stage: &Stage, accounts: &Accounts, home: &Path) -> Result<Newcomer> {
    let ports = vec![PortLease::take()?, PortLease::take()?];
    let (http, quic) = (local(&ports[0]), local(&ports[1]));
    let url = format!("http://{http}");
    let id = u32::try_from(stage.nodes().len())?;
    let folder = home.join("newcomer");
    tell("A fifth operator joins.");
    lay_out(stage, accounts, &folder, (id, &http, &quic))?;
    let key_file = folder.join("operator.key");
    endow(accounts, &key_file).await?;
    let (signing, transport) = (folder.join("signing.key"), folder.join("transport.key"));
    let number = id.to_string();
    accounts.act(
        &key_file,
        &[
            "operator",
            "register",
            "--name",
            NAME,
            "--http",
            &url,
            "--quic",
            &quic,
            "--signing-key-file",
            text(&signing)?,
            "--transport-key-file",
            text(&transport)?,
        ],
    )?;
    accounts.act(&key_file, &["operator", "bond", &number, &BOND_TOKENS.to_string()])?;
    accounts.act(&accounts.founder, &["operator", "admit", &number])?;
    let process = start(stage, &folder)?;
    let newcomer = Newcomer { id, http: url, process, _ports: ports };
    let deadline = Instant::now() + PATIENCE;
    while !stage.committee(0).await?.contains(&id) {
        ensure!(Instant::now() < deadline, "the newcomer has no seat in time");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    stage.is_ready(&newcomer.http, PATIENCE).await?;
    tell(&format!("The committee is now {:?}.", stage.committee(0).await?));
    Ok(newcomer)
}

impl Newcomer {
    /// Waits until it holds what an honest node does; how many entries those are.
    ///
    /// # Errors
    /// When it does not in time.
    pub(super) async fn holds_all(&self, stage: &Stage, liar: usize) -> Result<u64> {
        let liar = stage.nodes()[liar].id;
        stage.comes_to_hold(&self.http, 0, &|node| node == liar).await
    }

    /// Waits until a report says that it has earned something; how much, in picodollars.
    ///
    /// # Errors
    /// When it has not in time.
    pub(super) async fn earns(&self, stage: &Stage) -> Result<u128> {
        let base = format!("{}/v1/settlement/0", stage.nodes()[0].http);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let reports: Value = stage.read(&base).await?;
            let last = reports["reports"].as_array().and_then(|all| all.last()).cloned();
            let last = last.context("there is no report")?["last"].to_string();
            let answer: Result<Value> =
                stage.read(&format!("{base}/{last}/earnings/{}", self.id)).await;
            if let Some(earned) = answer.ok().and_then(|it| it["cumulative"].as_str()?.parse().ok())
            {
                return Ok(earned);
            }
            ensure!(Instant::now() < deadline, "the newcomer earns nothing");
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

fn local(port: &PortLease) -> String {
    format!("127.0.0.1:{}", port.port())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// Makes keys and a configuration.
fn lay_out(
    stage: &Stage,
    accounts: &Accounts,
    folder: &Path,
    (id, http, quic): (u32, &str, &str),
) -> Result<()> {
    let mut command = Command::new(stage.program());
    command.args(["node", "init", "--node", &id.to_string(), "--dir"]).arg(folder);
    command.args(["--http", &format!("http://{http}"), "--http-listen", http]);
    command.args(["--quic", quic, "--quic-listen", quic, "--registry"]);
    command.arg(folder.join("registry.json")).args(["--rpc", &accounts.anvil.url, "--deployment"]);
    let output = command.arg(&accounts.deployment_file).stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    // A development chain takes nothing back, and people look on.
    let file = folder.join("node.toml");
    let config =
        std::fs::read_to_string(&file)?.replace("finality_depth = 64", "finality_depth = 0");
    let config =
        config.replace("poll_ms = 4000", "poll_ms = 500\noperator_key_file = \"operator.key\"");
    std::fs::write(file, config)?;
    Ok(())
}

/// An account of its own, with something for gas, and tokens from a founder.
async fn endow(accounts: &Accounts, key_file: &Path) -> Result<()> {
    let wallet = accounts.anvil.account(key_file).await?;
    let founder = std::fs::read_to_string(&accounts.founder)?;
    let mut secret = [0; 32];
    hex::decode_to_slice(founder.trim(), &mut secret).context("the founder's key is not one")?;
    let value = U256::from(BOND_TOKENS) * U256::from(10u64.pow(18));
    let give = TidingsToken::transferCall { to: address(wallet.address()), value };
    let deployment = accounts.deployment();
    let mut submitter = accounts.anvil.submitter(deployment, Wallet::from_secret(&secret)?)?;
    submitter.submit(&Call::new("tokens", deployment.token, give.abi_encode())).await?;
    tell("It has an account with tokens for a bond.");
    Ok(())
}

fn start(stage: &Stage, folder: &Path) -> Result<Child> {
    let log = std::fs::File::create(folder.join("node.log"))?;
    let mut command = Command::new(stage.program());
    command.args(["node", "run", "--config"]).arg(folder.join("node.toml"));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command.spawn()?)
}
