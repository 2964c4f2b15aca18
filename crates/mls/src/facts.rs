//! What the identity log says about inboxes, as inputs: nothing here looks anything up.

use std::collections::{BTreeMap, BTreeSet};

use tidings_types::InboxId;
use tidings_types::ed25519::PublicKey;
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

/// A position in an inbox's log: the sequence of the last update that counts.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
)]
pub struct InboxSequence(pub u64);

/// An inbox at one position of its log, taken from a certified state (MLS-006).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxHead {
    /// Which inbox.
    pub inbox: InboxId,
    /// At which position.
    pub sequence: InboxSequence,
    /// The installations that belong to it at that position.
    pub installations: BTreeSet<PublicKey>,
}

/// Facts about inboxes, gathered before a message is judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InboxFacts(BTreeMap<InboxId, Option<InboxHead>>);

impl InboxFacts {
    /// No facts.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// These facts and one head more.
    #[must_use]
    pub fn with(mut self, head: InboxHead) -> Self {
        self.0.insert(head.inbox, Some(head));
        self
    }

    /// These facts and the fact that the inbox has no update at the position asked for.
    #[must_use]
    pub fn with_absent(mut self, inbox: InboxId) -> Self {
        self.0.insert(inbox, None);
        self
    }

    /// The answer for `inbox` at `sequence`.
    pub(crate) fn at(&self, inbox: InboxId, sequence: InboxSequence) -> Fact<'_> {
        match self.0.get(&inbox) {
            None => Fact::Unknown,
            Some(None) => Fact::Absent,
            Some(Some(head)) if head.sequence == sequence => Fact::Head(head),
            Some(Some(_)) => Fact::Unknown,
        }
    }
}

impl FromIterator<InboxHead> for InboxFacts {
    fn from_iter<I: IntoIterator<Item = InboxHead>>(heads: I) -> Self {
        Self(heads.into_iter().map(|head| (head.inbox, Some(head))).collect())
    }
}

/// What is known about an inbox at a position.
pub(crate) enum Fact<'a> {
    /// The caller has to look it up.
    Unknown,
    /// There is no such position.
    Absent,
    /// This is it.
    Head(&'a InboxHead),
}
