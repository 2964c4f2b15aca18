//! What becomes of a message of the ordered lane.

use std::collections::BTreeMap;

use tidings_types::ed25519::PublicKey;
use tidings_types::{ErrorCode, InboxId, Position};

use crate::facts::InboxSequence;
use crate::welcome::WelcomeReference;

/// What an ordered entry did to the group (MLS-014).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A commit: the epoch advanced.
    Applied(Box<Applied>),
    /// A member asked to leave; the next commit lets it go.
    LeaveRequested {
        /// Who leaves.
        inbox: InboxId,
    },
    /// A member asked whoever commits next to change something (MLS-031).
    Wished {
        /// Who wishes.
        inbox: InboxId,
    },
    /// Statements alone; what they come to shows in what follows (MLS-027).
    Noted,
    /// Nothing, at every member alike: the position is used, the epoch stays.
    Void(VoidReason),
    /// This installation is no longer in the group; nothing later can be read.
    Removed {
        /// Whose commit it was.
        by: InboxId,
    },
    /// This installation cannot follow a commit that others may have followed; it rejoins.
    Ejected,
    /// The group needs a newer version than this one; nothing was used up (MLS-013).
    Paused {
        /// The version needed.
        version: u16,
    },
    /// The entry came after its topic's last one and means nothing (MLS-009).
    Stale,
}

/// What a commit changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The epoch that it began.
    pub epoch: u64,
    /// Whose commit it was.
    pub committer: InboxId,
    /// Whether this installation made it.
    pub own: bool,
    /// Inboxes that came in.
    pub added: Vec<InboxId>,
    /// Inboxes that others put out.
    pub removed: Vec<InboxId>,
    /// Inboxes that had asked to leave.
    pub left: Vec<InboxId>,
    /// Installations that came in, of new inboxes and old.
    pub joined: Vec<PublicKey>,
    /// Whether name, description, policy or admins changed.
    pub settings_changed: bool,
    /// Whether a new topic generation began (MLS-009).
    pub rotated: bool,
    /// The installation that got back in, if it was ejected (MLS-022).
    pub rejoined: Option<PublicKey>,
    /// Whether the group went back to an earlier epoch, without whom it removed (MLS-030).
    pub restarts: bool,
    /// Where the welcome for those who came in is, for sending pointers (MLS-016).
    pub welcome: Option<WelcomeReference>,
}

/// Why an ordered entry is void; found without private secrets, so every member agrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum VoidReason {
    /// It is not sealed under the topic's seal key.
    #[error("not sealed under the topic's key")]
    Seal,
    /// Its sender has another view of the group's history.
    #[error("made on another view of the group's history")]
    TranscriptMismatch,
    /// It is no MLS message, or no public handshake message.
    #[error("not an MLS handshake message")]
    Malformed,
    /// It is for another group or epoch.
    #[error("for another group or epoch")]
    WrongEpoch,
    /// A commit without, or a proposal with, an expected position.
    #[error("a commit without or a proposal with an expected position")]
    Misplaced,
    /// It fails a check of RFC 9420.
    #[error("fails a check of RFC 9420")]
    Mls,
    /// It has a kind of proposal that groups do not use.
    #[error("a kind of proposal that groups do not use")]
    ProposalNotAllowed,
    /// It leaves out an inbox that asked to leave, or only half removes it (MLS-018).
    #[error("does not let go who asked to leave")]
    LeaveNotHonoured,
    /// It changes its committer's identity, or has no path.
    #[error("changes its committer's identity or has no path")]
    CommitterLeaf,
    /// A key package is not one that groups take (MLS-004).
    #[error("a key package that groups do not take")]
    KeyPackage,
    /// The group settings are malformed or change what never changes.
    #[error("the group settings are malformed")]
    Settings,
    /// The committer may not do this (MLS-007).
    #[error("not permitted to the committer")]
    NotPermitted,
    /// Membership map, leaves and inbox heads disagree (MLS-006).
    #[error("membership map, leaves and inboxes disagree")]
    MembershipMismatch,
    /// An inbox has no such position.
    #[error("an inbox has no such position")]
    InboxUnknown,
    /// It should begin a topic generation and does not, or names a wrong epoch (MLS-009).
    #[error("the topic generation is wrong")]
    Rotation,
    /// It adds more installations than a commit or a group may have.
    #[error("too many installations")]
    TooManyInstallations,
    /// It adds without a welcome, or has a welcome for nobody.
    #[error("a welcome is missing or for nobody")]
    WelcomeMisplaced,
    /// It keeps an inbox whose removal was wished for (MLS-032).
    #[error("keeps somebody whose removal was asked for")]
    WishNotHonoured,
    /// A statement is not signed by a member's installation (MLS-027).
    #[error("a statement that no member made")]
    Statement,
    /// A rejoin builds on a key that is not the epoch's (MLS-034).
    #[error("a rejoin on a key that is not the epoch's")]
    ExternalKey,
    /// A restart comes before it may (MLS-030).
    #[error("a restart before its time")]
    NotDue,
}

impl VoidReason {
    /// The code that a peer sees.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Malformed | Self::Settings => ErrorCode::Malformed,
            Self::TooManyInstallations => ErrorCode::TooLarge,
            Self::InboxUnknown => ErrorCode::InboxUnknown,
            _ => ErrorCode::OperationInvalid,
        }
    }
}

/// Why judging stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Void for everyone.
    Void(VoidReason),
    /// These heads are needed first.
    Needs(BTreeMap<InboxId, InboxSequence>),
    /// A newer version is needed.
    Paused { version: u16 },
}

impl From<VoidReason> for Refusal {
    fn from(reason: VoidReason) -> Self {
        Self::Void(reason)
    }
}

/// An ordered entry could not be judged; the group is unchanged (caller).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// The entry is on a topic that the group never had.
    #[error("the entry is on another topic")]
    OtherTopic,
    /// Entries come in order, without gaps (MLS-023).
    #[error("the next entry is the one at position {expected}")]
    OutOfOrder {
        /// The position of the next entry.
        expected: Position,
    },
    /// These inboxes have to be looked up at these positions first.
    #[error("{} inboxes have to be looked up first", .0.len())]
    NeedsInboxes(BTreeMap<InboxId, InboxSequence>),
    /// The installation was removed from the group or ejected.
    #[error("the group is not active here")]
    Inactive,
    /// Another entry took the position of this rejoin; the group is to be dropped and another
    /// grant asked for.
    #[error("another entry took the position of the rejoin")]
    RejoinLost,
}
