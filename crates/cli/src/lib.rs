//! The `tidings` command line: run a node or a gateway, keep an inbox, talk, inspect, audit.

pub mod audit;
mod bounded_get;
pub mod chain;
pub mod chat;
pub mod cli;
pub mod conversation;
pub mod devnet;
mod failure;
pub mod gateway;
pub mod group;
pub mod home;
pub mod inbox;
pub mod inspect;
mod logging;
pub mod message;
pub mod node;
pub mod output;
mod passphrase;
pub mod people;
mod secret_file;
mod shutdown;
pub mod xmtp_edge;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::cli::{Cli, Command, Talk};
use crate::home::Home;
use crate::output::Output;

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
    let home_dir = cli.home_dir();
    let passphrase_file = cli.passphrase_file;
    match cli.command {
        Command::Talk(command) => {
            let home = Home::new(home_dir?, passphrase_file.as_deref())?;
            talk(command, &home, output).await
        }
        Command::Audit(options) => audit::run(&options, output).await,
        Command::Inspect(options) => inspect::run(&options, output).await,
        Command::Node(command) => node::run(command, passphrase_file.as_deref(), output).await,
        Command::Gateway(command) => gateway::run(command, output).await,
        Command::XmtpEdge(command) => xmtp_edge::run(command).await,
        Command::Chain(command) => chain::run_chain(command, output).await,
        Command::Operator(command) => chain::run_operator(command, output).await,
        Command::Payer(command) => chain::run_payer(command, output).await,
        Command::Gov(command) => chain::run_gov(command, output).await,
        Command::DevnetInit(options) => devnet::run(&options, output).await,
        Command::Completions { shell } => cli::completions(shell, output),
    }
}

async fn talk(command: Talk, home: &Home, output: Output) -> Result<()> {
    match command {
        Talk::Inbox(command) => inbox::run(command, home, output).await,
        Talk::Dm { peer, text } => group::dm(&peer, text.as_deref(), home, output).await,
        Talk::Group(command) => group::run(command, home, output).await,
        Talk::Send(options) => message::send(&options, home, output).await,
        Talk::Read(options) => message::read(&options, home, output).await,
        Talk::Listen(options) => message::listen(&options, home).await,
        Talk::Conversations { offline, all } => {
            let client = home.open()?;
            if !offline {
                message::catch_up(&client).await;
            }
            let mut conversations = client.conversations()?;
            conversations.retain(|it| all || it.consent != tidings_client::Consent::Denied);
            conversation::list(&client, conversations, output).await
        }
        Talk::Chat { conversation } => chat::run(conversation.as_deref(), home).await,
        Talk::Consent { who, decision } => {
            group::consent(&who, decision.map(Into::into), home, output).await
        }
    }
}
