//! Look-ups in the ordered state (API-030).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use tidings_envelope::api::StateQuery;
use tidings_types::ErrorCode;

use super::Api;
use super::body::{receive, send};
use super::config::QUERY_BYTES_MAX;
use super::refusal::Refusal;

/// `POST /v1/state`.
pub(super) async fn state(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Response, Refusal> {
    let query = receive::<StateQuery>(&api, request, QUERY_BYTES_MAX).await?.value;
    if query.key.path().is_none() {
        return Err(Refusal::malformed("single decisions have no proof"));
    }
    if query.shard.0 >= api.backend.registry().shard_count {
        return Err(ErrorCode::WrongShard.into());
    }
    Ok(send(&api.backend.look_up(query).await?))
}
