//! Walking over logs and topics in pages of any size.

use std::sync::atomic::{AtomicU16, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tidings_envelope::Topic;
use tidings_envelope::api::{LogCursor, TopicCursor, TopicEntry, TopicPage};
use tidings_node::storage::Storage;
use tidings_replica::store::EntryRecord;
use tidings_types::{Height, LogIndex, ShardId, TopicIndex, Wire};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::fixture::{Item, LaneWriter, LogWriter, decided, open, topic};

/// The limits of one read.
#[derive(Debug, Clone, Copy)]
struct Limits {
    entries: usize,
    bytes: usize,
}

pub async fn flushes_end_at_checkpoints_within_the_limits(url: String) {
    let storage = open(&url).await;
    let mut log = LogWriter::new(1, 1);
    for count in [3, 1, 4] {
        storage.write(&log.write_set(&vec![Item::of(1); count], 1)).await.unwrap();
    }
    let entry_bytes = log.entries[0].header_bytes().len() + 300;
    let check = async |from: u64, entries_max: usize, bytes_max: usize, end: Option<u64>| {
        let found = storage.flushes(log.log, LogIndex(from), entries_max, bytes_max).await.unwrap();
        let end_found = found.as_ref().map(|flush| flush.checkpoint.checkpoint.size.0);
        assert_eq!(end_found, end, "from {from}, {entries_max} entries, {bytes_max} bytes");
        let Some(flush) = found else { return };
        let within = from as usize..end_found.unwrap() as usize;
        assert_eq!(flush.entries, log.entries[within]);
        assert!(log.checkpoints.contains(&flush.checkpoint));
    };
    check(0, 100, 1 << 20, Some(8)).await;
    check(0, 7, 1 << 20, Some(4)).await;
    check(0, 3, 1 << 20, Some(3)).await;
    check(0, 1, 1 << 20, Some(3)).await;
    check(0, 0, 0, Some(3)).await;
    check(0, 100, 4 * entry_bytes, Some(4)).await;
    check(0, 100, 4 * entry_bytes - 1, Some(3)).await;
    check(2, 2, 1 << 20, Some(4)).await;
    check(2, 1, 1 << 20, Some(3)).await;
    check(5, 1, 1, Some(8)).await;
    check(8, 100, 1 << 20, None).await;
    check(9, 100, 1 << 20, None).await;
}

pub async fn topic_pages_take_up_where_the_cursor_is(url: String) {
    let storage = open(&url).await;
    let (mut one, mut two) = (LogWriter::new(1, 1), LogWriter::new(2, 1));
    let mut lane = LaneWriter::default();
    // Stored in another order than that of the ids.
    storage.write(&two.write_set(&[Item::of(1), Item::of(2), Item::of(1)], 1)).await.unwrap();
    storage.write(&one.write_set(&[Item::of(1), Item::of(1)], 1)).await.unwrap();
    storage.write(&decided(vec![lane.decide(&[1, 2, 1])])).await.unwrap();

    let page = storage.topic_page(topic(1), &TopicCursor::default(), 100, 1 << 20).await.unwrap();
    assert_eq!(page.more, 0);
    assert_eq!((page.ordered.len(), page.broadcast.len()), (2, 4));
    let logs: Vec<_> = page.broadcast.iter().map(|entry| entry.log).collect();
    assert_eq!(logs, [one.log, one.log, two.log, two.log]);

    // Ahead in one log, and in the lane: nothing comes twice.
    let ahead = LogCursor { log: two.log, next: TopicIndex(5), previous: Default::default() };
    let logs = vec![ahead].try_into().unwrap();
    let cursor = TopicCursor { logs, position: tidings_types::Position(u64::MAX) };
    let page = storage.topic_page(topic(1), &cursor, 100, 1 << 20).await.unwrap();
    assert_eq!((page.ordered.len(), page.broadcast.len(), page.more), (0, 2, 0));

    // A limit of nothing still makes progress.
    let page = storage.topic_page(topic(1), &TopicCursor::default(), 0, 0).await.unwrap();
    assert_eq!((page.ordered.len(), page.broadcast.len(), page.more), (1, 0, 1));

    let none = storage.topic_page(topic(9), &TopicCursor::default(), 100, 1 << 20).await.unwrap();
    assert_eq!((none.ordered.len(), none.broadcast.len(), none.more), (0, 0, 0));
}

pub async fn the_newest_entry_of_every_log_is_found(url: String) {
    let storage = open(&url).await;
    let mut logs = [LogWriter::new(2, 1), LogWriter::new(1, 1), LogWriter::new(1, 2)];
    for log in &mut logs {
        let items = [Item::of(1), Item::of(2), Item::of(1)];
        storage.write(&log.write_set(&items, 1)).await.unwrap();
    }
    let newest = storage.newest(topic(1)).await.unwrap();
    let expected: Vec<_> = logs
        .iter()
        .rev()
        .map(|log| TopicEntry { log: log.log, entry: log.entries[2].to_entry() })
        .collect();
    assert_eq!(newest, expected);
    assert!(storage.newest(topic(3)).await.unwrap().is_empty());

    // Four entries of the largest size are more than a page.
    let mut large = LogWriter::new(3, 1);
    let item = Item { payload_bytes: 1_050_000, ..Item::of(5) };
    for log in logs.iter_mut().chain([&mut large]) {
        storage.write(&log.write_set(&[item], 2)).await.unwrap();
    }
    assert_eq!(storage.newest(topic(5)).await.unwrap().len(), 3);
}

/// What happens to a random store, step by step.
#[derive(Debug, Clone)]
enum Step {
    /// Appends entries of these topics and payload lengths to one of three logs.
    Flush { log: usize, items: Vec<(u32, usize)> },
    /// Makes a block final.
    Decide { topics: Vec<u32> },
}

const TOPICS: u32 = 4;

fn step() -> impl Strategy<Value = Step> {
    let items = prop::collection::vec((0..TOPICS, 0..400usize), 1..9);
    prop_oneof![
        3 => (0..3usize, items).prop_map(|(log, items)| Step::Flush { log, items }),
        1 => prop::collection::vec(0..TOPICS, 0..5).prop_map(|topics| Step::Decide { topics }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let bytes = prop_oneof![Just(1usize), 200..3000usize, Just(1 << 22)];
    (1..12usize, bytes).prop_map(|(entries, bytes)| Limits { entries, bytes })
}

pub async fn walks_over_random_stores_have_no_gap_and_no_duplicate(url: String) {
    let storage = open(&url).await;
    let runtime = Handle::current();
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let strategy = (prop::collection::vec(step(), 1..30), limits(), limits());
    // All cases share one store: each has topics, logs and a shard of its own.
    let cases = AtomicU16::new(0);
    let run = TestRunner::new_with_rng(config, rng).run(&strategy, |(steps, pages, flushes)| {
        let case = cases.fetch_add(1, Ordering::Relaxed);
        block_in_place(|| runtime.block_on(check_walks(&storage, case, steps, pages, flushes)));
        Ok(())
    });
    if let Err(failure) = run {
        panic!("{failure}");
    }
}

async fn check_walks(
    storage: &Storage,
    case: u16,
    steps: Vec<Step>,
    page_limits: Limits,
    flush_limits: Limits,
) {
    let first_topic = u32::from(case) * TOPICS;
    let mut logs = [1, 2, 3].map(|node| LogWriter::new(node, u32::from(case) + 1));
    let mut lane = LaneWriter { shard: ShardId(case), ..LaneWriter::default() };
    for step in steps {
        let set = match step {
            Step::Flush { log, items } => {
                let items = items.into_iter().map(|(topic, payload_bytes)| Item {
                    payload_bytes,
                    ..Item::of(first_topic + topic)
                });
                logs[log].write_set(&items.collect::<Vec<_>>(), 1)
            }
            Step::Decide { topics } => {
                let topics = topics.into_iter().map(|topic| first_topic + topic);
                decided(vec![lane.decide(&topics.collect::<Vec<_>>())])
            }
        };
        storage.write(&set).await.unwrap();
    }
    for log in &logs {
        walk_log(storage, log, flush_limits).await;
    }
    for number in first_topic..first_topic + TOPICS {
        walk_topic(storage, topic(number), &logs, &lane, page_limits).await;
    }
    walk_blocks(storage, &lane, flush_limits).await;
}

async fn walk_log(storage: &Storage, log: &LogWriter, limits: Limits) {
    let mut walked: Vec<EntryRecord> = Vec::new();
    while let Some(flush) = storage
        .flushes(log.log, LogIndex(walked.len() as u64), limits.entries, limits.bytes)
        .await
        .unwrap()
    {
        let end = walked.len() + flush.entries.len();
        assert_eq!(flush.first(), LogIndex(walked.len() as u64));
        assert_eq!(flush.checkpoint.checkpoint.size.0, end as u64);
        assert!(log.checkpoints.contains(&flush.checkpoint));
        let bytes: usize = flush.entries.iter().map(entry_bytes).sum();
        let between = |size: u64| size > walked.len() as u64 && size < end as u64;
        let is_one = !log.checkpoints.iter().any(|signed| between(signed.checkpoint.size.0));
        assert!(is_one || (flush.entries.len() <= limits.entries && bytes <= limits.bytes));
        walked.extend(flush.entries);
    }
    assert_eq!(walked, log.entries);
}

fn entry_bytes(entry: &EntryRecord) -> usize {
    entry.header_bytes().len() + entry.payload.as_ref().map_or(0, |payload| payload.len())
}

async fn walk_topic(
    storage: &Storage,
    topic: Topic,
    logs: &[LogWriter],
    lane: &LaneWriter,
    limits: Limits,
) {
    let mut cursor = TopicCursor::default();
    let (mut ordered, mut broadcast) = (Vec::new(), Vec::new());
    loop {
        let page = storage.topic_page(topic, &cursor, limits.entries, limits.bytes).await.unwrap();
        let count = page.ordered.len() + page.broadcast.len();
        assert!(count <= limits.entries);
        assert!(count > 0 || page.more == 0, "a page without progress");
        cursor = advance(cursor, &page);
        ordered.extend(page.ordered.into_vec());
        broadcast.extend(page.broadcast.into_vec());
        if page.more == 0 {
            break;
        }
    }
    let positions: Vec<_> = ordered.iter().filter_map(|receipt| receipt.position()).collect();
    let last = lane.positions.get(&topic).map_or(0, |position| position.0);
    assert_eq!(positions, (1..=last).map(tidings_types::Position).collect::<Vec<_>>());
    for log in logs {
        let found = broadcast.iter().filter(|entry| entry.log == log.log);
        let stored = log.entries.iter().filter(|entry| entry.header.topic == topic);
        let stored: Vec<_> = stored.map(EntryRecord::to_entry).collect();
        assert_eq!(found.map(|entry| entry.entry.clone()).collect::<Vec<_>>(), stored);
    }
}

/// The cursor after a page, as a reader keeps it.
fn advance(cursor: TopicCursor, page: &TopicPage) -> TopicCursor {
    let mut position = cursor.position;
    if let Some(read) = page.ordered.iter().filter_map(|receipt| receipt.position()).max() {
        position = read;
    }
    let mut logs = cursor.logs.into_vec();
    for TopicEntry { log, entry } in page.broadcast.iter() {
        let (next, previous) = (entry.header.topic_index.plus(1), entry.header.hash());
        match logs.iter_mut().find(|known| known.log == *log) {
            Some(known) => (known.next, known.previous) = (next, previous),
            None => logs.push(LogCursor { log: *log, next, previous }),
        }
    }
    TopicCursor { logs: logs.try_into().unwrap(), position }
}

async fn walk_blocks(storage: &Storage, lane: &LaneWriter, limits: Limits) {
    let mut walked = Vec::new();
    loop {
        let next = Height(walked.len() as u64 + 1);
        let found = storage.blocks(lane.shard, next, limits.entries, limits.bytes).await.unwrap();
        if found.is_empty() {
            break;
        }
        let operations = found.iter().flat_map(|certified| certified.block.operations.iter());
        let bytes: usize = operations.map(|decided| decided.to_wire().len()).sum();
        assert!(found.len() <= limits.entries && (found.len() == 1 || bytes <= limits.bytes));
        walked.extend(found);
    }
    assert_eq!(walked, lane.blocks);
}
