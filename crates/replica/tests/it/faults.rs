//! Kills at any step: nothing acknowledged is lost, nothing is there twice, nobody is accused.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tidings_envelope::{
    AckLevel, Checkpoint, ClientEnvelope, EntryHeader, Lane, LogEntry, LogId, PayerEnvelope,
    Registry, Tariff, WriteProof,
};
use tidings_payer::Missing;
use tidings_replica::Alarm;
use tidings_replica::wire::{ControlFrame, FeedFlush};
use tidings_types::ed25519::Signature;
use tidings_types::node_key::NodeKey;
use tidings_types::{
    BoundedVec, EnvelopeId, ErrorCode, EthereumAddress, Incarnation, LogIndex, LogSize, NodeId,
    Period, RegistryEpoch, ShardId, TimestampSeconds, TopicIndex, Wire,
};

use crate::cluster::{Cluster, node_key, registry};

#[test]
fn a_node_that_was_away_catches_up() {
    // covers: REP-004
    // covers: REP-005
    let mut cluster = Cluster::new(4);
    cluster.kill(NodeId(3));
    for text in 0..20u8 {
        let envelope = cluster.envelope(9, Lane::Broadcast, &[text]);
        let request = cluster.request(NodeId(2), AckLevel::Replicated, vec![envelope]);
        cluster.publish(NodeId(2), &request).unwrap();
        cluster.settle();
    }
    // The originator is gone too: the rest have what the returning node lacks.
    cluster.kill(NodeId(2));
    cluster.start(NodeId(3));
    cluster.settle();
    assert_eq!(cluster.disks[&NodeId(3)].ids().len(), 20);
}

#[test]
fn a_node_that_lost_its_disk_gets_everything_back() {
    let mut cluster = Cluster::new(4);
    for text in 0..10u8 {
        let envelope = cluster.envelope(9, Lane::Broadcast, &[text]);
        let request = cluster.request(NodeId(3), AckLevel::Replicated, vec![envelope]);
        cluster.publish(NodeId(3), &request).unwrap();
        cluster.settle();
    }
    cluster.kill(NodeId(3));
    cluster.disks.insert(NodeId(3), Default::default());
    cluster.start(NodeId(3));
    cluster.settle();
    assert_eq!(cluster.disks[&NodeId(3)].ids().len(), 10);
    // It writes in a new incarnation, so it cannot contradict what it signed before.
    let envelope = cluster.envelope(9, Lane::Broadcast, b"again");
    let request = cluster.request(NodeId(3), AckLevel::Replicated, vec![envelope]);
    let id = cluster.publish(NodeId(3), &request).unwrap();
    cluster.settle();
    let receipt = cluster.replies[&id].receipt(0).unwrap();
    assert_eq!(receipt.checkpoint.checkpoint.log.incarnation.0, 2);
    assert!(cluster.alarms.is_empty(), "{:?}", cluster.alarms);
}

/// One stretch of node 2's log with an entry whose write proof is forged.
fn forged_stretch(cluster: &Cluster) -> FeedFlush {
    let envelope = cluster.envelope(9, Lane::Broadcast, b"forged");
    let request = cluster.request(NodeId(2), AckLevel::Replicated, vec![envelope.clone()]);
    let WriteProof::Key { key, signature: Signature(mut bytes) } = envelope.proof else {
        panic!("a group's envelopes are signed")
    };
    bytes[40] ^= 1;
    let proof = WriteProof::Key { key, signature: Signature(bytes) };
    let envelope = PayerEnvelope {
        envelope: ClientEnvelope { body: envelope.body, proof },
        batch: request.batch,
        index: 0,
        path: BoundedVec::default(),
    };
    let payload = envelope.to_wire();
    let length = u32::try_from(payload.len()).unwrap();
    let body = &envelope.envelope.body;
    let class = tidings_envelope::FeeClass::of(&body.topic, body.lane);
    let fees = &cluster.registry.fees;
    let header = EntryHeader {
        version: 1,
        envelope_id: body.id(),
        index: LogIndex(0),
        timestamp: TimestampSeconds(1),
        topic: body.topic,
        topic_index: TopicIndex(0),
        previous: Default::default(),
        payer: body.payer,
        payload_hash: tidings_types::sha256(&payload),
        payload_length: length,
        retention_days: body.retention_days,
        fee_period: body.not_after,
        fee: Tariff::uncongested(fees).fee(length, body.retention_days, class).unwrap(),
    };
    let log = LogId { node: NodeId(2), shard: ShardId(0), incarnation: Incarnation(1) };
    let root = tidings_types::merkle::root(&[header.hash().0]);
    let checkpoint = Checkpoint::new(log, LogSize(1), root, Period(1));
    let checkpoint = checkpoint.sign(&node_key(NodeId(2)), cluster.network);
    let entry = LogEntry { header, payload: Some(payload.try_into().unwrap()) };
    FeedFlush { entries: vec![entry].try_into().unwrap(), checkpoint }
}

#[test]
fn a_log_with_an_invalid_entry_is_kept_and_never_acknowledged() {
    // covers: REP-006
    let (two, three) = (NodeId(2), NodeId(3));
    let mut cluster = Cluster::new(4);
    let acknowledged = |cluster: &Cluster| {
        let frames = cluster.on_the_way(three, two).into_iter();
        frames.filter(|frame| matches!(frame, ControlFrame::Acknowledge { .. })).count()
    };
    let stretch = forged_stretch(&cluster);
    let log = stretch.checkpoint.checkpoint.log;
    cluster.inject(two, three, stretch);
    cluster.write_all(three);
    assert!(cluster.disks[&three].flushes.contains_key(&log), "it is stored all the same");
    assert!(matches!(
        cluster.alarms.as_slice(),
        [
            (_, Alarm::InvalidEntry { code: ErrorCode::WriteProofInvalid, .. }),
            (_, Alarm::Evidence(_)),
        ]
    ));
    assert_eq!(acknowledged(&cluster), 0);
    // The mark survives a restart.
    cluster.kill(three);
    cluster.start(three);
    assert_eq!(acknowledged(&cluster), 0);
}

#[test]
fn a_payload_that_is_withheld_is_not_held() {
    // covers: REP-006
    // covers: LOG-018
    let check = |change: fn(&mut EntryHeader)| {
        let (two, three) = (NodeId(2), NodeId(3));
        let mut cluster = Cluster::new(4);
        let stretch = forged_stretch(&cluster);
        let mut entry = stretch.entries.into_vec().remove(0);
        entry.payload = None;
        change(&mut entry.header);
        let log = stretch.checkpoint.checkpoint.log;
        let root = tidings_types::merkle::root(&[entry.header.hash().0]);
        let checkpoint = Checkpoint::new(log, LogSize(1), root, Period(1));
        let checkpoint = checkpoint.sign(&node_key(two), cluster.network);
        let entries = vec![entry].try_into().unwrap();
        cluster.inject(two, three, FeedFlush { entries, checkpoint });
        cluster.write_all(three);
        assert!(!cluster.disks[&three].flushes.contains_key(&log));
    };
    check(|_| ());
    // A header alone may name anybody and any fee, and would be billed.
    check(|header| header.fee.0 += 1);
    check(|header| header.payer = EthereumAddress([0xee; 20]));
    check(|header| header.retention_days = 0);
    check(|header| (header.retention_days, header.fee.0) = (0, u64::MAX));
}

#[test]
fn an_entry_waits_for_the_registry_that_its_batch_names() {
    // covers: REP-013
    // covers: TOP-009
    let (one, two, three, four) = (NodeId(1), NodeId(2), NodeId(3), NodeId(4));
    let mut cluster = Cluster::new(4);
    let mut dearer = Registry::clone(&cluster.registry);
    dearer.epoch = RegistryEpoch(2);
    dearer.fees.base.0 += 1;
    let dearer = Arc::new(dearer);
    for node in [one, two, four] {
        cluster.learn(node, &dearer);
    }
    let publish = |cluster: &mut Cluster, epoch, text: &[u8]| {
        cluster.epoch = RegistryEpoch(epoch);
        let envelope = cluster.envelope(9, Lane::Broadcast, text);
        let request = cluster.request(two, AckLevel::Replicated, vec![envelope]);
        let request = cluster.publish(two, &request).unwrap();
        cluster.run(5_000);
        cluster.replies[&request].receipt(0).unwrap().header.fee.0
    };
    // Under the epoch before it costs what it cost before, and so it is judged.
    let fee = publish(&mut cluster, 1, b"cheap");
    assert_eq!(cluster.disks[&three].ids().len(), 1);
    assert!(cluster.alarms.is_empty(), "{:?}", cluster.alarms);
    assert_eq!(publish(&mut cluster, 2, b"later"), fee + 1);
    assert_eq!(cluster.disks[&three].ids().len(), 1);
    let log = LogId { node: two, shard: ShardId(0), incarnation: Incarnation(1) };
    let waits = Alarm::Unjudged { log, missing: Missing::Registry(RegistryEpoch(2)) };
    assert_eq!(cluster.alarms, [(three, waits)], "once, however often it asks again");
    cluster.learn(three, &dearer);
    cluster.settle();
    assert_eq!(cluster.disks[&three].ids().len(), 2);
    assert_eq!(cluster.disks[&three].registries, [dearer]);
    assert_eq!(cluster.alarms.len(), 1);
}

/// Node 2 gets another key, and starts anew with it, before the lane is in the epoch that has it or
/// after; then node 4 comes with an empty disk.
fn rotate(is_early: bool) {
    let (two, four) = (NodeId(2), NodeId(4));
    let mut cluster = Cluster::new(4);
    let empty = cluster.disks[&four].clone();
    let publish = |cluster: &mut Cluster, text: &[u8]| {
        let envelope = cluster.envelope(9, Lane::Broadcast, text);
        let request = cluster.request(two, AckLevel::Replicated, vec![envelope]);
        let request = cluster.publish(two, &request).unwrap();
        cluster.run(5_000);
        let reply = &cluster.replies[&request];
        reply.receipt(0).unwrap_or_else(|| panic!("{reply:?}")).checkpoint.checkpoint.log
    };
    // Without node 4 the lane needs every word of node 2's.
    if !is_early {
        cluster.kill(four);
    }
    publish(&mut cluster, b"under the first key");
    let mut rotated = Registry::clone(&cluster.registry);
    rotated.epoch = rotated.epoch.plus(1);
    cluster.keys.insert(two, 99);
    rotated.nodes[1].signing = NodeKey::from_secret(&[99; 32]).unwrap().address();
    let rotated = Arc::new(rotated);
    Arc::make_mut(&mut cluster.registries).insert(rotated.clone()).unwrap();
    for node in [NodeId(1), two, NodeId(3)] {
        cluster.learn(node, &rotated);
    }
    cluster.epoch = rotated.epoch;
    if is_early {
        cluster.learn(four, &rotated);
    } else {
        cluster.run(20_000);
    }
    cluster.kill(two);
    cluster.start(two);
    cluster.run(20_000);
    let log = publish(&mut cluster, b"under the second");
    assert_eq!(log.incarnation, Incarnation(2));
    if is_early {
        cluster.kill(four);
    }
    cluster.disks.insert(four, empty);
    cluster.start(four);
    cluster.run(20_000);
    assert_eq!(cluster.disks[&four].ids().len(), 2);
    assert!(cluster.alarms.is_empty(), "{:?}", cluster.alarms);
}

#[test]
fn who_comes_later_takes_over_what_was_signed_under_an_earlier_key() {
    // covers: ORD-033
    // covers: ORD-015
    rotate(false);
}

#[test]
fn a_node_that_takes_its_new_key_too_early_waits_for_its_epoch() {
    // covers: ORD-033
    rotate(true);
}

#[test]
fn a_node_that_gets_a_seat_while_it_runs_takes_over_its_share() {
    // covers: TOP-009
    // covers: ORD-013
    let (two, four, five) = (NodeId(2), NodeId(4), NodeId(5));
    let mut first = registry(5);
    first.replication_factor = 4;
    first.nodes[4].active = false;
    let mut second = first.clone();
    second.epoch = first.epoch.plus(1);
    (second.nodes[3].active, second.nodes[4].active) = (false, true);
    let mut cluster = Cluster::of(first);
    let publish = |cluster: &mut Cluster, node, text: &[u8]| {
        let envelope = cluster.envelope(9, Lane::Broadcast, text);
        let request = cluster.request(node, AckLevel::Replicated, vec![envelope]);
        let request = cluster.publish(node, &request).unwrap();
        cluster.run(5_000);
        cluster.replies[&request].receipt(0).unwrap()
    };
    publish(&mut cluster, two, b"before it had a seat");
    assert!(cluster.disks[&five].ids().is_empty(), "it was no member");
    let second = Arc::new(second);
    for node in cluster.registry.nodes.iter().map(|node| node.id).collect::<Vec<_>>() {
        cluster.learn(node, &second);
    }
    cluster.epoch = second.epoch;
    cluster.run(20_000);
    assert_eq!(cluster.disks[&five].ids().len(), 1, "it has what was there before");
    let receipt = publish(&mut cluster, five, b"taken in by the new member");
    assert_eq!(receipt.checkpoint.checkpoint.log.node, five);
    assert_eq!(cluster.disks[&two].ids().len(), 2);
    // It goes on after a restart, and so does who left.
    Arc::make_mut(&mut cluster.registries).insert(second).unwrap();
    for node in [five, four] {
        cluster.kill(node);
        cluster.start(node);
        cluster.run(5_000);
    }
    publish(&mut cluster, two, b"after the restarts");
    assert_eq!(cluster.disks[&five].ids().len(), 3);
}

#[test]
fn only_what_the_lane_opened_is_followed() {
    // covers: REP-005
    let (two, three) = (NodeId(2), NodeId(3));
    let mut cluster = Cluster::new(4);
    let before = cluster.feed_count(three);
    for incarnation in 2..100 {
        let incarnation = Incarnation(incarnation);
        cluster.offer(two, three, LogId { node: two, shard: ShardId(0), incarnation }, 7);
    }
    assert_eq!(cluster.feed_count(three), before);
    let incarnation = Incarnation(1);
    cluster.offer(two, three, LogId { node: two, shard: ShardId(0), incarnation }, 7);
    assert_eq!(cluster.feed_count(three), before + 1);
}

/// Runs a schedule of publishes, kills, restarts and single steps; answers what was acknowledged.
fn run(cluster: &mut Cluster, schedule: &[(u8, u32, u16)]) -> BTreeMap<EnvelopeId, NodeId> {
    let mut waiting = Vec::new();
    let mut down = None;
    for (serial, (action, node, choice)) in schedule.iter().enumerate() {
        let node = NodeId(*node);
        match action {
            0 if down.is_none() => {
                cluster.kill(node);
                down = Some(node);
            }
            1 => {
                if let Some(node) = down.take() {
                    cluster.start(node);
                }
            }
            2..=4 if cluster.is_up(node) => {
                let text = serial.to_be_bytes();
                let envelope = cluster.envelope(9, Lane::Broadcast, &text);
                let id = envelope.body.id();
                let request = cluster.request(node, AckLevel::Replicated, vec![envelope]);
                if let Ok(request) = cluster.publish(node, &request) {
                    waiting.push((request, id, node));
                }
            }
            5 => cluster.pass(20),
            _ => {
                for turn in 0..8 {
                    cluster.step(usize::from(*choice) + turn);
                }
            }
        }
    }
    if let Some(node) = down {
        cluster.start(node);
    }
    cluster.settle();
    let acknowledged = waiting.into_iter().filter(|(request, ..)| {
        cluster.replies.get(request).is_some_and(|response| response.receipt(0).is_some())
    });
    acknowledged.map(|(_, id, node)| (id, node)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn acknowledged_envelopes_survive_one_fault_at_a_time(
        schedule in prop::collection::vec((0u8..9, 1u32..5, any::<u16>()), 1..80)
    ) {
        // covers: REP-006
        let mut cluster = Cluster::new(4);
        let acknowledged = run(&mut cluster, &schedule);
        for (node, disk) in &cluster.disks {
            let ids = disk.ids();
            for id in acknowledged.keys() {
                prop_assert_eq!(ids.get(id), Some(&1), "envelope {} at {}", id, node);
            }
            prop_assert!(ids.values().all(|count| *count == 1));
        }
        let first = &cluster.disks[&NodeId(1)];
        for disk in cluster.disks.values() {
            prop_assert_eq!(&disk.ids(), &first.ids());
            // Which votes made a block final may differ; what is final may not.
            let blocks = disk.blocks.iter().map(|certified| &certified.block);
            prop_assert!(blocks.eq(first.blocks.iter().map(|certified| &certified.block)));
        }
        prop_assert!(cluster.alarms.is_empty(), "{:?}", cluster.alarms);
    }
}
