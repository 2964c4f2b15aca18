//! Where the history of a log that a peer holds parts from the one held here (EVD-008).

use tidings_envelope::{Evidence, InclusionProof, SignedCheckpoint};
use tidings_tlog::{Divergence, compare_histories, last_common};
use tidings_types::{LogIndex, LogSize};

/// How long an answer may take before it is asked for again.
const PATIENCE_MS: u64 = 2_000;

/// How often one proof is asked for before the inquiry is given up.
const ASKED_MAX: u32 = 5;

/// A comparison that is under way: at one index the proof that this node has, and the peer's.
#[derive(Debug)]
pub(crate) struct Inquiry {
    /// The checkpoint held here covers so much.
    pub(crate) held: LogSize,
    /// What the peer has shown.
    pub(crate) offered: SignedCheckpoint,
    pub(crate) index: LogIndex,
    mine: Option<InclusionProof>,
    theirs: Option<InclusionProof>,
    asked_at_ms: u64,
    asked: u32,
}

/// What an inquiry needs or has come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The proofs of this index.
    Ask(LogIndex),
    /// The originator signed both histories.
    Found(Box<Evidence>),
    /// The histories do not contradict each other, or the peer has no proof.
    Over,
}

impl Inquiry {
    /// An inquiry that begins; `None` when nothing can contradict.
    pub(crate) fn new(held: LogSize, offered: SignedCheckpoint, now_ms: u64) -> Option<Self> {
        let index = last_common(held, offered.checkpoint.size)?;
        let (mine, theirs) = (None, None);
        Some(Self { held, offered, index, mine, theirs, asked_at_ms: now_ms, asked: 1 })
    }

    /// Takes this node's own proof, if it is the one that was asked for.
    pub(crate) fn mine(&mut self, proof: InclusionProof, now_ms: u64) -> Option<Progress> {
        let is_asked =
            proof.checkpoint.checkpoint.size == self.held && proof.header.index == self.index;
        if is_asked {
            self.mine = Some(proof);
        }
        self.compare(now_ms)
    }

    /// Takes the peer's proof, if it is the one that was asked for.
    pub(crate) fn theirs(&mut self, proof: InclusionProof, now_ms: u64) -> Option<Progress> {
        let is_asked = proof.checkpoint == self.offered && proof.header.index == self.index;
        if is_asked {
            self.theirs = Some(proof);
        }
        self.compare(now_ms)
    }

    fn compare(&mut self, now_ms: u64) -> Option<Progress> {
        let (mine, theirs) = (self.mine.as_ref()?, self.theirs.as_ref()?);
        Some(match compare_histories(mine, theirs) {
            Err(_) | Ok(Divergence::None) => Progress::Over,
            Ok(Divergence::Here) => {
                Progress::Found(Box::new(Evidence::Entries(mine.clone(), theirs.clone())))
            }
            Ok(Divergence::Within(index)) => {
                (self.index, self.mine, self.theirs) = (index, None, None);
                (self.asked_at_ms, self.asked) = (now_ms, 1);
                Progress::Ask(index)
            }
        })
    }

    /// Lets time pass; what did not come is asked for again.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Option<Progress> {
        if now_ms.saturating_sub(self.asked_at_ms) < PATIENCE_MS {
            return None;
        }
        if self.asked >= ASKED_MAX {
            return Some(Progress::Over);
        }
        (self.asked_at_ms, self.asked) = (now_ms, self.asked + 1);
        Some(Progress::Ask(self.index))
    }
}
