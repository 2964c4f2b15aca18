//! What sending costs: estimates, bills, quotas of money, and a payer whose money runs out.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tidings_envelope::AckLevel;
use tidings_envelope::api::SendResult;
use tidings_envelope::registry::CapRecord;
use tidings_gateway::{FundsWatches, Gateway, GatewayConfig, GatewayError};
use tidings_payer::{Funds, ShardFunds};
use tidings_types::{ErrorCode, Period, PicoDollars, PicoDollarsTotal, ShardId, Wire};
use tokio::sync::watch;

use super::gateway::{Setting, Subject, outcome, request};
use super::peer::Act;
use super::world::{PAYER, PERIOD, message, message_on};

async fn estimate(subject: &Subject, envelopes: Value) -> Result<Value, (StatusCode, Value)> {
    let request = subject.client.post(subject.url("/v1/estimate"));
    let response = request.json(&json!({ "envelopes": envelopes })).send().await.unwrap();
    let status = response.status();
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    match status {
        StatusCode::OK => Ok(answer),
        refused => Err((refused, answer["code"].clone())),
    }
}

/// What a message may cost, in picodollars.
async fn most(subject: &Subject, text: &str) -> u64 {
    let bytes = message(text).to_wire().len();
    let item =
        json!([{ "kind": "group", "lane": "broadcast", "bytes": bytes, "retention_days": 30 }]);
    amount(&estimate(subject, item).await.unwrap()["total"])
}

fn amount(money: &Value) -> u64 {
    money["picodollars"].as_str().unwrap().parse().unwrap()
}

fn billed(result: &SendResult) -> u64 {
    let SendResult::Stored(receipt) = result else { panic!("{result:?}") };
    receipt.header.fee.0
}

#[tokio::test]
async fn an_estimate_is_what_an_envelope_costs_at_most() {
    // covers: GTW-018
    let subject = Setting::default().start().await;
    let sent = [message("short"), message(&"long ".repeat(100))];
    let bytes = sent.each_ref().map(|envelope| envelope.to_wire().len());
    let item = |bytes, count| {
        json!({ "kind": "group", "lane": "broadcast", "bytes": bytes, "retention_days": 30,
            "count": count })
    };
    let answer = estimate(&subject, json!([item(bytes[0], 1), item(bytes[1], 3)])).await.unwrap();
    assert_eq!(answer["registry_epoch"], 1);
    let fees: Vec<_> = answer["fees"].as_array().unwrap().iter().map(amount).collect();
    assert_eq!(amount(&answer["total"]), fees[0] + 3 * fees[1]);
    let units = (fees[0] + 3 * fees[1]).div_ceil(1_000_000).to_string();
    assert_eq!(answer["total"]["units"], units);
    for (envelope, fee) in sent.into_iter().zip(fees) {
        let billed = billed(&subject.send(AckLevel::Replicated, vec![envelope]).await[0]);
        // Alone in its batch an envelope has no path, which is ten hashes in a full one.
        assert_eq!(fee - billed, 100 * 30 * 32 * 10 + (fee - billed) % (100 * 30 * 32));
        assert!(billed < fee && fee - billed < 100 * 30 * 330, "{billed} of {fee}");
    }
}

#[tokio::test]
async fn a_busy_shard_costs_more() {
    // covers: GTW-005
    // covers: GTW-018
    let subject = Setting::default().start().await;
    let plain = most(&subject, "quiet").await;
    // All nodes say so, but the gateway has not asked since; it does when it is refused.
    subject.world.set_congestion(2_000);
    let send = async || subject.send(AckLevel::Replicated, vec![message("quiet")]).await;
    // More is not spent than was set aside; whoever asks again knows the new price.
    let refused = SendResult::Refused { code: ErrorCode::FeeAboveMaximum };
    assert_eq!(send().await, [refused]);
    let busy = billed(&send().await[0]);
    let item = json!([{ "kind": "group", "lane": "broadcast", "retention_days": 30,
        "bytes": message("quiet").to_wire().len() }]);
    let answer = estimate(&subject, item).await.unwrap();
    assert_eq!(answer["congestion_permille"], 2_000);
    assert_eq!(amount(&answer["total"]), 2 * plain);
    assert!(busy > 2 * (plain - 100 * 30 * 330), "{busy} of {plain}");
    assert!(busy <= amount(&answer["total"]));
    let spend = subject.json("/v1/spend").await;
    assert_eq!(amount(&spend["total"]["fee"]), busy);
}

#[tokio::test]
async fn what_no_node_admits_has_no_price() {
    // covers: GTW-018
    let subject = Setting::default().start().await;
    let item = |kind: &str, lane: &str, bytes: u64, days: u64| json!({ "kind": kind, "lane": lane, "bytes": bytes, "retention_days": days });
    let check = async |item: Value, code: &str| {
        let good = json!({ "kind": "group", "lane": "ordered", "bytes": 1, "retention_days": 1 });
        let (status, found) = estimate(&subject, json!([good, item])).await.unwrap_err();
        assert_eq!(found, code);
        assert!(status.is_client_error(), "{status}");
    };
    check(item("mailbox", "ordered", 1, 1), "lane_not_allowed").await;
    check(item("group", "broadcast", 1, 0), "retention_out_of_range").await;
    check(item("group", "broadcast", 1, 366), "retention_out_of_range").await;
    check(item("group", "broadcast", 1 << 21, 1), "too_large").await;
    check(item("group", "broadcast", 1, 1 << 16), "malformed").await;
    check(item("pigeon", "broadcast", 1, 1), "malformed").await;
    check(json!({ "kind": "group" }), "malformed").await;
    let many = vec![item("group", "broadcast", 1, 1); 1_025];
    let (status, code) = estimate(&subject, many.into()).await.unwrap_err();
    assert_eq!((status, code), (StatusCode::PAYLOAD_TOO_LARGE, "too_large".into()));
    assert_eq!(estimate(&subject, json!([])).await.unwrap()["total"]["picodollars"], "0");
}

#[tokio::test]
async fn users_see_what_they_spent_and_only_that() {
    // covers: GTW-016
    let mut subject = Setting::default().start().await;
    let results = subject.send(AckLevel::Local, vec![message("one"), message("two")]).await;
    let mut forged = message("forged");
    forged.proof = message("another").proof;
    subject.send(AckLevel::Local, vec![forged]).await;
    let fees: u64 = results.iter().map(billed).sum();
    let spend = subject.json("/v1/spend").await;
    assert_eq!(spend["user"], "ada");
    assert_eq!(spend["window"]["used"], 2);
    assert_eq!(spend["total"]["envelopes"], 2);
    let days = spend["days"].as_array().unwrap();
    // More than one only when the test runs at midnight.
    let of_days: u64 = days.iter().map(|day| amount(&day["fee"])).sum();
    assert_eq!((amount(&spend["total"]["fee"]), of_days), (fees, fees));
    assert_eq!(days[0]["day"].as_str().unwrap().len(), "2026-11-29".len());
    assert!(spend["total"]["bytes"].as_u64().unwrap() > 200);
    assert_eq!(subject.metric("tidings_gateway_fees_picodollars_total").await, fees);
    for query in ["?days=1", "?days=400", "?days=65535"] {
        subject.json(&format!("/v1/spend{query}")).await;
    }
    for query in ["?days=x", "?days=-1", "?user=ben"] {
        assert_eq!(subject.get(&format!("/v1/spend{query}")).await.0, StatusCode::BAD_REQUEST);
    }
    let database = tidings_gateway::Database::open(&subject.config.database).await.unwrap();
    let all = database.spend_of_all(0).await.unwrap();
    assert_eq!((all[0].name.as_str(), all[0].spent.fee.0), ("ada", u128::from(fees)));
    let quota = tidings_gateway::Quota::envelopes(1);
    subject.key = database.add_user("ben", quota).await.unwrap().reveal().to_string();
    assert_eq!(subject.json("/v1/spend").await["total"]["envelopes"], 0);
    subject.key = "00".repeat(32);
    assert_eq!(subject.get("/v1/spend").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_quota_of_money_is_never_exceeded() {
    // covers: GTW-015
    let unlimited = Setting::default().start().await;
    let fee = most(&unlimited, "one").await;
    let subject = Setting { money_quota: Some(2 * fee), ..Setting::default() }.start().await;
    let three = ["one", "two", "six"].map(message).to_vec();
    assert_eq!(subject.try_send(AckLevel::Local, three).await, Err(ErrorCode::QuotaExceeded));
    assert_eq!(subject.publish_counts(), [0, 0, 0, 0], "nothing was sent");
    // Two at once of which each may use all that is left: one is refused before it is sent.
    let send = |text| subject.try_send(AckLevel::Local, vec![message(text), message("one")]);
    let (first, second) = tokio::join!(send("two"), send("six"));
    assert_eq!([&first, &second].iter().filter(|sent| sent.is_ok()).count(), 1);
    let refused = first.err().or(second.err());
    assert_eq!(refused, Some(ErrorCode::QuotaExceeded));
    let usage = subject.json("/v1/usage").await;
    let used: u64 = usage["money"]["used_picodollars"].as_str().unwrap().parse().unwrap();
    assert!(used > fee && used < 2 * fee, "{used}: what it cost, not what it might have");
    assert_eq!(usage["money"]["quota_picodollars"], (2 * fee).to_string());
    assert_eq!(unlimited.json("/v1/usage").await["money"], Value::Null);
}

/// The name of one of the payer's metrics.
fn of_payer(what: &str, more: &str) -> String {
    format!("tidings_gateway_{what}_picodollars{{payer=\"{PAYER}\"{more}}}")
}

/// Funds that allow `cap` for each of two shards in every period.
pub fn funds(balance: u64, cap: u64, charged_through: u64) -> Option<Funds> {
    let of_shard = |number| {
        let (shard, amount) = (ShardId(number), PicoDollars(cap));
        let cap = CapRecord { shard, before: PicoDollars(0), from: Period(0), amount };
        (shard, ShardFunds { cap, charged_through: Period(charged_through) })
    };
    let shards = (0..2).map(of_shard).collect();
    Some(Funds { balance: PicoDollarsTotal(balance.into()), shards })
}

#[tokio::test]
async fn before_the_money_is_known_and_when_it_is_gone_nothing_is_sent() {
    // covers: GTW-017
    let fee = most(&Setting::default().start().await, "one").await;
    let (payer, watched) = watch::channel(None);
    let change = |config: &mut GatewayConfig| config.probe_interval_ms = 10;
    let setting = Setting { funds: [(PAYER, watched)].into(), change, ..Setting::default() };
    let subject = setting.start_unready().await;
    let send = async |text: &str| {
        let sent = subject.try_send(AckLevel::Local, vec![message(text)]).await;
        sent.map(|results| billed(&results[0]))
    };
    let mut looks = 0;
    while subject.get("/v1/status").await.0 != StatusCode::OK {
        looks += 1;
        assert!(looks < 10_000);
    }
    assert!(subject.get("/readyz").await.1.contains("funds"));
    assert_eq!(send("one").await, Err(ErrorCode::NotReady));
    payer.send_replace(funds(2 * fee - 1, u64::MAX, 0));
    subject.gateway.ready().await;
    let first = send("one").await.unwrap();
    assert!(fee - first > 1, "what it cost less pays for a part of the next one");
    let second = send("two").await.unwrap();
    let refused =
        subject.post(request(AckLevel::Local, vec![message("six")])).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(outcome(refused).await, Err(ErrorCode::InsufficientFunds));
    assert_eq!(subject.publish_counts(), [2, 0, 0, 0]);
    assert_eq!(subject.json("/v1/usage").await["used"], 2, "who is refused is charged nothing");
    let shown = &subject.json("/v1/status").await["funds"];
    assert_eq!(shown["owed_picodollars"], (first + second).to_string());
    assert_eq!(subject.metric(&of_payer("funds_owed", "")).await, first + second);
    // The periods are charged, and somebody put money in.
    payer.send_replace(funds(fee, u64::MAX, PERIOD.0 + 1));
    assert_eq!(subject.json("/v1/status").await["funds"]["owed_picodollars"], "0");
    send("six").await.unwrap();
}

#[tokio::test]
async fn a_cap_holds_for_its_shard_and_period() {
    // covers: GTW-017
    let fee = most(&Setting::default().start().await, "one").await;
    let (_payer, watched) = watch::channel(funds(u64::MAX, fee, 0));
    let change = |config: &mut GatewayConfig| config.probe_interval_ms = 10;
    let setting =
        Setting { funds: [(PAYER, watched)].into(), shards: 2, change, ..Setting::default() };
    let subject = setting.start().await;
    // One under way is set aside in full, so that two at once do not share the cap.
    subject.peers[0].then(Act::Hold);
    let held = subject.post(request(AckLevel::Local, vec![message_on(ShardId(0), 2, "one")]));
    let held = tokio::spawn(held.send());
    subject.peers[0].held.acquire().await.unwrap().forget();
    let refused = subject.try_send(AckLevel::Local, vec![message_on(ShardId(0), 2, "two")]).await;
    assert_eq!(refused, Err(ErrorCode::InsufficientFunds));
    subject.send(AckLevel::Local, vec![message_on(ShardId(1), 2, "two")]).await;
    subject.peers[0].release.add_permits(1);
    outcome(held.await.unwrap().unwrap()).await.unwrap();
    // Its fee is billed in the next period, and counts there.
    subject.world.set_period(PERIOD.plus(1));
    let name = of_payer("cap_spent", ",shard=\"0\"");
    let spent = async || subject.metric(&name).await;
    let mut looks = 0;
    while spent().await == 0 {
        looks += 1;
        assert!(looks < 10_000);
    }
    let refused = subject.try_send(AckLevel::Local, vec![message_on(ShardId(0), 2, "two")]).await;
    assert_eq!(refused, Err(ErrorCode::InsufficientFunds));
}

#[tokio::test]
async fn debts_outlive_the_gateway() {
    // covers: GTW-017
    let fee = most(&Setting::default().start().await, "one").await;
    let (_payer, watched) = watch::channel(funds(2 * fee - fee / 2, u64::MAX, 0));
    let subject =
        Setting { funds: [(PAYER, watched.clone())].into(), ..Setting::default() }.start().await;
    subject.send(AckLevel::Local, vec![message("one")]).await;
    let key = subject.key.clone();
    subject.gateway.stop().await.unwrap();
    let gateway = Gateway::start(subject.config, [(PAYER, watched)].into()).await.unwrap();
    gateway.ready().await;
    let url = format!("http://{}/v1/send", gateway.address());
    let request = subject.client.post(url).bearer_auth(key);
    let request = request.header("content-type", tidings_envelope::api::MEDIA_TYPE);
    let body = super::gateway::request(AckLevel::Local, vec![message("two")]);
    let refused = outcome(request.body(body).send().await.unwrap()).await;
    assert_eq!(refused, Err(ErrorCode::InsufficientFunds));
}

#[tokio::test]
async fn a_chain_that_nobody_watches_is_an_error() {
    // covers: GTW-017
    let subject = Setting::default().start_unready().await;
    let chain = tidings_gateway::ChainConfig {
        deployment_file: "deployment.json".into(),
        rpc: vec!["http://127.0.0.1:1".into()],
        finality_depth: 0,
        poll_ms: 1,
    };
    let config = GatewayConfig { chain: Some(chain), ..subject.config };
    let error = Gateway::start(config, FundsWatches::new()).await.unwrap_err();
    assert!(matches!(error, GatewayError::FundsUnwatched), "{error}");
}
