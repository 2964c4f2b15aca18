//! The project's own tool: checks, generated files, tests, and networks to play with.

mod anvil;
mod ci;
mod codegen;
mod contracts;
mod devnet;
mod generated;
mod launch;
mod npm;
mod parameters;
mod ports;
mod postgres;
mod process;
mod repository;
mod schema;
mod signals;
mod sim;
mod slither;
mod source;
mod suite;
mod tally;
mod tidy;
mod trace;
mod vectors;
mod xmtp;

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use generated::Mode;
use tally::Tally;

/// What `cargo xtask` is asked to do.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Tidings' own tool")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a network on this machine: nodes and a gateway, each its own process
    Devnet(devnet::Options),
    /// Run every test, with a throw-away PostgreSQL
    Test(suite::Options),
    /// Run exactly what CI runs
    Ci(ci::Options),
    /// Play a conversation on a fresh network and check every message
    Demo(launch::DemoOptions),
    /// Simulate networks with faults and cheats, and check what must hold in them
    Sim(sim::Options),
    /// Let people talk on a network that fails in every way, and check what they saw
    Chaos(launch::ChaosOptions),
    /// Run the benchmarks and write benches/RESULTS.md
    Bench(launch::BenchOptions),
    /// Check the rules of the house that no compiler checks
    Tidy,
    /// Write what follows from spec/constants.toml
    Codegen {
        /// Fail when a file is stale, and write nothing
        #[arg(long)]
        check: bool,
    },
    /// Compare the rules of spec/ with the code and the tests, and write spec/trace.md
    Trace {
        /// Fail when the table is stale, and write nothing
        #[arg(long)]
        check: bool,
    },
    /// Check the form of the files under spec/vectors
    Vectors,
    /// Build and test the contracts, and write what Rust takes of them
    Contracts {
        /// Fail when a file is stale, and write nothing
        #[arg(long)]
        check: bool,
        /// Look for known mistakes with Slither instead
        #[arg(long, conflicts_with = "check")]
        slither: bool,
    },
}

/// An error whose story is already told, so that nothing follows the last line.
#[derive(Debug)]
pub struct AlreadyReported;

impl fmt::Display for AlreadyReported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for AlreadyReported {}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is::<AlreadyReported>() {
                eprintln!("error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    let root = repository::root();
    let events = signals::watch()?;
    match command {
        Command::Devnet(options) => devnet::run(&root, options, &events),
        Command::Test(options) => suite::run(&root, options),
        Command::Ci(options) => ci::run(&root, options),
        Command::Demo(options) => launch::demo(&root, options),
        Command::Sim(options) => sim::run(&root, options),
        Command::Chaos(options) => launch::chaos(&root, options),
        Command::Bench(options) => launch::bench(&root, options),
        Command::Tidy => tidy::run(&root),
        Command::Codegen { check } => codegen::run(&root, Mode::from_check(*check)),
        Command::Trace { check } => trace::run(&root, Mode::from_check(*check)),
        Command::Vectors => vectors::run(&root),
        Command::Contracts { slither: true, .. } => slither::run(&root, None),
        Command::Contracts { check, .. } => {
            contracts::run(&root, Mode::from_check(*check), None, &mut Tally::default())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
