//! Starting, readiness, stopping, TLS.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use reqwest::StatusCode;
use tidings_envelope::AckLevel;
use tidings_gateway::{FundsWatches, Gateway, GatewayConfig, GatewayError, TlsFiles, run};
use tidings_types::ErrorCode;
use tokio::sync::oneshot;

use super::gateway::{Setting, outcome, request};
use super::peer::Act;
use super::world::message;

#[tokio::test]
async fn readiness_needs_a_healthy_node_of_every_shard() {
    // covers: GTW-011
    let change = |config: &mut GatewayConfig| config.probe_interval_ms = 10;
    let setting = Setting { ready: vec![], shards: 2, change, ..Setting::default() };
    let subject = setting.start_unready().await;
    let (status, text) = subject.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("not_ready"), "{text}");
    assert_eq!(subject.get("/healthz").await.0, StatusCode::OK);
    subject.peers[2].is_ready.store(true, Ordering::SeqCst);
    subject.gateway.ready().await;
    assert_eq!(subject.get("/readyz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn readiness_needs_a_registered_session_key() {
    // covers: GTW-011
    let change = |config: &mut GatewayConfig| config.probe_interval_ms = 10;
    let subject = Setting { change, ..Setting::default() }.start().await;
    let mut registry = subject.world.registry();
    let record = registry.payers[0].clone();
    registry.payers[0].session_keys.clear();
    registry.epoch = registry.epoch.plus(1);
    *subject.world.registry.lock().unwrap() = registry.clone();
    let refused = async || subject.try_send(AckLevel::Local, vec![message("hello")]).await.unwrap();
    let expected =
        [tidings_envelope::api::SendResult::Refused { code: ErrorCode::SessionKeyUnknown }];
    assert_eq!(refused().await, expected);
    assert!(subject.get("/readyz").await.1.contains("session key"));
    registry.payers[0] = record;
    registry.epoch = registry.epoch.plus(1);
    *subject.world.registry.lock().unwrap() = registry;
    subject.gateway.ready().await;
    subject.send_one(message("hello")).await;
}

#[tokio::test]
async fn before_the_network_is_known_nothing_is_sent() {
    // covers: GTW-011
    let subject = Setting { nodes: 1, down: vec![0], ..Setting::default() }.start_unready().await;
    let refused = subject.try_send(AckLevel::Local, vec![message("hello")]).await;
    assert_eq!(refused, Err(ErrorCode::NotReady));
    assert_eq!(subject.get("/v1/status").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(subject.json("/v1/usage").await["used"], 0);
}

#[tokio::test]
async fn what_is_under_way_is_answered_before_the_gateway_stops() {
    // covers: GTW-014
    let subject = Setting::default().start().await;
    subject.peers[0].then(Act::Hold);
    let peer = Arc::clone(&subject.peers[0]);
    let body = request(AckLevel::Replicated, vec![message("hello")]);
    let sending = tokio::spawn(subject.post(body).send());
    peer.held.acquire().await.unwrap().forget();
    let (config, key, url) =
        (subject.config, subject.key, format!("http://{}", subject.gateway.address()));
    let stopping = tokio::spawn(subject.gateway.stop());
    peer.release.add_permits(1);
    assert_eq!(outcome(sending.await.unwrap().unwrap()).await.unwrap().len(), 1);
    stopping.await.unwrap().unwrap();
    assert!(subject.client.get(format!("{url}/healthz")).send().await.is_err());
    // The unused part of the lease was given back.
    let gateway = Gateway::start(config, FundsWatches::new()).await.unwrap();
    let usage = format!("http://{}/v1/usage", gateway.address());
    let usage = subject.client.get(usage).bearer_auth(&key).send().await.unwrap();
    let usage: serde_json::Value = serde_json::from_str(&usage.text().await.unwrap()).unwrap();
    assert_eq!(usage["used"], 1);
}

#[tokio::test]
async fn run_ends_with_its_shutdown() {
    // covers: GTW-014
    let subject = Setting::default().start_unready().await;
    let (stop, stopped) = oneshot::channel::<()>();
    let config = GatewayConfig { listen: "127.0.0.1:0".parse().unwrap(), ..subject.config };
    let running = tokio::spawn(run(config, FundsWatches::new(), async { stopped.await.unwrap() }));
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_an_error() {
    let subject = Setting::default().start_unready().await;
    let config = GatewayConfig { listen: subject.gateway.address(), ..subject.config };
    let error = Gateway::start(config, FundsWatches::new()).await.unwrap_err();
    assert!(matches!(error, GatewayError::Listen { .. }), "{error}");
}

#[tokio::test]
async fn with_a_certificate_it_speaks_tls() {
    let subject = Setting::default().start_unready().await;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        certificates: subject.folder().join("certificates.pem"),
        key: subject.folder().join("key.pem"),
    };
    std::fs::write(&files.certificates, pem("CERTIFICATE", made.cert.der())).unwrap();
    let secret = made.signing_key.serialize_der();
    std::fs::write(&files.key, pem("PRIVATE KEY", &secret)).unwrap();
    let config = GatewayConfig { tls: Some(files), ..subject.config };
    let gateway = Gateway::start(config, FundsWatches::new()).await.unwrap();
    let der = reqwest::Certificate::from_der(made.cert.der()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([der]).build().unwrap();
    let url = format!("https://localhost:{}/healthz", gateway.address().port());
    assert_eq!(client.get(url).send().await.unwrap().status(), StatusCode::OK);
    gateway.stop().await.unwrap();
}

/// PEM (RFC 7468) of DER bytes.
fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let mut bytes = [0; 3];
        bytes[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        for place in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap();
            text.push(if place <= chunk.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}
