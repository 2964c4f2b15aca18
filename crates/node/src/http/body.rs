//! Binary bodies: reading them within their limits, and writing them.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use tidings_envelope::api::MEDIA_TYPE;
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{ErrorCode, Wire};
use tokio::sync::OwnedSemaphorePermit;

use super::Api;
use super::refusal::Refusal;

/// A structure that was received, and the memory that is accounted for it until it is dropped.
pub(super) struct Received<T> {
    pub(super) value: T,
    pub(super) _memory: OwnedSemaphorePermit,
}

/// Reads a structure of at most `bytes_max` bytes whose first field is its version.
///
/// # Errors
/// 415 for another media type (API-001), `too_large` and `overloaded` by the limits (API-004,
/// API-015), `unknown_version` (API-002), `malformed`.
pub(super) async fn receive<T: Wire>(
    api: &Api,
    request: Request,
    bytes_max: usize,
) -> Result<Received<T>, Refusal> {
    let media_type = request.headers().get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    if media_type != Some(MEDIA_TYPE.as_bytes()) {
        return Err(Refusal::malformed(format_args!("the body must be {MEDIA_TYPE}"))
            .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let announced = announced_length(&request)?.unwrap_or(bytes_max);
    if announced > bytes_max {
        return Err(too_large(bytes_max));
    }
    let memory = api.reserve_memory(announced)?;
    let body = read(request.into_body(), announced, bytes_max);
    let timeout = api.limits().body_timeout();
    let bytes = tokio::time::timeout(timeout, body).await.map_err(|_| {
        Refusal::malformed("the body did not arrive in time")
            .with_status(StatusCode::REQUEST_TIMEOUT)
    })??;
    if bytes.get(..2).is_some_and(|version| version != PROTOCOL_VERSION.to_be_bytes()) {
        return Err(ErrorCode::UnknownVersion.into());
    }
    let value = T::from_wire(&bytes).map_err(Refusal::malformed)?;
    Ok(Received { value, _memory: memory })
}

/// Answers with a structure (API-001).
pub(super) fn send(value: &impl Wire) -> Response {
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], Bytes::from(value.to_wire())).into_response()
}

fn announced_length(request: &Request) -> Result<Option<usize>, Refusal> {
    let Some(value) = request.headers().get(header::CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| Refusal::malformed("the content length is not a number"))
}

async fn read(body: Body, announced: usize, bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    // Bounded, because the announced length is no more than the reservation.
    let mut bytes = Vec::with_capacity(announced.min(bytes_max));
    let mut stream = body.into_data_stream();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|_| Refusal::malformed("the body ended early"))?;
        if bytes.len() + piece.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn too_large(bytes_max: usize) -> Refusal {
    Refusal::new(ErrorCode::TooLarge, format!("the body may have {bytes_max} bytes"))
}
