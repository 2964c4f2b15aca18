//! The published vectors of RFC 6962's reference tree, over every way to reach an answer.

use serde::Deserialize;
use tidings_tlog::{
    Frontier, MemoryTree, RecentTree, consistency_proof, inclusion_proof, verify_consistency,
    verify_inclusion,
};
use tidings_types::merkle::leaf_hash;
use tidings_types::{Hash, LogIndex, LogSize, merkle};

#[derive(Deserialize)]
struct File<Case> {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Roots {
    leaves: Vec<String>,
    root: String,
}

#[derive(Deserialize)]
struct Inclusion {
    leaves: Vec<String>,
    root: String,
    index: u64,
    path: Vec<String>,
    valid: bool,
}

#[derive(Deserialize)]
struct Consistency {
    leaves: Vec<String>,
    root: String,
    old_size: u64,
    old_root: String,
    proof: Vec<String>,
    valid: bool,
}

fn cases<Case: for<'de> Deserialize<'de>>(json: &str) -> Vec<Case> {
    serde_json::from_str::<File<Case>>(json).unwrap().cases
}

fn hash(text: &str) -> Hash {
    hex::decode(text).unwrap().try_into().unwrap()
}

fn hashes(texts: &[String]) -> Vec<Hash> {
    texts.iter().map(|text| hash(text)).collect()
}

fn leaf_hashes(leaves: &[String]) -> Vec<Hash> {
    leaves.iter().map(|leaf| leaf_hash(&hex::decode(leaf).unwrap())).collect()
}

#[test]
fn roots() {
    // covers: LOG-009
    let cases: Vec<Roots> = cases(include_str!("../../../../spec/vectors/merkle/roots.json"));
    for case in cases {
        let (leaves, root) = (leaf_hashes(&case.leaves), hash(&case.root));
        let mut frontier = Frontier::default();
        frontier.extend(leaves.iter().copied());
        let mut recent = RecentTree::new(&Frontier::default());
        leaves.iter().for_each(|leaf| recent.append(*leaf));
        let tree: MemoryTree = leaves.iter().copied().collect();
        assert_eq!(merkle::root(&leaves), root);
        assert_eq!(frontier.root(), root);
        assert_eq!(recent.root(), root);
        assert_eq!(tree.root_at(tree.size()), Some(root));
    }
}

#[test]
fn inclusion() {
    // covers: LOG-010
    let cases: Vec<Inclusion> =
        cases(include_str!("../../../../spec/vectors/merkle/inclusion.json"));
    for case in cases {
        let (leaves, path) = (leaf_hashes(&case.leaves), hashes(&case.path));
        let (index, size) = (LogIndex(case.index), LogSize(leaves.len() as u64));
        let leaf = leaves[case.index as usize];
        let verdict = verify_inclusion(leaf, index, size, &hash(&case.root), &path);
        assert_eq!(verdict.is_ok(), case.valid);
        let tree: MemoryTree = leaves.into_iter().collect();
        assert_eq!(inclusion_proof(&tree, index, size) == Ok(path), case.valid);
    }
}

#[test]
fn consistency() {
    // covers: LOG-010
    let cases: Vec<Consistency> =
        cases(include_str!("../../../../spec/vectors/merkle/consistency.json"));
    for case in cases {
        let (leaves, proof) = (leaf_hashes(&case.leaves), hashes(&case.proof));
        let (old, new) = (LogSize(case.old_size), LogSize(leaves.len() as u64));
        let (old_root, root) = (hash(&case.old_root), hash(&case.root));
        let verdict = verify_consistency((old, &old_root), (new, &root), &proof);
        assert_eq!(verdict.is_ok(), case.valid);
        let tree: MemoryTree = leaves.into_iter().collect();
        let made = consistency_proof(&tree, old, new) == Ok(proof);
        assert_eq!(made && tree.root_at(old) == Some(old_root), case.valid);
    }
}
