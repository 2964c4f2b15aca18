//! Feeds over links: catch-up, then live, at the reader's pace.

use std::sync::atomic::Ordering;

use tidings_node::link::{LinkEvent, LinkLimits};
use tidings_replica::wire::{FeedFrame, FeedRequest};
use tidings_types::{Height, NodeId, ShardId};

use super::fixture::{Network, block, check_entries, flush, log_of, numbered, request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catch_up_turns_live_without_gap_or_repetition() {
    // covers: REP-007
    const BEFORE: u64 = 600;
    const ALL: u64 = 3000;
    let mut network = Network::linked(4).await;
    let log = log_of(1);
    for first in (0..BEFORE).step_by(3) {
        network.node(1).publish(flush(log, first, &[40, 300, 0]));
    }
    let publisher = network.nodes.remove(0);
    let publishing = tokio::spawn(async move {
        for first in (BEFORE..ALL).step_by(2) {
            publisher.publish(flush(log, first, &[200, 5]));
            tokio::task::yield_now().await;
        }
        publisher
    });
    // From the start, from inside a flush, and from what does not exist yet.
    let readers = [0, 137, BEFORE + 51]
        .into_iter()
        .zip(network.nodes.iter_mut());
    let reading = readers.map(|(from, node)| async move {
        let asked = request(log, from);
        node.links.subscribe(NodeId(1), asked).unwrap();
        let mut next = from;
        while next < ALL {
            let frame = node.feed(1, asked).await;
            next = check_entries(&frame, next);
        }
        assert_eq!(next, ALL);
    });
    let [one, two, three] = reading.collect::<Vec<_>>().try_into().ok().unwrap();
    tokio::join!(one, two, three);
    let publisher = publishing.await.unwrap();
    assert!(publisher.links.counters().feed_frames_sent() > 0);
    for node in &mut network.nodes {
        assert_eq!(node.events.try_recv(), None);
    }
}

#[tokio::test]
async fn blocks_are_fed_by_height() {
    // covers: REP-007
    let mut network = Network::linked(2).await;
    let asked = FeedRequest::Blocks {
        shard: ShardId(0),
        from: Height(3),
    };
    let publish = |network: &mut Network, height| {
        network.node(1).storage.append_block(block(height));
        network.node(1).feeds.publish_block(&block(height));
    };
    (1..=40).for_each(|height| publish(&mut network, height));
    network.node(2).links.subscribe(NodeId(1), asked).unwrap();
    for height in 3..=60 {
        if height > 40 {
            publish(&mut network, height);
        }
        let frame = network.node(2).feed(1, asked).await;
        assert_eq!(frame, FeedFrame::Block(block(height)));
    }
}

#[tokio::test]
async fn a_subscription_ends_when_either_side_ends_it() {
    // covers: REP-007
    let mut network = Network::linked(2).await;
    let log = log_of(1);
    let asked = request(log, 0);
    network.node(1).publish(flush(log, 0, &[1]));
    network.node(2).links.subscribe(NodeId(1), asked).unwrap();
    check_entries(&network.node(2).feed(1, asked).await, 0);
    network.node(2).links.unsubscribe(NodeId(1), asked.into());
    network.node(1).publish(flush(log, 1, &[1]));
    // A later request for the same log replaces an earlier one, of which nothing comes.
    network
        .node(2)
        .links
        .subscribe(NodeId(1), request(log, 1))
        .unwrap();
    network.node(2).links.subscribe(NodeId(1), asked).unwrap();
    let frame = network.node(2).feed(1, asked).await;
    assert_eq!(check_entries(&frame, 0), 2);
    // A source that cannot be read ends the feed, not the link.
    network.node(1).storage.fail();
    let later = request(log, 1);
    network.node(2).links.subscribe(NodeId(1), later).unwrap();
    let ended = LinkEvent::FeedEnded {
        from: NodeId(1),
        request: later,
    };
    assert_eq!(network.node(2).event().await, ended);
    assert_eq!(network.node(2).links.peers(), [NodeId(1)]);
    assert!(network.node(2).links.subscribe(NodeId(3), later).is_err());
}

#[tokio::test]
async fn large_flushes_pass() {
    // covers: REP-012
    let mut network = Network::linked(2).await;
    let asked = request(log_of(1), 0);
    network
        .node(1)
        .publish(flush(log_of(1), 0, &[1_050_000; 9]));
    network.node(2).links.subscribe(NodeId(1), asked).unwrap();
    let frame = network.node(2).feed(1, asked).await;
    assert_eq!(check_entries(&frame, 0), 9);
}

#[tokio::test]
async fn who_does_not_take_is_not_sent_more() {
    // covers: REP-009
    const FLUSH_BYTES: usize = 1_000_000;
    const FLUSHES: u64 = 60;
    let limits = LinkLimits {
        feed_events_bytes_max: 3 << 20,
        ..LinkLimits::default()
    };
    let mut network = Network::new(2, &limits);
    network.introduce();
    let log = log_of(1);
    for first in 0..FLUSHES {
        // More than a read's limit together, so that each read gives eight of them.
        network.node(1).publish(flush(log, first, &[FLUSH_BYTES]));
    }
    for id in [1, 2] {
        assert_eq!(
            network.node(id).event().await,
            LinkEvent::Up(NodeId(3 - id))
        );
    }
    let asked = request(log, 0);
    network.node(2).links.subscribe(NodeId(1), asked).unwrap();
    let reads = network.node(1).storage.reads.clone();
    let mut next = 0;
    let mut round = 0;
    while next < FLUSHES {
        // Control frames pass to and fro as often as a sender without a bound would need to be
        // done, while nothing of the feed is taken.
        for _ in 0..20 {
            round += 1;
            network
                .node(1)
                .links
                .send(NodeId(2), &numbered(1, round))
                .unwrap();
            let event = network.node(2).events.recv_control().await;
            assert_eq!(
                event,
                Some(LinkEvent::Control(NodeId(1), numbered(1, round)))
            );
            network
                .node(2)
                .links
                .send(NodeId(1), &numbered(2, round))
                .unwrap();
            let event = network.node(1).event().await;
            assert_eq!(event, LinkEvent::Control(NodeId(2), numbered(2, round)));
        }
        // On the way: one frame in the lane, one in the reader's hands, one being written.
        let taken = next.div_ceil(8);
        assert!(
            reads.load(Ordering::SeqCst) <= taken + 3,
            "read ahead of {next}"
        );
        next = check_entries(&network.node(2).feed(1, asked).await, next);
    }
    assert_eq!(next, FLUSHES);
}
