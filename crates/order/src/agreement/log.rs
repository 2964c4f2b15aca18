//! The agreement's write-ahead log: what a member must remember of a height to never contradict
//! itself after a crash (ORD-015).

use malachitebft_core_consensus::{Input, ProposedValue};
use malachitebft_core_types as bft;
use tidings_envelope::{SignedProposal, SignedVote, Step};
use tidings_types::{BlockHash, BoundedVec, NodeId, Round, ShardId};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use super::core_types::{
    Choice, Lane, LaneHeight, MemberId, from_core_proposal, from_core_round, from_core_vote,
    to_core_proposal, to_core_round, to_core_vote,
};
use crate::message::VoteList;

/// Which wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum LoggedTimeout {
    /// For the proposal.
    Propose = 1,
    /// For more prevotes.
    Prevote = 2,
    /// For more precommits.
    Precommit = 3,
}

/// One input of the agreement on one height, in the order in which it was taken.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum LogRecord {
    /// A vote, this node's own included.
    #[tls_codec(discriminant = 1)]
    Vote(SignedVote),
    /// A proposal, this node's own included.
    #[tls_codec(discriminant = 2)]
    Proposal(SignedProposal),
    /// A block that was built or checked here.
    #[tls_codec(discriminant = 3)]
    Block {
        /// The round in which it was proposed.
        round: Round,
        /// Who proposed it.
        proposer: NodeId,
        /// Its hash; a valid block itself is stored beside the log.
        block: BlockHash,
        /// 1 when it was found valid, else 0.
        valid: u8,
    },
    /// A wait that ended.
    #[tls_codec(discriminant = 4)]
    Timeout {
        /// Which one.
        wait: LoggedTimeout,
        /// In which round.
        round: Round,
    },
    /// A quorum of prevotes, taken as a whole.
    #[tls_codec(discriminant = 5)]
    Polka(VoteList),
}

impl LogRecord {
    /// The record of an input that the core wants remembered; none for what it never does.
    pub(super) fn of(input: &Input<Lane>, shard: ShardId) -> Option<Self> {
        Some(match input {
            Input::Vote(vote) => Self::Vote(from_core_vote(vote)),
            Input::Proposal(proposal) => Self::Proposal(from_core_proposal(proposal)),
            Input::ProposedValue(proposed, _) => Self::Block {
                round: from_core_round(proposed.round).unwrap_or_default(),
                proposer: proposed.proposer.0,
                block: proposed.value.0,
                valid: u8::from(proposed.validity.is_valid()),
            },
            Input::TimeoutElapsed(timeout) => Self::Timeout {
                wait: match timeout.kind {
                    bft::TimeoutKind::Propose => LoggedTimeout::Propose,
                    bft::TimeoutKind::Prevote => LoggedTimeout::Prevote,
                    bft::TimeoutKind::Precommit => LoggedTimeout::Precommit,
                    bft::TimeoutKind::Rebroadcast | bft::TimeoutKind::FinalizeHeight(_) => {
                        return None;
                    }
                },
                round: from_core_round(timeout.round).unwrap_or_default(),
            },
            Input::PolkaCertificate(polka) => Self::Polka(polka_votes(polka, shard)?),
            _ => return None,
        })
    }

    /// The input that the record was made of.
    pub(super) fn to_input(&self, height: LaneHeight) -> Option<Input<Lane>> {
        Some(match self {
            Self::Vote(vote) => Input::Vote(to_core_vote(vote)),
            Self::Proposal(proposal) => Input::Proposal(to_core_proposal(proposal)),
            Self::Block { round, proposer, block, valid } => {
                let validity = bft::Validity::from_bool(*valid == 1);
                let proposed = proposed(height, *round, *proposer, *block, validity);
                Input::ProposedValue(proposed, bft::ValueOrigin::Consensus)
            }
            Self::Timeout { wait, round } => {
                let kind = match wait {
                    LoggedTimeout::Propose => bft::TimeoutKind::Propose,
                    LoggedTimeout::Prevote => bft::TimeoutKind::Prevote,
                    LoggedTimeout::Precommit => bft::TimeoutKind::Precommit,
                };
                Input::TimeoutElapsed(bft::Timeout::new(to_core_round(*round), kind))
            }
            Self::Polka(votes) => Input::PolkaCertificate(to_polka(votes)?),
        })
    }
}

/// A block as the core hears of it.
pub(super) fn proposed(
    height: LaneHeight,
    round: Round,
    proposer: NodeId,
    block: BlockHash,
    validity: bft::Validity,
) -> ProposedValue<Lane> {
    ProposedValue {
        height,
        round: to_core_round(round),
        valid_round: bft::Round::Nil,
        proposer: MemberId(proposer),
        value: Choice(block),
        validity,
    }
}

/// The votes of a polka; none when they are more than a committee has.
pub(super) fn polka_votes(polka: &bft::PolkaCertificate<Lane>, shard: ShardId) -> Option<VoteList> {
    let votes: Vec<SignedVote> =
        polka.votes(&Lane(shard)).map(|signed| from_core_vote(&signed)).collect();
    BoundedVec::new(votes).ok()
}

/// The polka that votes make; none unless they are prevotes for one block in one round.
pub(super) fn to_polka(votes: &[SignedVote]) -> Option<bft::PolkaCertificate<Lane>> {
    let first = votes.first()?.vote;
    let block = first.block.filter(|_| first.step == Step::Prevote)?;
    if votes.iter().any(|signed| signed.vote != first) {
        return None;
    }
    let votes = votes.iter().map(to_core_vote).collect();
    let (height, round) = (LaneHeight(first.height), to_core_round(first.round));
    Some(bft::PolkaCertificate::new(height, round, block, votes))
}
