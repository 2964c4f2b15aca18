//! What an auditor asks a node for.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tidings_envelope::api::{BlockPage, LogPage};
use tidings_envelope::{LogId, SignedCheckpoint};
use tidings_types::constants::{CURSOR_LOGS_MAX, MERKLE_PATH_HASHES_MAX};
use tidings_types::{Hash, Height, LogSize, NetworkId, ShardId, Wire};

use crate::bounded_get;

/// The longest answer that is read: a page, or one block, and room for what is around it.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long the node may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node as an auditor sees it.
pub struct Peer {
    url: String,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Status {
    network: NetworkId,
}

#[derive(Deserialize)]
struct Hashes {
    hashes: Vec<String>,
}

impl Peer {
    /// The node at a base URL.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(url: &str) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(PATIENCE).build()?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), http })
    }

    /// The node's base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The node's network.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn network(&self) -> Result<NetworkId> {
        Ok(self.json::<Status>("v1/status").await?.network)
    }

    /// The logs that the node holds.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn logs(&self) -> Result<Vec<LogId>> {
        let logs: Vec<LogId> = self.json("v1/logs").await?;
        ensure!(logs.len() <= CURSOR_LOGS_MAX, "the node lists {} logs", logs.len());
        Ok(logs)
    }

    /// A stretch of a log.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn log_page(&self, log: LogId, from: LogSize) -> Result<LogPage> {
        self.wire(&format!("v1/logs/{log}?from={from}")).await
    }

    /// The newest checkpoint of a log.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn checkpoint(&self, log: LogId) -> Result<SignedCheckpoint> {
        self.wire(&format!("v1/logs/{log}/checkpoint")).await
    }

    /// The proof that a log at size `new` begins with the log at size `old`.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn consistency(&self, log: LogId, old: LogSize, new: LogSize) -> Result<Vec<Hash>> {
        let path = format!("v1/logs/{log}/consistency?old={old}&new={new}");
        let answer: Hashes = self.json(&path).await?;
        ensure!(answer.hashes.len() <= MERKLE_PATH_HASHES_MAX, "the proof has too many hashes");
        let hashes = answer.hashes.iter().map(|digits| {
            let mut hash = [0; 32];
            hex::decode_to_slice(digits, &mut hash).map(|()| hash)
        });
        Ok(hashes.collect::<Result<_, _>>()?)
    }

    /// Blocks from a height on.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn blocks(&self, shard: ShardId, from: Height) -> Result<BlockPage> {
        self.wire(&format!("v1/blocks/{shard}?from={from}")).await
    }

    async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let bytes = self.get(path).await?;
        serde_json::from_slice(&bytes).with_context(|| format!("{path}: not what was asked for"))
    }

    async fn wire<T: Wire>(&self, path: &str) -> Result<T> {
        let bytes = self.get(path).await?;
        T::from_wire(&bytes).map_err(|error| anyhow!("{path}: {error}"))
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>> {
        let url = format!("{}/{path}", self.url);
        let (status, bytes) = bounded_get::get(&self.http, &url, ANSWER_BYTES_MAX).await?;
        ensure!(status.is_success(), "{url} answers {status}");
        Ok(bytes)
    }
}
