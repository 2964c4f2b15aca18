//! The gateway's routes.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tidings_envelope::api::SendRequest;
use tidings_types::ErrorCode;

use super::Api;
use super::body::{Received, receive, reply};
use super::refusal::Refusal;
use crate::account::{ApiKey, User};
use crate::publish::{Bill, Cost};

/// The media type of the Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4";

/// What the routes are, for programs.
const OPENAPI: &str = include_str!("openapi.json");

/// `POST /v1/send`: charges the user, sends, and refunds what was refused (GTW-003, GTW-010).
pub(super) async fn send(State(api): State<Arc<Api>>, request: Request) -> Response {
    let began = Instant::now();
    let answer = send_authorised(&api, request).await;
    api.metrics.send_duration.observe(began.elapsed());
    answer.unwrap_or_else(|refusal| {
        api.metrics.refused(refusal.code);
        refusal.into_response()
    })
}

async fn send_authorised(api: &Arc<Api>, request: Request) -> Result<Response, Refusal> {
    let place = api.enter()?;
    let user = authorise(api, request.headers()).await?;
    let purse = api.payers.of(Some(&user))?;
    let Received { value, memory } = receive::<SendRequest>(api, request).await?;
    let snapshot = api.network.snapshot().ok_or(ErrorCode::NotReady)?;
    let prepared = api.sender.prepare(value, purse.payer())?;
    let costs = prepared.costs().to_vec();
    let taken = Cost::take(&costs);
    // The payer's money first, because what is set aside of it is put back by itself.
    let reservation = purse.budget().reserve(api.network.period(), Cost::by_shard(&costs))?;
    let charge = api.quotas.charge(&user, taken, now_seconds()).await?;
    // Not on the connection's task: a caller who hangs up changes nothing about what is sent.
    let api = Arc::clone(api);
    let sending = tokio::spawn(async move {
        let _held = (place, memory);
        let response = api.sender.send(prepared).await;
        let bill = Bill::of(&costs, &response.results, &snapshot);
        reservation.settle(&bill.owed);
        charge.refund(bill.unused(taken)).await;
        api.books.enter(&user.name, &bill.spent, now_seconds());
        api.metrics.spent(&bill.spent);
        response
    });
    let response = sending.await.map_err(|_| ErrorCode::Internal)?;
    Ok(reply(&response))
}

/// `GET /v1/usage`: what the caller's user has used.
pub(super) async fn usage(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let user = authorise(&api, &headers).await?;
    let report = api.quotas.usage(&user, now_seconds()).await?;
    Ok(Json(report).into_response())
}

/// `GET /v1/status`: the network as the gateway sees it, and who pays: for the caller's user, or
/// for those who are given no other payer (GTW-021).
pub(super) async fn status(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let user = match headers.contains_key(header::AUTHORIZATION) {
        true => Some(authorise(&api, &headers).await?),
        false => None,
    };
    let purse = api.payers.of(user.as_ref())?;
    let snapshot = api.network.snapshot().ok_or(ErrorCode::NotReady)?;
    let health = api.network.health();
    let nodes = snapshot.registry.nodes.iter().map(|node| {
        let seen = health.get(&node.id).copied().unwrap_or_default();
        let latency_ms = seen.latency.map(|latency| latency.as_millis());
        json!({ "id": node.id, "http": node.http, "latency_ms": latency_ms, "healthy": seen.healthy })
    });
    let nodes: Vec<_> = nodes.collect();
    // Where there are several payers, what the first has is for its own users to see.
    let shows_funds = user.is_some() || api.has_one_payer;
    let funds = purse.report(api.network.period()).filter(|_| shows_funds);
    let status = json!({
        "network": api.network.id(),
        "payer": purse.payer(),
        "period": api.network.period().ok_or(ErrorCode::NotReady)?,
        "nodes": nodes,
        "funds": funds,
    });
    Ok(Json(status).into_response())
}

/// `GET /v1/registry`: the registry in force.
pub(super) async fn registry(State(api): State<Arc<Api>>) -> Result<Response, Refusal> {
    let snapshot = api.network.snapshot().ok_or(ErrorCode::NotReady)?;
    Ok(Json(&snapshot.registry).into_response())
}

/// `GET /healthz`: the process is up.
pub(super) async fn healthz() -> Response {
    Json(json!({ "status": "up" })).into_response()
}

/// `GET /readyz`: every shard has a healthy node, and a payer can pay (GTW-011).
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Result<Response, Refusal> {
    match api.unreadiness() {
        None => Ok(Json(json!({ "status": "ready" })).into_response()),
        Some((code, reason)) => Err(Refusal::new(code, reason)),
    }
}

/// `GET /metrics`: counters in the Prometheus text format (GTW-013).
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let now = api.network.snapshot();
    let registry = now.as_ref().map(|now| &now.registry);
    let mut payers = api.payers.reports(registry, api.network.period());
    if !api.shows_funds {
        payers.iter_mut().for_each(|payer| payer.funds = None);
    }
    let text = api.metrics.exposition(&api.network, &payers);
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

/// `GET /openapi.json`: these routes, for programs.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// Everything else.
pub(super) async fn not_found() -> Refusal {
    ErrorCode::NotFound.into()
}

/// The user whose key the request carries (GTW-001).
pub(super) async fn authorise(api: &Api, headers: &HeaderMap) -> Result<User, Refusal> {
    let credentials = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = credentials
        .and_then(|text| text.split_once(' '))
        .and_then(|(scheme, key)| scheme.eq_ignore_ascii_case("bearer").then_some(key.trim()));
    let key = key.and_then(|key| ApiKey::parse(key).ok()).ok_or(ErrorCode::Unauthorized)?;
    let user = api.users.user(&key.digest(), now_seconds()).await?;
    user.ok_or_else(|| ErrorCode::Unauthorized.into())
}

/// Seconds since 1970.
pub(super) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        // covers: GTW-011
        let described: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(described["openapi"], "3.1.0");
        let paths = described["paths"].as_object().unwrap();
        let described: BTreeSet<_> = paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().keys();
                methods.map(move |method| (method.to_uppercase(), path.as_str()))
            })
            .collect();
        let routed = super::super::ROUTES.iter();
        let routed = routed.map(|(method, path)| ((*method).to_owned(), *path));
        assert_eq!(described, routed.collect());
    }
}
