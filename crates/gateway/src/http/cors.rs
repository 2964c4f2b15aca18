//! Cross-origin calls from browsers, for the origins that the configuration names.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// What a page may send.
const METHODS: &str = "GET, POST";
const HEADERS: &str = "authorization, content-type";

/// Which origins may call (GTW-012).
#[derive(Debug, Clone)]
pub(super) struct Cors(Vec<String>);

impl Cors {
    pub(super) fn new(origins: Vec<String>) -> Self {
        Self(origins)
    }

    /// The origin to be named in answers, if the caller's is allowed.
    pub(super) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        let text = origin.to_str().ok()?;
        self.0.iter().any(|allowed| allowed == "*" || allowed == text).then(|| origin.clone())
    }

    /// Whether the browser only asks what it may do.
    pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
        method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// The answer to such a question, but for the origin.
    pub(super) fn preflight(is_allowed: bool) -> Response {
        let mut response = StatusCode::NO_CONTENT.into_response();
        if is_allowed {
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(600));
        }
        response
    }

    /// Names the allowed origin in an answer.
    pub(super) fn mark(response: &mut Response, origin: Option<HeaderValue>) {
        if let Some(origin) = origin {
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allowed: &[&str], origin: &str, expected: bool) {
        let cors = Cors::new(allowed.iter().map(|text| (*text).to_owned()).collect());
        let headers = HeaderMap::from_iter([(header::ORIGIN, origin.parse().unwrap())]);
        assert_eq!(cors.allowed(&headers).is_some(), expected, "{origin}");
    }

    #[test]
    fn only_named_origins_may_call() {
        // covers: GTW-012
        check(&[], "https://app.example", false);
        check(&["https://app.example"], "https://app.example", true);
        check(&["https://app.example"], "https://app.example.evil", false);
        check(&["*"], "https://any.example", true);
        assert!(Cors::new(vec!["*".into()]).allowed(&HeaderMap::new()).is_none());
    }
}
