//! Transactions: all or nothing, once, in order, and going on after failures.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use tidings_node::storage::StorageError;
use tidings_replica::store::WriteSet;
use tidings_tlog::TopicHead;
use tidings_types::{ErrorCode, Height, LogIndex, ShardId, TopicIndex};

use super::fixture::{Item, LaneWriter, LogWriter, decided, execute, open, topic};

pub async fn a_second_write_is_refused_and_changes_nothing(url: String) {
    let storage = open(&url).await;
    let (mut log, mut other) = (LogWriter::new(1, 1), LogWriter::new(2, 1));
    let mut lane = LaneWriter::default();
    let (first, block) = (log.write_set(&[Item::of(1)], 1), decided(vec![lane.decide(&[1])]));
    storage.write(&first).await.unwrap();
    storage.write(&block).await.unwrap();
    let before = storage.load().await.unwrap();

    let refused = storage.write(&first).await.unwrap_err();
    assert!(matches!(refused, StorageError::NotContiguous { .. }), "{refused}");
    let mut both = other.write_set(&[Item::of(1)], 1);
    both.append(block.clone());
    let refused = storage.write(&both).await.unwrap_err();
    assert!(matches!(refused, StorageError::AlreadyStored { .. }), "{refused}");
    assert_eq!(refused.code(), ErrorCode::Internal);

    let mut ahead = log.clone();
    ahead.flush(&[Item::of(1)], 1);
    let refused = storage.write(&ahead.write_set(&[Item::of(1)], 1)).await.unwrap_err();
    assert!(matches!(refused, StorageError::NotContiguous { expected: LogIndex(1), .. }));
    let mut uncovered = log.clone().write_set(&[Item::of(1), Item::of(1)], 1);
    uncovered.flushes[0].entries.pop();
    let refused = storage.write(&uncovered).await.unwrap_err();
    assert!(matches!(refused, StorageError::NotContiguous { .. }), "{refused}");
    let mut empty = log.clone().write_set(&[Item::of(1)], 1);
    empty.flushes[0].entries.clear();
    assert!(storage.write(&empty).await.is_err());

    assert_eq!(storage.load().await.unwrap(), before);
    storage.write(&log.write_set(&[Item::of(1)], 1)).await.unwrap();
    storage.write(&both_but_block(both)).await.unwrap();
    storage.write(&decided(vec![lane.decide(&[1])])).await.unwrap();
}

fn both_but_block(set: WriteSet) -> WriteSet {
    WriteSet { flushes: set.flushes, ..WriteSet::default() }
}

/// Drives `future` through `polls` polls, or to its end.
async fn poll_some<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(move |context| {
        left = left.saturating_sub(1);
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

pub async fn abandoned_writes_leave_all_or_nothing(url: String) {
    let storage = open(&url).await;
    let mut log = LogWriter::new(1, 1);
    for polls in 1..40 {
        let mut next = log.clone();
        let set = next.write_set(&vec![Item::of(1); 70], 1);
        let _ = poll_some(storage.write(&set), polls).await;
        // What was abandoned is either there or not; the same set tells which.
        match storage.write(&set).await {
            Ok(()) | Err(StorageError::NotContiguous { .. }) => {}
            Err(error) => panic!("after {polls} polls: {error}"),
        }
        log = next;
        assert_eq!(storage.logs().await.unwrap(), [*log.checkpoints.last().unwrap()]);
    }
    let stored = storage.flushes(log.log, LogIndex(0), 10_000, 1 << 30).await.unwrap().unwrap();
    assert_eq!(stored.entries, log.entries);
}

pub async fn many_sets_are_written_at_once_in_order(url: String) {
    let storage = open(&url).await;
    let (mut one, mut two) = (LogWriter::new(1, 1), LogWriter::new(2, 1));
    let mut lane = LaneWriter::default();
    for _ in 0..3 {
        let mut sets = Vec::new();
        for round in 0..70u32 {
            sets.push(one.write_set(&[Item::of(round % 5), Item::of(1)], 1));
            if round % 10 == 0 {
                sets.push(two.write_set(&[Item::of(1)], 1));
                sets.push(decided(vec![lane.decide(&[round % 3])]));
            }
        }
        storage.write_all(&sets).await.unwrap();
    }
    for log in [&one, &two] {
        let stored = storage.flushes(log.log, LogIndex(0), 10_000, 1 << 30).await.unwrap().unwrap();
        assert_eq!(stored.entries, log.entries);
    }
    let blocks = storage.blocks(ShardId(0), Height(1), 1000, 1 << 30).await.unwrap();
    assert_eq!(blocks, lane.blocks);
}

pub async fn writing_goes_on_after_a_failure(url: String) {
    let storage = open(&url).await;
    let mut log = LogWriter::new(1, 1);
    storage.write(&log.write_set(&[Item::of(1)], 1)).await.unwrap();
    execute(&url, "ALTER TABLE entries RENAME TO entries_away").await;
    let set = log.write_set(&[Item::of(1), Item::of(2)], 1);
    for _ in 0..3 {
        let failed = storage.write(&set).await.unwrap_err();
        assert_eq!(failed.code(), ErrorCode::StorageUnavailable, "{failed}");
        // What is stored can still be read.
        assert_eq!(storage.logs().await.unwrap(), [log.checkpoints[0]]);
    }
    execute(&url, "ALTER TABLE entries_away RENAME TO entries").await;
    storage.write(&set).await.unwrap();
    storage.write(&log.write_set(&[Item::of(2)], 1)).await.unwrap();
    let stored = storage.flushes(log.log, LogIndex(0), 100, 1 << 20).await.unwrap().unwrap();
    assert_eq!(stored.entries, log.entries);
}

/// A faulty originator numbers a topic's entries as it likes; nobody's storage stops for that.
pub async fn entries_out_of_their_topics_order_are_stored(url: String) {
    let storage = open(&url).await;
    let mut log = LogWriter::new(1, 1);
    for number in [u64::MAX, 7, 7] {
        let head = TopicHead { next: TopicIndex(number), ..TopicHead::default() };
        log.heads.insert(topic(1), head);
        storage.write(&log.write_set(&[Item::of(1)], 1)).await.unwrap();
    }
    assert_eq!(storage.logs().await.unwrap().len(), 1);
    assert_eq!(storage.stats().await.unwrap().entries, 3);
}

pub async fn two_stores_cannot_both_extend_a_log(url: String) {
    let (one, two) = (open(&url).await, open(&url).await);
    let mut log = LogWriter::new(1, 1);
    let first = log.write_set(&[Item::of(1)], 1);
    one.write(&first).await.unwrap();
    let mut other = log.clone();
    let (left, right) = (log.write_set(&[Item::of(1)], 1), other.write_set(&[Item::of(2)], 1));
    two.write(&left).await.unwrap();
    let refused = one.write(&right).await.unwrap_err();
    assert!(matches!(refused, StorageError::AlreadyStored { .. }), "{refused}");
    // It has learnt what the other wrote.
    let refused = one.write(&right).await.unwrap_err();
    assert!(matches!(refused, StorageError::NotContiguous { .. }), "{refused}");
    one.write(&log.write_set(&[Item::of(3)], 1)).await.unwrap();
}
