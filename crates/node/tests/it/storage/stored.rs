//! What survives closing and opening, and what is refused at opening.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidings_envelope::Registry;
use tidings_envelope::registry::FeeSchedule;
use tidings_node::storage::{Stats, Storage, StorageError};
use tidings_order::RestoredAgreement;
use tidings_replica::store::{RestoredLane, RestoredLog, WriteSet};
use tidings_types::{
    EntryHash, ErrorCode, Genesis, LogIndex, LogSize, NetworkId, NodeId, Period, RegistryEpoch,
    ShardId, TopicIndex, Wire,
};

use super::fixture::{Item, LaneWriter, LogWriter, NETWORK, execute, open};

fn restored(log: &LogWriter, with_topics: bool) -> RestoredLog {
    let heads: BTreeMap<_, (TopicIndex, EntryHash)> =
        log.heads.iter().map(|(topic, head)| (*topic, (head.next, head.last))).collect();
    RestoredLog {
        checkpoint: *log.checkpoints.last().unwrap(),
        frontier: log.frontier.to_wire(),
        topics: if with_topics { heads } else { BTreeMap::new() },
    }
}

pub async fn a_store_gives_back_what_it_was_given(url: String) {
    let storage = open(&url).await;
    assert_eq!(storage.load().await.unwrap(), Default::default());
    let mut old = LogWriter::new(1, 1);
    let mut new = LogWriter::new(1, 2);
    let mut other = LogWriter::new(2, 7);
    let mut lane = LaneWriter::default();
    let mut first = lane.decide(&[1, 2]);
    first.state = vec![(b"a".to_vec(), Some(vec![1])), (Vec::new(), Some(vec![2]))];
    let set = WriteSet {
        flushes: vec![
            old.flush(&[Item::of(1), Item::of(2)], 1),
            other.flush(&[Item::of(1)], 1),
            old.flush(&[Item::of(1)], 1),
        ],
        decided: vec![first, lane.decide(&[])],
        ..WriteSet::default()
    };
    storage.write(&set).await.unwrap();
    let many: Vec<_> = (0..150).map(|number| Item::of(number % 50)).collect();
    storage.write(&new.write_set(&many, 2)).await.unwrap();
    storage.write(&new.write_set(&many, 2)).await.unwrap();
    storage.close().await;

    let storage = open(&url).await;
    let loaded = storage.load().await.unwrap();
    let logs = [(&old, false), (&new, true), (&other, true)];
    let logs = logs.map(|(log, newest)| (log.log, restored(log, newest)));
    assert_eq!(loaded.logs, BTreeMap::from(logs));
    let lane = RestoredLane {
        head: lane.blocks.last().cloned(),
        agreement: RestoredAgreement::default(),
        state: BTreeMap::from([(b"a".to_vec(), vec![1]), (Vec::new(), vec![2])]),
    };
    assert_eq!(loaded.lanes, BTreeMap::from([(ShardId(0), lane)]));
    let checkpoints: Vec<_> = storage.logs().await.unwrap();
    let newest = [&old, &new, &other].map(|log| *log.checkpoints.last().unwrap());
    assert_eq!(checkpoints, newest);
    let entries = old.entries.iter().chain(&new.entries).chain(&other.entries);
    let bytes = entries.map(|entry| (entry.header_bytes().len() + 300) as u64).sum();
    assert_eq!(storage.stats().await.unwrap(), Stats { entries: 304, bytes });
}

pub async fn newer_formats_and_other_networks_are_refused(url: String) {
    open(&url).await.close().await;
    let other = NetworkId([8; 32]);
    match Storage::open(&url, other).await {
        Err(StorageError::OtherNetwork { found }) => assert_eq!(found, NETWORK),
        opened => panic!("{opened:?}"),
    }
    open(&url).await.close().await;
    let newer = "UPDATE _sqlx_migrations SET version = 1000000 WHERE version = 1";
    execute(&url, newer).await;
    match Storage::open(&url, NETWORK).await {
        Err(StorageError::NewerFormat { found: 1_000_000, known }) => assert!(known < 1_000_000),
        opened => panic!("{opened:?}"),
    }
}

pub async fn registries_are_kept_for_ever(url: String) {
    // covers: TOP-009
    let storage = open(&url).await;
    assert!(storage.registries().await.unwrap().is_empty());
    let (one, two) = (registry(1), registry(2));
    let set = |registries| WriteSet { registries, ..WriteSet::default() };
    storage.write(&set(vec![two.clone()])).await.unwrap();
    storage.write(&set(vec![one.clone(), two.clone()])).await.unwrap();
    storage.close().await;
    let stored = open(&url).await.registries().await.unwrap();
    assert_eq!(stored, [Registry::clone(&one), Registry::clone(&two)]);
}

fn registry(epoch: u64) -> Arc<Registry> {
    Arc::new(Registry {
        genesis: Genesis::without_chain([1; 32].into()),
        epoch: RegistryEpoch(epoch),
        shard_count: 1,
        replication_factor: 1,
        period_ms: 10_000,
        mailbox_buckets: 1,
        nodes: Vec::new(),
        payers: Vec::new(),
        edges: Vec::new(),
        fees: FeeSchedule::default(),
    })
}

pub async fn recent_entries_are_found_by_fee_period(url: String) {
    let storage = open(&url).await;
    let mut logs = [LogWriter::new(1, 1), LogWriter::new(1, 2), LogWriter::new(2, 1)];
    let in_period = |fee_period| Item { fee_period, ..Item::of(1) };
    for log in &mut logs {
        let flushes = vec![
            log.flush(&[in_period(1), in_period(1)], 1),
            log.flush(&[in_period(1), in_period(2)], 2),
            log.flush(&[in_period(3)], 3),
        ];
        storage.write(&WriteSet { flushes, ..WriteSet::default() }).await.unwrap();
    }
    let expected = |since: u64, log: &LogWriter| -> Vec<_> {
        let recent = log.entries.iter().filter(|entry| entry.header.fee_period >= Period(since));
        recent
            .map(|entry| {
                let covering = log.checkpoints.iter().map(|signed| signed.checkpoint.size);
                let size = covering.filter(|size| size.0 > entry.header.index.0).min().unwrap();
                (log.log, entry.header.index, entry.header.envelope_id, size)
            })
            .collect()
    };
    for since in 0..=4 {
        let found = storage.recent(NodeId(1), Period(since)).await.unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|entry| (entry.log, entry.index, entry.envelope_id, entry.checkpoint_size))
            .collect();
        assert_eq!(found, [expected(since, &logs[0]), expected(since, &logs[1])].concat());
    }
    assert!(storage.recent(NodeId(3), Period(0)).await.unwrap().is_empty());
}

pub async fn leaf_hashes_and_checkpoints_are_those_written(url: String) {
    let storage = open(&url).await;
    let mut log = LogWriter::new(1, 1);
    for count in [1, 5, 2] {
        storage.write(&log.write_set(&vec![Item::of(1); count], 1)).await.unwrap();
    }
    for (from, to) in [(0, 8), (0, 3), (2, 7), (5, 100), (8, 9), (4, 4), (5, 4)] {
        let found = storage.leaf_hashes(log.log, LogIndex(from), LogIndex(to)).await.unwrap();
        let within = log.entries.iter().filter(|entry| (from..to).contains(&entry.header.index.0));
        assert_eq!(found, within.map(|entry| entry.hash.0).collect::<Vec<_>>());
    }
    for size in 0..10 {
        let found = storage.checkpoint_at(log.log, LogSize(size)).await.unwrap();
        let stored = log.checkpoints.iter().find(|signed| signed.checkpoint.size.0 == size);
        assert_eq!(found, stored.copied());
    }
    let unknown = LogWriter::new(1, 2).log;
    assert_eq!(storage.checkpoint_at(unknown, LogSize(1)).await.unwrap(), None);
    assert!(storage.leaf_hashes(unknown, LogIndex(0), LogIndex(9)).await.unwrap().is_empty());
    let none = storage.flushes(unknown, LogIndex(0), 10, 1000).await.unwrap();
    assert_eq!(none, None);
    let beyond = LogIndex(u64::MAX);
    assert!(storage.leaf_hashes(log.log, beyond, beyond).await.unwrap().is_empty());
    assert_eq!(storage.flushes(log.log, beyond, 1, 1).await.unwrap(), None);
    assert_eq!(storage.checkpoint_at(log.log, LogSize(u64::MAX)).await.unwrap(), None);
}

pub async fn damage_is_reported(url: String) {
    let storage = open(&url).await;
    let mut log = LogWriter::new(1, 1);
    storage.write(&log.write_set(&[Item::of(1), Item::of(2)], 1)).await.unwrap();
    execute(&url, "DELETE FROM entries WHERE key = (SELECT max(key) FROM entries)").await;
    let read = storage.flushes(log.log, LogIndex(0), 10, 10_000).await;
    let Err(error) = read else { panic!("a gap was served: {read:?}") };
    assert!(matches!(error, StorageError::Damaged { .. }));
    assert_eq!(error.code(), ErrorCode::Internal);
}
