//! The `tidings` command line: run a node or a gateway, keep an inbox, talk, inspect, audit.

pub mod cli;
pub mod devnet;
mod failure;
pub mod gateway;
pub mod inspect;
mod logging;
pub mod node;
pub mod output;
mod passphrase;
mod secret_file;
mod shutdown;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::cli::{Cli, Command};

/// Runs the program: 0 when all went well, 1 when something is refused or fails, 2 when the
/// command line makes no sense.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.json;
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error, json),
    }
}

fn start(cli: Cli) -> Result<()> {
    // Fails only if a provider is installed already, which is then as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(run(cli));
    // Reads of standard input block a thread that nobody can interrupt.
    runtime.shutdown_background();
    result
}

async fn run(cli: Cli) -> Result<()> {
    let output = cli.output();
    match cli.command {
        Command::DevnetInit(options) => devnet::run(&options, output).await,
        Command::Node(command) => {
            node::run(command, cli.passphrase_file.as_deref(), output).await
        }
        Command::Gateway(command) => gateway::run(command, output).await,
        Command::Inspect(options) => inspect::run(&options, output).await,
        Command::Completions { shell } => cli::completions(shell, output),
    }
}
