//! The ordered lane's blocks, places, state and proposals, and evidence.

use std::collections::BTreeMap;

use tidings_envelope::api::TopicCursor;
use tidings_envelope::{Block, Evidence, Topic};
use tidings_node::storage::{Storage, StorageError};
use tidings_order::{LaneLog, LogRecord, LoggedTimeout};
use tidings_replica::store::{Decided, WriteSet};
use tidings_types::{Height, OffenceId, Round, ShardId, Wire, merkle};

use super::fixture::{Item, LaneWriter, LogWriter, decided, open, topic};

pub async fn blocks_and_places_are_served_with_proofs(url: String) {
    let storage = open(&url).await;
    let mut lane = LaneWriter::default();
    let sets = [lane.decide(&[1]), lane.decide(&[]), lane.decide(&[2, 1, 2, 1, 1, 3, 1])];
    storage.write(&decided(sets.to_vec())).await.unwrap();

    let page = storage.topic_page(topic(1), &TopicCursor::default(), 100, 1 << 20).await.unwrap();
    let heights: Vec<_> = page.ordered.iter().map(|receipt| receipt.header.height.0).collect();
    assert_eq!(heights, [1, 3, 3, 3, 3]);
    for receipt in page.ordered.iter() {
        let leaf = merkle::leaf_hash(&receipt.decided.to_wire());
        let (index, count) = (receipt.index.into(), receipt.header.operations_count.into());
        let root = merkle::root_from_path(leaf, index, count, &receipt.path);
        assert_eq!(root, Some(receipt.header.operations_root));
        let block = &lane.blocks[receipt.header.height.0 as usize - 1];
        assert_eq!(receipt.certificate, block.certificate);
        assert_eq!(receipt.header, block.block.header);
    }

    let from = |height| storage.blocks(ShardId(0), Height(height), 100, 1 << 20);
    assert_eq!(from(0).await.unwrap(), lane.blocks);
    assert_eq!(from(3).await.unwrap(), lane.blocks[2..]);
    assert!(from(4).await.unwrap().is_empty());
    assert!(from(u64::MAX).await.unwrap().is_empty());
    assert!(storage.blocks(ShardId(1), Height(1), 9, 9).await.unwrap().is_empty());
}

fn with_state(mut block: Decided, state: &[(&str, Option<u8>)]) -> Decided {
    let changes =
        state.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.map(|v| vec![v])));
    block.state = changes.collect();
    block
}

/// Part of the log of a height.
pub fn lane_log(height: u64, first: u64, rounds: &[u32], blocks: Vec<Block>) -> WriteSet {
    let record =
        |round: &u32| LogRecord::Timeout { wait: LoggedTimeout::Precommit, round: Round(*round) };
    let records = rounds.iter().map(record).collect();
    let log = LaneLog { sequence: 0, height: Height(height), first, records, blocks };
    WriteSet { lane_logs: vec![(ShardId(0), log)], ..WriteSet::default() }
}

/// What the store remembers of the agreement on the next height: rounds and blocks.
async fn agreement(storage: &Storage) -> (Vec<u32>, Vec<Block>, bool) {
    let restored = storage.load().await.unwrap().lanes.remove(&ShardId(0)).unwrap();
    let rounds = restored.agreement.records.iter().map(|record| match record {
        LogRecord::Timeout { round, .. } => round.0,
        other => panic!("{other:?}"),
    });
    (rounds.collect(), restored.agreement.blocks, restored.agreement.halted)
}

pub async fn state_and_agreements_are_replaced(url: String) {
    let storage = open(&url).await;
    let mut lane = LaneWriter::default();
    let lost = lane.block(&[1, 1]);
    storage.write(&lane_log(1, 0, &[0, 1], vec![lost.clone()])).await.unwrap();
    storage.write(&lane_log(1, 2, &[2], vec![lost.clone()])).await.unwrap();
    assert_eq!(agreement(&storage).await, (vec![0, 1, 2], vec![lost], false));

    let first = with_state(lane.decide(&[1]), &[("a", Some(1)), ("b", Some(1)), ("c", Some(1))]);
    let second = with_state(lane.decide(&[2]), &[("a", Some(2)), ("b", None), ("d", None)]);
    storage.write(&decided(vec![first, second])).await.unwrap();
    let third = with_state(lane.decide(&[]), &[("b", Some(3)), ("c", None)]);
    storage.write(&decided(vec![third])).await.unwrap();
    let restored = storage.load().await.unwrap().lanes.remove(&ShardId(0)).unwrap();
    let state = [(b"a".to_vec(), vec![2]), (b"b".to_vec(), vec![3])];
    assert_eq!(restored.state, BTreeMap::from(state));
    assert_eq!(restored.head, lane.blocks.last().cloned());
    // What was logged of height 1 is over.
    assert_eq!(restored.agreement, Default::default());

    let one = lane.block(&[3]);
    storage.write(&lane_log(4, 0, &[0], vec![one.clone()])).await.unwrap();
    // A part that was written before the node knew is written again and changes nothing.
    storage.write(&lane_log(4, 0, &[0], vec![one.clone()])).await.unwrap();
    assert_eq!(agreement(&storage).await, (vec![0], vec![one.clone()], false));
    let forks = vec![lane.blocks[0].clone()];
    storage.write(&WriteSet { forks, ..WriteSet::default() }).await.unwrap();
    assert_eq!(agreement(&storage).await, (vec![0], vec![one], true));
}

pub async fn a_log_of_an_agreement_without_its_beginning_is_refused(url: String) {
    let storage = open(&url).await;
    storage.write(&lane_log(1, 1, &[1], Vec::new())).await.unwrap();
    assert!(matches!(storage.load().await, Err(StorageError::Damaged { .. })));
}

pub async fn evidence_is_stored_once(url: String) {
    // covers: EVD-002
    // covers: EVD-007
    let storage = open(&url).await;
    let signed = |node, number| {
        let mut log = LogWriter::new(node, 1);
        log.flush(&[Item::of(number)], 1).checkpoint
    };
    // Another pair about the same size is the same offence.
    let one = Evidence::Checkpoints(signed(1, 1), signed(1, 2));
    let same = Evidence::Checkpoints(signed(1, 1), signed(1, 3));
    let two = Evidence::Checkpoints(signed(2, 1), signed(2, 2));
    let evidence = vec![one.clone(), same.clone(), two.clone()];
    storage.write(&WriteSet { evidence, ..WriteSet::default() }).await.unwrap();
    let again = WriteSet { evidence: vec![same], ..WriteSet::default() };
    storage.write(&again).await.unwrap();
    let mut expected = vec![one, two];
    expected.sort_by_key(Evidence::offence);
    assert_eq!(storage.evidence().await.unwrap(), expected);
    assert_eq!(storage.load().await.unwrap().evidence, expected);
    let mut found: Vec<Evidence> = Vec::new();
    loop {
        let after = found.last().map(Evidence::offence);
        let page = storage.evidence_after(after, 1).await.unwrap();
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, expected);
    for evidence in expected {
        let found = storage.evidence_of(evidence.offence()).await.unwrap();
        assert_eq!(found, Some(evidence));
    }
    assert_eq!(storage.evidence_of(OffenceId([0; 32])).await.unwrap(), None);
    let none = storage.topic_page(Topic::mailbox(1), &TopicCursor::default(), 9, 9).await.unwrap();
    assert!(none.broadcast.is_empty());
}
