//! Cross-origin rules: which pages may call the API from a browser (API-019).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Api;

/// Answers preflights, and marks answers that the origin's pages may read.
pub(super) async fn cors(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN);
    let Some(allowed) = origin.and_then(|origin| allow(&api.config.cors_origins, origin)) else {
        return next.run(request).await;
    };
    let asks_first = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match asks_first {
        true => preflight(),
        false => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    response
}

/// What to answer to `origin`, if the configuration names it or any.
fn allow(origins: &[String], origin: &HeaderValue) -> Option<HeaderValue> {
    if origins.iter().any(|allowed| allowed == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    let named = origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes());
    named.then(|| origin.clone())
}

fn preflight() -> Response {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, "3600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    (StatusCode::NO_CONTENT, headers).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_configured_origins_are_allowed() {
        // covers: API-019
        let check = |origins: &[&str], origin: &'static str, expected: Option<&str>| {
            let origins: Vec<_> = origins.iter().map(|origin| (*origin).to_owned()).collect();
            let found = allow(&origins, &HeaderValue::from_static(origin));
            assert_eq!(found.as_ref().and_then(|value| value.to_str().ok()), expected);
        };
        check(&[], "https://a.example", None);
        check(&["https://a.example"], "https://a.example", Some("https://a.example"));
        check(&["https://a.example"], "https://b.example", None);
        check(&["https://b.example", "*"], "https://a.example", Some("*"));
    }
}
