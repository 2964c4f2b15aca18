//! Nodes whose answers are not so: each lie is seen through, and another node is asked.

use tidings_envelope::AckLevel;
use tidings_envelope::api::{PublishResponse, PublishResult, SendResult};
use tidings_gateway::GatewayConfig;
use tidings_types::{BoundedVec, EnvelopeId, ErrorCode, LogIndex, NodeId, RegistryEpoch, ShardId};

use super::gateway::{Setting, Subject};
use super::peer::Act;
use super::world::{commit, message, network, node_key};

async fn liar(act: Act) -> Subject {
    let subject = Setting::default().start().await;
    subject.peers[0].then(act);
    subject
}

async fn check_seen_through(act: Act) {
    let subject = liar(act).await;
    assert_ne!(subject.send_one(message("hello")).await, NodeId(1));
    assert_eq!(subject.metric("tidings_gateway_unverified_answers_total").await, 1);
    // The liar is left alone from now on.
    assert_ne!(subject.send_one(message("again")).await, NodeId(1));
    assert_eq!(subject.peers[0].publish_count(), 1);
}

async fn check_ordered_seen_through(distort: fn(&mut PublishResponse)) {
    let subject = liar(Act::Lie(distort)).await;
    let results = subject.send(AckLevel::Replicated, vec![commit("commit", 0)]).await;
    let [SendResult::Ordered(receipt)] = results.as_slice() else { panic!("{results:?}") };
    receipt.verify(network(), &subject.world.registry()).unwrap();
    assert_eq!(subject.peers[0].publish_count(), 1);
}

/// Changes the only result of an answer.
fn change(response: &mut PublishResponse, change: impl FnOnce(&mut PublishResult)) {
    let mut results = std::mem::take(&mut response.results).into_vec();
    change(&mut results[0]);
    response.results = BoundedVec::new(results).unwrap();
}

fn change_header(
    response: &mut PublishResponse,
    changed: impl FnOnce(&mut tidings_envelope::EntryHeader),
) {
    change(response, |result| {
        if let PublishResult::Stored { header, .. } = result {
            changed(header);
        }
    });
}

#[tokio::test]
async fn answers_that_are_none() {
    // covers: GTW-007
    check_seen_through(Act::Garble).await;
    check_seen_through(Act::Lie(|response| response.version = 9)).await;
    check_seen_through(Act::Lie(|response| response.results = BoundedVec::default())).await;
    check_seen_through(Act::Lie(|response| response.checkpoints = BoundedVec::default())).await;
}

#[tokio::test]
async fn receipts_for_something_else() {
    // covers: GTW-007
    check_seen_through(Act::Lie(|response| {
        change_header(response, |header| header.envelope_id = EnvelopeId([9; 32]));
    }))
    .await;
    check_seen_through(Act::Lie(|response| {
        change_header(response, |header| header.index = LogIndex(7));
    }))
    .await;
    check_seen_through(Act::Lie(|response| {
        change_header(response, |header| header.retention_days = 1);
    }))
    .await;
}

#[tokio::test]
async fn checkpoints_that_nobody_signed() {
    // covers: GTW-007
    check_seen_through(Act::Lie(|response| {
        change_checkpoint(response, |checkpoint| {
            let unsigned = checkpoint.checkpoint.checkpoint;
            checkpoint.checkpoint = unsigned.sign(&node_key(NodeId(9)), network());
        });
    }))
    .await;
    // A checkpoint of a shard that the topic is not on.
    check_seen_through(Act::Lie(|response| {
        change_checkpoint(response, |checkpoint| {
            let mut other = checkpoint.checkpoint.checkpoint;
            other.log.shard = ShardId(1);
            checkpoint.checkpoint = other.sign(&node_key(NodeId(1)), network());
        });
    }))
    .await;
}

#[tokio::test]
async fn too_few_acknowledgements() {
    // covers: GTW-007
    let alone: fn(&mut PublishResponse) = |response| {
        change_checkpoint(response, |checkpoint| {
            checkpoint.acknowledgements = BoundedVec::default();
        });
    };
    check_seen_through(Act::Lie(alone)).await;
    // Which is enough for who asks for less.
    let subject = liar(Act::Lie(alone)).await;
    let envelope = message("hello");
    let results = subject.send(AckLevel::Local, vec![envelope.clone()]).await;
    assert_eq!(subject.check_stored(&results[0], &envelope, AckLevel::Local), NodeId(1));
    // A node that acknowledges for another.
    check_seen_through(Act::Lie(|response| {
        change_checkpoint(response, |checkpoint| {
            let mut signed = std::mem::take(&mut checkpoint.acknowledgements).into_vec();
            signed[0].replica = NodeId(signed[0].replica.0 % 4 + 1);
            checkpoint.acknowledgements = BoundedVec::new(signed).unwrap();
        });
    }))
    .await;
}

fn change_checkpoint(
    response: &mut PublishResponse,
    change: impl FnOnce(&mut tidings_envelope::api::AcknowledgedCheckpoint),
) {
    let mut checkpoints = std::mem::take(&mut response.checkpoints).into_vec();
    change(&mut checkpoints[0]);
    response.checkpoints = BoundedVec::new(checkpoints).unwrap();
}

#[tokio::test]
async fn one_lie_among_truths_is_found_behind_a_known_checkpoint() {
    // covers: GTW-007
    let subject = liar(Act::Lie(|response| {
        let mut results = std::mem::take(&mut response.results).into_vec();
        let PublishResult::Stored { path, .. } = &mut results[2] else { panic!() };
        let mut hashes = std::mem::take(path).into_vec();
        hashes[0] = [9; 32];
        *path = BoundedVec::new(hashes).unwrap();
        response.results = BoundedVec::new(results).unwrap();
    }))
    .await;
    let sent: Vec<_> = ["one", "two", "three", "four"].map(message).into();
    let results = subject.send(AckLevel::Replicated, sent.clone()).await;
    let nodes: Vec<_> = results
        .iter()
        .zip(&sent)
        .map(|(result, sent)| subject.check_stored(result, sent, AckLevel::Replicated))
        .collect();
    let first = NodeId(1);
    assert_eq!([nodes[0], nodes[1], nodes[3]], [first, first, first]);
    assert_ne!(nodes[2], first);
}

#[tokio::test]
async fn blocks_that_are_not_certified() {
    // covers: GTW-007
    check_ordered_seen_through(|response| {
        change(response, |result| {
            let PublishResult::Ordered(receipt) = result else { panic!() };
            let mut votes = std::mem::take(&mut receipt.certificate.signatures).into_vec();
            votes.pop();
            receipt.certificate.signatures = BoundedVec::new(votes).unwrap();
        });
    })
    .await;
    check_ordered_seen_through(|response| {
        change(response, |result| {
            let PublishResult::Ordered(receipt) = result else { panic!() };
            receipt.header.state_root = [9; 32];
        });
    })
    .await;
}

#[tokio::test]
async fn decisions_that_were_not_taken() {
    // covers: GTW-007
    check_ordered_seen_through(|response| {
        change(response, |result| {
            let PublishResult::Ordered(receipt) = result else { panic!() };
            let position = tidings_types::Position(9);
            receipt.decided.outcome = tidings_envelope::Outcome::Conflict { position };
        });
    })
    .await;
    check_ordered_seen_through(|response| {
        change(response, |result| {
            let PublishResult::Ordered(receipt) = result else { panic!() };
            if let tidings_envelope::Operation::Envelope(inner) = &mut receipt.decided.operation {
                inner.envelope.body.retention_days = 2;
            }
        });
    })
    .await;
    // An answer of the other lane.
    check_ordered_seen_through(|response| {
        let refused = PublishResult::Refused { code: ErrorCode::Overloaded };
        change(response, |result| *result = refused);
    })
    .await;
}

#[tokio::test]
async fn when_all_lie_nothing_is_stored() {
    // covers: GTW-007
    // covers: GTW-010
    let change = |config: &mut GatewayConfig| config.send_deadline_ms = 1_000;
    let subject = Setting { change, ..Setting::default() }.start().await;
    for peer in &subject.peers {
        peer.then(Act::Garble);
    }
    let results = subject.send(AckLevel::Local, vec![message("hello")]).await;
    assert_eq!(results, [SendResult::Refused { code: ErrorCode::Unreachable }]);
    assert_eq!(subject.publish_counts(), [1, 1, 1, 1]);
}

#[tokio::test]
async fn one_node_makes_no_registry() {
    // covers: GTW-008
    let setting = Setting::default();
    let subject = setting.start_unready().await;
    let mut forged = subject.world.registry();
    forged.epoch = RegistryEpoch(99);
    forged.nodes.iter_mut().for_each(|node| node.http = "http://127.0.0.1:1".into());
    *subject.peers[3].forged_registry.lock().unwrap() = Some(forged);
    subject.gateway.ready().await;
    subject.world.registry.lock().unwrap().epoch = RegistryEpoch(3);
    assert_eq!(subject.send_one(message("hello")).await, NodeId(1));
    assert_eq!(subject.json("/v1/registry").await["epoch"], 3);
}
