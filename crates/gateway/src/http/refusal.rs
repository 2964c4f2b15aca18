//! How a refused request is answered: a status, and JSON with a stable code.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tidings_types::ErrorCode;

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    pub(super) code: ErrorCode,
    message: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: status_of(code), code, message: message.into() }
    }

    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
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
        if self.code == ErrorCode::Unauthorized {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        if self.code == ErrorCode::RateLimited {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(1));
        }
        response
    }
}

/// The status that goes with a code (GTW-011).
fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::RateLimited | ErrorCode::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::InsufficientFunds => StatusCode::PAYMENT_REQUIRED,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        other if other.retryable() => StatusCode::SERVICE_UNAVAILABLE,
        other if other.peer_at_fault() => StatusCode::BAD_REQUEST,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// A sentence for people; programs read the code.
fn meaning(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::StorageUnavailable => "the gateway cannot reach its storage",
        ErrorCode::Overloaded => "the gateway has more work than it takes on",
        ErrorCode::ShuttingDown => "the gateway is shutting down",
        ErrorCode::NotReady => "the gateway does not know the network yet",
        ErrorCode::NotFound => "there is no such thing here",
        ErrorCode::RateLimited => "too many requests from this address",
        ErrorCode::Unauthorized => "an API key is needed: Authorization: Bearer <key>",
        ErrorCode::QuotaExceeded => "the quota of this window is used up",
        ErrorCode::InsufficientFunds => "the gateway's payer has too little money left for this",
        ErrorCode::TooLarge => "the request is over a limit",
        ErrorCode::Malformed => "the request cannot be read",
        ErrorCode::UnknownVersion => "the structure's version is not known here",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_follow_whose_fault_it_is() {
        // covers: GTW-011
        for code in ErrorCode::ALL {
            let status = status_of(*code);
            assert!(status.is_client_error() || status.is_server_error());
            assert!(!code.peer_at_fault() || status.is_client_error(), "{code}");
            let may_come_back = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
            assert!(!code.retryable() || may_come_back.contains(&status), "{code}");
        }
    }
}
