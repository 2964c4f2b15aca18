//! `tidings node`: run a node, verify its database, make its keys, back them up.

mod backup;
mod database;
mod init;
mod snapshot;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use clap::Subcommand;
use tidings_node::config::NodeConfig;
use tidings_node::settlement::SettlementBook;

use crate::output::Output;
use crate::{chain, logging, passphrase, shutdown};

pub use backup::{Export, Restore};
pub use init::Init;
pub use snapshot::Snapshot;
pub use verify::Verify;

/// What to do with a node.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Run the node until SIGTERM or Ctrl-C
    Run {
        /// Its configuration file; `TIDINGS_NODE_` and a field wins over what it says
        #[arg(long, env = "TIDINGS_NODE_CONFIG", value_name = "FILE")]
        config: PathBuf,
    },
    /// Copy a node's database to a file, while the node runs or not
    Snapshot(Snapshot),
    /// Verify all that a node which does not run has in its database
    Verify(Verify),
    /// Make the keys and the configuration of a new node
    Init(Init),
    /// Write a node's keys to a backup under the passphrase in --passphrase-file
    ExportKeys(Export),
    /// Bring a node's keys back from a backup
    RestoreKeys(Restore),
}

/// Does it; `passphrase_file` holds the passphrase of a backup.
///
/// # Errors
/// When the configuration cannot be used or the node stops by a fault.
pub async fn run(
    command: NodeCommand,
    passphrase_file: Option<&Path>,
    output: Output,
) -> Result<()> {
    match command {
        NodeCommand::Run { config } => {
            let config = NodeConfig::load(&config, |name| std::env::var(name).ok())?;
            logging::start(&config.log_format)?;
            let book = Arc::new(SettlementBook::default());
            chain::keep_registry(&config).await?;
            chain::keep_house(&config, book.clone())?;
            tidings_node::run(config, book, shutdown::signalled()?).await?;
            Ok(())
        }
        NodeCommand::Snapshot(options) => snapshot::run(&options, output).await,
        NodeCommand::Verify(options) => verify::run(&options, output).await,
        NodeCommand::Init(options) => init::run(&options, output),
        NodeCommand::ExportKeys(options) => {
            backup::export(&options, &passphrase::read(passphrase_file)?, output)
        }
        NodeCommand::RestoreKeys(options) => {
            backup::restore(&options, &passphrase::read(passphrase_file)?, output)
        }
    }
}
