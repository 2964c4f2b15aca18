//! The folder of an inbox, and how it is unlocked.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use tidings_client::{Client, Config, Unlock};

use crate::failure::UsageError;
use crate::passphrase;
use crate::secret_file;

/// The key file of a store without a passphrase, in its own folder.
const KEY_FILE: &str = "store.key";

/// Where an inbox is kept and what opens it.
#[derive(Debug, Clone)]
pub struct Home {
    /// The folder.
    pub dir: PathBuf,
    unlock: Unlock,
}

/// How to reach the network, given once, when an inbox is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Network {
    /// The record of a network on this machine, which names its gateway and an API key
    #[arg(long, value_name = "FILE", conflicts_with_all = ["gateway", "api_key_file"])]
    pub devnet: Option<PathBuf>,
    /// The gateway that pays for what you send
    #[arg(long, value_name = "URL", requires = "api_key_file")]
    pub gateway: Option<String>,
    /// A file with your API key at the gateway
    #[arg(long, value_name = "FILE", requires = "gateway")]
    pub api_key_file: Option<PathBuf>,
    /// The network's id, if you know it; another network is then refused
    #[arg(long, value_name = "HEX", requires = "gateway")]
    pub network: Option<String>,
}

/// What this program reads of a devnet.json.
#[derive(Deserialize)]
struct Devnet {
    gateway: DevnetGateway,
}

#[derive(Deserialize)]
struct DevnetGateway {
    http: String,
    api_key_file: PathBuf,
}

impl Home {
    /// The inbox in `dir`, opened by the passphrase in a file or by the key file in the folder.
    ///
    /// # Errors
    /// When the passphrase cannot be read.
    pub fn new(dir: PathBuf, passphrase_file: Option<&Path>) -> Result<Self> {
        let unlock = match passphrase_file {
            Some(file) => Unlock::passphrase(&passphrase::read(Some(file))?),
            None => Unlock::key_file(dir.join(KEY_FILE)),
        };
        Ok(Self { dir, unlock })
    }

    /// Opens the store that is there; needs no network.
    ///
    /// # Errors
    /// When there is none, it is in use, or the key does not fit.
    pub fn open(&self) -> Result<Client> {
        Ok(Client::open(&self.dir, &self.unlock)?)
    }

    /// Opens the store, or makes one for the network.
    ///
    /// # Errors
    /// As for [`Home::open`], and when the network is not named or not reached.
    pub async fn open_or_create(&self, network: &Network) -> Result<Client> {
        match Client::open(&self.dir, &self.unlock) {
            Err(tidings_client::ClientError::Store(tidings_client::StoreError::Absent)) => {
                let config = network.config()?;
                Ok(Client::create(&self.dir, &self.unlock, &config).await?)
            }
            opened => Ok(opened?),
        }
    }
}

impl Network {
    fn config(&self) -> Result<Config> {
        let (gateway, api_key_file) = match (&self.devnet, &self.gateway, &self.api_key_file) {
            (Some(file), ..) => {
                let devnet = read_devnet(file)?;
                (devnet.gateway.http, devnet.gateway.api_key_file)
            }
            (None, Some(gateway), Some(file)) => (gateway.clone(), file.clone()),
            _ => {
                let text = "say how to reach the network: --devnet FILE, or --gateway URL and \
                            --api-key-file FILE";
                return Err(UsageError(text.into()).into());
            }
        };
        let api_key = secret_file::read_private(&api_key_file)?;
        let mut config = Config::new(gateway, api_key.trim());
        config.network = match &self.network {
            Some(id) => Some(
                id.parse()
                    .map_err(|error| UsageError(format!("{id} is no network id: {error}")))?,
            ),
            None => None,
        };
        Ok(config)
    }
}

fn read_devnet(file: &Path) -> Result<Devnet> {
    let text = std::fs::read_to_string(file).with_context(|| {
        format!("cannot read {}; does the network run? start `cargo xtask devnet`", file.display())
    })?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not the record of a network", file.display()))
}
