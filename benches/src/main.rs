//! Benchmarks on real processes: what one node takes, how soon others deliver and
//! agree, how fast an empty node catches up, and what a full one weighs.
//!
//! Started by `cargo xtask bench`, which builds everything for release first.

mod catch_up;
mod committee;
mod delivery;
mod groups;
mod ingest;
mod load;
mod look_up;
mod machine;
mod memory;
mod ordered;
mod report;
mod settlement;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

use crate::report::Report;

/// What to measure, and where the results go.
#[derive(Debug, Parser)]
struct Arguments {
    /// The Markdown file to write
    #[arg(long)]
    results: PathBuf,
    /// Run only benchmarks whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// How long sustained load lasts, in seconds
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// How many envelopes the memory benchmark stores
    #[arg(long, default_value_t = 1_000_000)]
    stored: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut report = Report::new(machine::facts()?);
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|only| name.contains(only));
    if wanted("ingest") {
        report.add(ingest::run(arguments.seconds).await?);
    }
    if wanted("delivery") {
        report.add(delivery::run(arguments.seconds).await?);
    }
    if wanted("ordered") {
        report.add(ordered::run(arguments.seconds).await?);
    }
    if wanted("look-up") {
        report.add(look_up::run()?);
    }
    if wanted("catch-up") {
        report.add(catch_up::run().await?);
    }
    if wanted("memory") {
        report.add(memory::run(arguments.stored).await?);
    }
    if wanted("settlement") {
        report.add(settlement::run().await?);
    }
    if wanted("groups") {
        report.add(groups::run()?);
    }
    report.write(&arguments.results)
}
