//! Several payers: each user's envelopes are paid by its own, and by nobody else.

use reqwest::StatusCode;
use tidings_envelope::api::SendResult;
use tidings_envelope::registry::CapRecord;
use tidings_envelope::{AckLevel, Registry};
use tidings_gateway::{Database, GatewayConfig, PayerConfig, Quota, Terms};
use tidings_types::{ErrorCode, EthereumAddress, Period, PicoDollars, ShardId};
use tokio::sync::watch;

use super::gateway::{Setting, Subject, key_file};
use super::money::funds;
use super::world::{OTHER_PAYER, PAYER, message_of, other_session_key};

/// Lets a gateway pay for another payer, too.
fn two_payers(config: &mut GatewayConfig) {
    let folder = config.session_key_file.parent().unwrap();
    let session_key_file = key_file(folder, &other_session_key());
    config.payers = vec![PayerConfig { address: OTHER_PAYER, session_key_file }];
}

/// A user for whom `payer` pays.
async fn user_of(subject: &Subject, name: &str, payer: EthereumAddress) -> String {
    let terms = Terms { quota: Quota::envelopes(100), payer: Some(payer) };
    let database = Database::open(&subject.config.database).await.unwrap();
    database.add_user(name, terms).await.unwrap().reveal().to_string()
}

/// Sends one message of the present user's; who is billed for it.
async fn send(
    subject: &Subject,
    payer: EthereumAddress,
    text: &str,
) -> Result<EthereumAddress, ErrorCode> {
    let sent = subject.try_send(AckLevel::Local, vec![message_of(payer, text)]).await;
    match &sent?[0] {
        SendResult::Stored(receipt) => Ok(receipt.header.payer),
        SendResult::Refused { code } => Err(*code),
        SendResult::Ordered(_) => panic!("a broadcast message was ordered"),
    }
}

#[tokio::test]
async fn each_payer_pays_for_its_own_users_only() {
    // covers: GTW-021
    // covers: GTW-017
    let much = || funds(1 << 60, u64::MAX, 0);
    let (_first, of_first) = watch::channel(much());
    let (other, of_other) = watch::channel(much());
    let funds_watches = [(PAYER, of_first), (OTHER_PAYER, of_other)].into();
    let setting = Setting { change: two_payers, funds: funds_watches, ..Setting::default() };
    let mut subject = setting.start().await;
    assert_eq!(send(&subject, PAYER, "one").await, Ok(PAYER));
    assert_eq!(send(&subject, OTHER_PAYER, "two").await, Err(ErrorCode::PayerMismatch));
    assert_eq!(subject.json("/v1/status").await["payer"], PAYER.to_string());
    let ben = user_of(&subject, "ben", OTHER_PAYER).await;
    let ada = std::mem::replace(&mut subject.key, ben);
    assert_eq!(send(&subject, OTHER_PAYER, "two").await, Ok(OTHER_PAYER));
    assert_eq!(send(&subject, PAYER, "two").await, Err(ErrorCode::PayerMismatch));
    let status = subject.json("/v1/status").await;
    assert_eq!(status["payer"], OTHER_PAYER.to_string());
    let spend = subject.json("/v1/spend").await;
    assert_eq!(spend["payer"], OTHER_PAYER.to_string());
    assert_eq!(status["funds"]["owed_picodollars"], spend["total"]["fee"]["picodollars"]);
    // Who shows no key learns who pays for everybody else.
    let open = subject.client.get(subject.url("/v1/status")).send().await.unwrap();
    let open: serde_json::Value = serde_json::from_str(&open.text().await.unwrap()).unwrap();
    assert_eq!(open["payer"], PAYER.to_string());
    // Nobody sees another's money.
    assert!(open["funds"].is_null());
    assert!(!subject.get("/metrics").await.1.contains("_picodollars{payer="));
    // One payer's poverty is nobody else's, and the gateway goes on.
    other.send_replace(funds(1, u64::MAX, 0));
    assert_eq!(send(&subject, OTHER_PAYER, "six").await, Err(ErrorCode::InsufficientFunds));
    subject.key = ada;
    assert_eq!(send(&subject, PAYER, "six").await, Ok(PAYER));
}

#[tokio::test]
async fn a_batch_is_one_payers() {
    // covers: GTW-005
    // covers: GTW-021
    let setting = Setting { change: two_payers, ..Setting::default() };
    let mut subject = setting.start().await;
    // The nodes take no batch that holds an envelope of another payer than it names.
    subject.peers[0].then(super::peer::Act::Hold);
    let body =
        |payer, text| super::gateway::request(AckLevel::Local, vec![message_of(payer, text)]);
    let held = tokio::spawn(subject.post(body(PAYER, "one")).send());
    subject.peers[0].held.acquire().await.unwrap().forget();
    let ben = user_of(&subject, "ben", OTHER_PAYER).await;
    let ada = std::mem::replace(&mut subject.key, ben);
    let of_ben = subject.post(body(OTHER_PAYER, "two")).send();
    subject.key = ada;
    let of_ada = subject.post(body(PAYER, "six")).send();
    let (of_ben, of_ada) = tokio::join!(of_ben, of_ada);
    subject.peers[0].release.add_permits(1);
    for response in [held.await.unwrap(), of_ben, of_ada] {
        let results = super::gateway::outcome(response.unwrap()).await.unwrap();
        assert!(matches!(results.as_slice(), [SendResult::Stored(_)]), "{results:?}");
    }
    assert_eq!(subject.publish_counts(), [3, 0, 0, 0]);
}

#[tokio::test]
async fn nobody_else_pays_for_a_user_whose_payer_is_gone() {
    // covers: GTW-021
    let mut subject = Setting::default().start().await;
    subject.key = user_of(&subject, "ben", OTHER_PAYER).await;
    for payer in [PAYER, OTHER_PAYER] {
        assert_eq!(send(&subject, payer, "one").await, Err(ErrorCode::PayerUnknown));
    }
    let (status, text) = subject.get("/v1/status").await;
    assert!(status.is_client_error() && text.contains("payer_unknown"), "{status} {text}");
    assert_eq!(subject.publish_counts(), [0; 4]);
    assert_eq!(subject.json("/v1/usage").await["used"], 0);
    assert!(subject.json("/v1/spend").await["payer"].is_null());
}

/// Whether a gateway is ready with so changed a payer, and why not.
async fn check_ready(registry: fn(&mut Registry), obstacle: Option<&str>) {
    let (_funds, watch) = watch::channel(funds(1 << 60, u64::MAX, 0));
    let setting = Setting { funds: [(PAYER, watch)].into(), registry, ..Setting::default() };
    let subject = setting.start_unready().await;
    let Some(obstacle) = obstacle else { return subject.gateway.ready().await };
    // It knows the registry by then.
    let mut looks = 0;
    while subject.get("/v1/status").await.0 != StatusCode::OK {
        looks += 1;
        assert!(looks < 10_000);
    }
    let (status, text) = subject.get("/readyz").await;
    assert!(status != StatusCode::OK && text.contains(obstacle), "{status} {text}");
}

/// Lets the payer be billed nothing before a period.
fn cap_from(registry: &mut Registry, from: Period) {
    let (before, amount) = (PicoDollars(0), PicoDollars(1 << 60));
    registry.payers[0].caps = Some(vec![CapRecord { shard: ShardId(0), before, from, amount }]);
}

#[tokio::test]
async fn a_gateway_is_ready_once_nodes_know_its_payers_cap_and_while_it_is_not_short() {
    // covers: GTW-011
    // covers: SET-026
    check_ready(|registry| cap_from(registry, Period(0)), None).await;
    check_ready(|registry| registry.payers[0].caps = Some(Vec::new()), Some("has no cap")).await;
    check_ready(|registry| cap_from(registry, Period(u64::MAX)), Some("has no cap")).await;
    let short = |registry: &mut Registry| {
        cap_from(registry, Period(0));
        registry.payers[0].is_short = true;
    };
    check_ready(short, Some("too little")).await;
}

#[tokio::test]
async fn a_gateway_is_ready_while_a_payer_can_pay() {
    // covers: GTW-011
    let (first, of_first) = watch::channel(None);
    let (other, of_other) = watch::channel(funds(1 << 60, u64::MAX, 0));
    let funds_watches = [(PAYER, of_first), (OTHER_PAYER, of_other)].into();
    let setting = Setting { change: two_payers, funds: funds_watches, ..Setting::default() };
    let subject = setting.start().await;
    let check = async |of_first: u64, of_other: u64| {
        for (payer, expected) in [(PAYER, of_first), (OTHER_PAYER, of_other)] {
            let name = format!("tidings_gateway_payer_ready{{payer=\"{payer}\"}}");
            assert_eq!(subject.metric(&name).await, expected, "{payer}");
        }
        let ready = subject.get("/readyz").await;
        assert_eq!(ready.0 == StatusCode::OK, of_first + of_other > 0, "{}", ready.1);
    };
    check(0, 1).await;
    other.send_replace(funds(1 << 60, 0, 0));
    check(0, 0).await;
    assert!(subject.get("/readyz").await.1.contains("funds"));
    first.send_replace(funds(1 << 60, u64::MAX, 0));
    check(1, 0).await;
}
