//! Who may call, how much, and with what.

use reqwest::{RequestBuilder, StatusCode};
use tidings_envelope::AckLevel;
use tidings_envelope::api::{MEDIA_TYPE, SendResult};
use tidings_gateway::{Database, GatewayConfig, Quota};
use tidings_types::ErrorCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::gateway::{Setting, Subject, outcome, request};
use super::world::message;

async fn check_refused(request: RequestBuilder, status: StatusCode, code: ErrorCode) {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), status);
    assert_eq!(outcome(response).await, Err(code));
}

fn one() -> Vec<u8> {
    request(AckLevel::Local, vec![message("hello")])
}

#[tokio::test]
async fn only_users_may_send() {
    // covers: GTW-001
    let subject = Setting::default().start().await;
    let unauthorized = async |request| {
        check_refused(request, StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized).await
    };
    let bare = || subject.client.post(subject.url("/v1/send")).body(one());
    unauthorized(bare()).await;
    unauthorized(bare().bearer_auth("00".repeat(32))).await;
    unauthorized(bare().bearer_auth("no key")).await;
    unauthorized(bare().header("authorization", format!("Basic {}", subject.key))).await;
    unauthorized(subject.client.get(subject.url("/v1/usage"))).await;
    assert_eq!(subject.publish_counts(), [0, 0, 0, 0]);
    assert!(subject.try_send(AckLevel::Local, vec![message("hello")]).await.is_ok());
}

#[tokio::test]
async fn a_user_added_later_may_send_and_one_removed_may_not() {
    // covers: GTW-001
    let mut subject = Setting::default().start().await;
    let database = Database::open(&subject.config.database).await.unwrap();
    subject.key = database.add_user("ben", Quota::envelopes(5)).await.unwrap().reveal().to_string();
    database.remove_user("ben").await.unwrap();
    let refused = subject.try_send(AckLevel::Local, vec![message("hello")]).await;
    assert_eq!(refused, Err(ErrorCode::Unauthorized));
    subject.key = database.add_user("ben", Quota::envelopes(5)).await.unwrap().reveal().to_string();
    assert!(subject.try_send(AckLevel::Local, vec![message("hello")]).await.is_ok());
}

#[tokio::test]
async fn the_quota_counts_what_was_sent() {
    // covers: GTW-003
    let subject = Setting { quota: 3, ..Setting::default() }.start().await;
    let check_used = async |expected: u64| {
        let usage = subject.json("/v1/usage").await;
        assert_eq!(usage["used"], expected);
        assert_eq!(usage["quota"], 3);
        assert_eq!(usage["window_seconds"], 1_000_000_000);
    };
    let mut foreign = message("foreign");
    foreign.body.payer = [9; 20].into();
    let mut forged = message("forged");
    forged.proof = message("another").proof;
    // Refused here, refused by the node, stored.
    let sent = vec![foreign, forged, message("one"), message("two")];
    subject.send(AckLevel::Local, sent).await;
    check_used(2).await;
    let more = vec![message("three"), message("four")];
    assert_eq!(subject.try_send(AckLevel::Local, more).await, Err(ErrorCode::QuotaExceeded));
    check_used(2).await;
    subject.send(AckLevel::Local, vec![message("three")]).await;
    check_used(3).await;
    let response = subject.post(one());
    check_refused(response, StatusCode::TOO_MANY_REQUESTS, ErrorCode::QuotaExceeded).await;
}

#[tokio::test]
async fn bodies_that_cannot_be_read() {
    // covers: GTW-012
    let subject = Setting::default().start().await;
    let check = async |body: Vec<u8>, status, code| {
        check_refused(subject.post(body), status, code).await;
    };
    check(Vec::new(), StatusCode::BAD_REQUEST, ErrorCode::Malformed).await;
    let mut longer = one();
    longer.push(0);
    check(longer, StatusCode::BAD_REQUEST, ErrorCode::Malformed).await;
    let mut later = one();
    later[1] = 9;
    check(later, StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::UnknownVersion).await;
    check(vec![0; (7 << 20) + 1], StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::TooLarge).await;
    let wrong = subject.client.post(subject.url("/v1/send")).bearer_auth(&subject.key);
    let wrong = wrong.header("content-type", "application/json").body("{}");
    check_refused(wrong, StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::Malformed).await;
    let elsewhere = subject.client.get(subject.url("/v1/nothing"));
    check_refused(elsewhere, StatusCode::NOT_FOUND, ErrorCode::NotFound).await;
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    // covers: GTW-012
    let subject = Setting::default().start().await;
    let mut stream = TcpStream::connect(subject.gateway.address()).await.unwrap();
    let head = format!(
        "POST /v1/send HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\n\
         content-type: {MEDIA_TYPE}\r\ntransfer-encoding: chunked\r\n\r\n700001\r\n",
        subject.key
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![0; (7 << 20) + 1]).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
    assert_eq!(subject.publish_counts(), [0, 0, 0, 0]);
}

async fn limited(change: fn(&mut GatewayConfig)) -> Subject {
    Setting { change, ..Setting::default() }.start().await
}

#[tokio::test]
async fn an_address_may_call_so_often() {
    // covers: GTW-012
    let subject = limited(|config| {
        config.limits.address_requests_per_second = 1;
        config.limits.address_burst = 2;
    })
    .await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(subject.get("/healthz").await.0);
    }
    // The burst, and at most one more for every second that the calls took.
    assert_eq!(statuses[..2], [StatusCode::OK; 2]);
    assert!(statuses.contains(&StatusCode::TOO_MANY_REQUESTS), "{statuses:?}");
}

#[tokio::test]
async fn requests_and_memory_at_once_are_bounded() {
    // covers: GTW-012
    let subject = limited(|config| config.limits.requests_max = 0).await;
    check_refused(subject.post(one()), StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Overloaded)
        .await;
    let subject = limited(|config| config.limits.body_kilobytes_max = 1).await;
    let large = request(AckLevel::Local, vec![message(&"x".repeat(2_000))]);
    check_refused(subject.post(large), StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Overloaded)
        .await;
    let results = subject.send(AckLevel::Local, vec![message("small")]).await;
    assert!(matches!(results.as_slice(), [SendResult::Stored(_)]));
}

#[tokio::test]
async fn pages_of_named_origins_may_call() {
    // covers: GTW-012
    let subject = limited(|config| config.cors_origins = vec!["https://app.example".into()]).await;
    let check = async |origin: &str, expected: Option<&str>| {
        let request = subject.client.request(reqwest::Method::OPTIONS, subject.url("/v1/send"));
        let request = request.header("origin", origin);
        let response =
            request.header("access-control-request-method", "POST").send().await.unwrap();
        let allowed = response.headers().get("access-control-allow-origin");
        assert_eq!(allowed.map(|value| value.to_str().unwrap()), expected);
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
    };
    check("https://app.example", Some("https://app.example")).await;
    check("https://evil.example", None).await;
}
