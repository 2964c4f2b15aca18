//! `tidings gateway`: run a payer gateway and let users in.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;
use tidings_gateway::GatewayConfig;

use crate::output::Output;
use crate::{logging, secret_file, shutdown};

/// What to do with a gateway.
#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// Run the gateway until SIGTERM or Ctrl-C
    Run {
        /// Its configuration file; `TIDINGS_GATEWAY_` and a field wins over what it says
        #[arg(long, env = "TIDINGS_GATEWAY_CONFIG", value_name = "FILE")]
        config: PathBuf,
    },
    /// Let a user in and print the API key, which is stored nowhere
    AddUser {
        /// The gateway's configuration file
        #[arg(long, env = "TIDINGS_GATEWAY_CONFIG", value_name = "FILE")]
        config: PathBuf,
        /// The user's name: letters, digits, dots, dashes and underscores
        name: String,
        /// Envelopes that the user may send in each window
        #[arg(long, default_value_t = 10_000)]
        quota: u64,
        /// Write the key to this file, mode 0600, instead of printing it
        #[arg(long, value_name = "FILE")]
        api_key_file: Option<PathBuf>,
    },
}

/// Does it.
///
/// # Errors
/// When the configuration cannot be used, the name is taken, or the gateway stops by a fault.
pub async fn run(command: GatewayCommand, output: Output) -> Result<()> {
    match command {
        GatewayCommand::Run { config } => {
            let config = load(&config)?;
            logging::start(&config.log_format)?;
            tidings_gateway::run(config, shutdown::signalled()?).await?;
            Ok(())
        }
        GatewayCommand::AddUser { config, name, quota, api_key_file } => {
            let config = load(&config)?;
            let key = tidings_gateway::add_user(&config.database, &name, quota).await?.reveal();
            if let Some(file) = api_key_file {
                secret_file::create(&file, key.as_bytes())?;
                let answer = json!({ "name": name, "quota": quota, "api_key_file": file });
                return output.answer(&answer, |_| {
                    format!("{name} may send; the API key is in {}", file.display())
                });
            }
            let answer = json!({ "name": name, "quota": quota, "api_key": key.as_str() });
            output.answer(&answer, |_| key.to_string())
        }
    }
}

fn load(path: &std::path::Path) -> Result<GatewayConfig> {
    Ok(GatewayConfig::load(path, |name| std::env::var(name).ok())?)
}
