//! `cargo xtask demo` and `cargo xtask bench`: build a program, give it what it
//! needs, pass on how it ended.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use clap::Args;

use crate::{devnet, process, repository};

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
    /// Passed on to the program
    #[arg(last = true)]
    program: Vec<String>,
}

/// Options of `cargo xtask bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchOptions {
    /// Passed on to the program
    #[arg(last = true)]
    program: Vec<String>,
}

/// Plays a conversation on a fresh network and stops it.
///
/// # Errors
/// When the network does not start, or the conversation went wrong.
pub fn demo(root: &Path, options: &DemoOptions) -> Result<()> {
    devnet::build(root, &["tidings", "tidings-demo"], false)?;
    let dir = repository::target_dir(root).join("demo");
    let network = devnet::start_fresh(root, dir.clone(), options.nodes, options.seed.as_deref())?;
    let mut command = Command::new(devnet::binary(root, "tidings-demo", false));
    command
        .current_dir(root)
        .arg("--devnet")
        .arg(devnet::record_path(&dir))
        .args(&options.program)
        .stdin(Stdio::null());
    if let Some(dead) = options.dead {
        command.arg("--dead").arg(dead.to_string());
    }
    let status = process::status(&mut command, None);
    drop(network);
    let status = status?;
    if !status.success() {
        bail!("the demo failed ({status}); its logs are in {}", dir.display());
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
