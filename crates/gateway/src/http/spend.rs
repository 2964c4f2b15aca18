//! `GET /v1/spend`: what the caller's user sent day by day, and what it cost.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tidings_types::ErrorCode;

use super::Api;
use super::refusal::Refusal;
use super::routes::{authorise, now_seconds};
use crate::account::{DAYS_MAX, DatabaseError, Purse, Spent, day_of};
use crate::date::Date;
use crate::estimate::Money;

/// Which days somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Days {
    /// How many, today included; a month of them by default, and no more than are kept.
    #[serde(default = "month")]
    days: u16,
}

/// Answers with the caller's spending, everything that was answered before included (GTW-016).
pub(super) async fn spend(
    State(api): State<Arc<Api>>,
    days: Result<Query<Days>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Query(days) =
        days.map_err(|_| Refusal::new(ErrorCode::Malformed, "the query is days and how many"))?;
    let user = authorise(&api, &headers).await?;
    let now = now_seconds();
    let today = day_of(now);
    let first = today.saturating_sub(i64::from(days.days).clamp(1, DAYS_MAX) - 1);
    api.write_books().await?;
    let found = api.books.spend_of(&user.name, first).await.map_err(unavailable)?;
    let mut total = Spent::default();
    let days: Vec<_> = found
        .iter()
        .map(|found| {
            total.add(&found.spent);
            let mut day = amounts(&found.spent);
            day["day"] = Date::from_days(found.day).to_string().into();
            day
        })
        .collect();
    let usage = api.quotas.usage(&user, now).await?;
    let answer = json!({
        "user": user.name,
        "payer": api.payers.of(Some(&user)).map(Purse::payer).ok(),
        "window": usage,
        "days": days,
        "total": amounts(&total),
    });
    Ok(Json(answer).into_response())
}

fn amounts(spent: &Spent) -> serde_json::Value {
    json!({ "envelopes": spent.envelopes, "bytes": spent.bytes, "fee": Money::from(spent.fee) })
}

fn unavailable(error: DatabaseError) -> ErrorCode {
    tracing::error!(%error, "the database failed");
    ErrorCode::StorageUnavailable
}

fn month() -> u16 {
    30
}
