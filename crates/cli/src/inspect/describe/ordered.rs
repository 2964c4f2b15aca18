//! The ordered lane: operations, blocks, certificates and receipts.

use tidings_envelope::{
    Block, BlockHeader, Certificate, CertifiedBlock, ChainReference, CommitSignature,
    DecidedOperation, IncarnationRequest, Operation, OrderedReceipt, Outcome, PeriodMarker,
    Proposal, SignedProposal, SignedVote, Step, Vote,
};

use super::Describe;
use crate::inspect::tree::{Tree, record};

impl Describe for ChainReference {
    fn describe(&self) -> Tree {
        record! { "chain_id" => self.chain_id, "number" => self.number, "hash" => self.hash }
    }
}

impl Describe for BlockHeader {
    fn describe(&self) -> Tree {
        record! {
            "hash" => self.hash(),
            "version" => self.version,
            "shard" => self.shard,
            "height" => self.height,
            "parent" => self.parent,
            "period" => self.period,
            "chain_reference" => self.chain_reference,
            "registry_epoch" => self.registry_epoch,
            "next_epoch" => self.next_epoch,
            "next_committee" => self.next_committee,
            "operations_count" => self.operations_count,
            "operations_root" => self.operations_root,
            "state_root" => self.state_root,
        }
    }
}

impl Describe for IncarnationRequest {
    fn describe(&self) -> Tree {
        record! {
            "node" => self.node,
            "shard" => self.shard,
            "previous" => self.previous,
            "nonce" => self.nonce,
            "signature" => self.signature,
        }
    }
}

impl Describe for PeriodMarker {
    fn describe(&self) -> Tree {
        record! { "period" => self.period }
    }
}

impl Describe for Operation {
    fn describe(&self) -> Tree {
        match self {
            Self::Envelope(envelope) => record! { "envelope" => *envelope },
            Self::OpenIncarnation(request) => record! { "open_incarnation" => *request },
            Self::PeriodMarker(marker) => record! { "period_marker" => *marker },
            Self::Evidence(evidence) => record! { "evidence" => **evidence },
            Self::Statement(statement) => record! { "statement" => **statement },
            Self::Attestation(attested) => record! { "attestation" => **attested },
        }
    }
}

impl Describe for Outcome {
    fn describe(&self) -> Tree {
        match self {
            Self::Applied { position } => record! { "applied" => *position },
            Self::Conflict { position } => record! { "conflict" => *position },
            Self::Refused { code } => record! { "refused" => *code },
        }
    }
}

impl Describe for DecidedOperation {
    fn describe(&self) -> Tree {
        record! {
            "hash" => self.operation.hash(),
            "operation" => self.operation,
            "outcome" => self.outcome,
        }
    }
}

impl Describe for Block {
    fn describe(&self) -> Tree {
        record! {
            "header" => self.header,
            "operations" => self.operations,
            "consistent" => if self.is_consistent() { "yes" } else { "no" },
        }
    }
}

impl Describe for CommitSignature {
    fn describe(&self) -> Tree {
        record! { "node" => self.node, "signature" => self.signature }
    }
}

impl Describe for Vote {
    fn describe(&self) -> Tree {
        record! {
            "shard" => self.shard,
            "height" => self.height,
            "round" => self.round,
            "step" => match self.step {
                Step::Prevote => "prevote",
                Step::Precommit => "precommit",
            },
            "block" => self.block,
        }
    }
}

impl Describe for SignedVote {
    fn describe(&self) -> Tree {
        record! { "node" => self.node, "vote" => self.vote, "signature" => self.signature }
    }
}

impl Describe for Proposal {
    fn describe(&self) -> Tree {
        record! {
            "shard" => self.shard,
            "height" => self.height,
            "round" => self.round,
            "valid_round" => self.valid_round,
            "block" => self.block,
        }
    }
}

impl Describe for SignedProposal {
    fn describe(&self) -> Tree {
        record! {
            "node" => self.node,
            "proposal" => self.proposal,
            "signature" => self.signature,
        }
    }
}

impl Describe for Certificate {
    fn describe(&self) -> Tree {
        record! { "round" => self.round, "signatures" => self.signatures }
    }
}

impl Describe for CertifiedBlock {
    fn describe(&self) -> Tree {
        record! { "block" => self.block, "certificate" => self.certificate }
    }
}

impl Describe for OrderedReceipt {
    fn describe(&self) -> Tree {
        record! {
            "header" => self.header,
            "certificate" => self.certificate,
            "index" => self.index,
            "path" => self.path,
            "decided" => self.decided,
        }
    }
}
