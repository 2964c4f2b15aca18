//! What a member that has started anew must hear before it votes (ORD-021).
//!
//! A log that a disk lost, or that a backup brought back, cannot be told from an intact one.
//! Other members remember what they received, so the member asks them, and repeats what it said
//! rather than contradict it.

use std::collections::BTreeSet;

use tidings_envelope::{SignedProposal, SignedVote};
use tidings_types::{Height, NodeId, mutant};

use super::log::LogRecord;

/// How often those who have not answered are asked again.
const ASK_AGAIN_MS: u64 = 250;

/// How long the others are waited for once enough have answered.
const GRACE_MS: u64 = 200;

/// A member's questions at the first undecided height after its start.
#[derive(Debug)]
pub(super) struct Recollection {
    height: Height,
    answered: BTreeSet<NodeId>,
    asked_at_ms: Option<u64>,
    enough_since_ms: Option<u64>,
    votes: Vec<SignedVote>,
    proposals: Vec<SignedProposal>,
}

impl Recollection {
    pub(super) fn new(height: Height) -> Self {
        Self {
            height,
            answered: BTreeSet::new(),
            asked_at_ms: None,
            enough_since_ms: None,
            votes: Vec::new(),
            proposals: Vec::new(),
        }
    }

    pub(super) fn height(&self) -> Height {
        self.height
    }

    /// Goes on to another height, as when a final block was learnt meanwhile.
    pub(super) fn move_to(&mut self, height: Height) {
        if self.height != height {
            *self = Self { asked_at_ms: self.asked_at_ms, ..Self::new(height) };
        }
    }

    /// Who is to be asked now, of `others`.
    pub(super) fn ask(&mut self, others: &[NodeId], now_ms: u64) -> Vec<NodeId> {
        let due = self.asked_at_ms.is_none_or(|at| now_ms.saturating_sub(at) >= ASK_AGAIN_MS);
        if !due {
            return Vec::new();
        }
        self.asked_at_ms = Some(now_ms);
        others.iter().copied().filter(|node| !self.answered.contains(node)).collect()
    }

    /// Asks again at the next chance, as after a link came up.
    pub(super) fn hurry(&mut self) {
        self.asked_at_ms = None;
    }

    /// Takes an answer whose statements are verified to be this member's own.
    pub(super) fn answer(
        &mut self,
        from: NodeId,
        votes: Vec<SignedVote>,
        proposals: Vec<SignedProposal>,
    ) {
        if self.answered.insert(from) {
            self.votes.extend(votes);
            self.proposals.extend(proposals);
        }
    }

    /// Whether enough of `others` have answered: as many as make a quorum with this member, and
    /// all, unless the rest stays silent for a while.
    pub(super) fn is_complete(&mut self, others: &[NodeId], quorum: usize, now_ms: u64) -> bool {
        let answers = others.iter().filter(|node| self.answered.contains(node)).count();
        if mutant!(SkipRecall) {
            return true;
        }
        if answers + 1 < quorum {
            return false;
        }
        let since = *self.enough_since_ms.get_or_insert(now_ms);
        answers == others.len() || now_ms.saturating_sub(since) >= GRACE_MS
    }

    /// When the next step may be due.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        let asked = self.asked_at_ms.map_or(0, |at| at.saturating_add(ASK_AGAIN_MS));
        let grace = self.enough_since_ms.map(|since| since.saturating_add(GRACE_MS));
        Some(grace.map_or(asked, |grace| grace.min(asked)))
    }

    /// The log with what others remember and it does not have.
    pub(super) fn complete(self, mut log: Vec<LogRecord>) -> Vec<LogRecord> {
        let proposals = self.proposals.into_iter().map(LogRecord::Proposal);
        let votes = self.votes.into_iter().map(LogRecord::Vote);
        for record in proposals.chain(votes) {
            if !log.contains(&record) {
                log.push(record);
            }
        }
        log
    }
}
