//! What the committee of a shard says to each other about blocks.

use tidings_envelope::{Block, Operation, SignedProposal, SignedVote};
use tidings_types::constants::COMMITTEE_MEMBERS_MAX;
use tidings_types::{BlockHash, BoundedVec, Height};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

/// The most statements of one node about one height that are recalled: both votes and the
/// proposal of each of some hundred rounds.
pub const RECALLED_STATEMENTS_MAX: usize = 256;

/// Votes that justify a step, each by another member or in another step.
pub type VoteList = BoundedVec<SignedVote, { 2 * COMMITTEE_MEMBERS_MAX }>;

/// A message between members; what it is about is one shard.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum OrderMessage {
    /// Please order this (ORD-019).
    #[tls_codec(discriminant = 1)]
    Order(Operation),
    /// I propose, or pass on, a block by its hash.
    #[tls_codec(discriminant = 2)]
    Proposal(SignedProposal),
    /// The block that a proposal names.
    #[tls_codec(discriminant = 3)]
    Block(Block),
    /// Please send me the block with this hash.
    #[tls_codec(discriminant = 4)]
    WantBlock(BlockHash),
    /// I vote, or pass on a vote.
    #[tls_codec(discriminant = 5)]
    Vote(SignedVote),
    /// A quorum prevoted for one block in one round.
    #[tls_codec(discriminant = 6)]
    Polka(VoteList),
    /// Enough members voted in a later round.
    #[tls_codec(discriminant = 7)]
    RoundVotes(VoteList),
    /// Which of my statements about this height do you know? (ORD-021)
    #[tls_codec(discriminant = 8)]
    Recall(Height),
    /// These are the statements that I know of yours.
    #[tls_codec(discriminant = 9)]
    Recalled(Recalled),
}

/// What a member knows of another's statements.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Recalled {
    /// The height that was asked about.
    pub height: Height,
    /// The height that the speaker is to decide next.
    pub next: Height,
    /// The asker's votes there.
    pub votes: BoundedVec<SignedVote, RECALLED_STATEMENTS_MAX>,
    /// The asker's proposals there.
    pub proposals: BoundedVec<SignedProposal, RECALLED_STATEMENTS_MAX>,
}
