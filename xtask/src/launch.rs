//! `cargo xtask demo`, `cargo xtask chaos` and `cargo xtask bench`: build a program, give it
//! what it needs, pass on how it ended.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use crate::anvil::Anvil;
use crate::{contracts, devnet, ports, process, repository};

/// Options of `cargo xtask demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoOptions {
    /// Number of nodes
    #[arg(long, default_value_t = 4)]
    nodes: usize,
    /// 32 bytes in hex, from which all keys are derived [default: random]
    #[arg(long)]
    seed: Option<String>,
    /// The number of a node that is dead from the beginning to the end
    #[arg(long)]
    dead: Option<usize>,
    /// How the last node lies from the beginning to the end: equivocate, forge, withhold,
    /// vote-twice or propose-twice
    #[arg(long, conflicts_with = "dead")]
    lying: Option<String>,
    /// Show how money moves on a network that is on a chain: payment, slashing, a newcomer
    #[arg(long, conflicts_with_all = ["nodes", "dead", "lying", "governance"])]
    economy: bool,
    /// Walk a network on a chain through the phases of its governance instead
    #[arg(long, conflicts_with_all = ["nodes", "seed", "dead", "lying"])]
    governance: bool,
    /// Passed on to the program
    #[arg(last = true)]
    program: Vec<String>,
}

/// Options of `cargo xtask chaos`.
#[derive(Args, Clone, Debug)]
pub struct ChaosOptions {
    /// Where chances are drawn from [default: fresh, and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// How long each fault lasts, in seconds [default: 20]
    #[arg(long)]
    seconds: Option<u64>,
    /// How often all phases are run [default: 1]
    #[arg(long)]
    rounds: Option<u64>,
    /// Run only these phases, in this order, with commas
    #[arg(long)]
    only: Option<String>,
}

/// Options of `cargo xtask bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchOptions {
    /// Passed on to the program
    #[arg(last = true)]
    program: Vec<String>,
}

/// Plays a conversation on a fresh network and stops it; or the phases of governance, on a chain.
///
/// # Errors
/// When the network does not start, or something went wrong in the play.
pub fn demo(root: &Path, options: &DemoOptions) -> Result<()> {
    if options.governance {
        devnet::build(root, &["tidings", "tidings-demo"], false)?;
        return govern(root, None);
    }
    let mut programs = vec!["tidings", "tidings-demo"];
    if options.lying.is_some() || options.economy {
        programs.push("tidings-byzantine");
    }
    devnet::build(root, &programs, false)?;
    let seed = options.seed.as_deref();
    if options.economy {
        return trade(root, seed, &options.program, None);
    }
    let dir = repository::target_dir(root).join("demo");
    let network = devnet::start_fresh(root, dir.clone(), options.nodes, seed)?;
    let mut words = options.program.clone();
    if let Some(dead) = options.dead {
        words.extend(["--dead".to_owned(), dead.to_string()]);
    }
    if let Some(lie) = &options.lying {
        words.extend(["--lying".to_owned(), lie.clone()]);
    }
    play(root, &dir, network, &words, None)
}

/// Shows on a fresh network that is on a chain how money moves, with programs that are built
/// already.
///
/// # Errors
/// When the network does not start, a sum does not hold, or it takes longer than until `deadline`.
pub fn trade(
    root: &Path,
    seed: Option<&str>,
    program: &[String],
    deadline: Option<Instant>,
) -> Result<()> {
    let dir = repository::target_dir(root).join("economy");
    let network = devnet::start_on_chain(root, dir.clone(), seed)?;
    let words = [&["--economy".to_owned()], program].concat();
    play(root, &dir, network, &words, deadline)
}

/// Plays on a network and stops it.
fn play(
    root: &Path,
    dir: &Path,
    network: devnet::Network,
    words: &[String],
    deadline: Option<Instant>,
) -> Result<()> {
    let mut command = Command::new(devnet::binary(root, "tidings-demo", false));
    command.current_dir(root).arg("--devnet").arg(devnet::record_path(dir)).args(words);
    let status = process::status(command.stdin(Stdio::null()), deadline);
    drop(network);
    let status = status?;
    if !status.success() {
        tell_warnings(&dir.join("nodes"));
        bail!("the demo failed ({status}); its logs are in {}", dir.display());
    }
    Ok(())
}

/// The most lines of a node's log that are repeated.
const WARNINGS_TOLD: usize = 20;

/// Repeats the last warnings of each node: where CI runs, nobody can read the logs afterwards.
fn tell_warnings(nodes: &Path) {
    let folders = fs::read_dir(nodes).into_iter().flatten().flatten();
    let mut logs: Vec<_> = folders.map(|folder| folder.path().join("node.log")).collect();
    logs.sort();
    for log in logs {
        let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        let warnings = text.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
        let warnings: Vec<&str> = warnings.collect();
        let from = warnings.len().saturating_sub(WARNINGS_TOLD);
        eprintln!("-- {}", log.display());
        warnings.iter().skip(from).for_each(|line| eprintln!("   {line}"));
    }
}

/// Walks a network on a fresh chain through the phases of its governance, with programs that are
/// built already.
///
/// # Errors
/// When the chain does not start, somebody could do what only a vote may, or it takes longer than
/// until `deadline`.
pub fn govern(root: &Path, deadline: Option<Instant>) -> Result<()> {
    let dir = repository::target_dir(root).join("governance");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let program = contracts::anvil(root, deadline)?;
    let lease = ports::lease(1)?.remove(0);
    let anvil = Anvil::start(&program, lease.port(), &[], &dir.join("anvil.log"))?;
    let mut command = Command::new(devnet::binary(root, "tidings-demo", false));
    command.current_dir(root).args(["--chain", anvil.url(), "--dir"]).arg(&dir);
    let status = process::status(command.stdin(Stdio::null()), deadline);
    drop(anvil);
    let status = status?;
    if !status.success() {
        bail!("the demo of governance failed ({status}); see {}", dir.display());
    }
    Ok(())
}

/// Lets people talk on a network that fails in every way, and checks what they saw.
///
/// # Errors
/// When the build fails or something went wrong for the people.
pub fn chaos(root: &Path, options: &ChaosOptions) -> Result<()> {
    devnet::build(root, &["tidings", "tidings-chaos", "tidings-byzantine"], false)?;
    let mut words = Vec::new();
    let numbers =
        [("--seed", options.seed), ("--seconds", options.seconds), ("--rounds", options.rounds)];
    for (name, value) in numbers {
        words.extend(value.into_iter().flat_map(|value| [name.to_owned(), value.to_string()]));
    }
    words.extend(options.only.iter().flat_map(|only| ["--only".to_owned(), only.clone()]));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    unleash(root, &words, None)
}

/// Runs chaos with programs that are built already.
///
/// # Errors
/// When something went wrong for the people, or it takes longer than until `deadline`.
pub fn unleash(root: &Path, words: &[&str], deadline: Option<Instant>) -> Result<()> {
    let dir = repository::target_dir(root).join("chaos");
    let mut command = Command::new(devnet::binary(root, "tidings-chaos", false));
    command.current_dir(root).arg("--dir").arg(&dir).args(words).stdin(Stdio::null());
    let status = process::status(&mut command, deadline)?;
    if !status.success() {
        bail!("chaos failed ({status}); the logs are in {}", dir.display());
    }
    Ok(())
}

/// Runs the benchmarks and writes benches/RESULTS.md.
///
/// # Errors
/// When the build or the benchmarks fail.
pub fn bench(root: &Path, options: &BenchOptions) -> Result<()> {
    devnet::build(root, &["tidings", "tidings-bench"], true)?;
    let mut command = Command::new(devnet::binary(root, "tidings-bench", true));
    command
        .current_dir(root)
        .args(["--results", "benches/RESULTS.md"])
        .args(&options.program)
        .stdin(Stdio::null());
    process::run(&mut command, None)
}
