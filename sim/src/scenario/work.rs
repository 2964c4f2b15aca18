//! What clients do.

use tidings_envelope::Lane;

/// Something that a client does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// An author publishes.
    Publish {
        /// Which author.
        author: u32,
        /// How it is to be ordered.
        lane: Lane,
        /// Whether an ordered envelope builds on a position.
        builds_on: bool,
        /// How long the payload is, in bytes.
        length: usize,
    },
    /// All authors of a topic commit at once.
    Race {
        /// Which topic.
        topic: u32,
    },
    /// Somebody without the right to sends something to a node.
    Trick(Trick),
}

/// What a hostile client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    /// Bytes that are no envelope, in one batch with a good one.
    Garbage,
    /// An envelope that another key than the topic's has signed, in one batch with a good one.
    WrongKey,
    /// An envelope whose bits were flipped after it was signed.
    Tampered,
    /// An envelope that expires too far ahead.
    TooFar,
    /// An envelope that has expired.
    Expired,
    /// The same envelope twice in one batch.
    Twice,
    /// A request that was answered before, to the same node.
    Replayed,
    /// A request that was answered before, to another node.
    Elsewhere,
    /// A batch that another payer's key has signed.
    WrongPayer,
    /// A commit for a position that is long taken, as a proposal to every node at once.
    Everywhere,
}
