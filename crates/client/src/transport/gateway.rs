//! Sending through a gateway, which pays, batches and picks nodes.

use reqwest::Url;
use serde::Deserialize;
use tidings_envelope::api::{SendRequest, SendResponse, SendResult};
use tidings_envelope::{AckLevel, ClientEnvelope, Registry};
use tidings_types::constants::{BATCH_ENVELOPES_MAX, PROTOCOL_VERSION};
use tidings_types::{BoundedVec, EthereumAddress, NetworkId, Period, Wire};
use zeroize::Zeroizing;

use crate::error::{CallerError, ClientError, VerifyFailure};
use crate::transport::call::base_url;
use crate::transport::{CallError, Http, ROUNDS_MAX, backoff};

/// What a gateway says about itself, as far as clients care.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct GatewayStatus {
    /// Its network.
    pub(crate) network: NetworkId,
    /// Who pays for us; part of what clients sign.
    pub(crate) payer: EthereumAddress,
    /// The period as the gateway knows it.
    pub(crate) period: Period,
}

/// What a gateway answered.
#[derive(Debug)]
pub(crate) struct Sent {
    /// One result for each envelope, in order, not verified yet.
    pub(crate) results: Vec<SendResult>,
    /// Whether there was no answer at first, so that an attempt before may have had an effect.
    pub(crate) is_repeated: bool,
}

/// One gateway and our key to it.
pub(crate) struct Gateway {
    http: Http,
    url: Url,
    api_key: Zeroizing<String>,
}

impl Gateway {
    /// The gateway at a base URL.
    pub(crate) fn new(
        http: Http,
        url: &str,
        api_key: Zeroizing<String>,
    ) -> Result<Self, CallerError> {
        Ok(Self { http, url: base_url(url)?, api_key })
    }

    /// What the gateway says about itself.
    pub(crate) async fn status(&self) -> Result<GatewayStatus, CallError> {
        // With the key, because a gateway may have several payers (GTW-021).
        self.http.json(&self.url, "v1/status", Some(self.api_key.as_str())).await
    }

    /// The registry as the gateway has it.
    pub(crate) async fn registry(&self) -> Result<Registry, CallError> {
        self.http.json(&self.url, "v1/registry", None).await
    }

    /// Sends up to 1,024 envelopes.
    ///
    /// A call that fails in passing is repeated: the envelopes keep their ids, so none is stored
    /// twice.
    pub(crate) async fn send(
        &self,
        level: AckLevel,
        envelopes: Vec<ClientEnvelope>,
    ) -> Result<Sent, ClientError> {
        let count = envelopes.len();
        let envelopes = BoundedVec::<_, BATCH_ENVELOPES_MAX>::new(envelopes)
            .map_err(|error| CallerError::TooLong { length_bytes: error.length })?;
        let body = SendRequest { version: PROTOCOL_VERSION, level, envelopes }.to_wire();
        let mut round = 0;
        loop {
            let key = Some(self.api_key.as_str());
            let answer = self.http.post(&self.url, "v1/send", key, body.clone()).await;
            let answer: Result<SendResponse, CallError> = answer;
            round += 1;
            match answer {
                Ok(answer) if answer.version != PROTOCOL_VERSION => {
                    return Err(VerifyFailure::Version.into());
                }
                Ok(answer) if answer.results.len() != count => {
                    return Err(VerifyFailure::Misplaced.into());
                }
                Ok(answer) => {
                    let results = answer.results.into_vec();
                    return Ok(Sent { results, is_repeated: round > 1 });
                }
                Err(error) if error.retryable() && round < ROUNDS_MAX => {
                    tokio::time::sleep(backoff(round)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
