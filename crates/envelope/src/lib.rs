//! Everything that crosses the network around a ciphertext: topics, client envelopes, payer
//! batches, log entries, checkpoints, receipts, blocks and evidence.
//!
//! An envelope's life is a chain of types, each consuming the last:
//! bytes → [`ParsedEnvelope`] → [`VerifiedEnvelope`] → [`AdmittedEnvelope`] → [`LogEntry`].
//! The crate is sans-IO: no runtime, database or chain is needed to use it.
#![deny(clippy::disallowed_methods)]

mod admission;
pub mod api;
mod batch;
mod block;
mod checkpoint;
mod client;
mod congestion;
mod entry;
mod evidence;
mod fee;
pub mod padding;
mod payer_record;
mod receipt;
pub mod registry;
mod registry_history;
mod state_key;
mod state_proof;
mod statement;
mod topic;
mod usage_report;
mod vote;

pub use admission::{
    AdmissionContext, AdmittedEnvelope, ParsedEnvelope, VerifiedEnvelope, verify_all,
};
pub use batch::{BatchHeader, PayerBatch, PayerEnvelope, Target};
pub use block::{
    Block, BlockHeader, Certificate, CertifiedBlock, ChainReference, CommitSignature,
    DecidedOperation, IncarnationRequest, Operation, Outcome, PeriodMarker, Receipts,
};
pub use checkpoint::{Checkpoint, LogId, SignedAcknowledgement, SignedCheckpoint};
pub use client::{ClientEnvelope, Dependency, EnvelopeBody, Payload, WriteProof};
pub use congestion::{CongestionHistory, CongestionRule, Settled, UNCONGESTED_PERMILLE};
pub use entry::{EntryHeader, EntryPayload, LogEntry};
pub use evidence::{Evidence, EvidenceInvalid, InclusionProof, InvalidEntry, facial_fault};
pub use fee::{FeeClass, Tariff, uncongested_part};
pub use receipt::{
    AckLevel, Acknowledgements, MerklePath, OrderedReceipt, Receipt, ReceiptInvalid,
};
pub use registry::Registry;
pub use registry_history::{RegistryDocument, RegistryHistory, RegistryRefused};
pub use state_key::{StateKey, TopicHead, state_value_hash};
pub use state_proof::{
    StateBranch, StateContent, StateLeaf, StatePath, StateProof, StateProofInvalid,
};
pub use statement::{PeerService, PeriodStatement, ReportAttestation, Service};
pub use topic::{Lane, Topic, TopicKind};
pub use usage_report::{SignedAttestation, UsageReport};
pub use vote::{Proposal, SignedProposal, SignedVote, Step, Vote};
