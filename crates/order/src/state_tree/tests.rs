//! The tree against its definition, and against the crate that the definition is from.

use std::collections::BTreeMap;

use jmt::storage::{LeafNode, Node, NodeKey, TreeReader, TreeUpdateBatch};
use jmt::{JellyfishMerkleTree, KeyHash, OwnedValue, SimpleHasher, Version};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use tidings_types::sparse_merkle::{root_from_path, shared_depth};

use super::*;

/// The root by its definition: no leaf, one leaf, or two halves.
fn defined(entries: &[(Hash, Hash)], depth: usize) -> Hash {
    match entries {
        [] => *b"SPARSE_MERKLE_PLACEHOLDER_HASH__",
        [(key, value)] => Sha256::digest([&b"JMT::LeafNode"[..], key, value].concat()).into(),
        _ => {
            let right = |key: &Hash| key[depth / 8] >> (7 - depth % 8) & 1 == 1;
            let (ones, zeros): (Vec<_>, Vec<_>) = entries.iter().partition(|(key, _)| right(key));
            let (left, right) = (defined(&zeros, depth + 1), defined(&ones, depth + 1));
            Sha256::digest([&b"JMT::IntrnalNode"[..], &left, &right].concat()).into()
        }
    }
}

/// The crate's hasher, given values that are hashes already.
struct Sha256OfHashes(Sha256);

impl SimpleHasher for Sha256OfHashes {
    fn new() -> Self {
        Self(Digest::new())
    }

    fn update(&mut self, data: &[u8]) {
        Digest::update(&mut self.0, data);
    }

    fn finalize(self) -> Hash {
        Digest::finalize(self.0).into()
    }

    fn hash(data: impl AsRef<[u8]>) -> Hash {
        data.as_ref().try_into().unwrap()
    }
}

/// Where the crate keeps its nodes.
#[derive(Default)]
struct Nodes(BTreeMap<NodeKey, Node>);

type Found<T> = Result<Option<T>, anyhow::Error>;

impl TreeReader for Nodes {
    fn get_node_option(&self, key: &NodeKey) -> Found<Node> {
        Ok(self.0.get(key).cloned())
    }

    fn get_value_option(&self, _: Version, _: KeyHash) -> Found<OwnedValue> {
        Ok(None)
    }

    fn get_rightmost_leaf(&self) -> Found<(NodeKey, LeafNode)> {
        Ok(None)
    }
}

impl Nodes {
    fn put(&mut self, changes: &BTreeMap<Hash, Option<Hash>>, version: Version) -> Hash {
        let changes = changes.iter().map(|(key, value)| {
            let value = value.map(|value| value.to_vec());
            (KeyHash(*key), value)
        });
        let tree = JellyfishMerkleTree::<_, Sha256OfHashes>::new(self);
        let (root, TreeUpdateBatch { node_batch, stale_node_index_batch, .. }) =
            tree.put_value_set(changes, version).unwrap();
        let nodes = node_batch.nodes().iter().map(|(key, node)| (key.clone(), node.clone()));
        self.0.extend(nodes.collect::<Vec<_>>());
        for stale in stale_node_index_batch {
            self.0.remove(&stale.node_key);
        }
        root.0
    }
}

/// Keys of which many share a long way: bytes of few values, mostly zero.
fn key() -> impl Strategy<Value = Hash> {
    let byte = prop_oneof![4 => Just(0u8), 1 => Just(1u8), 1 => Just(0x80u8)];
    let near = prop::collection::vec(byte, 32).prop_map(|bytes| bytes.try_into().unwrap());
    prop_oneof![
        near,
        (any::<u8>(), any::<u8>()).prop_map(|(first, last)| {
            let mut key = [0; 32];
            (key[0], key[31]) = (first, last);
            key
        })
    ]
}

type Block = BTreeMap<Hash, Option<Hash>>;

fn block() -> impl Strategy<Value = Block> {
    let value = prop::option::weighted(0.7, any::<u8>().prop_map(|byte| [byte; 32]));
    prop::collection::btree_map(key(), value, 0..20)
}

/// What a block removes is mostly there.
fn history() -> impl Strategy<Value = Vec<Block>> {
    prop::collection::vec(block(), 1..12).prop_perturb(|mut blocks, mut random| {
        let keys: Vec<Hash> = blocks.iter().flat_map(BTreeMap::keys).copied().collect();
        for block in &mut blocks {
            for key in keys.iter().filter(|_| random.random::<u8>() < 32) {
                block.insert(*key, None);
            }
        }
        blocks
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn roots_are_those_of_the_definition_and_of_the_crate(blocks in history()) {
        // covers: ORD-030
        let (mut tree, mut entries, mut nodes) =
            (StateTree::default(), BTreeMap::new(), Nodes::default());
        for (version, block) in (0..).zip(&blocks) {
            let before = tree.clone();
            tree = tree.with(block);
            for (key, value) in block {
                match value {
                    Some(value) => entries.insert(*key, *value),
                    None => entries.remove(key),
                };
            }
            let listed: Vec<_> = entries.clone().into_iter().collect();
            prop_assert_eq!(tree.root(), defined(&listed, 0));
            prop_assert_eq!(tree.root(), nodes.put(block, version));
            // A tree made at once from what is there is the same.
            let whole = entries.iter().map(|(key, value)| (*key, Some(*value))).collect();
            prop_assert_eq!(&StateTree::default().with(&whole), &tree);
            // The version before is as it was.
            prop_assert_eq!(before.with(block).root(), tree.root());
        }
    }

    #[test]
    fn every_key_has_a_path_to_the_root(blocks in history(), others in prop::collection::vec(key(), 10)) {
        // covers: ORD-030
        let tree = blocks.iter().fold(StateTree::default(), |tree, block| tree.with(block));
        let mut entries = BTreeMap::new();
        entries.extend(blocks.into_iter().flatten());
        let keys: Vec<Hash> = entries.keys().copied().chain(others).collect();
        for key in keys {
            let TreePath { leaf, siblings } = tree.path(&key);
            let held = leaf.filter(|(there, _)| *there == key).map(|(_, value)| value);
            prop_assert_eq!(held, entries.get(&key).copied().flatten());
            let hash = leaf.map_or(EMPTY, |(key, value)| leaf_hash(&key, &value));
            prop_assert_eq!(root_from_path(&key, hash, &siblings), Some(tree.root()));
            // Whatever else lies there is all there is on the key's way.
            prop_assert!(leaf.is_none_or(|(there, _)| shared_depth(&there, &key) >= siblings.len()));
        }
    }
}

#[test]
fn what_is_not_there_is_removed_without_a_trace() {
    let one = StateTree::default().with(&BTreeMap::from([([1; 32], Some([1; 32]))]));
    let two = one.with(&BTreeMap::from([([2; 32], None)]));
    assert_eq!(one, two);
    assert_eq!(one.with(&BTreeMap::from([([1; 32], None)])), StateTree::default());
    assert_eq!(one.with(&BTreeMap::new()), one);
    assert_ne!(one, StateTree::default());
}
