//! `tidings xmtp-edge`: run a server that unmodified XMTP clients connect to.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use tidings_xmtp::EdgeConfig;

use crate::{logging, shutdown};

/// What to do with an edge.
#[derive(Debug, Subcommand)]
pub enum EdgeCommand {
    /// Run the edge until SIGTERM or Ctrl-C
    Run {
        /// Its configuration file
        #[arg(long, env = "TIDINGS_XMTP_EDGE_CONFIG", value_name = "FILE")]
        config: PathBuf,
    },
}

/// Does it.
///
/// # Errors
/// When the configuration cannot be used, or the edge stops by a fault.
pub async fn run(command: EdgeCommand) -> Result<()> {
    let EdgeCommand::Run { config } = command;
    let config = EdgeConfig::load(&config)?;
    logging::start(&config.log_format)?;
    tidings_xmtp::run(config, shutdown::signalled()?).await?;
    Ok(())
}
