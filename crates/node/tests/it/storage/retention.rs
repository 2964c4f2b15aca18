//! Payloads are dropped when their retention ends; everything else stays.

use std::sync::Arc;

use tidings_envelope::api::TopicCursor;
use tidings_envelope::{CongestionHistory, Registry, RegistryHistory};
use tidings_node::storage::{Pruned, Retention};
use tidings_replica::store::WriteSet;
use tidings_types::{LogIndex, Period, RegistryEpoch, ShardId};

use super::fixture::{Item, LogWriter, open, topic};
use crate::link::fixture::registry;

/// Four periods a day, and since epoch 2 one; the entries are of the first.
fn retention(period: u64) -> Retention {
    let short = Registry { period_ms: 21_600_000, ..registry(1) };
    let long = Registry { period_ms: 86_400_000, epoch: RegistryEpoch(2), ..short.clone() };
    let mut registries = RegistryHistory::new(Arc::new(short));
    registries.insert(Arc::new(long)).unwrap();
    let in_period = |period| {
        let epochs = [(Period(2), RegistryEpoch(2))].into();
        Arc::new(CongestionHistory::restore(Period(period), [].into(), epochs))
    };
    // Another shard is ahead, which is nothing to this one.
    let shards = [(ShardId(0), in_period(period)), (ShardId(1), in_period(period + 100))];
    Retention::new(Arc::new(registries), shards.into(), Period(period + 100))
}

pub async fn payloads_go_when_their_retention_ends(url: String) {
    let storage = open(&url).await;
    let mut log = LogWriter::new(1, 1);
    // What originators say of the time deletes nothing, and keeps nothing.
    let timestamp = |days: u16| if days.is_multiple_of(2) { 0 } else { u64::MAX };
    let for_days = |days| Item { retention_days: days, timestamp: timestamp(days), ..Item::of(1) };
    let days = [[1, 30, 1, 1], [365, 365, 365, 365], [2, 1, 30, 30]];
    let mut flushes: Vec<_> = days.iter().map(|days| log.flush(&days.map(for_days), 1)).collect();
    // One payload was pruned where it came from.
    flushes[1].entries[0].payload = None;
    log.entries[4].payload = None;
    storage.write(&WriteSet { flushes, ..WriteSet::default() }).await.unwrap();
    let before = storage.stats().await.unwrap();

    let days: Vec<u16> = days.concat();
    let mut dropped_before = 0;
    for (day, dropped) in [(0, 0), (1, 4), (2, 5), (29, 5), (30, 8), (400, 11), (9999, 11)] {
        // The fee period, and as many more as the days have.
        let last = 1 + 4 * day;
        let early = storage.prune(&retention(last)).await.unwrap();
        assert!(early.payloads == 0 || day > 365);
        let pruned = storage.prune(&retention(last + 1)).await.unwrap();
        let payloads = pruned.payloads + early.payloads;
        assert_eq!(payloads, dropped - dropped_before, "day {day}");
        assert_eq!(pruned.bytes + early.bytes, payloads * 300);
        dropped_before = dropped;

        for (entry, days) in log.entries.iter_mut().zip(&days) {
            if u64::from(*days) <= day {
                entry.payload = None;
            }
        }
        let stored = storage.flushes(log.log, LogIndex(0), 100, 1 << 20).await.unwrap().unwrap();
        assert_eq!(stored.entries, log.entries);
        let start = TopicCursor::default();
        let page = storage.topic_page(topic(1), &start, 100, 1 << 20).await.unwrap();
        let page: Vec<_> = page.broadcast.into_vec();
        let entries: Vec<_> = page.into_iter().map(|found| found.entry).collect();
        assert_eq!(entries, log.entries.iter().map(|entry| entry.to_entry()).collect::<Vec<_>>());
        let stats = storage.stats().await.unwrap();
        assert_eq!(stats.bytes, before.bytes - dropped * 300);
    }
    assert_eq!(storage.prune(&retention(1 << 60)).await.unwrap(), Pruned::default());
    let next = log.write_set(&[Item::of(1)], 2);
    storage.write(&next).await.unwrap();
    assert_eq!(storage.stats().await.unwrap().entries, 13);
}
