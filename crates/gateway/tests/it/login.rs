//! Logging in with a wallet.

use alloy_primitives::eip191_hash_message;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tidings_envelope::AckLevel;
use tidings_gateway::{GatewayConfig, LoginConfig, Who};
use tidings_identity::{EthereumSigner, LocalWallet, WalletRequest};
use tidings_types::{ErrorCode, PicoDollars};

use super::gateway::{Setting, Subject};
use super::world::message;

fn wallet() -> LocalWallet {
    LocalWallet::from_secret(&[7; 32]).unwrap()
}

fn login() -> LoginConfig {
    LoginConfig {
        payer: None,
        domain: "gateway.example".into(),
        chain_id: 31_337,
        who: Who::Anyone,
        quota: 1,
        money_quota: Some(PicoDollars(u64::MAX >> 1)),
        key_seconds: 1_000_000,
    }
}

async fn open() -> Subject {
    let change = |config: &mut GatewayConfig| config.login = Some(login());
    Setting { change, ..Setting::default() }.start().await
}

async fn post(subject: &Subject, path: &str, body: &Value) -> (StatusCode, Value) {
    let response = subject.client.post(subject.url(path)).json(body).send().await.unwrap();
    let status = response.status();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

/// The message of a wallet for a fresh nonce, as a page would lay it out.
async fn text(subject: &Subject) -> String {
    let (status, asked) = post(subject, "/v1/login/nonce", &Value::Null).await;
    assert_eq!((status, &asked["domain"]), (StatusCode::OK, &json!("gateway.example")));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let day = tidings_gateway::Date::from_days(i64::try_from(now / 86_400).unwrap());
    let (hour, minute, second) = (now / 3_600 % 24, now / 60 % 60, now % 60);
    let account = alloy_primitives::Address::from(wallet().address().0).to_checksum(None);
    format!(
        "gateway.example wants you to sign in with your Ethereum account:\n{account}\n\n\
         Send for free.\n\nURI: https://gateway.example/\nVersion: 1\nChain ID: 31337\n\
         Nonce: {}\nIssued At: {day}T{hour:02}:{minute:02}:{second:02}Z",
        asked["nonce"].as_str().unwrap()
    )
}

fn signature(text: &str) -> String {
    let digest = eip191_hash_message(text).0;
    let Ok(signature) = wallet().sign(&WalletRequest::Text { text: text.to_owned(), digest });
    format!("0x{}", hex::encode(signature.0))
}

#[tokio::test]
async fn a_wallet_gets_a_key_and_sends_with_it() {
    // covers: GTW-019
    // covers: GTW-020
    let mut subject = open().await;
    let text = text(&subject).await;
    let body = json!({ "message": text, "signature": signature(&text) });
    let (status, answer) = post(&subject, "/v1/login", &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["user"], wallet().address().to_string());
    subject.key = answer["api_key"].as_str().unwrap().to_owned();
    assert!(subject.try_send(AckLevel::Local, vec![message("hello")]).await.is_ok());
    let refused = subject.try_send(AckLevel::Local, vec![message("more")]).await;
    assert_eq!(refused, Err(ErrorCode::QuotaExceeded));
    assert_eq!(subject.json("/v1/spend").await["user"], wallet().address().to_string());
    // The same message again is worth nothing.
    let (status, answer) = post(&subject, "/v1/login", &body).await;
    assert_eq!((status, &answer["code"]), (StatusCode::UNAUTHORIZED, &json!("unauthorized")));
}

#[tokio::test]
async fn a_key_that_has_expired_is_refused() {
    // covers: GTW-020
    let change = |config: &mut GatewayConfig| {
        config.login = Some(LoginConfig { key_seconds: 0, ..login() });
    };
    let mut subject = Setting { change, ..Setting::default() }.start().await;
    let text = text(&subject).await;
    let body = json!({ "message": text, "signature": signature(&text) });
    let (_, answer) = post(&subject, "/v1/login", &body).await;
    subject.key = answer["api_key"].as_str().unwrap().to_owned();
    assert_eq!(subject.get("/v1/usage").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_is_not_a_log_in_is_refused() {
    // covers: GTW-019
    let subject = open().await;
    let good = text(&subject).await;
    let check = async |body: Value, expected: StatusCode, code: &str| {
        let (status, answer) = post(&subject, "/v1/login", &body).await;
        assert_eq!((status, &answer["code"]), (expected, &json!(code)), "{answer}");
    };
    let signed = |text: &str| json!({ "message": text, "signature": signature(text) });
    let (bad, unauthorized) = (StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED);
    check(json!({}), bad, "malformed").await;
    check(json!({ "message": good, "signature": "0x00" }), bad, "malformed").await;
    check(signed("let me in"), bad, "malformed").await;
    check(signed(&good.replace("gateway.example", "evil.example")), unauthorized, "unauthorized")
        .await;
    check(signed(&good.replace("31337", "1")), unauthorized, "unauthorized").await;
    let other = json!({ "message": good, "signature": signature("another text") });
    check(other, unauthorized, "unauthorized").await;
    let long = json!({ "message": "x".repeat(30_000), "signature": "" });
    check(long, StatusCode::PAYLOAD_TOO_LARGE, "too_large").await;
    let (status, _) = post(&subject, "/v1/login", &signed(&good)).await;
    assert_eq!(status, StatusCode::OK, "none of that used the nonce up");
}

#[tokio::test]
async fn without_a_configuration_nobody_logs_in() {
    // covers: GTW-019
    let subject = Setting::default().start().await;
    for path in ["/v1/login/nonce", "/v1/login"] {
        let (status, answer) = post(&subject, path, &json!({})).await;
        assert_eq!((status, &answer["code"]), (StatusCode::NOT_FOUND, &json!("not_found")));
    }
}
