//! Logs: entries, checkpoints, acknowledgements, receipts and evidence.

use tidings_envelope::api::AcknowledgedCheckpoint;
use tidings_envelope::{
    AckLevel, Checkpoint, EntryHeader, Evidence, InclusionProof, LogEntry, LogId, PayerEnvelope,
    Receipt, SignedAcknowledgement, SignedCheckpoint,
};
use tidings_types::Wire;

use super::Describe;
use crate::inspect::tree::{Tree, record};

impl Describe for LogId {
    fn describe(&self) -> Tree {
        record! {
            "node" => self.node,
            "shard" => self.shard,
            "incarnation" => self.incarnation,
        }
    }
}

impl Describe for EntryHeader {
    fn describe(&self) -> Tree {
        record! {
            "hash" => self.hash(),
            "version" => self.version,
            "envelope_id" => self.envelope_id,
            "index" => self.index,
            "timestamp_seconds" => self.timestamp,
            "topic" => self.topic,
            "topic_index" => self.topic_index,
            "previous" => self.previous,
            "payer" => self.payer,
            "payload_hash" => self.payload_hash,
            "payload_length_bytes" => self.payload_length,
            "retention_days" => self.retention_days,
            "fee_period" => self.fee_period,
            "fee_picodollars" => self.fee,
        }
    }
}

impl Describe for LogEntry {
    fn describe(&self) -> Tree {
        let payload = match (&self.payload, self.open()) {
            (None, _) => Tree::shown("pruned"),
            (Some(_), Some(envelope)) => envelope.describe(),
            (Some(bytes), None) => record! {
                "bytes" => Tree::opaque(bytes),
                "note" => "does not match the header or is no payer envelope",
            },
        };
        record! { "header" => self.header, "payload" => payload }
    }
}

impl Describe for Checkpoint {
    fn describe(&self) -> Tree {
        record! {
            "version" => self.version,
            "log" => self.log,
            "size" => self.size,
            "root" => self.root,
            "period" => self.period,
        }
    }
}

impl Describe for SignedCheckpoint {
    fn describe(&self) -> Tree {
        record! { "checkpoint" => self.checkpoint, "signature" => self.signature }
    }
}

impl Describe for SignedAcknowledgement {
    fn describe(&self) -> Tree {
        record! { "replica" => self.replica, "signature" => self.signature }
    }
}

impl Describe for AcknowledgedCheckpoint {
    fn describe(&self) -> Tree {
        record! {
            "checkpoint" => self.checkpoint,
            "acknowledgements" => self.acknowledgements,
        }
    }
}

impl Describe for AckLevel {
    fn describe(&self) -> Tree {
        Tree::shown(match self {
            Self::Local => "local",
            Self::Replicated => "replicated",
        })
    }
}

impl Describe for Receipt {
    fn describe(&self) -> Tree {
        record! {
            "header" => self.header,
            "path" => self.path,
            "checkpoint" => self.checkpoint,
            "acknowledgements" => self.acknowledgements,
        }
    }
}

impl Describe for InclusionProof {
    fn describe(&self) -> Tree {
        record! {
            "header" => self.header,
            "path" => self.path,
            "checkpoint" => self.checkpoint,
            "holds" => if self.holds() { "yes" } else { "no" },
        }
    }
}

impl Describe for Evidence {
    fn describe(&self) -> Tree {
        match self {
            Self::Checkpoints(one, two) => {
                record! { "kind" => "two roots for one size", "one" => *one, "two" => *two }
            }
            Self::Entries(one, two) => {
                record! { "kind" => "two entries at one index", "one" => *one, "two" => *two }
            }
            Self::Votes(one, two) => {
                record! { "kind" => "two votes in one step", "one" => *one, "two" => *two }
            }
            Self::Proposals(one, two) => {
                record! { "kind" => "two proposals in one round", "one" => *one, "two" => *two }
            }
            Self::InvalidEntry(entry) => record! {
                "kind" => "an entry that is invalid on its face",
                "proof" => entry.proof,
                "payload" => match PayerEnvelope::from_wire(&entry.payload) {
                    Ok(envelope) => envelope.describe(),
                    Err(_) => Tree::opaque(&entry.payload),
                },
            },
        }
    }
}
