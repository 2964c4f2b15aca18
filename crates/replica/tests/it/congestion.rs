//! A shard that takes more than it should becomes dearer, for everybody alike, and cheap again.

use tidings_envelope::api::PublishResult;
use tidings_envelope::{AckLevel, CongestionHistory, Lane};
use tidings_payer::Meter;
use tidings_types::{ErrorCode, NodeId, Period, PicoDollars, ShardId};

use crate::cluster::{Cluster, registry};

const TWO: NodeId = NodeId(2);

const PERIOD_MS: u64 = 10_000;

/// A cluster of four in which a kilobyte in a period is too much.
fn cluster() -> Cluster {
    let mut registry = registry(4);
    registry.fees.congestion.target_bytes = 100;
    Cluster::of(registry)
}

/// What node 2 makes of an envelope: its fee, if it stands in a log.
fn publish(
    cluster: &mut Cluster,
    lane: Lane,
    text: &[u8],
) -> Result<Option<PicoDollars>, ErrorCode> {
    let envelope = cluster.envelope(9, lane, text);
    let request = cluster.request(TWO, AckLevel::Replicated, vec![envelope]);
    let request = cluster.publish(TWO, &request).unwrap();
    cluster.run(2_000);
    let response = &cluster.replies[&request];
    match &response.results[0] {
        PublishResult::Stored { header, .. } => Ok(Some(header.fee)),
        PublishResult::Ordered(_) => Ok(None),
        PublishResult::Refused { code } => Err(*code),
    }
}

fn write(cluster: &mut Cluster, text: &[u8]) -> Result<PicoDollars, ErrorCode> {
    publish(cluster, Lane::Broadcast, text).map(|fee| fee.expect("it stands in a log"))
}

fn factor(cluster: &Cluster, node: NodeId) -> u32 {
    cluster.congestion(node)[&ShardId(0)].foreseen_permille()
}

/// Writes kilobytes for so many periods; every text is another.
fn flood(cluster: &mut Cluster, periods: u8) {
    for period in 0..periods {
        for number in 0..4 {
            let mut text = vec![period; 1_000];
            text[0] = number;
            write(cluster, &text).unwrap();
        }
        cluster.run(PERIOD_MS - 4 * 2_000);
    }
}

#[test]
fn a_flood_makes_a_shard_dear_and_quiet_makes_it_cheap_again() {
    // covers: FEE-008
    // covers: FEE-010
    // covers: SET-023
    let mut cluster = cluster();
    let plain = write(&mut cluster, b"first").unwrap();
    flood(&mut cluster, 5);
    let dear = write(&mut cluster, b"later").unwrap();
    assert!(dear.0 * 1_000 > plain.0 * 1_125, "{dear} after {plain}");
    // Everybody holds everything and takes it for valid, so it is acknowledged.
    let held = cluster.disks[&TWO].ids();
    for node in (1..=4).map(NodeId) {
        assert_eq!(cluster.disks[&node].ids(), held);
        assert_eq!(factor(&cluster, node), factor(&cluster, TWO));
    }
    assert!(cluster.alarms.is_empty(), "{:?}", cluster.alarms);
    cluster.run(30 * PERIOD_MS);
    assert_eq!(factor(&cluster, TWO), 1_000);
    assert_eq!(write(&mut cluster, b"after").unwrap(), plain);
}

/// The factors by which a node's reports are made, from its blocks and logs.
fn metered(cluster: &Cluster, node: NodeId) -> CongestionHistory {
    let disk = &cluster.disks[&node];
    let mut meter = Meter::new(ShardId(0), cluster.network);
    for certified in &disk.blocks {
        meter.take_block(&certified.block, &cluster.registries).unwrap();
        let Some(pins) = meter.pins().map(<[_]>::to_vec) else { continue };
        for pin in pins {
            let entries = disk.flushes[&pin.log].iter().flat_map(|flush| &flush.entries);
            let pinned = entries.map(|entry| entry.header);
            let pinned = pinned.filter(|it| (pin.from.0..pin.size.0).contains(&it.index.0));
            pinned.for_each(|header| meter.count(pin.log, &header).unwrap());
            meter.counted(pin.log, pin.root);
        }
        meter.close().unwrap();
    }
    meter.congestion().clone()
}

#[test]
fn reports_are_made_with_the_factors_that_entries_are_judged_by() {
    // covers: FEE-010
    // covers: SET-004
    let mut cluster = cluster();
    flood(&mut cluster, 4);
    cluster.run(3 * PERIOD_MS);
    let judged = cluster.congestion(TWO)[&ShardId(0)].clone();
    assert!(judged.foreseen_permille() > 1_000);
    assert_eq!(metered(&cluster, TWO), *judged);
}

#[test]
fn whoever_signed_for_less_is_told_so() {
    // covers: FEE-005
    let mut cluster = cluster();
    cluster.max_fee = write(&mut cluster, b"first").unwrap();
    cluster.run(PERIOD_MS);
    let most = std::mem::replace(&mut cluster.max_fee, PicoDollars(u64::MAX));
    flood(&mut cluster, 5);
    cluster.max_fee = most;
    assert_eq!(write(&mut cluster, b"other"), Err(ErrorCode::FeeAboveMaximum));
    // So it is on the ordered lane.
    let order = |cluster: &mut Cluster| publish(cluster, Lane::Ordered, b"order");
    assert_eq!(order(&mut cluster), Err(ErrorCode::FeeAboveMaximum));
    cluster.max_fee = PicoDollars(u64::MAX);
    assert_eq!(order(&mut cluster), Ok(None));
}

#[test]
fn a_node_that_starts_again_knows_the_factors() {
    // covers: FEE-010
    let mut cluster = cluster();
    flood(&mut cluster, 4);
    let before = cluster.congestion(TWO)[&ShardId(0)].clone();
    assert!(before.foreseen_permille() > 1_000);
    cluster.kill(TWO);
    cluster.start(TWO);
    assert_eq!(cluster.congestion(TWO)[&ShardId(0)], before);
    cluster.run(PERIOD_MS);
    let after = cluster.congestion(TWO)[&ShardId(0)].clone();
    for period in (0..=before.settled().0).map(Period) {
        assert_eq!(after.permille(period), before.permille(period));
    }
}
