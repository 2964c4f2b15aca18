//! Look-ups: every replica proves what the state holds and what it does not, after a start too.

use tidings_envelope::api::StateQuery;
use tidings_envelope::{AckLevel, Lane, StateContent, StateKey, Topic};
use tidings_types::{EnvelopeId, ErrorCode, InboxId, NodeId, Period, Position, ShardId, Wire};

use crate::cluster::{Cluster, signing_key};

/// What `node` proves of a key, as anybody would believe it.
fn proved(cluster: &Cluster, node: u32, key: StateKey) -> StateContent {
    let query = StateQuery::new(ShardId(0), key);
    let answer = cluster.look_up(NodeId(node), &query).unwrap();
    assert_eq!((answer.proof.key, answer.value), (key, None));
    // No more votes than a reader needs.
    assert_eq!(answer.proof.certificate.signatures.len(), 3);
    assert!(answer.proof.to_wire().len() < 2_048);
    answer.proof.verify(cluster.network, &cluster.registry).unwrap()
}

#[test]
fn every_replica_proves_the_same_state() {
    // covers: API-030
    let mut cluster = Cluster::new(4);
    let topic = Topic::group(&signing_key(9).public_key());
    for position in 0..3 {
        for node in 1..5 {
            let StateContent::Topic(head) = proved(&cluster, node, StateKey::Topic(topic)) else {
                assert_eq!(position, 0);
                continue;
            };
            assert_eq!(head.position, Position(position));
            assert!(matches!(
                proved(&cluster, node, StateKey::Incarnation(NodeId(node))),
                StateContent::Incarnation(number, _) if number.0 == 1
            ));
        }
        let envelope = cluster.envelope(9, Lane::Ordered, &[u8::try_from(position).unwrap()]);
        let request = cluster.request(NodeId(1), AckLevel::Replicated, vec![envelope]);
        cluster.publish(NodeId(1), &request).unwrap();
        cluster.settle();
    }
    // The certificate is at hand after a start, before any new block.
    cluster.kill(NodeId(2));
    cluster.start(NodeId(2));
    let head = proved(&cluster, 2, StateKey::Topic(topic));
    assert_eq!(head, proved(&cluster, 1, StateKey::Topic(topic)));
    let nobody = StateKey::Inbox(InboxId([1; 32]));
    assert_eq!(proved(&cluster, 2, nobody), StateContent::Absent);
}

#[test]
fn what_cannot_be_proved_is_refused() {
    // covers: API-030
    let cluster = Cluster::new(4);
    let refused =
        |shard, key| cluster.look_up(NodeId(1), &StateQuery::new(ShardId(shard), key)).unwrap_err();
    assert_eq!(refused(1, StateKey::Period), ErrorCode::WrongShard);
    let decided = StateKey::Decided(Period(1), EnvelopeId([1; 32]));
    assert_eq!(refused(0, decided), ErrorCode::Malformed);
}
