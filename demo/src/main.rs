//! The demo: three people talk through four nodes while one of them is killed, is dead or lies; or,
//! on a chain, money moves because messages do; or a network walks from its founders' council to
//! nobody's.
//!
//! Started by `cargo xtask demo`, which starts a fresh network or chain first.
//! It ends with an error if a message is missing, there twice, or out of order, or if somebody
//! could do what only a vote may.

mod anvil;
mod cast;
mod economy;
mod governance;
mod stage;
mod story;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use story::Trouble;

/// Where the network is.
#[derive(Debug, Parser)]
struct Arguments {
    /// The devnet.json of a running network
    #[arg(long, value_name = "FILE", required_unless_present = "chain")]
    devnet: Option<PathBuf>,
    /// Play the phases of governance on the anvil at this URL instead
    #[arg(long, value_name = "URL", requires = "dir", conflicts_with = "devnet")]
    chain: Option<String>,
    /// Where that play keeps keys
    #[arg(long, requires = "chain")]
    dir: Option<PathBuf>,
    /// Play how money moves, on a network that is on a chain
    #[arg(long, requires = "devnet", conflicts_with_all = ["dead", "lying"])]
    economy: bool,
    /// How many messages each person sends in each act
    #[arg(long, default_value_t = 5)]
    messages: usize,
    /// The number of a node that is dead from the beginning to the end; else one dies in between
    #[arg(long)]
    dead: Option<usize>,
    /// How the last node lies from the beginning to the end: equivocate, forge, withhold,
    /// vote-twice or propose-twice
    #[arg(long, conflicts_with = "dead")]
    lying: Option<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let (Some(chain), Some(dir)) = (&arguments.chain, &arguments.dir) {
        return governance::play(chain, dir).await;
    }
    let devnet = arguments.devnet.context("--devnet is missing")?;
    let stage = stage::Stage::open(&devnet)?;
    if arguments.economy {
        return economy::play(stage, arguments.messages).await;
    }
    let trouble = match (arguments.dead, arguments.lying) {
        (Some(node), _) => Trouble::Dead(node),
        (None, Some(lie)) => Trouble::Lies(lie),
        (None, None) => Trouble::Dies,
    };
    story::play(stage, arguments.messages, &trouble).await
}
