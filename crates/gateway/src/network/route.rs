//! Which node carries a batch: the nearest that serves, then the committee's own order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tidings_types::{NodeId, Period};

/// How much of the measured latency is memory: one part in this many is the last measurement.
const LATENCY_PARTS: u32 = 4;

/// What the gateway has seen of one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeHealth {
    /// Whether the last call succeeded and the node said that it serves.
    pub healthy: bool,
    /// Smoothed time of a status look-up; none before the first.
    pub latency: Option<Duration>,
    /// The period that the node named last.
    pub period: Option<Period>,
    /// Left alone until then, because it lied (GTW-007).
    pub distrusted_until: Option<Instant>,
}

impl NodeHealth {
    /// Enters an answered status look-up.
    pub fn answered(&mut self, ready: bool, period: Period, took: Duration) {
        self.healthy = ready;
        self.period = Some(period);
        self.latency = Some(
            self.latency
                .map_or(took, |before| (before * (LATENCY_PARTS - 1) + took) / LATENCY_PARTS),
        );
    }

    /// Whether the node is left alone at `now`.
    #[must_use]
    pub fn is_distrusted(&self, now: Instant) -> bool {
        self.distrusted_until.is_some_and(|until| now < until)
    }
}

/// Health by node.
pub type HealthTable = BTreeMap<NodeId, NodeHealth>;

/// The best node of `committee` that is not in `tried` (GTW-006).
///
/// Healthy nodes come first, by rising latency; then the others, since the last look may be out of
/// date; among equals the committee's order decides. Liars are left out.
#[must_use]
pub fn choose(
    committee: &[NodeId],
    health: &HealthTable,
    tried: &BTreeSet<NodeId>,
    now: Instant,
) -> Option<NodeId> {
    let candidates = committee.iter().enumerate().filter_map(|(place, node)| {
        let seen = health.get(node).copied().unwrap_or_default();
        let usable = !tried.contains(node) && !seen.is_distrusted(now);
        let latency = seen.latency.unwrap_or(Duration::MAX);
        usable.then_some(((!seen.healthy, latency, place), *node))
    });
    candidates.min().map(|(_, node)| node)
}

/// The period that most of the healthy nodes have reached: their median, so that a minority that
/// lies moves nothing. When none is healthy, what was heard last counts.
#[must_use]
pub fn median_period(health: &HealthTable) -> Option<Period> {
    let named = |healthy: bool| {
        let nodes = health.values().filter(move |seen| seen.healthy == healthy);
        nodes.filter_map(|seen| seen.period)
    };
    let mut periods: Vec<_> = named(true).collect();
    if periods.is_empty() {
        periods = named(false).collect();
    }
    periods.sort_unstable();
    periods.get(periods.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTEE: [NodeId; 4] = [NodeId(3), NodeId(1), NodeId(4), NodeId(2)];

    fn seen(healthy: bool, latency_ms: Option<u64>, period: u64) -> NodeHealth {
        NodeHealth {
            healthy,
            latency: latency_ms.map(Duration::from_millis),
            period: Some(Period(period)),
            distrusted_until: None,
        }
    }

    fn check(table: &[(u32, NodeHealth)], tried: &[u32], expected: Option<u32>) {
        let health = table.iter().map(|(id, seen)| (NodeId(*id), *seen)).collect();
        let tried = tried.iter().copied().map(NodeId).collect();
        let found = choose(&COMMITTEE, &health, &tried, Instant::now());
        assert_eq!(found, expected.map(NodeId));
    }

    #[test]
    fn the_nearest_node_then_the_committees_order() {
        // covers: GTW-006
        check(&[], &[], Some(3));
        check(&[(4, seen(true, Some(2), 1)), (2, seen(true, Some(1), 1))], &[], Some(2));
        check(&[(4, seen(true, Some(2), 1)), (2, seen(true, Some(1), 1))], &[2], Some(4));
        check(&[(4, seen(true, Some(2), 1)), (2, seen(true, Some(1), 1))], &[2, 4], Some(3));
        // A dead node is the last resort, however near it was.
        check(&[(3, seen(false, Some(1), 1)), (1, seen(true, Some(9), 1))], &[], Some(1));
        check(&[(3, seen(false, Some(1), 1))], &[1, 2, 4], Some(3));
        check(&[], &[1, 2, 3, 4], None);
        // Who is not in the committee is not asked.
        check(&[(9, seen(true, Some(0), 1))], &[], Some(3));
    }

    #[test]
    fn liars_are_left_alone_for_a_while() {
        // covers: GTW-007
        let now = Instant::now();
        let until = now + Duration::from_secs(1);
        let liar = NodeHealth { distrusted_until: Some(until), ..seen(true, Some(1), 1) };
        let health = HealthTable::from([(NodeId(3), liar)]);
        let choose = |at| choose(&COMMITTEE[..1], &health, &BTreeSet::new(), at);
        assert_eq!(choose(now), None);
        assert_eq!(choose(until), Some(NodeId(3)));
    }

    #[test]
    fn a_minority_does_not_move_the_period() {
        let median = |periods: &[u64]| {
            let nodes = (1..).zip(periods);
            let table = nodes.map(|(id, period)| (NodeId(id), seen(true, None, *period)));
            median_period(&table.collect())
        };
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7]), Some(Period(7)));
        assert_eq!(median(&[7, 7, 8, 1_000_000]), Some(Period(7)));
        assert_eq!(median(&[0, 7, 7]), Some(Period(7)));
        let lost = HealthTable::from([(NodeId(1), seen(false, None, 7))]);
        assert_eq!(median_period(&lost), Some(Period(7)));
    }

    #[test]
    fn latency_is_smoothed() {
        let mut health = NodeHealth::default();
        health.answered(true, Period(1), Duration::from_millis(4));
        assert_eq!(health.latency, Some(Duration::from_millis(4)));
        health.answered(true, Period(1), Duration::from_millis(8));
        assert_eq!(health.latency, Some(Duration::from_millis(5)));
    }
}
