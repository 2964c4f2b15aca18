//! Following everything on topics of one kind.

use tidings_envelope::api::{FollowFrame, FollowRequest, FollowedLog, FollowedShard};
use tidings_envelope::{Checkpoint, LogId, Topic, TopicKind};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{BoundedVec, ErrorCode, Height, LogIndex, ShardId, Wire};

use super::node::{Running, check_refused, start};
use super::store::log;

fn request(logs: &[(LogId, u64)], heights: &[u64]) -> FollowRequest {
    let logs = logs.iter().map(|(log, next)| FollowedLog { log: *log, next: LogIndex(*next) });
    let shards =
        heights.iter().map(|next| FollowedShard { shard: ShardId(0), next: Height(*next) });
    FollowRequest {
        version: PROTOCOL_VERSION,
        kind: TopicKind::Xmtp,
        logs: BoundedVec::new(logs.collect()).unwrap(),
        shards: BoundedVec::new(shards.collect()).unwrap(),
    }
}

fn wanted(number: u8) -> Topic {
    Topic::xmtp(&[number])
}

/// A follower's end of the stream.
struct Frames {
    response: reqwest::Response,
    received: Vec<u8>,
}

impl Frames {
    async fn open(running: &Running, request: &FollowRequest) -> Self {
        let response = running.post("/v1/follow", request.to_wire()).await;
        assert_eq!(response.status(), 200);
        let mut frames = Self { response, received: Vec::new() };
        assert!(matches!(frames.next().await, FollowFrame::Hello { .. }));
        frames
    }

    async fn next(&mut self) -> FollowFrame {
        loop {
            if let Some(length) = self.received.first_chunk::<4>() {
                let end = 4 + u32::from_be_bytes(*length) as usize;
                if self.received.len() >= end {
                    let frame: Vec<u8> = self.received.drain(..end).collect();
                    return FollowFrame::from_wire(&frame[4..]).unwrap();
                }
            }
            let piece = self.response.chunk().await.unwrap().expect("the stream goes on");
            self.received.extend_from_slice(&piece);
        }
    }

    /// The indexes of the entries of the next frame, and how far it reaches.
    async fn entries(&mut self, expected: LogId) -> (Vec<u64>, u64) {
        match self.next().await {
            FollowFrame::Entries { entries, checkpoint } => {
                let Checkpoint { log, size, .. } = checkpoint.checkpoint;
                assert_eq!(log, expected);
                (entries.iter().map(|entry| entry.header.index.0).collect(), size.0)
            }
            other => panic!("no entries: {other:?}"),
        }
    }

    /// How many operations the next block has, and its height.
    async fn block(&mut self) -> (usize, u64) {
        match self.next().await {
            FollowFrame::Block { header, receipts, .. } => (receipts.len(), header.height.0),
            other => panic!("no block: {other:?}"),
        }
    }
}

#[tokio::test]
async fn everything_of_a_kind_comes_once_and_in_order() {
    // covers: API-035
    let running = start(|_| ()).await;
    let other = Topic::mailbox(1);
    let payload = || vec![1, 2, 3];
    running
        .node
        .append(log(1), &[(other, payload()), (wanted(1), payload()), (wanted(2), payload())]);
    running.node.order(wanted(1));
    running.node.order(other);
    let mut frames = Frames::open(&running, &request(&[], &[])).await;
    // Commits come before the messages that presuppose them.
    assert_eq!(frames.block().await, (1, 1));
    assert_eq!(frames.block().await, (0, 2));
    assert_eq!(frames.entries(log(1)).await, (vec![1, 2], 3));
    assert_eq!(frames.next().await, FollowFrame::CaughtUp);

    // From here on it comes from memory, logs that are new included.
    running.node.append(log(2), &[(wanted(3), payload()), (other, payload())]);
    assert_eq!(frames.entries(log(2)).await, (vec![0], 2));
    running.node.append(log(1), &[(other, payload())]);
    assert_eq!(frames.entries(log(1)).await, (vec![], 4));
    running.node.order(wanted(9));
    assert_eq!(frames.block().await, (1, 3));

    // Another goes on where this one is.
    let mut again = Frames::open(&running, &request(&[(log(1), 2), (log(2), 2)], &[4])).await;
    assert_eq!(again.entries(log(1)).await, (vec![2], 4));
    assert_eq!(again.next().await, FollowFrame::CaughtUp);
}

#[tokio::test]
async fn a_follower_that_is_too_slow_misses_nothing() {
    // covers: API-035
    let running = start(|_| ()).await;
    let mut frames = Frames::open(&running, &request(&[], &[])).await;
    assert_eq!(frames.next().await, FollowFrame::CaughtUp);
    const COUNT: u64 = 1_000;
    for _ in 0..COUNT {
        running.node.append(log(1), &[(wanted(1), vec![0; 100])]);
    }
    let mut found = Vec::new();
    loop {
        let (indexes, next) = frames.entries(log(1)).await;
        found.extend(indexes);
        if next == COUNT {
            break;
        }
    }
    assert_eq!(found, (0..COUNT).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_silent_node_says_that_it_lives() {
    // covers: API-035
    let running = start(|config| config.limits.heartbeat_ms = 10).await;
    let mut frames = Frames::open(&running, &request(&[], &[])).await;
    assert_eq!(frames.next().await, FollowFrame::CaughtUp);
    assert!(matches!(frames.next().await, FollowFrame::Heartbeat { .. }));
}

#[tokio::test]
async fn a_request_that_contradicts_itself_is_refused() {
    // covers: API-035
    let running = start(|_| ()).await;
    for request in [request(&[(log(1), 1), (log(1), 2)], &[]), request(&[], &[1, 2])] {
        let response = running.post("/v1/follow", request.to_wire()).await;
        check_refused(response, 400, ErrorCode::Malformed).await;
    }
}
