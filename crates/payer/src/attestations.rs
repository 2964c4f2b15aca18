//! Who attested which report, and what those who came to another one differ in.

use std::collections::BTreeMap;

use tidings_envelope::{Registry, ReportAttestation, SignedAttestation, UsageReport};
use tidings_types::{NetworkId, NodeId, Period};

/// What members attested of each period.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attestations {
    by_period: BTreeMap<Period, BTreeMap<NodeId, ReportAttestation>>,
}

impl Attestations {
    /// Takes an attestation whose signature was verified; a member's first for a period counts.
    pub fn note(&mut self, attested: ReportAttestation) {
        let of_period = self.by_period.entry(attested.report.last).or_default();
        of_period.entry(attested.attestation.node).or_insert(attested);
    }

    /// Those who attested exactly `report`, by node.
    #[must_use]
    pub fn of(&self, report: &UsageReport) -> Vec<SignedAttestation> {
        let of_period = self.by_period.get(&report.last);
        let all = of_period.into_iter().flat_map(BTreeMap::values);
        all.filter(|it| it.report == *report).map(|it| it.attestation).collect()
    }

    /// Those of the committee of `registry`, the snapshot of the report's epoch, who attested
    /// `report`, once they are so many that a contract takes it (SET-002).
    #[must_use]
    pub fn quorum(
        &self,
        report: &UsageReport,
        registry: &Registry,
        network: NetworkId,
    ) -> Option<Vec<SignedAttestation>> {
        let committee = registry.committee(report.shard);
        let digest = report.digest(network);
        let counts = |it: &SignedAttestation| {
            let node = registry.node(it.node);
            committee.contains(&it.node)
                && node.is_some_and(|node| it.verify(digest, node.signing).is_ok())
        };
        let attested: Vec<_> = self.of(report).into_iter().filter(counts).collect();
        let enough = attested.len() >= registry.certificate_quorum(report.shard);
        enough.then_some(attested)
    }

    /// The members that attested something else for the period of `report`, with the first thing
    /// that differs.
    #[must_use]
    pub fn differing(&self, report: &UsageReport) -> Vec<(NodeId, &'static str)> {
        let of_period = self.by_period.get(&report.last);
        let all = of_period.into_iter().flat_map(BTreeMap::iter);
        all.filter_map(|(node, it)| Some((*node, report.first_difference(&it.report)?))).collect()
    }

    /// Forgets periods before `period`.
    pub fn forget_before(&mut self, period: Period) {
        self.by_period = self.by_period.split_off(&period);
    }
}
