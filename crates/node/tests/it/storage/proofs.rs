//! Proofs are made from tiles: the same as those of the whole tree, without reading it.

use tidings_node::storage::Storage;
use tidings_tlog::{MemoryTree, ProofPlan};
use tidings_types::{LogIndex, LogSize};

use super::fixture::{Item, LogWriter, execute, open};

/// Every kind of proof in a log of `size` entries is that of the whole tree.
async fn check(storage: &Storage, log: &LogWriter, size: u64) {
    let tree: MemoryTree = log.entries.iter().map(|entry| entry.hash.0).collect();
    for place in [0, size / 3, size / 2, size - 1] {
        let inclusion = ProofPlan::inclusion(LogIndex(place), LogSize(size)).unwrap();
        let consistency = ProofPlan::consistency(LogSize(place), LogSize(size)).unwrap();
        for plan in [inclusion, consistency] {
            let proof = storage.prove(log.log, &plan).await.unwrap();
            assert_eq!(proof, Some(plan.build(&tree).unwrap()), "{place} of {size}");
        }
    }
}

pub async fn proofs_are_those_of_the_whole_tree(url: String) {
    let mut storage = open(&url).await;
    let mut log = LogWriter::new(1, 1);
    let mut sizes = Vec::new();
    for count in [1, 1, 200, 53, 1, 300, 400] {
        storage.write(&log.write_set(&vec![Item::of(1); count], 1)).await.unwrap();
        sizes.push(log.entries.len() as u64);
        for size in &sizes {
            check(&storage, &log, *size).await;
        }
        // Now and then the tree is gone on with after a start.
        if count == 53 || count == 300 {
            storage.close().await;
            storage = open(&url).await;
        }
    }
    let beyond = ProofPlan::inclusion(LogIndex(0), LogSize(957)).unwrap();
    assert_eq!(storage.prove(log.log, &beyond).await.unwrap(), None);
    let unknown = LogWriter::new(1, 2).log;
    assert_eq!(storage.prove(unknown, &beyond).await.unwrap(), None);
    for size in sizes {
        for index in [0, size / 2, size - 1] {
            let (index, size) = (LogIndex(index), LogSize(size));
            let proof = storage.inclusion(log.log, index, size).await.unwrap().unwrap();
            assert!(proof.holds() && proof.header == log.entries[index.0 as usize].header);
        }
    }
    let between = storage.inclusion(log.log, LogIndex(0), LogSize(100)).await.unwrap();
    assert_eq!(between, None, "no checkpoint was signed at that size");
}

pub async fn proofs_do_not_read_the_leaves(url: String) {
    let storage = open(&url).await;
    let mut log = LogWriter::new(1, 1);
    storage.write(&log.write_set(&vec![Item::of(1); 600], 1)).await.unwrap();
    // What is in full tiles is in no other row.
    execute(&url, "DELETE FROM entries WHERE key % 1099511627776 < 512").await;
    check(&storage, &log, 600).await;
}

pub async fn stores_of_an_earlier_format_get_their_tiles(url: String) {
    let storage = open(&url).await;
    let (mut log, mut other) = (LogWriter::new(1, 1), LogWriter::new(2, 1));
    storage.write(&log.write_set(&vec![Item::of(1); 9000], 1)).await.unwrap();
    storage.write(&other.write_set(&[Item::of(1); 2], 1)).await.unwrap();
    storage.close().await;
    execute(&url, "DELETE FROM tiles").await;
    execute(&url, "UPDATE logs SET tiled = 0").await;
    let storage = open(&url).await;
    check(&storage, &log, 9000).await;
    storage.write(&log.write_set(&vec![Item::of(1); 700], 2)).await.unwrap();
    check(&storage, &log, 9700).await;
    check(&storage, &other, 2).await;
}
