//! A development chain: what it does on request that no other chain does, and accounts on it.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use rand::RngCore;
use serde_json::{Value, json};
use tidings_chain::{Deployment, Endpoints, MemoryJournal, Submitter, SubmitterConfig, Wallet};

/// What everybody has for gas, in wei: ten ether.
const GAS_MONEY: &str = "0x8ac7230489e80000";

/// How long one question to the chain may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The anvil at a URL.
pub struct Anvil {
    /// Where it is.
    pub url: String,
    http: reqwest::Client,
}

impl Anvil {
    /// The one at `url`.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn at(url: &str) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self { url: url.into(), http })
    }

    /// Asks it, or has it do something; what it answers.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub async fn tell(&self, method: &str, parameters: &Value) -> Result<Value> {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
        let request = self.http.post(&self.url).header("content-type", "application/json");
        let answer = request.body(call.to_string()).send().await?.bytes().await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        ensure!(answer.get("error").is_none(), "{method}: {answer}");
        Ok(answer["result"].clone())
    }

    /// A new account with something for gas, whose key is written to `key_file`.
    ///
    /// # Errors
    /// When the key cannot be written or the chain gives nothing.
    pub async fn account(&self, key_file: &Path) -> Result<Wallet> {
        let mut secret = [0; 32];
        rand::rngs::OsRng.fill_bytes(&mut secret);
        let wallet = Wallet::from_secret(&secret)?;
        let mut options = std::fs::File::options();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(key_file)?;
        file.write_all(hex::encode(secret).as_bytes())?;
        let gas = json!([wallet.address().to_string(), GAS_MONEY]);
        self.tell("anvil_setBalance", &gas).await?;
        Ok(wallet)
    }

    /// Acts for an account; nothing that is done here is taken back, so that nothing is waited for.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn submitter(&self, deployment: &Deployment, wallet: Wallet) -> Result<Submitter> {
        let endpoints = Endpoints::connect(std::slice::from_ref(&self.url))?;
        let config = SubmitterConfig {
            confirmations: 0,
            poll: Duration::from_millis(5),
            ..SubmitterConfig::default()
        };
        let journal = Box::new(MemoryJournal::default());
        Ok(Submitter::new(endpoints, deployment.chain_id, wallet, journal, config)?)
    }
}
