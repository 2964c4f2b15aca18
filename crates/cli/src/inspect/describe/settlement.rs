//! Settlement: what members state, and the reports that they attest.

use tidings_envelope::{
    PeerService, PeriodStatement, ReportAttestation, Service, SignedAttestation, UsageReport,
};

use super::Describe;
use crate::inspect::tree::{Tree, record};

impl Describe for Service {
    fn describe(&self) -> Tree {
        record! {
            "reachability_permille" => self.reachability_permille,
            "acknowledgement_ms" => self.acknowledgement_ms,
            "cadence_permille" => self.cadence_permille,
            "served_permille" => self.served_permille,
        }
    }
}

impl Describe for PeerService {
    fn describe(&self) -> Tree {
        record! { "node" => self.node, "service" => self.service }
    }
}

impl Describe for PeriodStatement {
    fn describe(&self) -> Tree {
        record! {
            "version" => self.version,
            "node" => self.node,
            "shard" => self.shard,
            "period" => self.period,
            "held" => self.held,
            "measured" => self.measured,
            "taken" => self.taken,
            "signature" => self.signature,
        }
    }
}

impl Describe for UsageReport {
    fn describe(&self) -> Tree {
        record! {
            "version" => self.version,
            "shard" => self.shard,
            "first" => self.first,
            "last" => self.last,
            "epoch" => self.epoch,
            "previous" => hex::encode(self.previous.0).as_str(),
            "ranges" => self.ranges,
            "usage" => self.usage,
            "earnings" => self.earnings,
            "measurements" => self.measurements,
            "billed" => self.billed.0.to_string().as_str(),
        }
    }
}

impl Describe for SignedAttestation {
    fn describe(&self) -> Tree {
        record! { "node" => self.node, "signature" => self.signature }
    }
}

impl Describe for ReportAttestation {
    fn describe(&self) -> Tree {
        record! { "report" => self.report, "attestation" => self.attestation }
    }
}
