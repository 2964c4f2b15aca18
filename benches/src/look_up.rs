//! What a proven look-up costs when there are a million inboxes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidings_envelope::{
    BlockHeader, Certificate, CommitSignature, Registry, StateContent, StateKey, StateProof,
};
use tidings_order::StateTree;
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{
    BlockHash, BoundedVec, Hash, Height, InboxId, NodeId, Period, Round, ShardId, Wire,
    labelled_hash,
};

use crate::committee::{NODES, node_key, registry};
use crate::report::{Figure, Section};

const INBOXES: u64 = 1_000_000;

/// How often a proof is verified; the median counts.
const REPEATS: u64 = 201;

/// Measures proofs of presence and of absence.
///
/// # Errors
/// When a proof does not verify.
pub fn run() -> Result<Section> {
    let changes: BTreeMap<Hash, Option<Hash>> =
        (0..INBOXES).filter_map(|number| Some((inbox(number).path()?, Some([7; 32])))).collect();
    let tree = StateTree::default().with(&changes);
    let registry = registry()?;
    let (mut sizes, mut times) = (Vec::new(), Vec::new());
    for number in 0..REPEATS {
        // Every other one is of an inbox that is not there.
        let key = inbox(number * (INBOXES / REPEATS) + (number % 2) * INBOXES);
        let proof = prove(&tree, key, &registry)?;
        sizes.push(proof.to_wire().len());
        let begun = Instant::now();
        let content = proof.verify(registry.network_id(), &registry)?;
        times.push(begun.elapsed());
        let is_there = content != StateContent::Absent;
        ensure!(is_there == (number % 2 == 0), "the proof of {number} says something else");
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or(Duration::MAX);
    let largest = sizes.into_iter().max().unwrap_or_default();
    Ok(Section {
        title: "Proven look-up",
        method: format!(
            "In one process: a state of {INBOXES} inboxes, certified by a quorum of {NODES} nodes; \
             {REPEATS} proofs, every other one of absence, each verified whole; the largest proof \
             and the median time."
        ),
        figures: vec![
            Figure {
                name: "size of a proof".into(),
                value: format!("{largest} B"),
                target: "< 2,048",
            },
            Figure {
                name: "verify a proof".into(),
                value: format!("{} µs", median.as_micros()),
                target: "< 200",
            },
        ],
    })
}

fn inbox(number: u64) -> StateKey {
    StateKey::Inbox(InboxId(labelled_hash("bench inbox", &[&number.to_be_bytes()])))
}

fn prove(tree: &StateTree, key: StateKey, registry: &Registry) -> Result<StateProof> {
    let place = key.path().context("the key has a place")?;
    let branch = tree.branch(&place).context("the tree is not that deep")?;
    let header = BlockHeader {
        version: PROTOCOL_VERSION,
        shard: ShardId(0),
        height: Height(9),
        parent: BlockHash([1; 32]),
        period: Period(3),
        chain_reference: None,
        registry_epoch: registry.epoch,
        next_epoch: registry.epoch,
        next_committee: registry.committee_hash(ShardId(0)),
        operations_count: 1,
        operations_root: [2; 32],
        state_root: tree.root(),
    };
    let voters = 1..=u8::try_from(registry.certificate_quorum(ShardId(0)))?;
    let vote = |number: u8| {
        let (node, key) = (NodeId(number.into()), node_key(number)?);
        anyhow::Ok(CommitSignature::sign(node, &header, Round(0), &key, registry.network_id()))
    };
    let signatures: Result<Vec<_>> = voters.map(vote).collect();
    let signatures = BoundedVec::new(signatures?)?;
    let certificate = Certificate { round: Round(0), signatures };
    Ok(StateProof { version: PROTOCOL_VERSION, key, branch, header, certificate })
}
