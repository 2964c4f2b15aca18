//! A node that signs what no honest node signs is found out, by everybody, once.

use tidings_envelope::{
    AckLevel, Checkpoint, Evidence, Lane, LogEntry, LogId, Operation, PeriodStatement,
};
use tidings_order::OrderMessage;
use tidings_replica::Alarm;
use tidings_replica::wire::{ControlFrame, FeedFlush};
use tidings_types::{BoundedVec, Incarnation, LogIndex, LogSize, NodeId, Period, ShardId, merkle};

use crate::cluster::{Cluster, node_key};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);
const FOUR: NodeId = NodeId(4);

const HONEST: [NodeId; 3] = [ONE, THREE, FOUR];

const LOG: LogId = LogId { node: TWO, shard: ShardId(0), incarnation: Incarnation(1) };

/// What is written: the number of the topic's key, and a text.
type Text = (u8, &'static str);

/// Entries that node 2 admitted for real, in a world of its own.
fn history(cluster: &Cluster, texts: &[Text]) -> Vec<LogEntry> {
    let mut apart = Cluster::new(4);
    apart.now_ms = cluster.now_ms;
    for (key, text) in texts {
        let envelope = cluster.envelope(*key, Lane::Broadcast, text.as_bytes());
        let request = apart.request(TWO, AckLevel::Local, vec![envelope]);
        apart.publish(TWO, &request).unwrap();
        apart.settle();
    }
    let flushes = &apart.disks[&TWO].flushes[&LOG];
    flushes.iter().flat_map(|flush| &flush.entries).map(|entry| entry.to_entry()).collect()
}

/// Node 2's signature under entries.
fn signed(cluster: &Cluster, entries: &[LogEntry]) -> FeedFlush {
    let leaves: Vec<_> = entries.iter().map(|entry| entry.header.hash().0).collect();
    let (size, root) = (LogSize(leaves.len() as u64), merkle::root(&leaves));
    let checkpoint = Checkpoint::new(LOG, size, root, Period(1));
    let checkpoint = checkpoint.sign(&node_key(TWO), cluster.network);
    FeedFlush { entries: entries.to_vec().try_into().unwrap(), checkpoint }
}

/// A cluster without node 2, which has shown one history to node 1 and another one to node 3.
fn split(one: &[Text], three: &[Text]) -> Cluster {
    let mut cluster = Cluster::new(4);
    for (node, texts) in [(ONE, one), (THREE, three)] {
        let stretch = signed(&cluster, &history(&cluster, texts));
        cluster.inject(TWO, node, stretch);
    }
    cluster.kill(TWO);
    cluster.run(20_000);
    cluster
}

/// Whether a node acknowledges node 2's log as soon as node 2 is there again.
fn acknowledges(cluster: &mut Cluster, node: NodeId) -> bool {
    cluster.kill(node);
    cluster.start(node);
    cluster.start(TWO);
    let acknowledged = cluster
        .on_the_way(node, TWO)
        .into_iter()
        .any(|frame| matches!(frame, ControlFrame::Acknowledge { log, .. } if log == LOG));
    cluster.kill(TWO);
    acknowledged
}

/// Checks that every honest node holds exactly one proof, which is of `kind`, and was told of it
/// once.
fn check_found(cluster: &Cluster, kind: impl Fn(&Evidence) -> bool) {
    let signer = node_key(TWO).address();
    for node in HONEST {
        let found = &cluster.disks[&node].evidence;
        assert_eq!(found.len(), 1, "node {node}: {found:?}");
        for evidence in found {
            evidence.verify(cluster.network, signer).unwrap();
            assert_eq!(evidence.accused(), TWO);
            assert!(kind(evidence), "node {node}: {evidence:?}");
        }
        let alarms = cluster
            .alarms
            .iter()
            .filter(|(at, alarm)| *at == node && matches!(alarm, Alarm::Evidence(_)));
        assert_eq!(alarms.count(), 1, "node {node} is told once");
    }
}

#[test]
fn two_histories_of_one_size_are_found_by_everybody() {
    // covers: EVD-006
    // covers: EVD-007
    // covers: EVD-008
    let cluster = split(&[(9, "one")], &[(9, "two")]);
    check_found(&cluster, |evidence| matches!(evidence, Evidence::Checkpoints(..)));
}

#[test]
fn a_root_that_is_only_stated_is_found_by_everybody() {
    // covers: SET-023
    // covers: EVD-008
    let mut cluster = Cluster::new(4);
    let envelope = cluster.envelope(9, Lane::Broadcast, b"one");
    let request = cluster.request(TWO, AckLevel::Local, vec![envelope]);
    cluster.publish(TWO, &request).unwrap();
    cluster.settle();
    let held = cluster.disks[&ONE].flushes[&LOG].last().unwrap().checkpoint.checkpoint;
    let other = Checkpoint::new(LOG, held.size, [9; 32], Period(1));
    let other = other.sign(&node_key(TWO), cluster.network);
    let period = cluster.disks[&ONE].blocks.last().unwrap().block.header.period;
    let (held, measured) = (vec![other].try_into().unwrap(), BoundedVec::default());
    let about = (TWO, LOG.shard, period);
    let statement =
        PeriodStatement::sign(about, held, measured, 0, &node_key(TWO), cluster.network);
    for node in HONEST {
        let operation = Operation::Statement(Box::new(statement.clone()));
        let message = OrderMessage::Order(operation);
        cluster.say(TWO, node, ControlFrame::Lane { shard: LOG.shard, message });
    }
    cluster.run(3_000);
    check_found(&cluster, |evidence| matches!(evidence, Evidence::Checkpoints(..)));
}

#[test]
fn two_histories_of_different_sizes_are_found_by_comparing_proofs() {
    // covers: EVD-007
    // covers: EVD-008
    // covers: LOG-013
    // The last entry that both have is the same, so that the proofs lead back to where they part.
    let cluster = split(
        &[(9, "common"), (8, "one"), (7, "common"), (8, "more")],
        &[(9, "common"), (8, "two"), (7, "common")],
    );
    check_found(
        &cluster,
        |evidence| matches!(evidence, Evidence::Entries(one, _) if one.header.index == LogIndex(1)),
    );
}

#[test]
fn a_log_with_two_histories_is_acknowledged_no_more() {
    // covers: EVD-009
    let mut honest = split(&[(9, "one")], &[(9, "one")]);
    let mut parted = split(&[(9, "one")], &[(9, "two")]);
    for node in HONEST {
        assert!(acknowledges(&mut honest, node), "node {node} has nothing against it");
        assert!(!acknowledges(&mut parted, node), "node {node} knows of two histories");
    }
    assert!(HONEST.iter().all(|node| honest.disks[node].evidence.is_empty()));
    // What is held stays and is served.
    assert!(HONEST.iter().all(|node| parted.disks[node].flushes.contains_key(&LOG)));
}

#[test]
fn an_entry_invalid_on_its_face_is_ordered_as_evidence() {
    // covers: EVD-005
    // covers: EVD-007
    let mut cluster = Cluster::new(4);
    let mut entries = history(&cluster, &[(9, "one")]);
    cluster.kill(TWO);
    // The fee period is one in which the envelope was not admissible.
    entries[0].header.fee_period = Period(1_000);
    let stretch = signed(&cluster, &entries);
    cluster.inject(TWO, ONE, stretch);
    cluster.run(20_000);
    check_found(&cluster, |evidence| matches!(evidence, Evidence::InvalidEntry(_)));
}

#[test]
fn entries_are_proved_to_whoever_asks_a_few_at_once() {
    // covers: REP-014
    let mut cluster = Cluster::new(4);
    let stretch = signed(&cluster, &history(&cluster, &[(9, "one")]));
    cluster.inject(TWO, ONE, stretch);
    cluster.settle();
    let proofs = |cluster: &Cluster| -> Vec<_> {
        let frames = cluster.on_the_way(ONE, THREE).into_iter();
        let proofs = frames.filter_map(|frame| match frame {
            ControlFrame::Entry(proof) => Some(proof),
            _ => None,
        });
        proofs.collect()
    };
    let ask = |cluster: &mut Cluster, size| {
        let frame = ControlFrame::AskEntry { log: LOG, index: LogIndex(0), size: LogSize(size) };
        cluster.say(THREE, ONE, frame);
    };
    // What is not held is not answered.
    ask(&mut cluster, 2);
    assert!(proofs(&cluster).is_empty());
    cluster.slow_storage = true;
    (0..100).for_each(|_| ask(&mut cluster, 1));
    cluster.slow_storage = false;
    cluster.answer_look_ups();
    let few = proofs(&cluster);
    assert!((1..100).contains(&few.len()), "{}", few.len());
    assert!(few.iter().all(|proof| proof.holds() && proof.checkpoint.checkpoint.log == LOG));
    ask(&mut cluster, 1);
    assert_eq!(proofs(&cluster).len(), few.len() + 1);
}
