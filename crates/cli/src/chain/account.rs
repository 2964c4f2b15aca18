//! Through which providers to reach which contracts, and on whose account to act.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use tidings_chain::{
    Deployment, Endpoints, Journal, MemoryJournal, Submitter, SubmitterConfig, Wallet,
};
use tidings_types::EthereumAddress;

use crate::secret_file;

/// How to reach the chain.
#[derive(Debug, Clone, Args)]
pub struct Providers {
    /// A provider of the chain; more than half of several must say the same
    #[arg(
        long = "rpc",
        env = "TIDINGS_RPC",
        value_delimiter = ',',
        required = true,
        value_name = "URL"
    )]
    pub rpc: Vec<String>,
}

/// A network's contracts, and how to reach them.
#[derive(Debug, Clone, Args)]
pub struct Contracts {
    /// The file that says where the network's contracts are
    #[arg(long, env = "TIDINGS_DEPLOYMENT", value_name = "FILE")]
    pub deployment: PathBuf,
    /// How to reach the chain.
    #[command(flatten)]
    pub providers: Providers,
}

/// Whose key signs, and what for.
#[derive(Debug, Clone, Args)]
pub struct Key {
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

/// Which contracts to act on, and who acts.
#[derive(Debug, Clone, Args)]
pub struct Account {
    /// The contracts.
    #[command(flatten)]
    pub contracts: Contracts,
    /// Whose key signs.
    #[command(flatten)]
    pub key: Key,
}

impl Providers {
    pub(super) fn endpoints(&self) -> Result<Endpoints> {
        Ok(Endpoints::connect(&self.rpc)?)
    }
}

impl Contracts {
    /// The contracts as the file has them.
    pub(super) fn deployment(&self) -> Result<Deployment> {
        super::deployment(&self.deployment)
    }

    pub(super) fn endpoints(&self) -> Result<Endpoints> {
        self.providers.endpoints()
    }
}

impl Account {
    /// The contracts, once the chain was seen to have them.
    pub(super) async fn deployment(&self) -> Result<Deployment> {
        let deployment = self.contracts.deployment()?;
        deployment.check(&self.contracts.endpoints()?).await?;
        Ok(deployment)
    }

    /// Acts once, with a person who looks on: nothing is kept of it.
    pub(super) fn submitter(&self, chain_id: u64) -> Result<Submitter> {
        let journal = Box::new(MemoryJournal::default());
        self.key.submitter(self.contracts.endpoints()?, chain_id, journal)
    }
}

impl Key {
    fn wallet(&self) -> Result<Wallet> {
        Ok(Wallet::from_secret(&*secret_file::read(&self.key_file)?)?)
    }

    pub(super) fn address(&self) -> Result<EthereumAddress> {
        Ok(self.wallet()?.address())
    }

    pub(super) fn submitter(
        &self,
        endpoints: Endpoints,
        chain_id: u64,
        journal: Box<dyn Journal>,
    ) -> Result<Submitter> {
        let config =
            SubmitterConfig { confirmations: self.confirmations, ..SubmitterConfig::default() };
        Ok(Submitter::new(endpoints, chain_id, self.wallet()?, journal, config)?)
    }
}
