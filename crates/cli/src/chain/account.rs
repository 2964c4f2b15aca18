//! On whose account to act, and through which providers.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use tidings_chain::{Deployment, Endpoints, MemoryJournal, Submitter, SubmitterConfig, Wallet};
use tidings_types::EthereumAddress;

use crate::secret_file;

/// How to reach the chain, and who acts.
#[derive(Debug, Clone, Args)]
pub struct Account {
    /// The file that says where the network's contracts are
    #[arg(long, env = "TIDINGS_DEPLOYMENT", value_name = "FILE")]
    pub deployment: PathBuf,
    /// How to reach the chain, and whose key signs.
    #[command(flatten)]
    pub signer: Signer,
}

/// How to reach the chain, and whose key signs.
#[derive(Debug, Clone, Args)]
pub struct Signer {
    /// A provider of the chain; more than half of several must say the same
    #[arg(
        long = "rpc",
        env = "TIDINGS_RPC",
        value_delimiter = ',',
        required = true,
        value_name = "URL"
    )]
    pub rpc: Vec<String>,
    /// The file with the account's key in hex
    #[arg(long, env = "TIDINGS_ACCOUNT_KEY_FILE", value_name = "FILE")]
    pub key_file: PathBuf,
    /// How many blocks must follow before something is certain
    #[arg(long, default_value_t = 2, value_name = "BLOCKS")]
    pub confirmations: u64,
    /// Say what would be signed and what it would cost, and sign nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Account {
    /// The contracts, once the chain was seen to have them.
    pub(super) async fn deployment(&self) -> Result<Deployment> {
        let deployment = super::deployment(&self.deployment)?;
        deployment.check(&self.signer.endpoints()?).await?;
        Ok(deployment)
    }
}

impl Signer {
    pub(super) fn endpoints(&self) -> Result<Endpoints> {
        Ok(Endpoints::connect(&self.rpc)?)
    }

    pub(super) fn wallet(&self) -> Result<Wallet> {
        Ok(Wallet::from_secret(&*secret_file::read(&self.key_file)?)?)
    }

    pub(super) fn address(&self) -> Result<EthereumAddress> {
        Ok(self.wallet()?.address())
    }

    pub(super) fn submitter(&self, chain_id: u64) -> Result<Submitter> {
        let config =
            SubmitterConfig { confirmations: self.confirmations, ..SubmitterConfig::default() };
        let journal = Box::new(MemoryJournal::default());
        Ok(Submitter::new(self.endpoints()?, chain_id, self.wallet()?, journal, config)?)
    }
}
