//! The chain on which people decide, and the commands that they give.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tidings_chain::contracts::TidingsToken;
use tidings_chain::{Call, Deployment, SubmitError, Wallet, address};
use tidings_types::EthereumAddress;

use crate::anvil::Anvil;

/// Somebody with an account.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) name: &'static str,
    pub(super) address: EthereumAddress,
    key_file: PathBuf,
    wallet: Wallet,
}

/// A development chain, and a folder for keys.
pub(super) struct Chamber {
    program: PathBuf,
    pub(super) folder: PathBuf,
    anvil: Anvil,
    checks: u32,
}

impl Chamber {
    /// The chain at `url`, which must be an anvil; files go to `folder`.
    ///
    /// # Errors
    /// When the program is not built or the folder cannot be made.
    pub(super) fn open(url: &str, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self {
            program: tidings_demo::binary("tidings")?,
            folder: std::path::absolute(folder)?,
            anvil: Anvil::at(url)?,
            checks: 0,
        })
    }

    /// Somebody new, with a key of their own and something for gas.
    ///
    /// # Errors
    /// When the key cannot be written or the chain gives nothing.
    pub(super) async fn person(&self, name: &'static str) -> Result<Person> {
        let key_file = self.folder.join(format!("{name}.key"));
        let wallet = self.anvil.account(&key_file).await?;
        Ok(Person { name, address: wallet.address(), key_file, wallet })
    }

    /// Where the contracts are.
    ///
    /// # Errors
    /// When they are not deployed yet.
    pub(super) fn deployment(&self) -> Result<Deployment> {
        Ok(serde_json::from_str(&std::fs::read_to_string(self.deployment_file())?)?)
    }

    fn deployment_file(&self) -> PathBuf {
        self.folder.join("deployment.json")
    }

    /// Has the contracts deployed, as `plan` says.
    ///
    /// # Errors
    /// What the program says.
    pub(super) fn deploy(&self, who: &Person, plan: &str) -> Result<()> {
        let (file, out) = (self.folder.join("plan.toml"), self.deployment_file());
        std::fs::write(&file, plan)?;
        typed(who, &["chain", "deploy", "--plan", "plan.toml"]);
        let mut command = Command::new(&self.program);
        command.args(["chain", "deploy", "--rpc", &self.anvil.url, "--confirmations", "0"]);
        command.arg("--key-file").arg(&who.key_file).arg("--plan").arg(file).arg("--out").arg(out);
        answer(&succeeded(&command.stdin(Stdio::null()).output()?)?);
        Ok(())
    }

    /// Has somebody give a command, shows both the command and the answer.
    ///
    /// # Errors
    /// What the program says when it fails.
    pub(super) fn act(&self, who: &Person, words: &[&str]) -> Result<()> {
        typed(who, words);
        answer(&succeeded(&self.run(Some(who), words, false)?)?);
        Ok(())
    }

    /// Has somebody give a command that must be refused, for a reason that contains `expected`.
    ///
    /// # Errors
    /// When it is not refused, or for another reason.
    pub(super) fn refused(
        &mut self,
        who: &Person,
        words: &[&str],
        expected: &str,
        means: &str,
    ) -> Result<()> {
        typed(who, words);
        let output = self.run(Some(who), words, false)?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        ensure!(!output.status.success(), "this was not refused: tidings {}", words.join(" "));
        answer(&said);
        self.check(said.contains(expected), means)
    }

    /// What a command answers in JSON; it is not shown.
    ///
    /// # Errors
    /// What the program says when it fails.
    pub(super) fn ask(&self, words: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&succeeded(&self.run(None, words, true)?)?)?)
    }

    /// Has somebody look at something, for people.
    ///
    /// # Errors
    /// What the program says when it fails.
    pub(super) fn look(&self, words: &[&str]) -> Result<()> {
        println!("  $ tidings {}", words.join(" "));
        answer(&succeeded(&self.run(None, words, false)?)?);
        Ok(())
    }

    fn run(&self, who: Option<&Person>, words: &[&str], json: bool) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command.args(words).args(["--rpc", &self.anvil.url]);
        command.arg("--deployment").arg(self.deployment_file());
        if let Some(who) = who {
            command.arg("--key-file").arg(&who.key_file).args(["--confirmations", "0"]);
        }
        if json {
            command.arg("--json");
        }
        Ok(command.stdin(Stdio::null()).output()?)
    }

    /// Makes the folder of a node, with keys.
    ///
    /// # Errors
    /// What the program says when it fails.
    pub(super) fn node_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        let mut command = Command::new(&self.program);
        command.args(["node", "init", "--node", "0", "--http", "https://node.example"]);
        command.args(["--quic", "node.example:9080", "--registry", "registry.json", "--dir"]);
        succeeded(&command.arg(&folder).stdin(Stdio::null()).output()?)?;
        Ok(folder)
    }

    /// Sends tokens.
    ///
    /// # Errors
    /// When the chain refuses.
    pub(super) async fn give(&self, from: &Person, to: EthereumAddress, tokens: u64) -> Result<()> {
        let value = units(tokens);
        let call = TidingsToken::transferCall { to: address(to), value };
        let token = self.deployment()?.token;
        self.attempt(from, token, call.abi_encode()).await?.map_err(anyhow::Error::msg)
    }

    /// Has somebody call a contract past all commands; why it refuses, if it does.
    ///
    /// # Errors
    /// When the chain does not answer.
    pub(super) async fn attempt(
        &self,
        who: &Person,
        to: EthereumAddress,
        data: Vec<u8>,
    ) -> Result<Result<(), String>> {
        let mut submitter = self.anvil.submitter(&self.deployment()?, who.wallet.clone())?;
        match submitter.submit(&Call::new("call", to, data)).await {
            Ok(_) => Ok(Ok(())),
            Err(SubmitError::Refused(reason)) => Ok(Err(reason)),
            Err(SubmitError::Reverted { .. }) => Ok(Err("it was carried out and failed".into())),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets time pass on the chain.
    ///
    /// # Errors
    /// When the chain is no development chain.
    pub(super) async fn pass(&self, seconds: u64, why: &str) -> Result<()> {
        self.anvil.tell("evm_increaseTime", &json!([seconds])).await?;
        self.anvil.tell("evm_mine", &json!([])).await?;
        println!("  ({seconds} seconds pass: {why})");
        Ok(())
    }

    /// Says that something holds, which is checked.
    ///
    /// # Errors
    /// When it does not hold.
    pub(super) fn check(&mut self, holds: bool, what: &str) -> Result<()> {
        if !holds {
            bail!("this does not hold: {what}");
        }
        self.checks += 1;
        println!("  ✓ {what}");
        Ok(())
    }

    /// How many things were seen to hold.
    pub(super) fn checks(&self) -> u32 {
        self.checks
    }

    /// The number of the newest proposal.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn newest_proposal(&self) -> Result<String> {
        let found = self.ask(&["gov", "status"])?;
        let newest = found.as_array().and_then(|all| all.last()).context("nothing is proposed")?;
        Ok(newest["number"].to_string())
    }

    /// Where a proposal stands.
    ///
    /// # Errors
    /// When there is none of this number.
    pub(super) fn state(&self, proposal: &str) -> Result<String> {
        let found = self.ask(&["gov", "status", proposal])?;
        Ok(found[0]["state"].as_str().unwrap_or_default().to_owned())
    }

    /// Where a node stands.
    ///
    /// # Errors
    /// When the chain cannot be asked.
    pub(super) fn node_status(&self, node: &str) -> Result<String> {
        let found = self.ask(&["operator", "status", node])?;
        Ok(found[0]["status"].as_str().unwrap_or_default().to_owned())
    }

    /// The value of a parameter.
    ///
    /// # Errors
    /// When there is none of this name.
    pub(super) fn parameter(&self, name: &str) -> Result<u64> {
        let all = self.ask(&["gov", "parameters"])?;
        let all = all.as_array().context("parameters are a list")?;
        let found = all.iter().find(|it| it["name"] == name).context("no such parameter")?;
        found["value"].as_u64().context("a value is a number")
    }

    /// The phase of admission, 1 to 3.
    ///
    /// # Errors
    /// When the chain cannot be asked.
    pub(super) fn phase(&self) -> Result<u64> {
        self.ask(&["gov", "phase"])?["phase"].as_u64().context("a phase is a number")
    }
}

/// Tokens in units of 10⁻¹⁸.
pub(super) fn units(tokens: u64) -> U256 {
    U256::from(tokens) * U256::from(10u64.pow(18))
}

fn typed(who: &Person, words: &[&str]) {
    let quoted = words.iter().map(|word| match word.contains(' ') {
        true => format!("\"{word}\""),
        false => (*word).to_owned(),
    });
    println!("  {}$ tidings {}", who.name, quoted.collect::<Vec<_>>().join(" "));
}

fn answer(text: &str) {
    for line in text.trim().lines() {
        println!("    {line}");
    }
}

fn succeeded(output: &Output) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
