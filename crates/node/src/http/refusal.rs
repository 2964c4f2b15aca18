//! How a refused request is answered: a status, and JSON with a stable code.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tidings_types::ErrorCode;

/// A refused request (API-003).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    code: ErrorCode,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal with the code's own status.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: status_of(code), code, message: message.into(), retry_after: None }
    }

    /// A refusal of bytes or text that cannot be read.
    pub fn malformed(message: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::Malformed, message.to_string())
    }

    /// A refusal for want of the thing asked for.
    pub fn not_found(what: &'static str) -> Self {
        Self::new(ErrorCode::NotFound, what)
    }

    /// The same with a status of HTTP's own.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same with a time to wait.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, meaning(code))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({
            "code": self.code.as_str(),
            "retryable": self.code.retryable(),
            "message": self.message,
        });
        let mut response = (self.status, Json(body)).into_response();
        // For whoever counts answers.
        response.extensions_mut().insert(self.code);
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The status that goes with a code (ERR-003).
#[must_use]
pub fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::NotFound | ErrorCode::InboxUnknown => StatusCode::NOT_FOUND,
        ErrorCode::RateLimited | ErrorCode::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::InsufficientFunds => StatusCode::PAYMENT_REQUIRED,
        ErrorCode::Conflict => StatusCode::CONFLICT,
        ErrorCode::WrongShard => StatusCode::MISDIRECTED_REQUEST,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        other if other.retryable() => StatusCode::SERVICE_UNAVAILABLE,
        other if other.peer_at_fault() => StatusCode::BAD_REQUEST,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// A sentence for people; programs read the code.
fn meaning(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::StorageUnavailable => "the node cannot reach its storage",
        ErrorCode::Overloaded => "the node has more work than it takes on",
        ErrorCode::ShuttingDown => "the node is shutting down",
        ErrorCode::NotReady => "the node is not ready yet",
        ErrorCode::WrongShard => "the node does not serve the topic's shard",
        ErrorCode::NotFound => "there is no such thing here",
        ErrorCode::RateLimited => "too many requests from this address",
        ErrorCode::TooLarge => "the request is over a limit",
        ErrorCode::Malformed => "the request cannot be read",
        ErrorCode::UnknownVersion => "the structure's version is not known here",
        ErrorCode::Internal => "the node made a mistake",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_follow_whose_fault_it_is() {
        // covers: ERR-003
        for code in ErrorCode::ALL {
            let status = status_of(*code);
            assert!(status.is_client_error() || status.is_server_error());
            assert!(!code.peer_at_fault() || status.is_client_error(), "{code}");
            let may_come_back = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
            assert!(!code.retryable() || may_come_back.contains(&status), "{code}");
        }
    }
}
