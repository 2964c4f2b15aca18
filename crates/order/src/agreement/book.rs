//! What members are known to have signed about one height.

use std::collections::BTreeMap;

use tidings_envelope::{Evidence, SignedProposal, SignedVote, Step};
use tidings_types::{BlockHash, Height, NodeId, Round, mutant};

use super::log::LogRecord;

/// What became of a statement that was to be noted down.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// It is new.
    New,
    /// The same one is there.
    Known,
    /// It contradicts what is there; both together prove it.
    Contradiction(Box<Evidence>),
}

/// The first statement of each member in each step, and so the proof when there is another.
///
/// Only verified statements go in.
#[derive(Debug, Default)]
pub(super) struct Book {
    height: Height,
    votes: BTreeMap<(NodeId, Round, Step), SignedVote>,
    proposals: BTreeMap<(NodeId, Round), SignedProposal>,
}

impl Book {
    pub(super) fn new(height: Height) -> Self {
        Self { height, votes: BTreeMap::new(), proposals: BTreeMap::new() }
    }

    pub(super) fn height(&self) -> Height {
        self.height
    }

    /// Whether exactly this vote was noted, and so verified.
    pub(super) fn has_vote(&self, signed: &SignedVote) -> bool {
        let key = (signed.node, signed.vote.round, signed.vote.step);
        self.votes.get(&key) == Some(signed)
    }

    /// Whether exactly this proposal was noted, and so verified.
    pub(super) fn has_proposal(&self, signed: &SignedProposal) -> bool {
        self.proposals.get(&(signed.node, signed.proposal.round)) == Some(signed)
    }

    pub(super) fn note_vote(&mut self, signed: SignedVote) -> Noted {
        let key = (signed.node, signed.vote.round, signed.vote.step);
        match self.votes.get(&key) {
            None => {
                self.votes.insert(key, signed);
                Noted::New
            }
            Some(known) if known.vote == signed.vote || mutant!(HushVotes) => Noted::Known,
            Some(known) => Noted::Contradiction(Box::new(Evidence::Votes(*known, signed))),
        }
    }

    /// Notes what was said by a log of this height.
    pub(super) fn remember(&mut self, record: &LogRecord) {
        match record {
            LogRecord::Vote(signed) if signed.vote.height == self.height => {
                self.note_vote(*signed);
            }
            LogRecord::Proposal(signed) if signed.proposal.height == self.height => {
                self.note_proposal(*signed);
            }
            _ => {}
        }
    }

    pub(super) fn note_proposal(&mut self, signed: SignedProposal) -> Noted {
        let key = (signed.node, signed.proposal.round);
        match self.proposals.get(&key) {
            None => {
                self.proposals.insert(key, signed);
                Noted::New
            }
            Some(known) if known.proposal.block == signed.proposal.block => Noted::Known,
            Some(known) => Noted::Contradiction(Box::new(Evidence::Proposals(*known, signed))),
        }
    }

    /// What a member voted in a step, if that is known.
    pub(super) fn vote(&self, node: NodeId, round: Round, step: Step) -> Option<&SignedVote> {
        self.votes.get(&(node, round, step))
    }

    /// What a member proposed in a round, if that is known.
    pub(super) fn proposal(&self, node: NodeId, round: Round) -> Option<&SignedProposal> {
        self.proposals.get(&(node, round))
    }

    /// Every statement of other members than `node`, proposals first.
    pub(super) fn statements_of_others(
        &self,
        node: NodeId,
    ) -> (Vec<SignedProposal>, Vec<SignedVote>) {
        let proposals = self.proposals.values().filter(|signed| signed.node != node);
        let votes = self.votes.values().filter(|signed| signed.node != node);
        (proposals.copied().collect(), votes.copied().collect())
    }

    /// Whether a noted proposal names the block.
    pub(super) fn proposes(&self, block: BlockHash) -> bool {
        self.proposals.values().any(|signed| signed.proposal.block == block)
    }

    /// A proposal that names the block, the earliest.
    pub(super) fn proposal_of(&self, block: BlockHash) -> Option<&SignedProposal> {
        let naming = self.proposals.values().filter(|signed| signed.proposal.block == block);
        naming.min_by_key(|signed| signed.proposal.round)
    }

    /// Who has shown to hold the block: its proposers and those who voted for it.
    pub(super) fn holders(&self, block: BlockHash) -> Vec<NodeId> {
        let proposers = self.proposals.values().filter(|signed| signed.proposal.block == block);
        let voters = self.votes.values().filter(|signed| signed.vote.block == Some(block));
        let mut holders: Vec<NodeId> = proposers.map(|signed| signed.node).collect();
        holders.extend(voters.map(|signed| signed.node));
        holders.sort_unstable();
        holders.dedup();
        holders
    }

    /// Everything that a member is known to have signed here.
    pub(super) fn statements_of(&self, node: NodeId) -> (Vec<SignedVote>, Vec<SignedProposal>) {
        let votes = self.votes.values().filter(|signed| signed.node == node);
        let proposals = self.proposals.values().filter(|signed| signed.node == node);
        (votes.copied().collect(), proposals.copied().collect())
    }
}
