//! Around the requests: limits, timeouts, TLS, CORS, counters, and the end.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tidings_envelope::AckLevel;
use tidings_envelope::Topic;
use tidings_envelope::api::{MEDIA_TYPE, PublishRequest};
use tidings_node::http::{HttpConfig, TlsFiles};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{BoundedVec, ErrorCode, Wire};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::node::{Running, check_refused, start};
use super::store::{batch, client_envelope, log};

/// A publish request with one envelope of that many bytes.
fn publish(bytes: usize) -> Vec<u8> {
    let envelope = client_envelope(Topic::mailbox(1), &vec![0; bytes]);
    let request = PublishRequest {
        version: PROTOCOL_VERSION,
        level: AckLevel::Local,
        batch: batch(std::slice::from_ref(&envelope)),
        ids: BoundedVec::new(vec![envelope.body.id()]).unwrap(),
        envelopes: BoundedVec::new(vec![envelope.to_wire().try_into().unwrap()]).unwrap(),
    };
    request.to_wire()
}

/// A node that answers no publish until it is given permits.
async fn start_held(change: impl FnOnce(&mut HttpConfig)) -> Running {
    let running = start(change).await;
    let all = running.node.publish_permits.available_permits();
    running.node.publish_permits.forget_permits(all);
    running
}

async fn begun(publishes: &Semaphore) {
    publishes.acquire().await.unwrap().forget();
}

#[tokio::test]
async fn an_address_has_a_rate() {
    // covers: API-014
    let running = start(|config| {
        config.limits.address_requests_per_minute = 1;
        config.limits.address_burst = 3;
    })
    .await;
    for _ in 0..3 {
        assert_eq!(running.get("/healthz").await.status(), 200);
    }
    let refused = running.get("/healthz").await;
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    check_refused(refused, 429, ErrorCode::RateLimited).await;
    assert_eq!(running.metrics.refusals(ErrorCode::RateLimited), 1);
}

#[tokio::test]
async fn requests_at_once_are_bounded() {
    // covers: API-015
    let running = start_held(|config| config.limits.requests_max = 1).await;
    let first = tokio::spawn({
        let request = running.client.post(running.url("/v1/publish"));
        let request = request.header("content-type", MEDIA_TYPE).body(publish(10));
        async move { request.send().await.unwrap().status() }
    });
    begun(&running.node.publishes_begun).await;
    check_refused(running.get("/v1/status").await, 503, ErrorCode::Overloaded).await;
    running.node.publish_permits.add_permits(1);
    assert_eq!(first.await.unwrap(), 200);
    assert_eq!(running.get("/v1/status").await.status(), 200);
}

#[tokio::test]
async fn memory_and_proofs_are_bounded() {
    // covers: API-015
    let running = start(|config| {
        config.limits.body_kilobytes_max = 1;
        config.limits.proofs_max = 0;
    })
    .await;
    let refused = running.post("/v1/publish", publish(2_000)).await;
    check_refused(refused, 503, ErrorCode::Overloaded).await;
    assert_eq!(running.post("/v1/publish", publish(100)).await.status(), 200);
    let refused = running.get("/v1/logs/1/0/1/inclusion?index=0&size=1").await;
    check_refused(refused, 503, ErrorCode::Overloaded).await;
}

#[tokio::test]
async fn connections_are_bounded() {
    // covers: API-015
    for per_address in [true, false] {
        let running = start(|config| match per_address {
            true => config.limits.address_connections_max = 1,
            false => config.limits.connections_max = 1,
        })
        .await;
        let mut listener = running.subscriber().await;
        let mut second = TcpStream::connect(running.server.local_address()).await.unwrap();
        let mut answer = Vec::new();
        // The connection is closed or reset, without a byte.
        let _ = second.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
        listener.follow_empty(Topic::mailbox(1)).await;
    }
}

#[tokio::test]
async fn half_requests_are_given_up() {
    // covers: API-021
    let running = start(|config| {
        config.limits.head_timeout_ms = 20;
        config.limits.body_timeout_ms = 20;
    })
    .await;
    running.bare("GET /healthz HTTP/1.1\r\nhost: x\r\n").await;
    running.bare("").await;
    let head = format!(
        "POST /v1/query HTTP/1.1\r\nhost: x\r\ncontent-type: {MEDIA_TYPE}\r\n\
         content-length: 100\r\nconnection: close\r\n\r\n"
    );
    assert!(running.bare(&head).await.starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn pages_of_configured_origins_may_call() {
    // covers: API-019
    let running = start(|config| config.cors_origins = vec!["https://a.example".to_owned()]).await;
    let preflight = async |origin: &str| {
        let request = running.client.request(reqwest::Method::OPTIONS, running.url("/v1/query"));
        let request = request.header("origin", origin);
        request.header("access-control-request-method", "POST").send().await.unwrap()
    };
    let allowed = preflight("https://a.example").await;
    assert_eq!(allowed.status(), 204);
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://a.example");
    assert_eq!(allowed.headers()["access-control-allow-headers"], "content-type");
    let refused = preflight("https://b.example").await;
    assert_eq!(refused.status(), 405);
    assert!(!refused.headers().contains_key("access-control-allow-origin"));
    let read = running.client.get(running.url("/healthz")).header("origin", "https://a.example");
    let read = read.send().await.unwrap();
    assert_eq!(read.headers()["access-control-allow-origin"], "https://a.example");
}

#[tokio::test]
async fn a_certificate_means_tls_only() {
    // covers: API-022
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        certificate: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
    };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let running = start(|config| config.tls = Some(files)).await;

    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
    let url = format!("https://localhost:{}/healthz", running.server.local_address().port());
    assert_eq!(client.get(url).send().await.unwrap().status(), 200);
    assert!(running.client.get(running.url("/healthz")).send().await.is_err());
}

#[tokio::test]
async fn readiness_is_real() {
    // covers: API-017
    let running = start(|_| ()).await;
    assert_eq!(running.get("/readyz").await.status(), 200);
    running.node.is_ready.store(false, Ordering::SeqCst);
    check_refused(running.get("/readyz").await, 503, ErrorCode::NotReady).await;
    assert_eq!(running.get("/healthz").await.status(), 200);
}

#[tokio::test]
async fn everything_is_counted() {
    // covers: API-016
    let running = start(|_| ()).await;
    running.node.append(log(1), &[(Topic::mailbox(1), vec![1])]);
    running.post("/v1/publish", publish(10)).await;
    let mut listener = running.subscriber().await;
    listener.follow_empty(Topic::mailbox(9)).await;
    let text = running.get("/metrics").await.text().await.unwrap();
    for line in [
        "tidings_publish_results_total{result=\"stored\"} 1",
        "tidings_publish_seconds_count 1",
        "tidings_log_entries{node=\"1\",shard=\"0\",incarnation=\"1\"} 2",
        "tidings_block_height{shard=\"0\"} 0",
        "tidings_period 3",
        "tidings_peers_up 3",
        "tidings_subscribers 1",
        "tidings_subscribed_topics 1",
        "tidings_storage_errors_total 0",
        "tidings_link_frames_total 11",
        "tidings_ready 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn shutdown_finishes_what_was_begun() {
    // covers: API-018
    let running = start_held(|_| ()).await;
    let address = running.server.local_address();
    let mut listener = running.subscriber().await;
    let publishing = tokio::spawn({
        let request = running.client.post(running.url("/v1/publish"));
        let request = request.header("content-type", MEDIA_TYPE).body(publish(10));
        async move { request.send().await.unwrap().status() }
    });
    begun(&running.node.publishes_begun).await;
    let stopping = tokio::spawn(running.server.shutdown());
    listener.expect_refused(ErrorCode::ShuttingDown).await;
    running.node.publish_permits.add_permits(1);
    assert_eq!(publishing.await.unwrap(), 200);
    stopping.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    // covers: API-018
    let running = start_held(|config| config.limits.drain_timeout_ms = 20).await;
    let publishing = tokio::spawn({
        let request = running.client.post(running.url("/v1/publish"));
        let request = request.header("content-type", MEDIA_TYPE).body(publish(10));
        async move { request.send().await.is_err() }
    });
    begun(&running.node.publishes_begun).await;
    let started = Instant::now();
    running.server.shutdown().await;
    assert!(started.elapsed().as_millis() >= 20);
    assert!(publishing.await.unwrap());
}
