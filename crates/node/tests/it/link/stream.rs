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
    let readers = [0, 137, BEFORE + 51].into_iter().zip(network.nodes.iter_mut());
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
    let asked = FeedRequest::Blocks { shard: ShardId(0), from: Height(3) };
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
    network.node(2).links.subscribe(NodeId(1), request(log, 1)).unwrap();
    network.node(2).links.subscribe(NodeId(1), asked).unwrap();
    let frame = network.node(2).feed(1, asked).await;
    assert_eq!(check_entries(&frame, 0), 2);
    // A source that cannot be read ends the feed, not the link.
    network.node(1).storage.fail();
    let later = request(log, 1);
    network.node(2).links.subscribe(NodeId(1), later).unwrap();
    let ended = LinkEvent::FeedEnded { from: NodeId(1), request: later };
    assert_eq!(network.node(2).event().await, ended);
    assert_eq!(network.node(2).links.peers(), [NodeId(1)]);
    assert!(network.node(2).links.subscribe(NodeId(3), later).is_err());
}

#[tokio::test]
async fn large_flushes_pass() {
    // covers: REP-012
    let mut network = Network::linked(2).await;
    let asked = request(log_of(1), 0);
    network.node(1).publish(flush(log_of(1), 0, &[1_050_000; 9]));
    network.node(2).links.subscribe(NodeId(1), asked).unwrap();
    let frame = network.node(2).feed(1, asked).await;
    assert_eq!(check_entries(&frame, 0), 9);
}

#[tokio::test]
async fn who_does_not_take_is_not_sent_more() {
    // covers: REP-009
    const FLUSHES: u64 = 60;
    // Three flushes in the lane, one in its reader's hands, two in the stream's window, one being
    // written, one being read, and one for what surrounds them.
    const ON_THE_WAY_MAX: u64 = 9;
    let limits = LinkLimits { feed_events_bytes_max: 3 << 20, ..LinkLimits::default() };
    let mut network = Network::new(2, &limits);
    network.introduce();
    let log = log_of(1);
    network.node(1).storage.read_one_flush_at_a_time();
    for first in 0..FLUSHES {
        network.node(1).publish(flush(log, first, &[1_000_000]));
    }
    for id in [1, 2] {
        let up = LinkEvent::Up(NodeId(3 - id));
        assert_eq!(network.node(id).event().await, up);
    }
    let asked = request(log, 0);
    let subscribed = network.node(2).links.subscribe(NodeId(1), asked);
    subscribed.unwrap();
    let mut next = 0;
    while next < FLUSHES {
        if next % 10 == 0 {
            let reads = come_to_rest(&mut network).await;
            assert!(reads <= next + ON_THE_WAY_MAX, "{reads} read, {next} taken");
        }
        next = check_entries(&network.node(2).feed(1, asked).await, next);
    }
    assert_eq!(next, FLUSHES);
}

/// Passes control frames to and fro past the feed until node 1 has not read its storage for so
/// many of them that it must have stopped; says how often it did read.
async fn come_to_rest(network: &mut Network) -> u64 {
    const ROUNDS_AT_REST: u64 = 400;
    let reads = network.node(1).storage.reads.clone();
    let (mut before, mut round) = (0, 0);
    while round < ROUNDS_AT_REST {
        let now = reads.load(Ordering::SeqCst);
        round = if now == before { round + 1 } else { 0 };
        before = now;
        for (from, to) in [(1, 2), (2, 1)] {
            let frame = numbered(from, round);
            let sender = &network.node(from).links;
            sender.send(NodeId(to), &frame).unwrap();
            let event = network.node(to).events.recv_control().await;
            assert_eq!(event, Some(LinkEvent::Control(NodeId(from), frame)));
        }
    }
    before
}
