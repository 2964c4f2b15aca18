//! Publishing: receipts, levels, repeats, and what one bad envelope does to others.

use tidings_envelope::api::{EnvelopeBytes, PublishResult};
use tidings_envelope::{AckLevel, ClientEnvelope, Lane, Outcome, Registry};
use tidings_types::{ErrorCode, NodeId, PicoDollars, Position, Wire};

use crate::cluster::{Cluster, registry};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

fn refused(result: &PublishResult) -> Option<ErrorCode> {
    match result {
        PublishResult::Refused { code } => Some(*code),
        _ => None,
    }
}

#[test]
fn replicated_receipts_verify_and_everybody_holds_the_entry() {
    // covers: REP-006
    let mut cluster = Cluster::new(4);
    let envelopes: Vec<_> =
        (0..5u8).map(|text| cluster.envelope(9, Lane::Broadcast, &[text])).collect();
    let request = cluster.request(TWO, AckLevel::Replicated, envelopes.clone());
    let id = cluster.publish(TWO, &request).unwrap();
    cluster.settle();
    let response = cluster.replies[&id].clone();
    for (index, envelope) in envelopes.iter().enumerate() {
        let receipt = response.receipt(index).expect("stored");
        receipt.verify(cluster.network, &cluster.registry, AckLevel::Replicated).unwrap();
        assert_eq!(receipt.header.envelope_id, envelope.body.id());
    }
    for disk in cluster.disks.values() {
        assert_eq!(disk.ids().len(), 5);
    }
    assert!(cluster.alarms.is_empty(), "{:?}", cluster.alarms);
}

#[test]
fn local_receipts_do_not_wait_for_replicas() {
    let mut cluster = Cluster::new(4);
    (2..=4).for_each(|node| cluster.kill(NodeId(node)));
    let envelope = cluster.envelope(9, Lane::Broadcast, b"alone");
    for (level, expected) in
        [(AckLevel::Local, None), (AckLevel::Replicated, Some(ErrorCode::ReplicationPending))]
    {
        let request = cluster.request(ONE, level, vec![envelope.clone()]);
        let id = cluster.publish(ONE, &request).unwrap();
        for _ in 0..60 {
            while cluster.step(0) {}
            cluster.pass(100);
        }
        assert_eq!(refused(&cluster.results(id).unwrap()[0]), expected);
    }
}

#[test]
fn a_repeat_is_answered_with_the_first_receipt() {
    // covers: ENV-010
    let mut cluster = Cluster::new(4);
    let envelope = cluster.envelope(9, Lane::Broadcast, b"once");
    let request = cluster.request(TWO, AckLevel::Replicated, vec![envelope]);
    let mut headers = Vec::new();
    for _ in 0..3 {
        let id = cluster.publish(TWO, &request).unwrap();
        cluster.settle();
        headers.push(cluster.replies[&id].receipt(0).unwrap().header);
    }
    assert!(headers.iter().all(|header| *header == headers[0]));
    assert!(cluster.disks[&TWO].ids().values().all(|count| *count == 1));
}

#[test]
fn a_repeat_after_expiry_is_answered_and_a_first_is_refused() {
    // covers: ENV-010
    // covers: ENV-006
    let mut cluster = Cluster::new(4);
    let (early, late) = (
        cluster.envelope(9, Lane::Broadcast, b"early"),
        cluster.envelope(9, Lane::Broadcast, b"late"),
    );
    let request = cluster.request(TWO, AckLevel::Replicated, vec![early.clone()]);
    cluster.publish(TWO, &request).unwrap();
    cluster.settle();
    for _ in 0..2 {
        cluster.pass(10_000);
        cluster.settle();
    }
    let request = cluster.request(TWO, AckLevel::Replicated, vec![early, late]);
    let id = cluster.publish(TWO, &request).unwrap();
    cluster.settle();
    assert!(cluster.replies[&id].receipt(0).is_some());
    let code = refused(&cluster.results(id).unwrap()[1]);
    assert!(matches!(code, Some(ErrorCode::BatchExpired | ErrorCode::EnvelopeExpired)), "{code:?}");
}

#[test]
fn one_bad_envelope_is_refused_alone() {
    // covers: ENV-011
    let mut cluster = Cluster::new(4);
    let envelopes: Vec<_> =
        (0..4u8).map(|text| cluster.envelope(9, Lane::Broadcast, &[text])).collect();
    let mut request = cluster.request(TWO, AckLevel::Replicated, envelopes.clone());
    let mut bytes = request.envelopes.clone().into_vec();
    bytes[1] = EnvelopeBytes::new(vec![0, 1, 2, 3]).unwrap();
    let mut forged = envelopes[2].to_wire();
    *forged.last_mut().unwrap() ^= 1;
    bytes[2] = EnvelopeBytes::new(forged).unwrap();
    request.envelopes = bytes.try_into().unwrap();
    let id = cluster.publish(TWO, &request).unwrap();
    cluster.settle();
    let codes: Vec<_> = cluster.results(id).unwrap().iter().map(refused).collect();
    let expected = [None, Some(ErrorCode::Malformed), Some(ErrorCode::WriteProofInvalid), None];
    assert_eq!(codes, expected);
    assert_eq!(cluster.disks[&TWO].ids().len(), 2);
}

#[test]
fn ordered_envelopes_get_certified_receipts_from_any_node() {
    // covers: ORD-001
    let mut cluster = Cluster::new(4);
    for (node, position) in [(3, 1), (4, 2), (1, 3)] {
        let envelope = cluster.envelope(9, Lane::Ordered, &[node]);
        let node = NodeId(node.into());
        let request = cluster.request(node, AckLevel::Replicated, vec![envelope]);
        for _ in 0..2 {
            let id = cluster.publish(node, &request).unwrap();
            cluster.settle();
            let PublishResult::Ordered(receipt) = &cluster.results(id).unwrap()[0] else {
                panic!("{:?}", cluster.results(id));
            };
            receipt.verify(cluster.network, &cluster.registry).unwrap();
            let expected = Outcome::Applied { position: Position(position) };
            assert_eq!(receipt.decided.outcome, expected);
        }
    }
}

#[test]
fn ordering_is_unavailable_without_a_quorum_and_messages_go_on() {
    let mut cluster = Cluster::new(4);
    cluster.kill(ONE);
    cluster.kill(THREE);
    let ordered = cluster.envelope(9, Lane::Ordered, b"commit");
    let request = cluster.request(TWO, AckLevel::Replicated, vec![ordered]);
    let ordered = cluster.publish(TWO, &request).unwrap();
    let message = cluster.envelope(9, Lane::Broadcast, b"message");
    let request = cluster.request(TWO, AckLevel::Replicated, vec![message]);
    let message = cluster.publish(TWO, &request).unwrap();
    cluster.run(7_000);
    let code = refused(&cluster.results(ordered).unwrap()[0]);
    assert_eq!(code, Some(ErrorCode::OrderingUnavailable));
    assert!(cluster.replies[&message].receipt(0).is_some());
}

#[test]
fn a_failing_disk_refuses_and_recovers() {
    let mut cluster = Cluster::new(4);
    cluster.fail_disk(TWO);
    let envelope = cluster.envelope(9, Lane::Broadcast, b"full");
    let request = cluster.request(TWO, AckLevel::Local, vec![envelope]);
    let id = cluster.publish(TWO, &request).unwrap();
    assert_eq!(refused(&cluster.results(id).unwrap()[0]), Some(ErrorCode::StorageUnavailable));
    cluster.broken_disks.clear();
    for _ in 0..2 {
        cluster.pass(10_000);
        cluster.settle();
    }
    let envelope = cluster.envelope(9, Lane::Broadcast, b"room again");
    let request = cluster.request(TWO, AckLevel::Replicated, vec![envelope]);
    let id = cluster.publish(TWO, &request).unwrap();
    cluster.settle();
    assert!(cluster.replies[&id].receipt(0).is_some());
}

/// Publishes one text at a node; the fee if it was taken, and the code if not.
fn publish_one(cluster: &mut Cluster, node: NodeId, text: u8) -> Result<u64, ErrorCode> {
    let envelope = cluster.envelope(9, Lane::Broadcast, &[text]);
    let request = cluster.request(node, AckLevel::Replicated, vec![envelope]);
    let id = cluster.publish(node, &request).unwrap();
    cluster.settle();
    match refused(&cluster.results(id).unwrap()[0]) {
        Some(code) => Err(code),
        None => Ok(cluster.replies[&id].receipt(0).unwrap().header.fee.0),
    }
}

#[test]
fn each_member_takes_its_part_of_a_payers_cap() {
    // covers: FEE-009
    let period_ms = 100_000;
    let mut cluster = Cluster::of(Registry { period_ms, ..registry(4) });
    let fee = publish_one(&mut cluster, TWO, 1).unwrap();
    cluster.cap(PicoDollars(fee * 5 * 2), false);
    let over = Err(ErrorCode::PayerOverCap);
    assert_eq!(publish_one(&mut cluster, TWO, 2), Ok(fee));
    assert_eq!(publish_one(&mut cluster, TWO, 3), over);
    assert_eq!(publish_one(&mut cluster, TWO, 2), Ok(fee), "a repeat costs nothing");
    assert_eq!(publish_one(&mut cluster, ONE, 3), Ok(fee), "another member has its own part");

    cluster.kill(TWO);
    cluster.start(TWO);
    cluster.settle();
    assert_eq!(publish_one(&mut cluster, TWO, 4), over, "a restart makes no room");
    cluster.pass(period_ms);
    cluster.settle();
    assert_eq!(publish_one(&mut cluster, TWO, 5), Ok(fee), "the next period does");
}

#[test]
fn what_the_lane_orders_has_a_part_of_a_payers_cap() {
    // covers: ORD-034
    let period_ms = 100_000;
    let mut cluster = Cluster::of(Registry { period_ms, ..registry(4) });
    let fee = publish_one(&mut cluster, THREE, 1).unwrap();
    let publish = |cluster: &mut Cluster, envelope: &ClientEnvelope| {
        let request = cluster.request(ONE, AckLevel::Replicated, vec![envelope.clone()]);
        let id = cluster.publish(ONE, &request).unwrap();
        cluster.settle();
        refused(&cluster.results(id).unwrap()[0])
    };
    // A lane is held to a registry from the block on that names it.
    let cap = |cluster: &mut Cluster, amount| {
        cluster.cap(PicoDollars(amount), false);
        cluster.pass(period_ms);
        cluster.settle();
    };
    cap(&mut cluster, fee * 4);
    let first = cluster.envelope(9, Lane::Ordered, &[1]);
    assert_eq!(publish(&mut cluster, &first), Some(ErrorCode::PayerOverCap), "four times as dear");
    cap(&mut cluster, fee * 4 * 7);
    let [first, second] = [2, 3].map(|text| cluster.envelope(9, Lane::Ordered, &[text]));
    assert_eq!(publish(&mut cluster, &first), None);
    assert_eq!(publish(&mut cluster, &second), Some(ErrorCode::PayerOverCap));
    assert_eq!(publish(&mut cluster, &first), None, "what was decided is told again");
}

#[test]
fn nothing_is_taken_of_who_is_short_of_money_from_its_epochs_periods_on() {
    // covers: SET-026
    let period_ms = 100_000;
    let mut cluster = Cluster::of(Registry { period_ms, ..registry(4) });
    let fee = publish_one(&mut cluster, TWO, 1).unwrap();
    cluster.cap(PicoDollars(fee * 100), true);
    assert_eq!(publish_one(&mut cluster, TWO, 2), Ok(fee), "a period of the epoch before");
    for _ in 0..3 {
        cluster.pass(period_ms);
        cluster.settle();
    }
    assert_eq!(publish_one(&mut cluster, TWO, 3), Err(ErrorCode::PayerOverCap));
    cluster.cap(PicoDollars(fee * 100), false);
    for _ in 0..3 {
        cluster.pass(period_ms);
        cluster.settle();
    }
    assert_eq!(publish_one(&mut cluster, TWO, 4), Ok(fee));
}
