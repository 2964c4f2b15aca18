//! What holds of a structure once the registry says who may sign.

use rand::rngs::OsRng;
use serde::Serialize;
use tidings_envelope::api::{
    AcknowledgedCheckpoint, BlockPage, LogPage, NewestQuery, NodeFrame, PublishRequest,
    PublishResponse, SendRequest, SendResponse, SendResult, SubscriberFrame, TopicPage, TopicQuery,
};
use tidings_envelope::{
    AckLevel, CertifiedBlock, ClientEnvelope, EntryHeader, Evidence, LogEntry, LogId, Operation,
    OrderedReceipt, ParsedEnvelope, PayerBatch, PayerEnvelope, Receipt, Registry,
    SignedAcknowledgement, SignedCheckpoint,
};
use tidings_identity::{IdentityUpdate, ParsedUpdate};
use tidings_payer::{Verdict, VerdictContext, judge};
use tidings_types::Wire;

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked.
    pub what: String,
    /// Whether it holds.
    pub holds: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Finding {
    fn of<E: std::fmt::Display>(what: impl Into<String>, result: Result<(), E>) -> Self {
        let reason = result.err().map(|error| error.to_string());
        Self { what: what.into(), holds: reason.is_none(), reason }
    }

    /// The finding as a line.
    pub fn words(&self) -> String {
        match &self.reason {
            None => format!("{}: holds", self.what),
            Some(reason) => format!("{}: DOES NOT HOLD: {reason}", self.what),
        }
    }
}

/// A structure that can be checked.
pub trait Check {
    /// What was checked; empty when nothing can be.
    fn check(&self, registry: &Registry) -> Vec<Finding>;
}

macro_rules! nothing_to_check {
    ($($name:ty),*) => {
        $(impl Check for $name {
            fn check(&self, _: &Registry) -> Vec<Finding> {
                Vec::new()
            }
        })*
    };
}

// Some hold no signature, the others sign over something that is not among their bytes.
nothing_to_check!(
    EntryHeader,
    NewestQuery,
    PublishResponse,
    SignedAcknowledgement,
    SubscriberFrame,
    TopicQuery
);

impl Check for ClientEnvelope {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        let form = ParsedEnvelope::check(self.clone()).map(|_| ());
        let mut findings = vec![Finding::of("form", form)];
        if let Some(statement) = self.statement(registry.network_id()) {
            findings.push(Finding::of("write proof", statement.verify()));
        }
        findings
    }
}

impl Check for PayerBatch {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        let valid = self.signature_is_valid(registry.network_id());
        let signed = if valid { Ok(()) } else { Err("not signed by its session key") };
        let known = registry.session_key_is_known(self.header.payer, &self.header.session_key);
        let known = if known { Ok(()) } else { Err("not a key of the payer's") };
        vec![Finding::of("payer's signature", signed), Finding::of("session key", known)]
    }
}

impl Check for PayerEnvelope {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        let mut findings = self.envelope.check(registry);
        findings.extend(self.batch.check(registry));
        let covered = if self.is_covered() { Ok(()) } else { Err("not under the batch's root") };
        findings.push(Finding::of("place in the batch", covered));
        findings
    }
}

impl Check for LogEntry {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        let opened = match (&self.payload, self.open()) {
            (None, _) => return Vec::new(),
            (Some(_), Some(envelope)) => envelope,
            (Some(_), None) => {
                let broken: Result<(), _> = Err("not the payload that the header was built over");
                return vec![Finding::of("payload", broken)];
            }
        };
        opened.check(registry)
    }
}

impl Check for SignedCheckpoint {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        let node = self.checkpoint.log.node;
        let result = match registry.node(node) {
            None => Err(format!("node {node} is not in the registry")),
            Some(record) => self
                .verify(registry.network_id(), record.signing)
                .map_err(|error| error.to_string()),
        };
        vec![Finding::of("checkpoint's signature", result)]
    }
}

impl Check for AcknowledgedCheckpoint {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        let network = registry.network_id();
        let digest = self.checkpoint.checkpoint.digest(network);
        let mut findings = self.checkpoint.check(registry);
        for acknowledgement in self.acknowledgements.iter() {
            let replica = acknowledgement.replica;
            let result = match registry.node(replica) {
                None => Err("not in the registry".to_owned()),
                Some(record) => acknowledgement
                    .verify(digest, network, record.signing)
                    .map_err(|error| error.to_string()),
            };
            findings.push(Finding::of(format!("acknowledgement of node {replica}"), result));
        }
        findings
    }
}

impl Check for Receipt {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        let network = registry.network_id();
        let level = |level| self.verify(network, registry, level);
        vec![
            Finding::of("receipt, local", level(AckLevel::Local)),
            Finding::of("receipt, replicated", level(AckLevel::Replicated)),
        ]
    }
}

impl Check for OrderedReceipt {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        vec![Finding::of("ordered receipt", self.verify(registry.network_id(), registry))]
    }
}

impl Check for CertifiedBlock {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        let header = &self.block.header;
        let consistent = self.block.is_consistent();
        let root = if consistent { Ok(()) } else { Err("its root does not cover its operations") };
        let certified = self.certificate.verify(header, registry.network_id(), registry);
        let name = |what: &str| format!("block {}, {what}", header.height);
        vec![Finding::of(name("operations"), root), Finding::of(name("certificate"), certified)]
    }
}

impl Check for Evidence {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        let node = self.accused();
        let result = match registry.node(node) {
            None => Err(format!("node {node} is not in the registry")),
            Some(record) => self
                .verify(registry.network_id(), record.signing)
                .map_err(|error| error.to_string()),
        };
        vec![Finding::of(format!("evidence against node {node}"), result)]
    }
}

impl Check for Operation {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        match self {
            Self::Envelope(envelope) => envelope.check(registry),
            Self::OpenIncarnation(request) => {
                let result = request.verify(registry.network_id(), registry);
                vec![Finding::of("node's signature", result)]
            }
            Self::Evidence(evidence) => evidence.check(registry),
            Self::PeriodMarker(marker) => {
                let log = |log: LogId| format!("pin of log {log}");
                let known = |log: LogId| match registry.node(log.node) {
                    Some(_) => Ok(()),
                    None => Err("its node is not in the registry"),
                };
                let logs = marker.pins.iter().map(|pin| pin.log);
                logs.map(|id| Finding::of(log(id), known(id))).collect()
            }
        }
    }
}

impl Check for IdentityUpdate {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        let verified =
            ParsedUpdate::parse(&self.to_wire()).map_err(|error| error.to_string()).and_then(
                |update| update.verify(registry.network_id()).map_err(|error| error.to_string()),
            );
        vec![Finding::of("signatures", verified.map(|_| ()))]
    }
}

impl Check for TopicPage {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        let ordered = self.ordered.iter().flat_map(|receipt| receipt.check(registry));
        let broadcast = self
            .broadcast
            .iter()
            .map(|item| judged(item.log, std::slice::from_ref(&item.entry), registry));
        ordered.chain(broadcast.flatten()).collect()
    }
}

impl Check for LogPage {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        let Some(checkpoint) = &self.checkpoint else { return Vec::new() };
        let mut findings = checkpoint.check(registry);
        findings.extend(judged(checkpoint.checkpoint.log, &self.entries, registry));
        findings
    }
}

/// The verdict of every replica and auditor on entries of one log.
fn judged(log: LogId, entries: &[LogEntry], registry: &Registry) -> Vec<Finding> {
    let context = VerdictContext { network: registry.network_id(), log, registry };
    let verdicts = judge(entries, &context, &mut OsRng);
    let findings = entries.iter().zip(verdicts).map(|(entry, verdict)| {
        let result = match verdict {
            Verdict::Valid | Verdict::Pruned => Ok(()),
            Verdict::Invalid(code) => Err(code),
        };
        Finding::of(format!("entry {} of log {log}", entry.header.index), result)
    });
    findings.collect()
}

impl Check for BlockPage {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        self.blocks.iter().flat_map(|block| block.check(registry)).collect()
    }
}

impl Check for PublishRequest {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        let mut findings = self.batch.check(registry);
        for (index, bytes) in self.envelopes.iter().enumerate() {
            match ParsedEnvelope::parse(bytes) {
                Ok(parsed) => findings.extend(parsed.envelope().check(registry)),
                Err(code) => {
                    findings.push(Finding::of(format!("envelope {index}"), Err::<(), _>(code)));
                }
            }
        }
        findings
    }
}

impl Check for SendRequest {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        self.envelopes.iter().flat_map(|envelope| envelope.check(registry)).collect()
    }
}

impl Check for SendResponse {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        let findings = self.results.iter().flat_map(|result| match result {
            SendResult::Stored(receipt) => receipt.check(registry),
            SendResult::Ordered(receipt) => receipt.check(registry),
            SendResult::Refused { .. } => Vec::new(),
        });
        findings.collect()
    }
}

impl Check for NodeFrame {
    fn check(&self, registry: &Registry) -> Vec<Finding> {
        match self {
            Self::Broadcast(item) => judged(item.log, std::slice::from_ref(&item.entry), registry),
            Self::Ordered(receipt) => receipt.check(registry),
            _ => Vec::new(),
        }
    }
}
