//! What cheats have said to each honest process, to know what it must have noticed; and what
//! honest nodes have voted, to know what they must not vote any more.
//!
//! A process that was given both halves of a contradiction, each while it could still judge it,
//! has no excuse.

use std::collections::{BTreeMap, BTreeSet};

use tidings_envelope::{Evidence, LogId, SignedProposal, SignedVote, Step};
use tidings_order::OrderMessage;
use tidings_types::{BlockHash, Height, NodeId, OffenceId, Round, ShardId};

use crate::setup::{Seat, Setup};

/// Rounds after this one may be beyond what a process looks at.
const ROUND_MAX: u32 = 5;

/// Whom a statement was made to, and by whom, about what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    seat: Seat,
    generation: u32,
    author: NodeId,
    shard: ShardId,
    height: Height,
    round: Round,
    /// The step of a vote; none for a proposal.
    step: Option<Step>,
}

#[derive(Debug, Clone, Copy)]
enum Statement {
    Vote(SignedVote),
    Proposal(SignedProposal),
}

/// By whom a vote is, of which shard, height, round and step.
type VotePlace = (NodeId, ShardId, Height, Round, Step);

/// What was voted in a place, and which honest nodes know that.
type Heard = BTreeMap<Option<BlockHash>, BTreeSet<NodeId>>;

/// The statements of cheats, and the contradictions that honest processes have seen whole.
#[derive(Debug, Default)]
pub struct Watch {
    votes: BTreeMap<VotePlace, Heard>,
    said: BTreeMap<Place, Statement>,
    /// Who has seen which offence.
    pub seen: BTreeMap<(NodeId, OffenceId), BTreeSet<Seat>>,
    /// Who was shown, of which log, another checkpoint for all that it holds of it.
    pub shown: BTreeMap<LogId, BTreeSet<Seat>>,
}

impl Watch {
    /// A message about an ordered lane has reached an honest process whose last final block has
    /// `height`.
    pub fn hears(
        &mut self,
        seat: Seat,
        generation: u32,
        message: &OrderMessage,
        height: Height,
        cheats: impl Fn(NodeId) -> bool,
        setup: &Setup,
    ) {
        let statements: Vec<Statement> = match message {
            OrderMessage::Vote(vote) => vec![Statement::Vote(*vote)],
            OrderMessage::Proposal(proposal) => vec![Statement::Proposal(*proposal)],
            OrderMessage::Polka(votes) | OrderMessage::RoundVotes(votes) => {
                votes.iter().copied().map(Statement::Vote).collect()
            }
            _ => Vec::new(),
        };
        for statement in statements {
            let place = statement.place(seat, generation);
            let is_timely = place.height == height || place.height == height.plus(1);
            let counts = cheats(place.author) && is_timely && place.round.0 <= ROUND_MAX;
            if counts && statement.is_genuine(setup) {
                self.note(place, statement);
            }
        }
    }

    /// An honest node votes; answers whether so many nodes know that it has voted otherwise that
    /// it would have heard of it after any loss of its own disk.
    pub fn votes(&mut self, signed: &SignedVote, faults_tolerated: usize) -> bool {
        let heard = self.votes.entry(vote_place(signed)).or_default();
        heard.entry(signed.vote.block).or_default();
        let others = heard.iter().filter(|(block, _)| **block != signed.vote.block);
        others.map(|(_, nodes)| nodes.len()).max().is_some_and(|most| most > faults_tolerated)
    }

    /// A vote has reached an honest node; one that its author never sent counts for nothing.
    pub fn knows(&mut self, node: NodeId, signed: &SignedVote) {
        let heard = self.votes.get_mut(&vote_place(signed));
        if let Some(nodes) = heard.and_then(|heard| heard.get_mut(&signed.vote.block)) {
            nodes.insert(node);
        }
    }

    fn note(&mut self, place: Place, statement: Statement) {
        let first = *self.said.entry(place).or_insert(statement);
        let evidence = match (first, statement) {
            (Statement::Vote(one), Statement::Vote(other)) if one.vote != other.vote => {
                Evidence::Votes(one, other)
            }
            (Statement::Proposal(one), Statement::Proposal(other))
                if one.proposal.block != other.proposal.block =>
            {
                Evidence::Proposals(one, other)
            }
            _ => return,
        };
        self.seen.entry((place.author, evidence.offence())).or_default().insert(place.seat);
    }
}

fn vote_place(signed: &SignedVote) -> VotePlace {
    let vote = &signed.vote;
    (signed.node, vote.shard, vote.height, vote.round, vote.step)
}

impl Statement {
    fn place(&self, seat: Seat, generation: u32) -> Place {
        match self {
            Self::Vote(signed) => Place {
                seat,
                generation,
                author: signed.node,
                shard: signed.vote.shard,
                height: signed.vote.height,
                round: signed.vote.round,
                step: Some(signed.vote.step),
            },
            Self::Proposal(signed) => Place {
                seat,
                generation,
                author: signed.node,
                shard: signed.proposal.shard,
                height: signed.proposal.height,
                round: signed.proposal.round,
                step: None,
            },
        }
    }

    fn is_genuine(&self, setup: &Setup) -> bool {
        let (node, network) = match self {
            Self::Vote(signed) => (signed.node, setup.network),
            Self::Proposal(signed) => (signed.node, setup.network),
        };
        let Some(record) = setup.registry.node(node) else { return false };
        match self {
            Self::Vote(signed) => signed.verify(network, record.signing).is_ok(),
            Self::Proposal(signed) => signed.verify(network, record.signing).is_ok(),
        }
    }
}
