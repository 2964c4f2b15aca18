//! Publishing to topics and reading them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use tidings_envelope::api::{NewestQuery, PublishRequest, TopicPage, TopicQuery};
use tidings_types::constants::{PAGE_BYTES_MAX, PAGE_ENTRIES_MAX, PROTOCOL_VERSION};
use tidings_types::{BoundedVec, ErrorCode};
use tokio::time::Instant;

use super::Api;
use super::body::{Received, receive, send};
use super::config::{PUBLISH_BYTES_MAX, QUERY_BYTES_MAX};
use super::refusal::Refusal;
use super::subscriber::check_cursor;

/// `POST /v1/publish`.
pub(super) async fn publish(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Response, Refusal> {
    let started = Instant::now();
    let received = receive::<PublishRequest>(&api, request, PUBLISH_BYTES_MAX).await?;
    // A publish that has begun is brought to its end even if its caller hangs up.
    let task = tokio::spawn({
        let api = api.clone();
        async move {
            let Received { value, _memory } = received;
            api.backend.publish(value).await
        }
    });
    let result = task.await.unwrap_or(Err(ErrorCode::Internal));
    api.metrics.publish_duration.observe(started.elapsed());
    match result {
        Ok(response) => {
            api.metrics.published(&response);
            Ok(send(&response))
        }
        Err(code) => {
            api.metrics.refused(code);
            Err(code.into())
        }
    }
}

/// `POST /v1/query`: a page of a topic after a cursor (API-005).
pub(super) async fn query(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Response, Refusal> {
    let query = receive::<TopicQuery>(&api, request, QUERY_BYTES_MAX).await?.value;
    let limit = usize::from(query.limit);
    if limit == 0 {
        return Err(Refusal::malformed("a page holds at least one entry"));
    }
    if limit > PAGE_ENTRIES_MAX {
        return Err(ErrorCode::TooLarge.into());
    }
    check_cursor(&query.cursor)?;
    api.backend.serves(query.topic)?;
    let _memory = api.reserve_memory(PAGE_BYTES_MAX)?;
    let page = api.backend.topic_page(query.topic, query.cursor, limit, PAGE_BYTES_MAX).await?;
    Ok(send(&page))
}

/// `POST /v1/newest`: the last entry of each log of the topic.
pub(super) async fn newest(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Response, Refusal> {
    let query = receive::<NewestQuery>(&api, request, QUERY_BYTES_MAX).await?.value;
    api.backend.serves(query.topic)?;
    let _memory = api.reserve_memory(PAGE_BYTES_MAX)?;
    let mut entries = api.backend.newest(query.topic).await?;
    entries.truncate(PAGE_ENTRIES_MAX);
    let page = TopicPage {
        version: PROTOCOL_VERSION,
        ordered: BoundedVec::default(),
        broadcast: BoundedVec::new(entries).unwrap_or_default(),
        more: 0,
    };
    Ok(send(&page))
}
