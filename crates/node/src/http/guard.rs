//! What happens around every request: the address limit, the limit on requests at once, counting.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tidings_types::ErrorCode;
use tokio::time::Instant;

use super::Api;
use super::refusal::Refusal;
use super::server::ConnectionSlot;

/// Who is at the other end of the connection; put into every request by the server.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The address that the connection comes from.
    pub(super) address: IpAddr,
    /// Held as long as the connection, or the WebSocket that it turns into, is open.
    pub(super) slot: Arc<ConnectionSlot>,
}

/// Admits a request within the limits (API-014, API-015) and counts its answer.
pub(super) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let response = match admit(&api, &request) {
        Err(refusal) => refusal.into_response(),
        Ok(_permit) => next.run(request).await,
    };
    let refusal = response.extensions().get::<ErrorCode>().copied();
    api.metrics.answered(response.status().as_u16(), refusal);
    response
}

fn admit(api: &Api, request: &Request) -> Result<tokio::sync::OwnedSemaphorePermit, Refusal> {
    let Some(caller) = request.extensions().get::<Caller>() else {
        return Err(ErrorCode::Internal.into());
    };
    if let Err(wait) = api.rates.take(caller.address, Instant::now()) {
        return Err(Refusal::from(ErrorCode::RateLimited).retry_after(wait));
    }
    let permit = api.requests.clone().try_acquire_owned();
    permit.map_err(|_| ErrorCode::Overloaded.into())
}
