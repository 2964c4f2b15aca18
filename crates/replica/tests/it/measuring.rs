//! What members say of each other's service.

use tidings_envelope::{Operation, PeriodStatement};
use tidings_types::NodeId;

use crate::cluster::Cluster;

/// The statements that a node has on record.
fn statements(cluster: &Cluster, node: NodeId) -> Vec<PeriodStatement> {
    let operations = cluster.disks[&node].blocks.iter().flat_map(|it| it.block.operations.iter());
    let statement = |operation: &Operation| match operation {
        Operation::Statement(statement) => Some((**statement).clone()),
        _ => None,
    };
    operations.filter_map(|decided| statement(&decided.operation)).collect()
}

#[test]
fn who_has_nothing_to_tell_serves_well() {
    // covers: SET-007
    let mut cluster = Cluster::new(4);
    cluster.run(45_000);
    let stated = statements(&cluster, NodeId(1));
    let measured: Vec<_> = stated.iter().flat_map(|it| it.measured.iter()).collect();
    assert!(measured.len() >= 4 * 3 * 3, "{}", measured.len());
    for peer in measured {
        let service = peer.service;
        assert!(service.cadence_permille >= 900, "{peer:?}");
        assert_eq!((service.reachability_permille, service.served_permille), (1_000, 1_000));
    }
}

#[test]
fn who_is_dead_does_not() {
    // covers: SET-007
    let mut cluster = Cluster::new(4);
    cluster.kill(NodeId(3));
    cluster.run(45_000);
    let stated = statements(&cluster, NodeId(1));
    let of_it = stated.iter().flat_map(|it| it.measured.iter()).filter(|it| it.node == NodeId(3));
    let of_it: Vec<_> = of_it.collect();
    assert!(of_it.len() >= 3 * 3, "{}", of_it.len());
    assert!(of_it.iter().all(|peer| peer.service.reachability_permille == 0), "{of_it:?}");
}
