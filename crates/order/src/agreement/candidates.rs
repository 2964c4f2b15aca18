//! The blocks that are proposed at one height, and what this member found of each.

use std::collections::BTreeMap;

use tidings_envelope::Block;
use tidings_types::{BlockHash, NodeId};

use crate::execute::Staged;

/// How long a member waits for a block's bytes before it asks somebody else for them.
const WANT_AGAIN_MS: u64 = 150;

/// A block of which a proposal is known.
#[derive(Debug)]
pub(super) enum Candidate {
    /// Its bytes are not here yet; who was asked last, and when.
    Wanted { asked_at_ms: u64, tries: usize },
    /// It begins a period that is not due by this member's clock.
    Premature(Box<Block>),
    /// An honest proposer would not have made it.
    Invalid,
    /// It was executed here.
    Valid(Box<Staged>),
}

/// Every candidate of the height under way.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    by_hash: BTreeMap<BlockHash, Candidate>,
}

impl Candidates {
    pub(super) fn clear(&mut self) {
        self.by_hash.clear();
    }

    /// Whether the block's bytes have been looked at, or wait to be.
    pub(super) fn has(&self, block: BlockHash) -> bool {
        matches!(self.by_hash.get(&block), Some(candidate) if !candidate.is_wanted())
    }

    pub(super) fn set(&mut self, block: BlockHash, candidate: Candidate) {
        self.by_hash.insert(block, candidate);
    }

    /// Whether the block was found valid, if it was looked at.
    pub(super) fn verdict(&self, block: BlockHash) -> Option<bool> {
        match self.by_hash.get(&block)? {
            Candidate::Valid(_) => Some(true),
            Candidate::Invalid => Some(false),
            Candidate::Wanted { .. } | Candidate::Premature(_) => None,
        }
    }

    /// The block, if it is valid.
    pub(super) fn block(&self, hash: BlockHash) -> Option<&Block> {
        match self.by_hash.get(&hash) {
            Some(Candidate::Valid(staged)) => Some(&staged.block),
            _ => None,
        }
    }

    /// The executed block, taken out.
    pub(super) fn take_valid(&mut self, hash: BlockHash) -> Option<Staged> {
        match self.by_hash.remove(&hash) {
            Some(Candidate::Valid(staged)) => Some(*staged),
            _ => None,
        }
    }

    /// Notes that a block is proposed whose bytes are not here; its proposer is sending them.
    pub(super) fn want(&mut self, block: BlockHash, now_ms: u64) {
        let wanted = Candidate::Wanted { asked_at_ms: now_ms, tries: 0 };
        self.by_hash.entry(block).or_insert(wanted);
    }

    /// The blocks to be asked for now, each with the place, from 0, of whom to ask.
    pub(super) fn overdue(&mut self, now_ms: u64) -> Vec<(BlockHash, usize)> {
        let mut overdue = Vec::new();
        for (hash, candidate) in &mut self.by_hash {
            if let Candidate::Wanted { asked_at_ms, tries } = candidate
                && now_ms.saturating_sub(*asked_at_ms) >= WANT_AGAIN_MS
            {
                overdue.push((*hash, *tries));
                *asked_at_ms = now_ms;
                *tries = tries.wrapping_add(1);
            }
        }
        overdue
    }

    /// When the next block is to be asked for.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        let due = self.by_hash.values().filter_map(|candidate| match candidate {
            Candidate::Wanted { asked_at_ms, .. } => Some(asked_at_ms + WANT_AGAIN_MS),
            _ => None,
        });
        due.min()
    }

    /// Takes out the blocks that came too early.
    pub(super) fn take_premature(&mut self) -> Vec<Block> {
        let hashes: Vec<BlockHash> = self
            .by_hash
            .iter()
            .filter(|(_, candidate)| matches!(candidate, Candidate::Premature(_)))
            .map(|(hash, _)| *hash)
            .collect();
        let mut blocks = Vec::new();
        for hash in hashes {
            if let Some(Candidate::Premature(block)) = self.by_hash.remove(&hash) {
                blocks.push(*block);
            }
        }
        blocks
    }
}

impl Candidate {
    fn is_wanted(&self) -> bool {
        matches!(self, Self::Wanted { .. })
    }
}

/// Whom to ask for a block: its holders in turn, but not this node.
pub(super) fn ask_for(holders: &[NodeId], me: NodeId, tries: usize) -> Option<NodeId> {
    let others: Vec<NodeId> = holders.iter().copied().filter(|node| *node != me).collect();
    others.get(tries.checked_rem(others.len())?).copied()
}
