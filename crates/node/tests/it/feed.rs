//! Feeds without links: every order of publishing, reading and forgetting.

use proptest::prelude::*;
use tidings_node::feed::{FeedReader, Feeds, SourceUnavailable};
use tidings_replica::wire::FeedFrame;
use tidings_types::Wire;

use crate::link::fixture::{Memory, check_entries, flush, log_of, request, soon};

/// The next frame without its length.
async fn frame(reader: &mut FeedReader) -> FeedFrame {
    let bytes = soon(reader.frame()).await.unwrap();
    FeedFrame::from_wire(&bytes[4..]).unwrap()
}

/// Something that happens to a feed.
#[derive(Debug, Clone)]
enum Move {
    /// A flush of so many entries becomes durable and is published.
    Publish(u8),
    /// A reader opens at a part of what is there, in 255ths.
    Open(u8),
    /// One of the readers takes a frame, if there is one.
    Read(u8),
    /// One of the readers goes.
    Leave(u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (1..6u8).prop_map(Move::Publish),
        1 => any::<u8>().prop_map(Move::Open),
        4 => any::<u8>().prop_map(Move::Read),
        1 => any::<u8>().prop_map(Move::Leave),
    ];
    prop::collection::vec(one, 1..80)
}

/// Plays the moves; every reader gets every entry once, and all there are in the end.
async fn check(moves: Vec<Move>, recent_bytes_max: usize) {
    let (memory, log) = (Memory::default(), log_of(1));
    let feeds = Feeds::with_recent_bytes_max(memory.clone(), recent_bytes_max);
    let mut size = 0u64;
    let mut readers: Vec<(FeedReader, u64)> = Vec::new();
    for next in moves {
        let count = readers.len();
        match next {
            Move::Publish(entries) => {
                let flush = flush(log, size, &vec![50; usize::from(entries)]);
                size += u64::from(entries);
                memory.append(flush.clone());
                feeds.publish_flush(&flush);
            }
            Move::Open(part) => {
                let from = size * u64::from(part) / 255;
                readers.push((feeds.open(request(log, from)), from));
            }
            Move::Read(which) if count > 0 => {
                let (reader, next) = &mut readers[usize::from(which) % count];
                if *next < size {
                    *next = check_entries(&frame(reader).await, *next);
                }
            }
            Move::Leave(which) if count > 0 => {
                readers.remove(usize::from(which) % count);
            }
            Move::Read(_) | Move::Leave(_) => {}
        }
    }
    for (reader, next) in &mut readers {
        while *next < size {
            *next = check_entries(&frame(reader).await, *next);
        }
        let noop = &mut std::task::Context::from_waker(std::task::Waker::noop());
        assert!(std::pin::pin!(reader.frame()).poll(noop).is_pending());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn readers_miss_nothing_and_get_nothing_twice(moves in moves(), recent in 0..4000usize) {
        // covers: REP-007
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(moves, recent));
    }
}

#[tokio::test]
async fn a_reader_that_is_up_to_date_is_fed_from_memory() {
    let (memory, log) = (Memory::default(), log_of(1));
    let feeds = Feeds::new(memory.clone());
    let mut reader = feeds.open(request(log, 0));
    let flush = flush(log, 0, &[10, 20]);
    memory.append(flush.clone());
    feeds.publish_flush(&flush);
    memory.fail();
    assert_eq!(check_entries(&frame(&mut reader).await, 0), 2);
    // Another reader shares the bytes; one that needs storage learns that it fails.
    let mut second = feeds.open(request(log, 0));
    assert_eq!(check_entries(&frame(&mut second).await, 0), 2);
    assert_eq!(soon(feeds.open(request(log, 1)).frame()).await, Err(SourceUnavailable));
}
