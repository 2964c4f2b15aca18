//! What happens when everything works.

use std::collections::BTreeSet;

use tidings_envelope::api::SendResult;
use tidings_envelope::{AckLevel, Outcome};
use tidings_types::{ErrorCode, EthereumAddress, NodeId, PicoDollars, Position, ShardId};

use super::gateway::{Setting, Subject};
use super::world::{commit, message, message_on, network};

#[tokio::test]
async fn a_message_is_stored_and_proved_at_both_levels() {
    // covers: GTW-007
    let subject = Setting::default().start().await;
    for level in [AckLevel::Local, AckLevel::Replicated] {
        let envelope = message("hello");
        let results = subject.send(level, vec![envelope.clone()]).await;
        assert_eq!(subject.check_stored(&results[0], &envelope, level), NodeId(1));
    }
}

#[tokio::test]
async fn a_repeat_is_answered_with_the_first_receipt() {
    // covers: GTW-009
    let subject = Setting::default().start().await;
    let header = async || {
        let results = subject.send(AckLevel::Replicated, vec![message("once")]).await;
        let [SendResult::Stored(receipt)] = results.as_slice() else { panic!("{results:?}") };
        receipt.header
    };
    assert_eq!(header().await, header().await);
}

#[tokio::test]
async fn results_come_in_the_order_of_the_request() {
    // covers: GTW-004
    // covers: GTW-010
    let subject = Setting::default().start().await;
    let mut foreign = message("foreign");
    foreign.body.payer = EthereumAddress([9; 20]);
    let mut forged = message("forged");
    forged.proof = message("another").proof;
    let sent = vec![
        message("first"),
        foreign,
        commit("commit", 0),
        forged,
        message("first"),
        message("last"),
        commit("late", 7),
    ];
    let results = subject.send(AckLevel::Replicated, sent.clone()).await;
    assert_eq!(results.len(), sent.len());
    subject.check_stored(&results[0], &sent[0], AckLevel::Replicated);
    assert_eq!(results[1], SendResult::Refused { code: ErrorCode::PayerMismatch });
    check_ordered(&subject, &results[2], Outcome::Applied { position: Position(1) });
    assert_eq!(results[3], SendResult::Refused { code: ErrorCode::WriteProofInvalid });
    assert_eq!(results[4], SendResult::Refused { code: ErrorCode::Repeated });
    subject.check_stored(&results[5], &sent[5], AckLevel::Replicated);
    check_ordered(&subject, &results[6], Outcome::Conflict { position: Position(1) });
    // One batch per lane.
    assert_eq!(subject.publish_counts(), [2, 0, 0, 0]);
}

fn check_ordered(subject: &Subject, result: &SendResult, expected: Outcome) {
    let SendResult::Ordered(receipt) = result else { panic!("{result:?}") };
    receipt.verify(network(), &subject.world.registry()).unwrap();
    assert_eq!(receipt.decided.outcome, expected);
}

#[tokio::test]
async fn a_full_request_over_many_shards_is_two_signatures() {
    // covers: GTW-005
    let subject = Setting { shards: 4, ..Setting::default() }.start().await;
    let sent: Vec<_> = (0..1_024u16)
        .map(|number| message_on(ShardId(number % 4), 4, &format!("message {number}")))
        .collect();
    let results = subject.send(AckLevel::Replicated, sent.clone()).await;
    for (result, envelope) in results.iter().zip(&sent) {
        subject.check_stored(result, envelope, AckLevel::Replicated);
    }
    // The first shard's envelopes leave at once, the others gather meanwhile or leave with them.
    assert!(subject.publish_counts()[0] <= 2, "{:?}", subject.publish_counts());
}

#[tokio::test]
async fn users_at_once_share_batches_and_get_their_own_receipts() {
    // covers: GTW-005
    let subject = Setting::default().start().await;
    let held = &subject.peers[0];
    held.then(super::peer::Act::Hold);
    let sending = (0..64).map(|number| {
        let subject = &subject;
        async move {
            let envelope = message(&format!("from {number}"));
            subject.send_one(envelope).await;
        }
    });
    let release = async {
        held.held.acquire().await.unwrap().forget();
        held.release.add_permits(1);
    };
    tokio::join!(futures_util::future::join_all(sending), release);
    let envelopes = held.envelopes.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(envelopes, 64);
    let batches = subject.metric("tidings_gateway_batches_total").await;
    assert_eq!(subject.metric("tidings_gateway_batched_envelopes_total").await, 64);
    assert!(batches < 64, "{batches} batches");
}

#[tokio::test]
async fn an_envelope_that_costs_too_much_is_refused() {
    // covers: GTW-004
    let change = |config: &mut tidings_gateway::GatewayConfig| {
        config.envelope_fee_max = Some(PicoDollars(1));
    };
    let subject = Setting { change, ..Setting::default() }.start().await;
    let results = subject.send(AckLevel::Local, vec![message("dear")]).await;
    assert_eq!(results, [SendResult::Refused { code: ErrorCode::FeeAboveMaximum }]);
    assert_eq!(subject.publish_counts(), [0, 0, 0, 0]);
}

#[tokio::test]
async fn status_and_registry_are_those_of_the_network() {
    let subject = Setting::default().start().await;
    let status = subject.json("/v1/status").await;
    assert_eq!(status["network"], network().to_string());
    assert_eq!(status["period"], 50);
    let healthy: BTreeSet<_> = status["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["id"].as_u64().unwrap(), node["healthy"].as_bool().unwrap()))
        .collect();
    assert_eq!(healthy, BTreeSet::from([(1, true), (2, false), (3, false), (4, false)]));
    let registry = subject.json("/v1/registry").await;
    assert_eq!(registry, serde_json::to_value(subject.world.registry()).unwrap());
}
