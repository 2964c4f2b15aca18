//! Chaos on a four-node network of real processes.
//!
//! Started by `cargo xtask chaos`, which builds everything first.
//! It ends with an error if a client lost, repeated or misplaced anything, or if a group forked.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tidings_chaos::phase::{self, Fault, Settings};

/// What to run.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where chances are drawn from [default: fresh, and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// How long each fault lasts, in seconds
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Run only these phases, in this order
    #[arg(long, value_delimiter = ',', value_parser = fault)]
    only: Vec<Fault>,
    /// Run all phases so many times
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Where files are kept; what is there is removed first [default: a folder that is removed]
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn fault(name: &str) -> Result<Fault, String> {
    let found = Fault::ALL.into_iter().find(|fault| fault.name() == name);
    found.ok_or_else(|| format!("one of {}", Fault::ALL.map(Fault::name).join(", ")))
}

/// A short number that is another one each time.
fn fresh_seed() -> u64 {
    u64::from(ChaCha20Rng::from_entropy().next_u32())
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let faults =
        if arguments.only.is_empty() { Fault::ALL.to_vec() } else { arguments.only.clone() };
    if let Some(folder) = arguments.dir.as_ref().filter(|folder| folder.exists()) {
        // Nothing but an earlier run's folder is removed.
        if !folder.join("registry.json").exists() && folder.read_dir()?.next().is_some() {
            bail!("{} holds something else; choose another folder", folder.display());
        }
        std::fs::remove_dir_all(folder).context("an earlier run's files cannot be removed")?;
    }
    let settings = Settings {
        seed: arguments.seed.unwrap_or_else(fresh_seed),
        time: Duration::from_secs(arguments.seconds),
        faults: faults.repeat(arguments.rounds),
        folder: arguments.dir,
    };
    let rows = phase::run(&settings).await?;
    println!("\n{} phases, nothing lost, repeated, out of order or forked", rows.len());
    Ok(())
}
