//! Evidence: positive proof, for anybody, that a node signed what no honest node signs.

use tidings_types::node_key::NodeSignatureInvalid;
use tidings_types::{
    ErrorCode, EthereumAddress, NetworkId, NodeId, OffenceId, ShardId, Wire, labelled_hash, merkle,
};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::receipt::MerklePath;
use crate::{
    EntryHeader, EntryPayload, LogId, PayerEnvelope, Proposal, SignedCheckpoint, SignedProposal,
    SignedVote, Vote,
};

/// An entry's header and where a signed checkpoint puts it.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct InclusionProof {
    /// The entry.
    pub header: EntryHeader,
    /// From the header's leaf to the checkpoint's root.
    pub path: MerklePath,
    /// Signed by the originator.
    pub checkpoint: SignedCheckpoint,
}

impl InclusionProof {
    /// Whether the checkpoint covers the header at the header's index.
    #[must_use]
    pub fn holds(&self) -> bool {
        let checkpoint = &self.checkpoint.checkpoint;
        let (index, size) = (self.header.index.0, checkpoint.size.0);
        let root = merkle::root_from_path(self.header.hash().0, index, size, &self.path);
        root == Some(checkpoint.root)
    }
}

/// An entry whose own bytes show that it must not be in a log, under a signed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct InvalidEntry {
    /// Where the originator put it.
    pub proof: InclusionProof,
    /// The payer envelope's bytes that the header was built over.
    pub payload: EntryPayload,
}

/// A provable offence of one node.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum Evidence {
    /// Two checkpoints of one log and size with different roots (LOG-008).
    #[tls_codec(discriminant = 1)]
    Checkpoints(SignedCheckpoint, SignedCheckpoint),
    /// Two different entries at one index of one log (LOG-008).
    #[tls_codec(discriminant = 2)]
    Entries(InclusionProof, InclusionProof),
    /// Two votes in one step of one round (EVD-003).
    #[tls_codec(discriminant = 3)]
    Votes(SignedVote, SignedVote),
    /// Two proposals of different blocks in one round (EVD-004).
    #[tls_codec(discriminant = 4)]
    Proposals(SignedProposal, SignedProposal),
    /// An entry that is invalid on its face (EVD-005).
    #[tls_codec(discriminant = 5)]
    InvalidEntry(InvalidEntry),
}

/// The evidence proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the evidence does not prove an offence")]
pub struct EvidenceInvalid;

impl Evidence {
    /// The node that is accused.
    #[must_use]
    pub fn accused(&self) -> NodeId {
        match self {
            Self::Checkpoints(one, _) => one.checkpoint.log.node,
            Self::Entries(one, _) => one.checkpoint.checkpoint.log.node,
            Self::Votes(one, _) => one.node,
            Self::Proposals(one, _) => one.node,
            Self::InvalidEntry(entry) => entry.proof.checkpoint.checkpoint.log.node,
        }
    }

    /// The log that it is about, if it is about one.
    #[must_use]
    pub fn log(&self) -> Option<LogId> {
        match self {
            Self::InvalidEntry(entry) => Some(entry.proof.checkpoint.checkpoint.log),
            _ => self.forked_log(),
        }
    }

    /// The log of which it proves that there are two histories, if it does.
    #[must_use]
    pub fn forked_log(&self) -> Option<LogId> {
        match self {
            Self::Checkpoints(one, _) => Some(one.checkpoint.log),
            Self::Entries(one, _) => Some(one.checkpoint.checkpoint.log),
            Self::Votes(..) | Self::Proposals(..) | Self::InvalidEntry(_) => None,
        }
    }

    /// The shard in whose service the offence was committed.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        match self {
            Self::Checkpoints(one, _) => one.checkpoint.log.shard,
            Self::Entries(one, _) => one.checkpoint.checkpoint.log.shard,
            Self::Votes(one, _) => one.vote.shard,
            Self::Proposals(one, _) => one.proposal.shard,
            Self::InvalidEntry(entry) => entry.proof.checkpoint.checkpoint.log.shard,
        }
    }

    /// What is proved, whichever statements prove it: one offence has one id (EVD-002).
    #[must_use]
    pub fn offence(&self) -> OffenceId {
        let node = self.accused().to_wire();
        let what = match self {
            Self::Checkpoints(one, _) => {
                let checkpoint = &one.checkpoint;
                [vec![1], checkpoint.log.to_wire(), checkpoint.size.to_wire()].concat()
            }
            Self::Entries(one, _) => {
                let log = &one.checkpoint.checkpoint.log;
                [vec![2], log.to_wire(), one.header.index.to_wire()].concat()
            }
            Self::Votes(one, _) => {
                let Vote { shard, height, round, step, .. } = one.vote;
                let step = Vote { shard, height, round, step, block: None };
                [vec![3], step.to_wire()].concat()
            }
            Self::Proposals(one, _) => {
                let Proposal { shard, height, round, .. } = one.proposal;
                [vec![4], shard.to_wire(), height.to_wire(), round.to_wire()].concat()
            }
            Self::InvalidEntry(entry) => {
                let log = &entry.proof.checkpoint.checkpoint.log;
                [vec![5], log.to_wire(), entry.proof.header.index.to_wire()].concat()
            }
        };
        OffenceId(labelled_hash("offence", &[&node, &what]))
    }

    /// Checks that the node with `signer` as its key did what it is accused of (EVD-001).
    ///
    /// # Errors
    /// [`EvidenceInvalid`] when a signature is not `signer`'s or nothing is proved.
    pub fn verify(
        &self,
        network: NetworkId,
        signer: EthereumAddress,
    ) -> Result<(), EvidenceInvalid> {
        match self {
            Self::Checkpoints(one, two) => {
                let (first, second) = (&one.checkpoint, &two.checkpoint);
                let same_place = first.log == second.log && first.size == second.size;
                demand(same_place && first.root != second.root)?;
                both(one.verify(network, signer), two.verify(network, signer))
            }
            Self::Entries(one, two) => {
                let same_log = one.checkpoint.checkpoint.log == two.checkpoint.checkpoint.log;
                let same_place = same_log && one.header.index == two.header.index;
                demand(same_place && one.header.hash() != two.header.hash())?;
                demand(one.holds() && two.holds())?;
                let (one, two) = (&one.checkpoint, &two.checkpoint);
                both(one.verify(network, signer), two.verify(network, signer))
            }
            Self::Votes(one, two) => {
                let same_step =
                    Vote { block: None, ..one.vote } == Vote { block: None, ..two.vote };
                demand(one.node == two.node && same_step && one.vote != two.vote)?;
                both(one.verify(network, signer), two.verify(network, signer))
            }
            Self::Proposals(one, two) => {
                let place = |of: &Proposal| (of.shard, of.height, of.round);
                let same_round = place(&one.proposal) == place(&two.proposal);
                let differ = one.proposal.block != two.proposal.block;
                demand(one.node == two.node && same_round && differ)?;
                both(one.verify(network, signer), two.verify(network, signer))
            }
            Self::InvalidEntry(entry) => {
                let InvalidEntry { proof, payload } = entry;
                let log = proof.checkpoint.checkpoint.log;
                demand(proof.holds())?;
                demand(facial_fault(&proof.header, payload, log, network).is_some())?;
                proof.checkpoint.verify(network, signer).map_err(|_| EvidenceInvalid)
            }
        }
    }
}

fn demand(holds: bool) -> Result<(), EvidenceInvalid> {
    if holds { Ok(()) } else { Err(EvidenceInvalid) }
}

fn both(
    one: Result<(), NodeSignatureInvalid>,
    two: Result<(), NodeSignatureInvalid>,
) -> Result<(), EvidenceInvalid> {
    one.and(two).map_err(|_| EvidenceInvalid)
}

/// The rule that an entry breaks by its own bytes, whatever any registry says (EVD-005).
///
/// None when the payload is not the header's, which proves nothing about either, and when a
/// version is unknown here, since a newer peer is not a cheat.
#[must_use]
pub fn facial_fault(
    header: &EntryHeader,
    payload: &[u8],
    log: LogId,
    network: NetworkId,
) -> Option<ErrorCode> {
    if !header.matches(payload) {
        return None;
    }
    let fault = match PayerEnvelope::parse(payload) {
        Err(code) => code,
        Ok(envelope) => envelope.facial_fault(header, log, network)?,
    };
    (fault != ErrorCode::UnknownVersion).then_some(fault)
}
