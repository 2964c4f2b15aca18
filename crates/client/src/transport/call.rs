//! One HTTP call: binary or JSON, bounded, with the server's refusal as a typed error.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, RequestBuilder, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tidings_envelope::api::MEDIA_TYPE;
use tidings_types::constants::FEED_FRAME_BYTES_MAX;
use tidings_types::{ErrorCode, Wire};

use crate::error::{CallerError, ClientError};

/// A connection that is not there after this long will not come.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Longer than a node waits for `replicated`, so that its own answer arrives first.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a replica may take to begin its answer before another one is asked.
const REPLICA_PATIENCE: Duration = Duration::from_secs(2);

/// A page of the largest entries with their proofs stays below the largest frame that nodes use.
const ANSWER_BYTES_MAX: usize = FEED_FRAME_BYTES_MAX;

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The server refused and said why.
    Refused(ErrorCode),
    /// The server could not be reached or did not answer in time.
    Unreachable(String),
    /// The answer is not what it should be.
    Garbled(String),
}

impl CallError {
    /// Whether the same call may succeed later, or elsewhere.
    pub(crate) fn retryable(&self) -> bool {
        match self {
            Self::Refused(code) => code.retryable(),
            Self::Unreachable(_) | Self::Garbled(_) => true,
        }
    }
}

impl From<CallError> for ClientError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(code) => Self::Refused { code },
            CallError::Unreachable(reason) | CallError::Garbled(reason) => {
                Self::Unreachable { reason }
            }
        }
    }
}

#[derive(Deserialize)]
struct Refusal {
    code: ErrorCode,
}

/// The shared HTTP client.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client,
    /// How long an answer may take to begin.
    patience: Duration,
}

impl Http {
    /// A client with bounded waits.
    pub(crate) fn new() -> Result<Self, ClientError> {
        // Sockets use the process's provider; an application may have chosen one before us.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let built = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")))
            .build();
        let client =
            built.map_err(|error| ClientError::Unreachable { reason: error.to_string() })?;
        Ok(Self { client, patience: CALL_TIMEOUT })
    }

    /// The same client, for asking replicas: another one is there if the first hesitates.
    pub(crate) fn impatient(mut self) -> Self {
        self.patience = REPLICA_PATIENCE;
        self
    }

    /// Posts a binary structure and reads one.
    pub(crate) async fn post<R: Wire>(
        &self,
        base: &Url,
        path: &str,
        bearer: Option<&str>,
        body: Vec<u8>,
    ) -> Result<R, CallError> {
        let mut request = self.client.post(join(base, path)?).header(CONTENT_TYPE, MEDIA_TYPE);
        request = request.header(ACCEPT, MEDIA_TYPE).body(body);
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        let bytes = answer(request, self.patience).await?;
        R::from_wire(&bytes).map_err(|error| CallError::Garbled(error.to_string()))
    }

    /// Reads JSON.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        base: &Url,
        path: &str,
        bearer: Option<&str>,
    ) -> Result<T, CallError> {
        let mut request = self.client.get(join(base, path)?);
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        let bytes = answer(request, self.patience).await?;
        serde_json::from_slice(&bytes).map_err(|error| CallError::Garbled(error.to_string()))
    }
}

/// Reads a base URL; only HTTP is spoken.
pub(crate) fn base_url(text: &str) -> Result<Url, CallerError> {
    let url: Url = text.parse().map_err(|_| CallerError::UrlInvalid(text.to_owned()))?;
    let usable = matches!(url.scheme(), "http" | "https") && url.has_host();
    if usable { Ok(url) } else { Err(CallerError::UrlInvalid(text.to_owned())) }
}

fn join(base: &Url, path: &str) -> Result<Url, CallError> {
    let joined = format!("{}/{path}", base.as_str().trim_end_matches('/'));
    joined.parse().map_err(|_| CallError::Garbled(format!("{joined} is not a URL")))
}

async fn answer(request: RequestBuilder, patience: Duration) -> Result<Vec<u8>, CallError> {
    let begun = tokio::time::timeout(patience, request.send()).await;
    let silent = |_| CallError::Unreachable("it does not answer".to_owned());
    let response = begun.map_err(silent)?.map_err(unreachable)?;
    let status = response.status();
    let bytes = read_bounded(response).await?;
    if status.is_success() {
        return Ok(bytes);
    }
    match serde_json::from_slice::<Refusal>(&bytes) {
        Ok(refusal) => Err(CallError::Refused(refusal.code)),
        Err(_) => Err(CallError::Garbled(format!("HTTP status {status} without a known code"))),
    }
}

async fn read_bounded(mut response: Response) -> Result<Vec<u8>, CallError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(CallError::Garbled("the answer is too long".to_owned()));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The URL stays out of the text: it may name what somebody looks up.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_is_spoken() {
        assert!(base_url("http://127.0.0.1:1").is_ok());
        assert!(base_url("https://node.example/base/").is_ok());
        for text in ["", "node.example", "ftp://node.example", "file:///etc/passwd"] {
            assert!(base_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_are_appended_to_the_base() {
        let check = |base: &str, expected: &str| {
            let url = join(&base_url(base).unwrap(), "v1/status").unwrap();
            assert_eq!(url.as_str(), expected);
        };
        check("http://a", "http://a/v1/status");
        check("http://a/base/", "http://a/base/v1/status");
    }
}
