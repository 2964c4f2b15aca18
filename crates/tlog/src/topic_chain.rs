//! The chain of one topic's entries within one log.

use tidings_envelope::EntryHeader;
use tidings_types::{EntryHash, ErrorCode, TopicIndex};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

/// Where a topic's chain stands in one log; the default is the state before the first entry.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, TlsSize, TlsSerialize, TlsDeserializeBytes,
)]
pub struct TopicHead {
    /// The `topic_index` that the next entry has.
    pub next: TopicIndex,
    /// The hash of the last entry; zero before the first.
    pub last: EntryHash,
}

/// An entry does not follow the previous one of its topic; its originator is at fault (LOG-003).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("topic entry {found} does not follow: expected {expected} with the hash before it")]
pub struct TopicChainBroken {
    /// The `topic_index` that was due.
    pub expected: TopicIndex,
    /// The `topic_index` that the entry has.
    pub found: TopicIndex,
}

impl TopicChainBroken {
    /// The code that a peer sees.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        ErrorCode::EntryOutOfOrder
    }
}

impl TopicHead {
    /// The head after `header`, an entry of the same log and topic (LOG-003).
    ///
    /// # Errors
    /// [`TopicChainBroken`] when its number or its previous hash is not the one due.
    pub fn advance(&self, header: &EntryHeader) -> Result<Self, TopicChainBroken> {
        match header.topic_index == self.next && header.previous == self.last {
            true => Ok(Self { next: self.next.plus(1), last: header.hash() }),
            false => Err(TopicChainBroken { expected: self.next, found: header.topic_index }),
        }
    }
}
