//! Logging in with a wallet: a signed message of EIP-4361 for an API key (GTW-019, GTW-020).

mod message;
mod nonces;
mod time;

use alloy_primitives::eip191_hash_message;
use tidings_identity::WalletSignature;
use tidings_types::EthereumAddress;

pub use self::message::{MESSAGE_BYTES_MAX, Message, MessageInvalid};
pub use self::nonces::{NONCE_SECONDS, Nonces};
use crate::config::{LoginConfig, Who};

/// How far a signer's clock may be ahead.
///
/// Unit: seconds.
const CLOCK_SKEW_SECONDS: i64 = 60;

/// How old a message may be: no older than the nonce in it, give or take what clocks differ.
///
/// Unit: seconds.
const AGE_SECONDS_MAX: i64 = 300 + CLOCK_SKEW_SECONDS;

const _: () = assert!(AGE_SECONDS_MAX > NONCE_SECONDS.cast_signed());

/// Why somebody is not logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefused {
    /// The text is not a message.
    #[error(transparent)]
    Message(#[from] MessageInvalid),
    /// The message is for somebody else.
    #[error("the message is for another domain, URI or scheme")]
    OtherDomain,
    /// The message is for an account on another chain.
    #[error("the message is for another chain")]
    OtherChain,
    /// The message is of another time.
    #[error("the message is not valid yet, or no more")]
    OtherTime,
    /// Another account signed, or none.
    #[error("the signature is not that of the account")]
    Signature,
    /// The account is not on the list.
    #[error("the account may not log in here")]
    NotAllowed,
    /// The nonce was not handed out here, was used, or is too old.
    #[error("the nonce is used up or unknown; ask for another")]
    Nonce,
}

/// The account that logs in with a message and its signature; the nonce is used up.
///
/// # Errors
/// [`LoginRefused`]; the nonce is still good then, unless it is what is wrong.
pub fn account(
    config: &LoginConfig,
    nonces: &Nonces,
    text: &str,
    signature: &WalletSignature,
    now_seconds: u64,
) -> Result<EthereumAddress, LoginRefused> {
    let message = Message::parse(text)?;
    check_audience(config, &message)?;
    check_time(&message, i64::try_from(now_seconds).unwrap_or(i64::MAX))?;
    // EIP-191, version 0x45; a signature with a high s recovers nobody.
    let digest = eip191_hash_message(text).0;
    if signature.recover(&digest) != Some(message.address) {
        return Err(LoginRefused::Signature);
    }
    match &config.who {
        Who::Anyone => {}
        Who::Only(accounts) if accounts.contains(&message.address) => {}
        Who::Only(_) => return Err(LoginRefused::NotAllowed),
    }
    match nonces.take(&message.nonce, now_seconds) {
        true => Ok(message.address),
        false => Err(LoginRefused::Nonce),
    }
}

/// The message must have been made for this gateway: a page that asks for a signature elsewhere
/// must not get in here with it.
fn check_audience(config: &LoginConfig, message: &Message) -> Result<(), LoginRefused> {
    let is_web = |scheme: &str| ["http", "https"].contains(&scheme);
    let authority = message.uri.split_once("://").filter(|(scheme, _)| is_web(scheme));
    let authority = authority.and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    if message.domain != config.domain
        || authority != Some(config.domain.as_str())
        || !message.scheme.as_deref().is_none_or(is_web)
    {
        return Err(LoginRefused::OtherDomain);
    }
    match message.chain_id == config.chain_id {
        true => Ok(()),
        false => Err(LoginRefused::OtherChain),
    }
}

fn check_time(message: &Message, now: i64) -> Result<(), LoginRefused> {
    let age = now.saturating_sub(message.issued_at.seconds());
    let is_current = (-CLOCK_SKEW_SECONDS..=AGE_SECONDS_MAX).contains(&age);
    let has_expired = message.expiration.as_ref().is_some_and(|time| time.seconds() <= now);
    let is_early = message.not_before.as_ref().is_some_and(|time| time.seconds() > now);
    match is_current && !has_expired && !is_early {
        true => Ok(()),
        false => Err(LoginRefused::OtherTime),
    }
}

#[cfg(test)]
mod tests {
    use tidings_types::node_key::NodeKey;

    use super::time::Timestamp;
    use super::*;

    /// 2026-11-29T12:00:00Z.
    const NOW: u64 = 1_795_953_600;

    fn config() -> LoginConfig {
        LoginConfig {
            payer: None,
            domain: "gateway.example".into(),
            chain_id: 1,
            who: Who::Anyone,
            quota: 1,
            money_quota: None,
            key_seconds: 1,
        }
    }

    fn wallet() -> NodeKey {
        NodeKey::from_secret(&[3; 32]).unwrap()
    }

    fn message(nonce: String) -> Message {
        Message {
            scheme: None,
            domain: "gateway.example".into(),
            address: wallet().address(),
            statement: None,
            uri: "https://gateway.example/login".into(),
            chain_id: 1,
            nonce,
            issued_at: Timestamp::parse("2026-11-29T12:00:00Z").unwrap(),
            expiration: None,
            not_before: None,
            request_id: None,
            resources: Vec::new(),
        }
    }

    fn sign(text: &str) -> WalletSignature {
        wallet().sign(&eip191_hash_message(text).0).into()
    }

    fn check(change: impl FnOnce(&mut Message), expected: Option<LoginRefused>) {
        check_at(NOW, change, expected);
    }

    fn check_at(now: u64, change: impl FnOnce(&mut Message), expected: Option<LoginRefused>) {
        let nonces = Nonces::default();
        let mut message = message(nonces.hand_out(NOW).unwrap());
        change(&mut message);
        let text = message.to_string();
        let found = account(&config(), &nonces, &text, &sign(&text), now);
        assert_eq!(found.err(), expected, "{text}");
    }

    fn time(text: &str) -> Option<Timestamp> {
        Some(Timestamp::parse(text).unwrap())
    }

    #[test]
    fn a_message_for_this_gateway_and_time_logs_in() {
        // covers: GTW-019
        check(|_| (), None);
        check(|message| message.scheme = Some("https".into()), None);
        check(|message| message.uri = "http://gateway.example".into(), None);
        check(|message| message.expiration = time("2026-11-29T12:00:01Z"), None);
        check(|message| message.not_before = time("2026-11-29T12:00:00Z"), None);
        check_at(NOW - 60, |_| (), None);
        check_at(NOW + 299, |_| (), None);
    }

    #[test]
    fn a_message_for_another_gateway_does_not() {
        // covers: GTW-019
        let other = Some(LoginRefused::OtherDomain);
        check(|message| message.domain = "evil.example".into(), other);
        check(|message| message.domain = "gateway.example:8443".into(), other);
        check(|message| message.uri = "https://evil.example/gateway.example".into(), other);
        check(|message| message.uri = "https://gateway.example.evil".into(), other);
        check(|message| message.uri = "https://gateway.example@evil.example".into(), other);
        check(|message| message.uri = "ftp://gateway.example/".into(), other);
        check(|message| message.scheme = Some("ftp".into()), other);
        check(|message| message.chain_id = 2, Some(LoginRefused::OtherChain));
    }

    #[test]
    fn a_message_of_another_time_does_not() {
        // covers: GTW-019
        let other = Some(LoginRefused::OtherTime);
        check(|message| message.expiration = time("2026-11-29T12:00:00Z"), other);
        check(|message| message.not_before = time("2026-11-29T12:00:01Z"), other);
        check_at(NOW - 61, |_| (), other);
        check_at(NOW + 361, |_| (), other);
        check_at(0, |_| (), other);
        check_at(u64::MAX, |_| (), other);
        check_at(NOW + 300, |_| (), Some(LoginRefused::Nonce));
    }

    #[test]
    fn a_nonce_serves_once_and_only_who_signed_gets_in() {
        // covers: GTW-019
        let (nonces, config) = (Nonces::default(), config());
        let text = message(nonces.hand_out(NOW).unwrap()).to_string();
        let good = sign(&text);
        let attempt = |text: &str, signature: WalletSignature| {
            account(&config, &nonces, text, &signature, NOW)
        };
        let tampered = text.replace("/login", "/logim");
        assert_eq!(attempt(&tampered, good), Err(LoginRefused::Signature));
        let other = NodeKey::from_secret(&[4; 32]).unwrap();
        let other = other.sign(&eip191_hash_message(&text).0).into();
        assert_eq!(attempt(&text, other), Err(LoginRefused::Signature));
        assert_eq!(attempt(&text, high_s(good)), Err(LoginRefused::Signature));
        assert_eq!(attempt(&text, WalletSignature([0; 65])), Err(LoginRefused::Signature));
        assert_eq!(attempt(&text, good), Ok(wallet().address()), "all that used nothing up");
        assert_eq!(attempt(&text, good), Err(LoginRefused::Nonce));
        let unheard_of = message("0123456789abcdef".into()).to_string();
        assert_eq!(attempt(&unheard_of, sign(&unheard_of)), Err(LoginRefused::Nonce));
    }

    #[test]
    fn a_list_lets_in_who_is_on_it() {
        // covers: GTW-019
        for (listed, expected) in [
            (wallet().address(), Ok(wallet().address())),
            (EthereumAddress([9; 20]), Err(LoginRefused::NotAllowed)),
        ] {
            let config = LoginConfig { who: Who::Only(vec![listed]), ..config() };
            let nonces = Nonces::default();
            let text = message(nonces.hand_out(NOW).unwrap()).to_string();
            assert_eq!(account(&config, &nonces, &text, &sign(&text), NOW), expected);
        }
    }

    /// The other signature of the same message by the same key: order − s, and the other parity.
    fn high_s(signature: WalletSignature) -> WalletSignature {
        let order = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
            .unwrap();
        let mut twin = signature;
        let mut borrow = 0u16;
        for (byte, minuend) in twin.0[32..64].iter_mut().zip(order).rev() {
            let difference = 256 + u16::from(minuend) - u16::from(*byte) - borrow;
            *byte = difference.to_be_bytes()[1];
            borrow = 1 - (difference >> 8);
        }
        twin.0[64] = 55 - twin.0[64];
        twin
    }
}
