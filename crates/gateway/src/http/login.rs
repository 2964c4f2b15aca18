//! `POST /v1/login/nonce` and `POST /v1/login`: an API key for a wallet's signature.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tidings_identity::WalletSignature;
use tidings_types::ErrorCode;

use super::Api;
use super::body::receive_json;
use super::refusal::Refusal;
use super::routes::now_seconds;
use crate::account::{Quota, Terms};
use crate::config::LoginConfig;
use crate::login::{self, LoginRefused, MESSAGE_BYTES_MAX, NONCE_SECONDS};

/// The most bytes of JSON: a message of which every byte is escaped, and the rest.
const BODY_BYTES_MAX: usize = 6 * MESSAGE_BYTES_MAX + 512;

/// What a wallet signed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    /// The text.
    message: String,
    /// 65 bytes in hex: r, s, v.
    signature: String,
}

/// Hands out a nonce, and says what a message must hold to be taken here (GTW-019).
pub(super) async fn nonce(State(api): State<Arc<Api>>) -> Result<Response, Refusal> {
    let config = config(&api)?;
    let nonce = api.nonces.hand_out(now_seconds()).ok_or(ErrorCode::Overloaded)?;
    let answer = json!({
        "nonce": nonce,
        "expires_in_seconds": NONCE_SECONDS,
        "domain": config.domain,
        "chain_id": config.chain_id,
    });
    Ok(Json(answer).into_response())
}

/// Answers with a fresh key for the account that signed (GTW-019, GTW-020).
pub(super) async fn login(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Response, Refusal> {
    let config = config(&api)?;
    let _place = api.enter()?;
    let signed: Signed = receive_json(&api, request, BODY_BYTES_MAX).await?;
    let mut signature = WalletSignature([0; 65]);
    let digits = signed.signature.strip_prefix("0x").unwrap_or(&signed.signature);
    hex::decode_to_slice(digits, &mut signature.0)
        .map_err(|_| Refusal::new(ErrorCode::Malformed, "a signature is 65 bytes in hex"))?;
    let now = now_seconds();
    let account = login::account(config, &api.nonces, &signed.message, &signature, now);
    let account = account.map_err(|refused| {
        let code = match refused {
            LoginRefused::Message(_) => ErrorCode::Malformed,
            _ => ErrorCode::Unauthorized,
        };
        Refusal::new(code, refused.to_string())
    })?;
    let expires = now.saturating_add(config.key_seconds);
    let quota = Quota { envelopes: config.quota, money: config.money_quota };
    let terms = Terms { quota, payer: config.payer };
    let key = api.users.log_in(account, terms, now, expires).await?;
    tracing::info!(%account, "a wallet has logged in");
    let answer =
        json!({ "user": account, "api_key": key.reveal().as_str(), "expires_seconds": expires });
    Ok(Json(answer).into_response())
}

/// Without a configuration there is no such thing here.
fn config(api: &Api) -> Result<&LoginConfig, ErrorCode> {
    api.login.as_ref().ok_or(ErrorCode::NotFound)
}
