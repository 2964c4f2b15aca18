//! The table of routes and the router made from it.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};
use tidings_types::ErrorCode;

use super::refusal::Refusal;
use super::{Api, about, audit, cors, follow, guard, look_up, settlement, socket, topics};

/// The API's OpenAPI 3.1 document (API-020).
pub const OPENAPI: &str = include_str!("openapi.json");

/// A row of the table: method, path, handler.
type Route = (&'static str, &'static str, MethodRouter<Arc<Api>>);

/// Every method and path that the node answers.
pub fn operations() -> impl Iterator<Item = (&'static str, &'static str)> {
    table().into_iter().map(|(method, path, _)| (method, path))
}

fn table() -> Vec<Route> {
    vec![
        ("POST", "/v1/publish", post(topics::publish)),
        ("POST", "/v1/query", post(topics::query)),
        ("POST", "/v1/newest", post(topics::newest)),
        ("POST", "/v1/state", post(look_up::state)),
        ("GET", "/v1/subscribe", get(socket::subscribe)),
        ("POST", "/v1/follow", post(follow::follow)),
        ("GET", "/v1/status", get(about::status)),
        ("GET", "/v1/registry", get(about::registry)),
        ("GET", "/v1/logs", get(audit::logs)),
        ("GET", "/v1/logs/{node}/{shard}/{incarnation}", get(audit::log_page)),
        ("GET", "/v1/logs/{node}/{shard}/{incarnation}/checkpoint", get(audit::checkpoint)),
        ("GET", "/v1/logs/{node}/{shard}/{incarnation}/inclusion", get(audit::inclusion)),
        ("GET", "/v1/logs/{node}/{shard}/{incarnation}/consistency", get(audit::consistency)),
        ("GET", "/v1/blocks/{shard}", get(audit::blocks)),
        ("GET", "/v1/settlement/{shard}", get(settlement::reports)),
        ("GET", "/v1/settlement/{shard}/{last}", get(settlement::report)),
        ("GET", "/v1/settlement/{shard}/{last}/usage/{payer}", get(settlement::usage)),
        ("GET", "/v1/settlement/{shard}/{last}/earnings/{node}", get(settlement::earnings)),
        ("GET", "/healthz", get(about::healthz)),
        ("GET", "/readyz", get(about::readyz)),
        ("GET", "/metrics", get(about::metrics)),
        ("GET", "/openapi.json", get(about::openapi)),
    ]
}

/// The router with everything that surrounds a request.
pub(super) fn router(api: Arc<Api>) -> Router {
    let routes = table()
        .into_iter()
        .fold(Router::new(), |router, (_, path, handler)| router.route(path, handler));
    routes
        .fallback(|| async { Refusal::not_found("there is no such route") })
        .method_not_allowed_fallback(|| async {
            let refusal = Refusal::new(ErrorCode::Malformed, "the route has another method");
            refusal.with_status(StatusCode::METHOD_NOT_ALLOWED)
        })
        .layer(from_fn_with_state(api.clone(), guard::guard))
        .layer(from_fn_with_state(api.clone(), cors::cors))
        .with_state(api)
}
