//! Committees change between registry epochs, at a height that the old one agrees on.

use std::sync::Arc;

use tidings_envelope::Registry;
use tidings_types::{NodeId, RegistryEpoch, ShardId};

use crate::network::Committee;

/// A registry of the next epoch in which some nodes take no part.
fn without(committee: &Committee, epoch: u64, inactive: &[u32]) -> Arc<Registry> {
    let mut registry = committee.registry.clone();
    registry.epoch = RegistryEpoch(epoch);
    for node in &mut registry.nodes {
        node.active = !inactive.contains(&node.id.0);
    }
    Arc::new(registry)
}

fn order_one(committee: &mut Committee, node: u32, text: &[u8]) {
    let operation = committee.envelope(9, None, text);
    committee.submit(NodeId(node), operation.clone());
    committee.run();
    committee.pass_until(|committee| !committee.outcomes_of(&operation).is_empty());
}

#[test]
fn a_committee_hands_over_to_the_next_epochs() {
    // covers: ORD-013
    // covers: TOP-009
    let mut committee = Committee::new(5);
    let next = without(&committee, 2, &[5]);
    committee.registries.insert(next.clone()).unwrap();
    order_one(&mut committee, 1, b"the last of the old committee");
    let last = committee.history().pop().unwrap().block.header;
    assert_eq!((last.registry_epoch, last.next_epoch), (RegistryEpoch(1), RegistryEpoch(2)));
    assert_eq!(last.next_committee, next.committee_hash(ShardId(0)));
    order_one(&mut committee, 2, b"the first of the new one");
    let certified = committee.history().pop().unwrap();
    assert_eq!(certified.block.header.registry_epoch, RegistryEpoch(2));
    let voters: Vec<NodeId> =
        certified.certificate.signatures.iter().map(|commit| commit.node).collect();
    assert!(!voters.contains(&NodeId(5)));
    certified.certificate.verify(&certified.block.header, committee.network, &next).unwrap();
    // It follows all the same.
    assert_eq!(committee.state(NodeId(5)), &committee.state(NodeId(1)).clone());
}

#[test]
fn too_many_seats_do_not_change_at_once() {
    // covers: ORD-013
    let mut committee = Committee::new(7);
    let far = without(&committee, 2, &[1, 2, 3]);
    committee.registries.insert(far).unwrap();
    order_one(&mut committee, 1, b"not yet");
    assert_eq!(committee.state(NodeId(1)).epoch(), RegistryEpoch(1));
    let near = without(&committee, 3, &[1]);
    committee.registries.insert(near).unwrap();
    order_one(&mut committee, 2, b"now");
    assert_eq!(committee.state(NodeId(2)).epoch(), RegistryEpoch(3));
}
