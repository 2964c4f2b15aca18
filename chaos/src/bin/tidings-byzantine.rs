//! A node that lies, for tests on real processes: takes the words of `tidings node run`.
//!
//! `TIDINGS_LIE` says how; see [`tidings_chaos::byzantine`].

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use tidings_chaos::byzantine::{self, Lie};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// A node
    #[command(subcommand)]
    Node(Verb),
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run it until it is told to stop
    Run {
        /// The configuration that `tidings devnet-init` wrote
        #[arg(long)]
        config: PathBuf,
        /// How it lies
        #[arg(long, env = "TIDINGS_LIE", value_parser = lie)]
        lie: Lie,
    },
}

fn lie(name: &str) -> Result<Lie, String> {
    let found = Lie::ALL.into_iter().find(|lie| lie.name() == name);
    found.ok_or_else(|| format!("one of {}", Lie::ALL.map(Lie::name).join(", ")))
}

#[tokio::main]
async fn main() -> Result<()> {
    let Noun::Node(Verb::Run { config, lie }) = Arguments::parse().noun;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).init();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut terminated = signal(SignalKind::terminate()).context("signals cannot be caught")?;
    let told = async move {
        terminated.recv().await;
    };
    byzantine::run(&config, lie, told).await
}
