//! The types that Malachite's core is generic over, as wrappers of ours.

use malachitebft_core_types as bft;
use tidings_envelope::{Proposal, SignedProposal, SignedVote, Step, Vote};
use tidings_types::node_key::NodeSignature;
use tidings_types::{BlockHash, EthereumAddress, Height, NodeId, Round, ShardId};

/// A committee member's number as the core's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MemberId(pub(super) NodeId);

impl std::fmt::Display for MemberId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl bft::Address for MemberId {}

/// A height as the core counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct LaneHeight(pub(super) Height);

impl std::fmt::Display for LaneHeight {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl bft::Height for LaneHeight {
    const ZERO: Self = Self(Height(0));
    const INITIAL: Self = Self(Height(1));

    fn increment_by(&self, by: u64) -> Self {
        Self(self.0.plus(by))
    }

    fn decrement_by(&self, by: u64) -> Option<Self> {
        self.0.0.checked_sub(by).map(|height| Self(Height(height)))
    }

    fn as_u64(&self) -> u64 {
        self.0.0
    }
}

/// What is agreed on: a block, by its hash. Its bytes travel beside the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Choice(pub(super) BlockHash);

impl bft::Value for Choice {
    type Id = BlockHash;

    fn id(&self) -> BlockHash {
        self.0
    }
}

/// A vote with the fields that the core asks for by reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CoreVote {
    pub(super) vote: Vote,
    value: bft::NilOrVal<BlockHash>,
    member: MemberId,
}

impl CoreVote {
    fn new(vote: Vote, member: MemberId) -> Self {
        let value = vote.block.map_or(bft::NilOrVal::Nil, bft::NilOrVal::Val);
        Self { vote, value, member }
    }
}

impl bft::Vote<Lane> for CoreVote {
    fn height(&self) -> LaneHeight {
        LaneHeight(self.vote.height)
    }

    fn round(&self) -> bft::Round {
        to_core_round(self.vote.round)
    }

    fn value(&self) -> &bft::NilOrVal<BlockHash> {
        &self.value
    }

    fn take_value(self) -> bft::NilOrVal<BlockHash> {
        self.value
    }

    fn vote_type(&self) -> bft::VoteType {
        match self.vote.step {
            Step::Prevote => bft::VoteType::Prevote,
            Step::Precommit => bft::VoteType::Precommit,
        }
    }

    fn validator_address(&self) -> &MemberId {
        &self.member
    }

    fn extension(&self) -> Option<&bft::SignedExtension<Lane>> {
        None
    }

    fn take_extension(&mut self) -> Option<bft::SignedExtension<Lane>> {
        None
    }

    /// Votes carry no extensions; the core is never told to ask for any.
    fn extend(self, _: bft::SignedExtension<Lane>) -> Self {
        self
    }
}

/// A proposal with the fields that the core asks for by reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CoreProposal {
    pub(super) proposal: Proposal,
    value: Choice,
    member: MemberId,
}

impl bft::Proposal<Lane> for CoreProposal {
    fn height(&self) -> LaneHeight {
        LaneHeight(self.proposal.height)
    }

    fn round(&self) -> bft::Round {
        to_core_round(self.proposal.round)
    }

    fn value(&self) -> &Choice {
        &self.value
    }

    fn take_value(self) -> Choice {
        self.value
    }

    fn pol_round(&self) -> bft::Round {
        self.proposal.valid_round.map_or(bft::Round::Nil, to_core_round)
    }

    fn validator_address(&self) -> &MemberId {
        &self.member
    }
}

/// Blocks travel whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoPart;

impl bft::ProposalPart<Lane> for NoPart {
    fn is_first(&self) -> bool {
        true
    }

    fn is_last(&self) -> bool {
        true
    }
}

/// A committee member: its number and the address of its signing key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) signer: EthereumAddress,
}

impl bft::Validator<Lane> for Member {
    fn address(&self) -> &MemberId {
        &self.id
    }

    fn public_key(&self) -> &EthereumAddress {
        &self.signer
    }

    /// One vote each, whatever a node's weight in the choice of committees.
    fn voting_power(&self) -> bft::VotingPower {
        1
    }
}

/// A committee by rising node number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Members(pub(super) Vec<Member>);

impl bft::ValidatorSet<Lane> for Members {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn total_voting_power(&self) -> bft::VotingPower {
        self.0.len() as u64
    }

    fn get_by_address(&self, address: &MemberId) -> Option<&Member> {
        self.0.iter().find(|member| member.id == *address)
    }

    fn get_by_index(&self, index: usize) -> Option<&Member> {
        self.0.get(index)
    }
}

/// Durations are the lane's own (see `timers`); the core never asks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct NoTimeouts;

impl bft::Timeouts<Lane> for NoTimeouts {
    fn duration_for(&self, _: bft::Timeout) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

/// A signature as the core keeps it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CoreSignature([u8; 64]);

impl From<NodeSignature> for CoreSignature {
    fn from(signature: NodeSignature) -> Self {
        Self(signature.0)
    }
}

impl CoreSignature {
    pub(super) fn to_node(&self) -> NodeSignature {
        NodeSignature(self.0)
    }
}

/// Bytes are no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the length of a signature or an address")]
pub(super) struct WrongLength;

/// Secp256k1 over EIP-712 (ENC-007); signing itself happens outside the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeScheme;

impl bft::SigningScheme for NodeScheme {
    type DecodingError = WrongLength;
    type Signature = CoreSignature;
    type PublicKey = EthereumAddress;
    type PrivateKey = ();

    fn decode_signature(bytes: &[u8]) -> Result<CoreSignature, WrongLength> {
        bytes.try_into().map(CoreSignature).map_err(|_| WrongLength)
    }

    fn encode_signature(signature: &CoreSignature) -> Vec<u8> {
        signature.0.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<EthereumAddress, WrongLength> {
        bytes.try_into().map(EthereumAddress).map_err(|_| WrongLength)
    }

    fn encode_public_key(public_key: &EthereumAddress) -> Vec<u8> {
        public_key.0.to_vec()
    }
}

/// One shard's ordered lane as the core's context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lane(pub(super) ShardId);

impl bft::Context for Lane {
    type Address = MemberId;
    type Height = LaneHeight;
    type ProposalPart = NoPart;
    type Proposal = CoreProposal;
    type Validator = Member;
    type ValidatorSet = Members;
    type Timeouts = NoTimeouts;
    type Value = Choice;
    type Vote = CoreVote;
    type Extension = ();
    type SigningScheme = NodeScheme;

    /// Members take turns by height and round (ORD-016).
    fn select_proposer<'a>(
        &self,
        members: &'a Members,
        height: LaneHeight,
        round: bft::Round,
    ) -> &'a Member {
        let turn = height.0.0.wrapping_add(round.as_u32().unwrap_or(0).into());
        let count = members.0.len().max(1) as u64;
        let place = usize::try_from(turn % count).unwrap_or(0);
        members.0.get(place).expect("an agreement is begun only with members")
    }

    fn new_proposal(
        &self,
        height: LaneHeight,
        round: bft::Round,
        value: Choice,
        pol_round: bft::Round,
        member: MemberId,
    ) -> CoreProposal {
        let proposal = Proposal {
            shard: self.0,
            height: height.0,
            round: from_core_round(round).unwrap_or_default(),
            valid_round: from_core_round(pol_round),
            block: value.0,
        };
        CoreProposal { proposal, value, member }
    }

    fn new_prevote(
        &self,
        height: LaneHeight,
        round: bft::Round,
        value: bft::NilOrVal<BlockHash>,
        member: MemberId,
    ) -> CoreVote {
        self.vote(Step::Prevote, height, round, value, member)
    }

    fn new_precommit(
        &self,
        height: LaneHeight,
        round: bft::Round,
        value: bft::NilOrVal<BlockHash>,
        member: MemberId,
    ) -> CoreVote {
        self.vote(Step::Precommit, height, round, value, member)
    }
}

impl Lane {
    fn vote(
        &self,
        step: Step,
        height: LaneHeight,
        round: bft::Round,
        value: bft::NilOrVal<BlockHash>,
        member: MemberId,
    ) -> CoreVote {
        let block = match value {
            bft::NilOrVal::Nil => None,
            bft::NilOrVal::Val(block) => Some(block),
        };
        let round = from_core_round(round).unwrap_or_default();
        CoreVote::new(Vote { shard: self.0, height: height.0, round, step, block }, member)
    }
}

pub(super) fn to_core_round(round: Round) -> bft::Round {
    bft::Round::new(round.0)
}

pub(super) fn from_core_round(round: bft::Round) -> Option<Round> {
    round.as_u32().map(Round)
}

pub(super) fn to_core_vote(signed: &SignedVote) -> bft::SignedVote<Lane> {
    let vote = CoreVote::new(signed.vote, MemberId(signed.node));
    bft::SignedVote::new(vote, signed.signature.into())
}

pub(super) fn from_core_vote(signed: &bft::SignedVote<Lane>) -> SignedVote {
    SignedVote {
        node: signed.message.member.0,
        vote: signed.message.vote,
        signature: signed.signature.to_node(),
    }
}

pub(super) fn to_core_proposal(signed: &SignedProposal) -> bft::SignedProposal<Lane> {
    let proposal = CoreProposal {
        proposal: signed.proposal,
        value: Choice(signed.proposal.block),
        member: MemberId(signed.node),
    };
    bft::SignedProposal::new(proposal, signed.signature.into())
}

pub(super) fn from_core_proposal(signed: &bft::SignedProposal<Lane>) -> SignedProposal {
    SignedProposal {
        node: signed.message.member.0,
        proposal: signed.message.proposal,
        signature: signed.signature.to_node(),
    }
}
