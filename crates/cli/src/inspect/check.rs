//! What holds of a structure once the registry says who may sign.

use std::collections::BTreeMap;

use rand::rngs::OsRng;
use serde::Serialize;
use tidings_envelope::api::{
    AcknowledgedCheckpoint, BlockPage, LogPage, NewestQuery, NodeFrame, PublishRequest,
    PublishResponse, SendRequest, SendResponse, SendResult, SubscriberFrame, TopicPage, TopicQuery,
};
use tidings_envelope::{
    AckLevel, CertifiedBlock, ClientEnvelope, CongestionHistory, EntryHeader, Evidence, LogEntry,
    LogId, Operation, OrderedReceipt, ParsedEnvelope, PayerBatch, PayerEnvelope, Receipt, Registry,
    RegistryHistory, SignedAcknowledgement, SignedCheckpoint,
};
use tidings_identity::{IdentityUpdate, ParsedUpdate};
use tidings_payer::{Missing, Verdict, VerdictContext, judge};
use tidings_types::{ErrorCode, EthereumAddress, NodeId, Period, RegistryEpoch, Wire};

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
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding>;
}

macro_rules! nothing_to_check {
    ($($name:ty),*) => {
        $(impl Check for $name {
            fn check(&self, _: &RegistryHistory) -> Vec<Finding> {
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

/// The registry that judges what names an epoch (TOP-009).
fn of_epoch(registries: &RegistryHistory, epoch: RegistryEpoch) -> Result<&Registry, String> {
    registries.at(epoch).map(|registry| &**registry).ok_or_else(|| unknown(epoch))
}

fn unknown(epoch: RegistryEpoch) -> String {
    format!("the registry of epoch {epoch} is not at hand")
}

impl Check for ClientEnvelope {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        let form = ParsedEnvelope::check(self.clone()).map(|_| ());
        let mut findings = vec![Finding::of("form", form)];
        if let Some(statement) = self.statement(registries.network()) {
            findings.push(Finding::of("write proof", statement.verify()));
        }
        findings
    }
}

impl Check for PayerBatch {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        let valid = self.signature_is_valid(registries.network());
        let signed = if valid { Ok(()) } else { Err("not signed by its session key") };
        let known = of_epoch(registries, self.header.registry_epoch).and_then(|registry| {
            let (payer, key) = (self.header.payer, &self.header.session_key);
            match registry.session_key_is_known(payer, key) {
                true => Ok(()),
                false => Err("not a key of the payer's".to_owned()),
            }
        });
        vec![Finding::of("payer's signature", signed), Finding::of("session key", known)]
    }
}

impl Check for PayerEnvelope {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        let mut findings = self.envelope.check(registries);
        findings.extend(self.batch.check(registries));
        let covered = if self.is_covered() { Ok(()) } else { Err("not under the batch's root") };
        findings.push(Finding::of("place in the batch", covered));
        findings
    }
}

impl Check for LogEntry {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        let opened = match (&self.payload, self.open()) {
            (None, _) => return Vec::new(),
            (Some(_), Some(envelope)) => envelope,
            (Some(_), None) => {
                let broken: Result<(), _> = Err("not the payload that the header was built over");
                return vec![Finding::of("payload", broken)];
            }
        };
        opened.check(registries)
    }
}

/// What a node signed holds by a key that it has or had.
fn by_any_key<E: std::fmt::Display>(
    registries: &RegistryHistory,
    node: NodeId,
    verify: impl Fn(EthereumAddress) -> Result<(), E>,
) -> Result<(), String> {
    let mut result = Err(format!("node {node} is not in the registry"));
    for key in registries.signing_keys(node) {
        result = verify(key).map_err(|error| error.to_string());
        if result.is_ok() {
            break;
        }
    }
    result
}

impl Check for SignedCheckpoint {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        let node = self.checkpoint.log.node;
        let result = by_any_key(registries, node, |key| self.verify(registries.network(), key));
        vec![Finding::of("checkpoint's signature", result)]
    }
}

impl Check for AcknowledgedCheckpoint {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        let network = registries.network();
        let digest = self.checkpoint.checkpoint.digest(network);
        let mut findings = self.checkpoint.check(registries);
        for acknowledgement in self.acknowledgements.iter() {
            let replica = acknowledgement.replica;
            let verify = |key| acknowledgement.verify(digest, network, key);
            let result = by_any_key(registries, replica, verify);
            findings.push(Finding::of(format!("acknowledgement of node {replica}"), result));
        }
        findings
    }
}

impl Check for Receipt {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        let network = registries.network();
        let level = |level| self.verify(network, registries.latest(), level);
        vec![
            Finding::of("receipt, local", level(AckLevel::Local)),
            Finding::of("receipt, replicated", level(AckLevel::Replicated)),
        ]
    }
}

impl Check for OrderedReceipt {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        let verified = of_epoch(registries, self.header.registry_epoch).and_then(|registry| {
            self.verify(registries.network(), registry).map_err(|error| error.to_string())
        });
        vec![Finding::of("ordered receipt", verified)]
    }
}

impl Check for CertifiedBlock {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        let header = &self.block.header;
        let consistent = self.block.is_consistent();
        let root = if consistent { Ok(()) } else { Err("its root does not cover its operations") };
        let certified = of_epoch(registries, header.registry_epoch).and_then(|registry| {
            let verified = self.certificate.verify(header, registries.network(), registry);
            verified.map_err(|error| error.to_string())
        });
        let name = |what: &str| format!("block {}, {what}", header.height);
        vec![Finding::of(name("operations"), root), Finding::of(name("certificate"), certified)]
    }
}

impl Check for Evidence {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        let node = self.accused();
        let result = by_any_key(registries, node, |key| self.verify(registries.network(), key));
        vec![Finding::of(format!("evidence against node {node}"), result)]
    }
}

impl Check for Operation {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        match self {
            Self::Envelope(envelope) => envelope.check(registries),
            Self::OpenIncarnation(request) => {
                let result = request.verify(registries.network(), registries.latest());
                vec![Finding::of("node's signature", result)]
            }
            Self::Evidence(evidence) => evidence.check(registries),
            Self::PeriodMarker(_) => Vec::new(),
            Self::Statement(statement) => {
                let (network, latest) = (registries.network(), registries.latest());
                let signer_of = |log: LogId| {
                    let held = statement.held.iter().find(|held| held.checkpoint.log == log)?;
                    let mut keys = registries.signing_keys(log.node).into_iter();
                    keys.find(|key| held.verify(network, *key).is_ok())
                };
                let result = statement.verify(network, latest, signer_of);
                vec![Finding::of("signatures of the node and of what it holds", result)]
            }
            Self::Attestation(attested) => {
                let result = attested.verify(registries.network(), registries.latest());
                vec![Finding::of("attestation", result)]
            }
        }
    }
}

impl Check for IdentityUpdate {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        let verified =
            ParsedUpdate::parse(&self.to_wire()).map_err(|error| error.to_string()).and_then(
                |update| update.verify(registries.network()).map_err(|error| error.to_string()),
            );
        vec![Finding::of("signatures", verified.map(|_| ()))]
    }
}

impl Check for TopicPage {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        let ordered = self.ordered.iter().flat_map(|receipt| receipt.check(registries));
        let broadcast = self
            .broadcast
            .iter()
            .map(|item| judged(item.log, std::slice::from_ref(&item.entry), registries));
        ordered.chain(broadcast.flatten()).collect()
    }
}

impl Check for LogPage {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        let Some(checkpoint) = &self.checkpoint else { return Vec::new() };
        let mut findings = checkpoint.check(registries);
        findings.extend(judged(checkpoint.checkpoint.log, &self.entries, registries));
        findings
    }
}

/// The verdict of every replica and auditor on entries of one log, but for how busy its shard was,
/// which blocks alone tell.
fn judged(log: LogId, entries: &[LogEntry], registries: &RegistryHistory) -> Vec<Finding> {
    let quiet = CongestionHistory::restore(Period(u64::MAX), BTreeMap::new(), BTreeMap::new());
    let network = registries.network();
    let context = VerdictContext { network, log, registries, congestion: &quiet };
    let verdicts = judge(entries, &context, &mut OsRng);
    let findings = entries.iter().zip(verdicts).map(|(entry, verdict)| {
        let result = match verdict {
            Verdict::Valid | Verdict::Pruned => Ok(()),
            Verdict::Unjudged(Missing::Registry(epoch)) => Err(unknown(epoch)),
            Verdict::Unjudged(missing) => Err(format!("needs {missing}, which is not at hand")),
            Verdict::Invalid(code @ ErrorCode::FeeInvalid) => {
                let period = entry.header.fee_period;
                Err(format!("{code}, unless the shard was busy in period {period}: ask an audit"))
            }
            Verdict::Invalid(code) => Err(code.to_string()),
        };
        Finding::of(format!("entry {} of log {log}", entry.header.index), result)
    });
    findings.collect()
}

impl Check for BlockPage {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        self.blocks.iter().flat_map(|block| block.check(registries)).collect()
    }
}

impl Check for PublishRequest {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        let mut findings = self.batch.check(registries);
        for (index, bytes) in self.envelopes.iter().enumerate() {
            match ParsedEnvelope::parse(bytes) {
                Ok(parsed) => findings.extend(parsed.envelope().check(registries)),
                Err(code) => {
                    findings.push(Finding::of(format!("envelope {index}"), Err::<(), _>(code)));
                }
            }
        }
        findings
    }
}

impl Check for SendRequest {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        self.envelopes.iter().flat_map(|envelope| envelope.check(registries)).collect()
    }
}

impl Check for SendResponse {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        let findings = self.results.iter().flat_map(|result| match result {
            SendResult::Stored(receipt) => receipt.check(registries),
            SendResult::Ordered(receipt) => receipt.check(registries),
            SendResult::Refused { .. } => Vec::new(),
        });
        findings.collect()
    }
}

impl Check for NodeFrame {
    fn check(&self, registries: &RegistryHistory) -> Vec<Finding> {
        match self {
            Self::Broadcast(item) => {
                judged(item.log, std::slice::from_ref(&item.entry), registries)
            }
            Self::Ordered(receipt) => receipt.check(registries),
            _ => Vec::new(),
        }
    }
}
