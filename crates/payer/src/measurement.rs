//! What peers measured of each other's service, and the median that a report states.

use std::collections::BTreeMap;

use tidings_envelope::Service;
use tidings_types::{Hash, NodeId};

use crate::settlement_tree::{SettlementTree, leaf_hash, word};

/// What a report says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Measurement {
    /// Which node.
    pub node: NodeId,
    /// The median over its peers.
    pub service: Service,
}

/// The medians, figure by figure, of what the committee's members say of each other and of who is on
/// trial (SET-007).
///
/// `said` is by who says it and of whom; what a node says of itself does not count. Of an even
/// number of figures the one that is worse for the node counts, so that half of a committee cannot
/// make a bad node look good.
/// A node of which fewer than `needed` speak is left out: with twice as many honest members as
/// others, and one more, the median lies between what honest ones say.
#[must_use]
pub fn medians(said: &BTreeMap<(NodeId, NodeId), Service>, needed: usize) -> Vec<Measurement> {
    let mut of: BTreeMap<NodeId, Vec<Service>> = BTreeMap::new();
    for ((by, node), service) in said.iter().filter(|((by, node), _)| by != node) {
        debug_assert_ne!(by, node);
        of.entry(*node).or_default().push(*service);
    }
    let known = of.into_iter().filter(|(_, said)| said.len() >= needed);
    known.map(|(node, said)| Measurement { node, service: median(&said) }).collect()
}

fn median(said: &[Service]) -> Service {
    let low = |figure: fn(&Service) -> u32| {
        let mut figures: Vec<u32> = said.iter().map(figure).collect();
        figures.sort_unstable();
        figures.get(figures.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    };
    let high = |figure: fn(&Service) -> u32| {
        let mut figures: Vec<u32> = said.iter().map(figure).collect();
        figures.sort_unstable();
        figures.get(figures.len() / 2).copied().unwrap_or_default()
    };
    Service {
        reachability_permille: low(|service| service.reachability_permille),
        acknowledgement_ms: high(|service| service.acknowledgement_ms),
        cadence_permille: low(|service| service.cadence_permille),
        served_permille: low(|service| service.served_permille),
    }
}

/// The tree over measurements (SET-005).
#[must_use]
pub fn measurement_tree(measurements: &[Measurement]) -> SettlementTree {
    SettlementTree::new(measurements.iter().map(measurement_leaf).collect())
}

/// The leaf of a measurement: node and its four figures (SET-005).
#[must_use]
pub fn measurement_leaf(of: &Measurement) -> Hash {
    let Service { reachability_permille, acknowledgement_ms, cadence_permille, served_permille } =
        of.service;
    let figures =
        [of.node.0, reachability_permille, acknowledgement_ms, cadence_permille, served_permille];
    leaf_hash(&figures.map(|figure| word(figure.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(permille: u32, ms: u32) -> Service {
        Service {
            reachability_permille: permille,
            acknowledgement_ms: ms,
            cadence_permille: permille,
            served_permille: permille,
        }
    }

    #[test]
    fn medians_are_by_figure_and_in_doubt_against_the_node() {
        // covers: SET-007
        let said = [(1, 900, 30), (2, 1_000, 10), (3, 100, 5_000), (4, 950, 20)];
        let of = |node: u32, said: &[(u32, u32, u32)]| {
            said.iter()
                .map(|(by, permille, ms)| ((NodeId(*by), NodeId(node)), service(*permille, *ms)))
                .collect::<BTreeMap<_, _>>()
        };
        let expect = |measured: Vec<Measurement>, permille, ms| {
            let expected = Measurement { node: NodeId(9), service: service(permille, ms) };
            assert_eq!(measured, [expected]);
        };
        expect(medians(&of(9, &said[..3]), 3), 900, 30);
        expect(medians(&of(9, &said), 3), 900, 30);
        // Nobody judges itself, and few judge nobody.
        assert_eq!(medians(&of(1, &said[..1]), 1), []);
        assert_eq!(medians(&of(9, &said[..2]), 3), []);
    }
}
