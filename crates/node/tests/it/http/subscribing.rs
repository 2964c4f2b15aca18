//! Subscriptions over real WebSockets: catching up, going live, falling behind, being refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tidings_envelope::api::{LogCursor, NodeFrame, SubscriberFrame, Subscription, TopicCursor};
use tidings_envelope::{LogId, Operation, Topic};
use tidings_node::http::SUBSCRIBER_FRAME_BYTES_MAX;
use tidings_types::{EntryHash, ErrorCode, Period, Position, TopicIndex, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::node::{Listener, Running, TestNode, elsewhere, start};
use super::store::log;

const LOGS: u32 = 3;

/// What a listener has of one topic; every frame must be the next of its log or lane.
#[derive(Default)]
struct Seen {
    nexts: BTreeMap<LogId, u64>,
    position: u64,
    caught_up: u32,
}

impl Seen {
    fn enter(&mut self, frame: &NodeFrame) {
        match frame {
            NodeFrame::Broadcast(entry) => {
                let next = self.nexts.entry(entry.log).or_default();
                assert_eq!(entry.entry.header.topic_index.0, *next);
                *next += 1;
            }
            NodeFrame::Ordered(receipt) => {
                assert!(matches!(receipt.decided.operation, Operation::Envelope(_)));
                self.position += 1;
                assert_eq!(receipt.position(), Some(Position(self.position)));
            }
            NodeFrame::CaughtUp(_) => self.caught_up += 1,
            NodeFrame::Heartbeat { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn count(&self) -> u64 {
        self.nexts.values().sum::<u64>() + self.position
    }
}

/// Listens until it has `count` entries and is caught up.
async fn listen(mut listener: Listener, count: u64) -> Seen {
    let mut seen = Seen::default();
    while seen.count() < count || seen.caught_up == 0 {
        seen.enter(&listener.next().await.expect("the connection stays open"));
    }
    seen
}

/// Publishes in small flushes to all logs, an ordered entry now and then; returns how many.
async fn publish_many(node: Arc<TestNode>, topic: Topic, rounds: u64) -> u64 {
    let mut count = 0;
    for round in 0..rounds {
        let flush = vec![(topic, vec![0; 64]); 1 + (round % 3) as usize];
        node.append(log(1 + (round % u64::from(LOGS)) as u32), &flush);
        count += flush.len() as u64;
        if round % 10 == 0 {
            node.order(topic);
            count += 1;
        }
        tokio::task::yield_now().await;
    }
    count
}

async fn check_catch_up_and_live(running: &Running, listeners: usize) {
    const ROUNDS: u64 = 300;
    let topic = Topic::mailbox(1);
    let before = publish_many(running.node.clone(), topic, ROUNDS).await;
    let publishing = tokio::spawn(publish_many(running.node.clone(), topic, ROUNDS));
    let mut tasks = Vec::new();
    for _ in 0..listeners {
        let mut listener = running.subscriber().await;
        listener.subscribe(&[topic]).await;
        tasks.push(tokio::spawn(listen(listener, 2 * before)));
    }
    assert_eq!(publishing.await.unwrap(), before);
    for task in tasks {
        let seen = task.await.unwrap();
        assert_eq!((seen.count(), seen.caught_up), (2 * before, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn catching_up_and_going_live_leave_no_gap() {
    // covers: API-009
    // covers: API-010
    check_catch_up_and_live(&start(|_| ()).await, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_outboxes_leave_no_gap_either() {
    // covers: API-012
    let running = start(|config| config.limits.outbox_frames_max = 2).await;
    check_catch_up_and_live(&running, 8).await;
}

#[tokio::test]
async fn a_slow_subscriber_is_served_from_storage() {
    // covers: API-012
    let running = start(|config| config.limits.outbox_frames_max = 8).await;
    let topic = Topic::mailbox(1);
    let mut listener = running.subscriber().await;
    listener.follow_empty(topic).await;
    // Without a pause between, so that the connection's task cannot take anything away.
    for _ in 0..500 {
        running.node.append(log(1), &[(topic, vec![0; 64])]);
    }
    let mut seen = Seen { caught_up: 1, ..Seen::default() };
    while seen.count() < 500 {
        seen.enter(&listener.next().await.unwrap());
    }
    assert_eq!(seen.caught_up, 1);
    assert_eq!(running.metrics.fallen_behind.value(), 1);
    assert!(running.node.hub.counts().dropped >= 490);
    // Live again.
    running.node.append(log(1), &[(topic, vec![1])]);
    listener.expect_entry(topic, 500).await;
}

#[tokio::test]
async fn a_cursor_resumes_where_it_stands() {
    // covers: API-009
    let (running, topic) = (start(|_| ()).await, Topic::mailbox(1));
    running.node.append(log(1), &vec![(topic, vec![0]); 5]);
    running.node.append(log(2), &vec![(topic, vec![0]); 2]);
    (0..3).for_each(|_| running.node.order(topic));
    let next = |node, next| LogCursor {
        log: log(node),
        next: TopicIndex(next),
        previous: EntryHash::default(),
    };
    // Log 3 has been read elsewhere, further than this node has come.
    let logs = vec![next(1, 4), next(3, 2)];
    let cursor = TopicCursor { logs: logs.try_into().unwrap(), position: Position(2) };
    let subscription = Subscription { topic, cursor };
    let mut listener = running.subscriber().await;
    let frame = SubscriberFrame::Subscribe(vec![subscription].try_into().unwrap());
    listener.send(&frame).await;
    assert!(matches!(listener.next().await, Some(NodeFrame::Ordered(_))));
    listener.expect_entry(topic, 4).await;
    listener.expect_entry(topic, 0).await;
    listener.expect_entry(topic, 1).await;
    assert_eq!(listener.next().await, Some(NodeFrame::CaughtUp(topic)));
    running.node.append(log(3), &vec![(topic, vec![0]); 3]);
    listener.expect_entry(topic, 2).await;
}

#[tokio::test]
async fn topics_come_and_go_on_the_live_connection() {
    let running = start(|_| ()).await;
    let [one, two, three] = [1, 2, 3].map(Topic::mailbox);
    let mut listener = running.subscriber().await;
    listener.follow_empty(one).await;
    listener.follow_empty(two).await;
    let topics = vec![one, Topic::mailbox(99)].try_into().unwrap();
    listener.send(&SubscriberFrame::Unsubscribe(topics)).await;
    // Answered after what was sent before it.
    listener.follow_empty(three).await;
    for topic in [one, two, three] {
        running.node.append(log(1), &[(topic, vec![0])]);
    }
    listener.expect_entry(two, 0).await;
    listener.expect_entry(three, 0).await;
    // Anew, from the start.
    listener.subscribe(&[one, two]).await;
    listener.expect_entry(one, 0).await;
    assert_eq!(listener.next().await, Some(NodeFrame::CaughtUp(one)));
    listener.expect_entry(two, 0).await;
    assert_eq!(listener.next().await, Some(NodeFrame::CaughtUp(two)));
}

#[tokio::test]
async fn a_refused_topic_leaves_the_others() {
    let running = start(|_| ()).await;
    let [one, two] = [1, 2].map(Topic::mailbox);
    let mut listener = running.subscriber().await;
    listener.subscribe(&[elsewhere(), one]).await;
    let refused = |topic, code| Some(NodeFrame::Refused { topic: Some(topic), code });
    assert_eq!(listener.next().await, refused(elsewhere(), ErrorCode::WrongShard));
    assert_eq!(listener.next().await, Some(NodeFrame::CaughtUp(one)));

    let cursor = LogCursor { log: log(1), next: TopicIndex(1), previous: EntryHash::default() };
    let cursor = TopicCursor { logs: vec![cursor; 2].try_into().unwrap(), position: Position(0) };
    let twice = vec![Subscription { topic: two, cursor }].try_into().unwrap();
    listener.send(&SubscriberFrame::Subscribe(twice)).await;
    assert_eq!(listener.next().await, refused(two, ErrorCode::Malformed));

    running.node.storage_fails.store(true, Ordering::SeqCst);
    listener.subscribe(&[two]).await;
    assert_eq!(listener.next().await, refused(two, ErrorCode::StorageUnavailable));
    running.node.storage_fails.store(false, Ordering::SeqCst);
    listener.follow_empty(two).await;
    running.node.append(log(1), &[(one, vec![0])]);
    listener.expect_entry(one, 0).await;
}

async fn check_ends_connection(message: Message, code: ErrorCode) {
    let running = start(|_| ()).await;
    let mut listener = running.subscriber().await;
    listener.send_raw(message).await;
    listener.expect_refused(code).await;
}

#[tokio::test]
async fn bad_messages_end_the_connection() {
    // covers: API-013
    check_ends_connection(Message::text("hello"), ErrorCode::Malformed).await;
    check_ends_connection(Message::binary(vec![9]), ErrorCode::Malformed).await;
    let frame = SubscriberFrame::Unsubscribe(vec![Topic::mailbox(1)].try_into().unwrap());
    let mut trailing = frame.to_wire();
    trailing.push(0);
    check_ends_connection(Message::binary(trailing), ErrorCode::Malformed).await;
    let over = vec![1; SUBSCRIBER_FRAME_BYTES_MAX + 1];
    check_ends_connection(Message::binary(over), ErrorCode::TooLarge).await;
}

#[tokio::test]
async fn topics_per_connection_are_bounded() {
    // covers: API-013
    use tidings_types::constants::{SUBSCRIBE_TOPICS_MAX, SUBSCRIPTION_TOPICS_MAX};
    let running = start(|_| ()).await;
    let mut listener = running.subscriber().await;
    let topics: Vec<_> = (0..SUBSCRIPTION_TOPICS_MAX as u32).map(Topic::mailbox).collect();
    let mut caught_up = 0;
    for piece in topics.chunks(SUBSCRIBE_TOPICS_MAX) {
        listener.subscribe(piece).await;
        while caught_up < piece.len() {
            assert!(matches!(listener.next().await, Some(NodeFrame::CaughtUp(_))));
            caught_up += 1;
        }
        caught_up = 0;
    }
    let over = Topic::mailbox(SUBSCRIPTION_TOPICS_MAX as u32);
    listener.subscribe(&[over]).await;
    let refused = NodeFrame::Refused { topic: Some(over), code: ErrorCode::TooLarge };
    assert_eq!(listener.next().await, Some(refused));
    // A topic that is there may be started anew, and dropping one makes room.
    listener.follow_empty(topics[0]).await;
    listener.send(&SubscriberFrame::Unsubscribe(vec![topics[0]].try_into().unwrap())).await;
    listener.follow_empty(over).await;
    assert_eq!(running.node.hub.counts().topics, SUBSCRIPTION_TOPICS_MAX as u64);
}

#[tokio::test]
async fn silence_is_filled_with_heartbeats() {
    // covers: API-011
    let running = start(|config| config.limits.heartbeat_ms = 10).await;
    let mut listener = running.subscriber().await;
    for _ in 0..3 {
        assert_eq!(listener.next().await, Some(NodeFrame::Heartbeat { period: Period(3) }));
    }
}

#[tokio::test]
async fn a_subscriber_that_answers_pings_is_kept_and_another_given_up() {
    // covers: API-021
    let running = start(|config| {
        config.limits.heartbeat_ms = 10;
        config.limits.subscriber_silence_ms = 2_000;
    })
    .await;
    let mut stream = TcpStream::connect(running.server.local_address()).await.unwrap();
    let head = "GET /v1/subscribe HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n\
                upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut listener = running.subscriber().await;
    let mut answer = Vec::new();
    // Ends when the node gives up the connection that answers nothing; the other is read on.
    let ended = tokio::select! {
        ended = stream.read_to_end(&mut answer) => ended,
        () = async { while listener.next().await.is_some() {} } => panic!("the wrong one ended"),
    };
    assert!(ended.is_ok() && answer.starts_with(b"HTTP/1.1 101"));
    listener.subscribe(&[Topic::mailbox(1)]).await;
    while listener.next().await.unwrap() != NodeFrame::CaughtUp(Topic::mailbox(1)) {}
}

#[tokio::test]
async fn messages_beyond_the_rate_wait() {
    // covers: API-014
    let running = start(|config| {
        config.limits.address_requests_per_minute = 6_000;
        config.limits.address_burst = 2;
    })
    .await;
    let started = Instant::now();
    let mut listener = running.subscriber().await;
    for bucket in 0..12 {
        listener.subscribe(&[Topic::mailbox(bucket)]).await;
    }
    for bucket in 0..12 {
        assert_eq!(listener.next().await, Some(NodeFrame::CaughtUp(Topic::mailbox(bucket))));
    }
    // Thirteen tokens, of which two were saved up; at least nine waits of ten milliseconds.
    assert!(started.elapsed() >= Duration::from_millis(90));
}
