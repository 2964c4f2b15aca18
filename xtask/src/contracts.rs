//! `cargo xtask contracts`: builds and tests the contracts, and writes what Rust takes of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::generated::{self, Mode};
use crate::tally::Tally;
use crate::{npm, process};

const COMMAND: &str = "cargo xtask contracts";

/// The program itself; npm's wrapper around it is one more process.
const FORGE: &str = "node_modules/@foundry-rs/forge-linux-amd64/bin/forge";

/// An EVM node for tests and development networks.
const ANVIL: &str = "node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil";

/// The contracts that are deployed.
const DEPLOYED: [&str; 11] = [
    "AccessManager",
    "DevnetDollar",
    "EvidenceCourt",
    "Guardian",
    "NetworkParameters",
    "NodeRegistry",
    "PayerVault",
    "TidingsGovernor",
    "TidingsTimelock",
    "TidingsToken",
    "UsageSettlement",
];

/// Builds and tests the contracts, and writes or checks what Rust takes of them and what they
/// cost.
///
/// # Errors
/// When a tool is missing, a contract does not compile, a test fails, or a file is stale under
/// [`Mode::Check`].
pub fn run(root: &Path, mode: Mode, deadline: Option<Instant>, tally: &mut Tally) -> Result<()> {
    let forge = Forge { folder: root.join("contracts"), deadline };
    npm::install(&forge.folder, deadline)?;
    forge.run(match mode {
        Mode::Check => &["fmt", "--check"],
        Mode::Write => &["fmt"],
    })?;
    forge.compile(&["build"])?;
    forge.test(tally)?;
    forge.compile(match mode {
        Mode::Check => &["snapshot", "--match-path", "test/*Gas.t.sol", "--check"],
        Mode::Write => &["snapshot", "--match-path", "test/*Gas.t.sol"],
    })?;
    for name in DEPLOYED {
        let path = forge.folder.join(format!("artifacts/{name}.json"));
        generated::settle(root, &path, &forge.artifact(name)?, mode, COMMAND)?;
    }
    Ok(())
}

/// An EVM node: anvil on the PATH, or else from npm.
///
/// # Errors
/// When npm is missing or fails.
pub fn anvil(root: &Path, deadline: Option<Instant>) -> Result<PathBuf> {
    if let Some(found) = process::on_path("anvil") {
        return Ok(found);
    }
    let folder = root.join("contracts");
    npm::install(&folder, deadline)?;
    Ok(folder.join(ANVIL))
}

/// Forge from npm, in the folder of the contracts.
pub struct Forge {
    /// Where `foundry.toml` is.
    pub folder: PathBuf,
    /// When a command is ended that has not ended itself.
    pub deadline: Option<Instant>,
}

impl Forge {
    /// Where the program is once packages are fetched.
    pub fn program(&self) -> PathBuf {
        self.folder.join(FORGE)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        command.current_dir(&self.folder).args(words).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Result<()> {
        process::run(&mut self.command(words), self.deadline)
    }

    /// A command that compiles, with the compiler from npm and without looking for another.
    pub fn compiling(&self, words: &[&str]) -> Command {
        let mut command = self.command(words);
        command.args(["--offline", "--use", "./solc.mjs"]);
        command
    }

    fn compile(&self, words: &[&str]) -> Result<()> {
        process::run(&mut self.compiling(words), self.deadline)
    }

    fn test(&self, tally: &mut Tally) -> Result<()> {
        let mut seen = Tally::default();
        let mut command = self.compiling(&["test"]);
        let status = process::run_lines(&mut command, self.deadline, &mut |line| {
            seen.passed += u64::from(line.starts_with("[PASS"));
            seen.failed += u64::from(line.starts_with("[FAIL"));
        });
        *tally += seen;
        let status = status?;
        ensure!(status.success(), "tests of the contracts failed ({status})");
        Ok(())
    }

    /// A contract's interface and the bytes that deploy it, as the build left them.
    fn artifact(&self, name: &str) -> Result<String> {
        let path = self.folder.join(format!("out/{name}.sol/{name}.json"));
        let text = fs::read_to_string(&path)
            .with_context(|| format!("the build left no {}", path.display()))?;
        artifact(name, &text)
    }
}

fn artifact(name: &str, built: &str) -> Result<String> {
    let built: Value = serde_json::from_str(built).context("a build's artifact is JSON")?;
    let bytecode = built["bytecode"]["object"].as_str().context("an artifact has bytecode")?;
    let is_linked = bytecode.len() > 2 && !bytecode.contains('_');
    ensure!(is_linked, "{name} is abstract, or needs a library to be linked");
    let mut abi = built["abi"].clone();
    unname_values(&mut abi);
    let kept = json!({ "contractName": name, "abi": abi, "bytecode": bytecode });
    Ok(serde_json::to_string_pretty(&kept)? + "\n")
}

/// Gives values of types that Solidity defines in files, such as `NodeId`, the names of what they
/// are made of: who makes bindings from an artifact has no such file.
fn unname_values(abi: &mut Value) {
    match abi {
        Value::Array(items) => items.iter_mut().for_each(unname_values),
        Value::Object(fields) => {
            let is_kept = |name: &str| {
                ["struct ", "enum ", "contract "].iter().any(|kind| name.starts_with(kind))
            };
            let plain = fields.get("type").cloned();
            if let (Some(Value::String(name)), Some(plain)) =
                (fields.get_mut("internalType"), plain)
                && !is_kept(name)
                && let Some(plain) = plain.as_str()
            {
                *name = plain.to_owned();
            }
            fields.values_mut().for_each(unname_values);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_interface_and_code_alone() {
        let built =
            r#"{"abi": [], "bytecode": {"object": "0x6001", "linkReferences": {}}, "id": 3}"#;
        let kept: Value = serde_json::from_str(&artifact("Vault", built).unwrap()).unwrap();
        assert_eq!(kept, json!({ "contractName": "Vault", "abi": [], "bytecode": "0x6001" }));
    }

    #[test]
    fn types_of_files_are_plain_in_an_artifact() {
        let parameter =
            |name: &str| json!([{ "inputs": [{ "internalType": name, "type": "uint32" }] }]);
        let mut abi = parameter("NodeId");
        unname_values(&mut abi);
        assert_eq!(abi, parameter("uint32"));
        let mut abi = parameter("struct INodeRegistry.Node");
        unname_values(&mut abi);
        assert_eq!(abi, parameter("struct INodeRegistry.Node"));
    }

    #[test]
    fn what_cannot_be_deployed_is_refused() {
        for code in ["0x", "0x60__$abc$__"] {
            let built = json!({ "abi": [], "bytecode": { "object": code } }).to_string();
            assert!(artifact("Vault", &built).is_err());
        }
    }
}
