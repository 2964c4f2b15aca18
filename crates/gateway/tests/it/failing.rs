//! Nodes that fail, refuse, or know something newer.

use std::sync::atomic::Ordering;

use tidings_envelope::AckLevel;
use tidings_envelope::api::SendResult;
use tidings_gateway::GatewayConfig;
use tidings_types::{ErrorCode, NodeId, Period, RegistryEpoch};

use super::gateway::{Setting, Subject};
use super::peer::Act;
use super::world::{commit, message, message_until};

async fn check_moves_on(act: Act, change: fn(&mut GatewayConfig)) -> Subject {
    let subject = Setting { change, ..Setting::default() }.start().await;
    subject.peers[0].then(act);
    assert_ne!(subject.send_one(message("hello")).await, NodeId(1));
    assert_eq!(subject.publish_counts().iter().sum::<usize>(), 2);
    assert_eq!(subject.peers[0].publish_count(), 1);
    subject
}

#[tokio::test]
async fn a_node_that_passes_is_passed_over() {
    // covers: GTW-009
    for code in [ErrorCode::Overloaded, ErrorCode::ShuttingDown, ErrorCode::StorageUnavailable] {
        check_moves_on(Act::RefuseAll(code), |_| ()).await;
        check_moves_on(Act::RefuseEach(code), |_| ()).await;
    }
}

#[tokio::test]
async fn a_node_that_finds_another_payer_lies() {
    // covers: GTW-007
    // A client would take its envelope for one that nobody was given.
    for act in [Act::RefuseAll, Act::RefuseEach] {
        let subject = check_moves_on(act(ErrorCode::PayerMismatch), |_| ()).await;
        assert_eq!(subject.metric("tidings_gateway_unverified_answers_total").await, 1);
    }
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_given_up() {
    // covers: GTW-009
    let subject = check_moves_on(Act::Hang, |config| config.attempt_timeout_ms = 200).await;
    assert_eq!(subject.metric("tidings_gateway_failed_batches_total").await, 1);
    // It is the last resort until it answers a look-up again.
    assert_eq!(subject.json("/v1/status").await["nodes"][0]["healthy"], false);
}

#[tokio::test]
async fn an_ordered_envelope_is_carried_by_another_node() {
    // covers: GTW-009
    let subject = Setting::default().start().await;
    subject.peers[0].then(Act::RefuseAll(ErrorCode::OrderingUnavailable));
    let results = subject.send(AckLevel::Replicated, vec![commit("commit", 0)]).await;
    assert!(matches!(results.as_slice(), [SendResult::Ordered(_)]), "{results:?}");
    assert_eq!(subject.peers[0].publish_count(), 1);
}

#[tokio::test]
async fn nodes_that_are_down_are_not_in_the_way() {
    // covers: GTW-009
    let setting = Setting { down: vec![0, 2], ready: vec![1], ..Setting::default() };
    let subject = setting.start().await;
    assert_eq!(subject.send_one(message("hello")).await, NodeId(2));
    subject.peers[0].then(Act::RefuseAll(ErrorCode::Overloaded));
    assert_eq!(subject.send_one(message("again")).await, NodeId(4));
}

#[tokio::test]
async fn pending_replication_is_asked_for_where_it_pends() {
    // covers: GTW-009
    let subject = Setting::default().start().await;
    for _ in 0..2 {
        subject.peers[0].then(Act::RefuseEach(ErrorCode::ReplicationPending));
    }
    assert_eq!(subject.send_one(message("hello")).await, NodeId(1));
    assert_eq!(subject.publish_counts(), [3, 0, 0, 0]);
}

#[tokio::test]
async fn refusals_for_good_are_passed_through() {
    // covers: GTW-010
    for act in [Act::RefuseAll, Act::RefuseEach] {
        let subject = Setting::default().start().await;
        subject.peers[0].then(act(ErrorCode::WriteProofInvalid));
        let results = subject.send(AckLevel::Local, vec![message("hello")]).await;
        assert_eq!(results, [SendResult::Refused { code: ErrorCode::WriteProofInvalid }]);
        assert_eq!(subject.publish_counts(), [1, 0, 0, 0]);
    }
}

#[tokio::test]
async fn where_the_cap_is_used_up_others_are_asked() {
    // covers: GTW-009
    let subject = Setting::default().start().await;
    subject.peers[0].then(Act::RefuseEach(ErrorCode::PayerOverCap));
    assert_ne!(subject.send_one(message("hello")).await, NodeId(1));
    assert_eq!(subject.publish_counts().iter().sum::<usize>(), 2);

    let subject = Setting::default().start().await;
    for peer in &subject.peers {
        peer.then(Act::RefuseEach(ErrorCode::PayerOverCap));
    }
    let results = subject.send(AckLevel::Local, vec![message("hello")]).await;
    assert_eq!(results, [SendResult::Refused { code: ErrorCode::PayerOverCap }]);
    assert_eq!(subject.publish_counts(), [1, 1, 1, 1], "each once, and nobody waits");
}

#[tokio::test]
async fn the_deadline_ends_with_the_last_reason() {
    // covers: GTW-010
    let change = |config: &mut GatewayConfig| config.send_deadline_ms = 300;
    let subject = Setting { nodes: 1, change, ..Setting::default() }.start().await;
    for _ in 0..100 {
        subject.peers[0].then(Act::RefuseAll(ErrorCode::OrderingUnavailable));
    }
    let results = subject.send(AckLevel::Replicated, vec![commit("commit", 0)]).await;
    assert_eq!(results, [SendResult::Refused { code: ErrorCode::OrderingUnavailable }]);
    assert!(subject.peers[0].publish_count() > 1);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    // covers: GTW-010
    let change = |config: &mut GatewayConfig| config.send_deadline_ms = 300;
    let subject = Setting { nodes: 1, change, ..Setting::default() }.start().await;
    subject.peers[0].then(Act::Hang);
    let results = subject.send(AckLevel::Local, vec![message("hello")]).await;
    assert_eq!(results, [SendResult::Refused { code: ErrorCode::Unreachable }]);
}

#[tokio::test]
async fn a_period_that_has_moved_on_is_looked_up_again() {
    // covers: GTW-009
    let subject = Setting::default().start().await;
    subject.world.set_period(Period(60));
    assert_eq!(subject.send_one(message_until("later", Period(61))).await, NodeId(1));
    assert_eq!(subject.publish_counts(), [2, 0, 0, 0]);
    // An envelope that did expire is refused, after one more look.
    let results = subject.send(AckLevel::Local, vec![message_until("old", Period(51))]).await;
    assert_eq!(results, [SendResult::Refused { code: ErrorCode::EnvelopeExpired }]);
    assert_eq!(subject.publish_counts(), [4, 0, 0, 0]);
}

#[tokio::test]
async fn a_registry_that_has_moved_on_is_fetched_again() {
    // covers: GTW-008
    // covers: GTW-009
    let subject = Setting::default().start().await;
    subject.world.registry.lock().unwrap().epoch = RegistryEpoch(5);
    assert_eq!(subject.send_one(message("hello")).await, NodeId(1));
    assert_eq!(subject.json("/v1/registry").await["epoch"], 5);
    assert_eq!(subject.publish_counts(), [2, 0, 0, 0]);
}

#[tokio::test]
async fn only_what_failed_is_sent_again() {
    // covers: GTW-009
    let subject = Setting::default().start().await;
    subject.peers[0].then(Act::Lie(|response| {
        let mut results = std::mem::take(&mut response.results).into_vec();
        results[1] = tidings_envelope::api::PublishResult::Refused { code: ErrorCode::Overloaded };
        response.results = results.try_into().unwrap();
    }));
    let sent: Vec<_> = ["one", "two", "three"].map(message).into();
    let results = subject.send(AckLevel::Replicated, sent.clone()).await;
    let stored =
        |place: usize| subject.check_stored(&results[place], &sent[place], AckLevel::Replicated);
    assert_eq!((stored(0), stored(2)), (NodeId(1), NodeId(1)));
    assert_ne!(stored(1), NodeId(1));
    let again: usize =
        subject.peers[1..].iter().map(|peer| peer.envelopes.load(Ordering::SeqCst)).sum();
    assert_eq!(again, 1);
}
