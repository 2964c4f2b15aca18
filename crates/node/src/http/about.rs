//! What the node tells about itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tidings_types::{ErrorCode, RegistryEpoch};

use super::Api;
use super::backend::NodeStatus;
use super::refusal::Refusal;
use super::routes::OPENAPI;
use crate::metrics::Exposition;

/// `GET /v1/status`.
pub(super) async fn status(State(api): State<Arc<Api>>) -> Result<Json<NodeStatus>, Refusal> {
    Ok(Json(api.backend.status().await?))
}

/// `?epoch=`: which snapshot, the newest if it is missing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Epoch {
    epoch: Option<u64>,
}

/// `GET /v1/registry?epoch=` (API-023).
pub(super) async fn registry(
    State(api): State<Arc<Api>>,
    asked: Result<Query<Epoch>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(Epoch { epoch }) = asked.map_err(Refusal::malformed)?;
    let registry = match epoch {
        None => Some(api.backend.registry()),
        Some(epoch) => api.backend.registry_at(RegistryEpoch(epoch)),
    };
    let known = registry.map(|registry| Json(&*registry).into_response());
    known.ok_or_else(|| Refusal::not_found("the registry of that epoch is not known here"))
}

/// `GET /healthz`: the process is up.
pub(super) async fn healthz() -> Json<Value> {
    Json(json!({ "status": "up" }))
}

/// `GET /readyz`: the node can serve (API-017).
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Result<Json<Value>, Refusal> {
    if *api.draining.borrow() {
        return Err(ErrorCode::ShuttingDown.into());
    }
    match api.backend.ready() {
        Ok(()) => Ok(Json(json!({ "status": "ready" }))),
        Err(reason) => Err(Refusal::new(ErrorCode::NotReady, reason)),
    }
}

/// `GET /openapi.json`.
pub(super) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

/// `GET /metrics` (API-016).
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let mut text = Exposition::default();
    api.metrics.write(&mut text);
    let hub = api.hub.counts();
    text.gauge("tidings_subscribers", "Open subscriptions.", hub.connections);
    text.gauge("tidings_subscribed_topics", "Topics that subscribers follow.", hub.topics);
    text.total(
        "tidings_live_frames_total",
        "Frames handed to subscribers from memory.",
        hub.frames,
    );
    text.total("tidings_live_frames_dropped_total", "Frames for full outboxes.", hub.dropped);
    text.gauge(
        "tidings_ready",
        "1 when the node can serve.",
        u64::from(api.backend.ready().is_ok()),
    );
    text.gauge("tidings_period", "The node's period.", api.backend.period().0);
    for sample in api.backend.samples() {
        match sample.name.ends_with("_total") {
            true => text.total(sample.name, sample.help, sample.value),
            false => text.gauge(sample.name, sample.help, sample.value),
        }
    }
    // A node whose storage fails still tells the rest.
    if let Ok(status) = api.backend.status().await {
        write_status(&mut text, &status);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text.into_text()).into_response()
}

fn write_status(text: &mut Exposition, status: &NodeStatus) {
    text.family("tidings_block_height", "gauge", "Height of the last final block.");
    for shard in &status.shards {
        let labels = [("shard", shard.shard.to_string())];
        let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
        text.labelled("tidings_block_height", &labels, shard.height.0);
    }
    let help = "What fees are multiplied by now or in the next period, in thousandths.";
    text.family("tidings_congestion_permille", "gauge", help);
    for shard in &status.shards {
        let number = shard.shard.to_string();
        let labels = [("shard", number.as_str())];
        text.labelled("tidings_congestion_permille", &labels, shard.congestion_permille.into());
    }
    // Only the newest incarnation, or every restart would leave a series behind.
    let newest: BTreeMap<_, _> =
        status.logs.iter().map(|log| ((log.log.node, log.log.shard), log)).collect();
    text.family("tidings_log_entries", "gauge", "Entries of each node's newest log held here.");
    for log in newest.values() {
        let labels = [
            ("node", log.log.node.to_string()),
            ("shard", log.log.shard.to_string()),
            ("incarnation", log.log.incarnation.to_string()),
        ];
        let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
        text.labelled("tidings_log_entries", &labels, log.size.0);
    }
}
