//! Binary bodies: reading them within their limits, and writing them.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tidings_envelope::api::MEDIA_TYPE;
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{ErrorCode, Wire};
use tokio::sync::OwnedSemaphorePermit;

use super::Api;
use super::refusal::Refusal;
use crate::publish::BATCH_BYTES_MAX;

/// A structure that was received, and the memory that is accounted for it until it is dropped.
pub(super) struct Received<T> {
    pub(super) value: T,
    pub(super) memory: OwnedSemaphorePermit,
}

/// Reads a versioned structure of at most one batch's bytes (GTW-012).
pub(super) async fn receive<T: Wire>(api: &Api, request: Request) -> Result<Received<T>, Refusal> {
    let (bytes, memory) = receive_bytes(api, request, MEDIA_TYPE, BATCH_BYTES_MAX).await?;
    if bytes.get(..2).is_some_and(|version| version != PROTOCOL_VERSION.to_be_bytes()) {
        return Err(ErrorCode::UnknownVersion.into());
    }
    let value = T::from_wire(&bytes)
        .map_err(|error| Refusal::new(ErrorCode::Malformed, error.to_string()))?;
    Ok(Received { value, memory })
}

/// Reads a body of one media type, and accounts for its memory until the permit is dropped.
async fn receive_bytes(
    api: &Api,
    request: Request,
    media_type: &'static str,
    limit: usize,
) -> Result<(Vec<u8>, OwnedSemaphorePermit), Refusal> {
    let headers = request.headers();
    if headers.get(header::CONTENT_TYPE).is_none_or(|found| found != media_type) {
        let message = format!("the body must be {media_type}");
        return Err(Refusal::new(ErrorCode::Malformed, message)
            .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let bytes_max = match announced.map(str::parse::<usize>) {
        None => limit,
        Some(Ok(length)) if length <= limit => length,
        Some(_) => return Err(ErrorCode::TooLarge.into()),
    };
    let memory = api.reserve_memory(bytes_max)?;
    let body = read(request.into_body(), bytes_max);
    let bytes = tokio::time::timeout(api.body_timeout(), body).await.map_err(|_| {
        Refusal::new(ErrorCode::Malformed, "the body did not arrive in time")
            .with_status(StatusCode::REQUEST_TIMEOUT)
    })??;
    Ok((bytes, memory))
}

/// Reads JSON of at most `bytes_max` (GTW-012).
pub(super) async fn receive_json<T: DeserializeOwned>(
    api: &Api,
    request: Request,
    bytes_max: usize,
) -> Result<T, Refusal> {
    let (bytes, _memory) = receive_bytes(api, request, "application/json", bytes_max).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::new(ErrorCode::Malformed, error.to_string()))
}

/// Answers with a structure.
pub(super) fn reply(value: &impl Wire) -> Response {
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], Bytes::from(value.to_wire())).into_response()
}

async fn read(body: Body, bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let ended = |_| Refusal::new(ErrorCode::Malformed, "the body ended early");
        let piece = piece.map_err(ended)?;
        if bytes.len() + piece.len() > bytes_max {
            return Err(ErrorCode::TooLarge.into());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
