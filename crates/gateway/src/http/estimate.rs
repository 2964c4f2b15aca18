//! `POST /v1/estimate`: what envelopes would cost, before anybody sends them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use tidings_types::ErrorCode;

use super::Api;
use super::body::receive_json;
use super::refusal::Refusal;
use crate::estimate::{self, EstimateRequest, ITEMS_MAX};

/// The most bytes of JSON: so many for each item, white space included.
const BODY_BYTES_MAX: usize = ITEMS_MAX * 256;

/// Answers with each fee and their sum as things are (GTW-018).
pub(super) async fn estimate(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Response, Refusal> {
    let _place = api.enter()?;
    let asked: EstimateRequest = receive_json(&api, request, BODY_BYTES_MAX).await?;
    if asked.envelopes.len() > ITEMS_MAX {
        return Err(ErrorCode::TooLarge.into());
    }
    let snapshot = api.network.snapshot().ok_or(ErrorCode::NotReady)?;
    let answer = estimate::estimate(&snapshot, &asked.envelopes);
    let answer = answer.map_err(|refused| {
        Refusal::new(refused.code, format!("envelope {}: {}", refused.index, refused.code))
    })?;
    Ok(Json(answer).into_response())
}
