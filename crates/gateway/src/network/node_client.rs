//! Calls to nodes: bounded in time and in size, and typed by what went wrong.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::{RequestBuilder, Response, header, redirect};
use serde::Deserialize;
use tidings_envelope::Registry;
use tidings_envelope::api::{MEDIA_TYPE, PublishResponse};
use tidings_types::{ErrorCode, NetworkId, NodeId, Period, RegistryEpoch, ShardId, Wire};

/// The largest JSON answer read: a registry of ten thousand nodes and payers.
const JSON_BYTES_MAX: usize = 8 << 20;

/// The largest answer to a publish request: a full batch with every envelope's proofs.
const PUBLISH_BYTES_MAX: usize = 32 << 20;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a node may take to answer a look-up.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// How a call to a node failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The node did not answer in time, or not at all.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// The node refused the request as a whole.
    #[error("refused: {0}")]
    Refused(ErrorCode),
    /// The node answered with something else than what was asked for.
    #[error("not an answer: {0}")]
    Nonsense(String),
}

/// What a node says of itself; what the gateway has no use for is left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NodeStatus {
    /// The node's network.
    pub network: NetworkId,
    /// The node's number.
    pub node: NodeId,
    /// Whether it serves.
    pub ready: bool,
    /// Its period.
    pub period: Period,
    /// The registry epoch that it computes with.
    pub registry_epoch: RegistryEpoch,
    /// How busy its shards are.
    #[serde(default)]
    pub shards: Vec<ShardFactor>,
}

/// What a node says of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ShardFactor {
    /// Which one.
    pub shard: ShardId,
    /// The larger of the factors of its period and of the next (FEE-010).
    pub congestion_permille: u32,
}

/// A client for any node.
#[derive(Debug, Clone)]
pub struct NodeClient {
    http: reqwest::Client,
    attempt_timeout: Duration,
}

impl NodeClient {
    /// A client that gives a node `attempt_timeout` to answer a batch.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(attempt_timeout: Duration) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .tcp_nodelay(true)
            .no_proxy()
            .build()?;
        Ok(Self { http, attempt_timeout })
    }

    /// Asks for the node's status, and measures how long the answer took.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn status(&self, base: &str) -> Result<(NodeStatus, Duration), CallError> {
        let asked = Instant::now();
        let status = self.json(base, "/v1/status").await?;
        Ok((status, asked.elapsed()))
    }

    /// Asks for the node's registry, which proves nothing yet.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn registry(&self, base: &str) -> Result<Registry, CallError> {
        self.json(base, "/v1/registry").await
    }

    /// Publishes the canonical bytes of a publish request.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn publish(&self, base: &str, body: Bytes) -> Result<PublishResponse, CallError> {
        let request = self.http.post(url(base, "/v1/publish"));
        let request = request.header(header::CONTENT_TYPE, MEDIA_TYPE).body(body);
        let bytes = answer(request, self.attempt_timeout, PUBLISH_BYTES_MAX).await?;
        PublishResponse::from_wire(&bytes).map_err(|error| CallError::Nonsense(error.to_string()))
    }

    async fn json<T: serde::de::DeserializeOwned>(
        &self,
        base: &str,
        path: &str,
    ) -> Result<T, CallError> {
        let request = self.http.get(url(base, path));
        let bytes = answer(request, LOOKUP_TIMEOUT, JSON_BYTES_MAX).await?;
        serde_json::from_slice(&bytes).map_err(|error| CallError::Nonsense(error.to_string()))
    }
}

fn url(base: &str, path: &str) -> String {
    format!("{}{path}", base.trim_end_matches('/'))
}

async fn answer(
    request: RequestBuilder,
    timeout: Duration,
    bytes_max: usize,
) -> Result<Vec<u8>, CallError> {
    let response = request.timeout(timeout).send().await.map_err(unreachable)?;
    let status = response.status();
    let body = read(response, bytes_max).await?;
    if status.is_success() {
        return Ok(body);
    }
    match serde_json::from_slice::<Refusal>(&body) {
        Ok(refusal) => Err(CallError::Refused(refusal.code)),
        Err(_) if status.is_server_error() => Err(CallError::Unreachable(status.to_string())),
        Err(_) => Err(CallError::Nonsense(status.to_string())),
    }
}

/// The stable part of a refusal's JSON (ERR-001).
#[derive(Debug, Deserialize)]
struct Refusal {
    code: ErrorCode,
}

async fn read(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(unreachable)? {
        if body.len() + piece.len() > bytes_max {
            return Err(CallError::Nonsense(format!("more than {bytes_max} bytes")));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// The text names no URL, which may hold credentials.
fn unreachable(error: reqwest::Error) -> CallError {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    CallError::Unreachable(text)
}
