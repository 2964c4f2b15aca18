//! What can go wrong when a group is made, loaded, written to and read.

use tidings_types::ErrorCode;

use crate::verdict::VoidReason;

/// A group could not be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The head is not of the installation's inbox, or the peer is oneself (caller).
    #[error("the inbox is not the one it should be")]
    OtherInbox,
    /// A text or list is longer than its limit (caller).
    #[error("a text or list is too long")]
    TooLong,
    /// A library refused an input that is ours (bug).
    #[error("the cryptographic library failed")]
    Library,
}

/// Stored state is not one that this version wrote (environment).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored group is damaged")]
pub struct LoadError;

/// A message could not be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The installation was removed, ejected, or is rejoining (caller).
    #[error("the group is not active here")]
    Inactive,
    /// Somebody asked to leave, or is to go: a commit has to come first (RFC 9420 §12.4, MLS-032).
    #[error("somebody is to go; commit first")]
    LeavePending,
    /// The message is larger than one envelope holds (caller).
    #[error("the message is larger than one envelope")]
    TooLarge,
    /// A library refused an input that is ours (bug).
    #[error("the cryptographic library failed")]
    Library,
}

/// An envelope of the broadcast lane could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is on a topic that the group does not have (caller).
    #[error("the envelope is on another topic")]
    OtherTopic,
    /// It came too late for its topic generation (MLS-020).
    #[error("the topic's generation had ended")]
    GenerationEnded,
    /// It presupposes ordered entries that were not processed yet; try again after them.
    #[error("ordered entries have to be processed first")]
    Ahead,
    /// It is not sealed under the topic's key (sender).
    #[error("not sealed under the topic's key")]
    SealInvalid,
    /// It is no application message of this group (sender).
    #[error("not an application message of this group")]
    NotAMessage,
    /// Its epoch is too old to be read.
    #[error("the epoch is too old")]
    TooOld,
    /// Its sender has another view of the group's history: one of the two has to rejoin
    /// (MLS-011).
    #[error("the sender has another view of the group's history")]
    Forked,
    /// It was sent in an epoch that a restart abandoned (MLS-030).
    #[error("the epoch was abandoned")]
    Abandoned,
    /// MLS refused it: a repetition, or not from a member (sender).
    #[error("the message cannot be decrypted: {0}")]
    Undecryptable(String),
    /// It is of a content that this version does not know.
    #[error("the content is not known")]
    ContentUnknown,
}

impl OpenError {
    /// The code for reports.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::OtherTopic => ErrorCode::NotFound,
            Self::GenerationEnded | Self::TooOld | Self::Abandoned => ErrorCode::EnvelopeExpired,
            Self::Ahead => ErrorCode::NotReady,
            Self::ContentUnknown => ErrorCode::UnknownVersion,
            Self::Forked => ErrorCode::EntryConflict,
            Self::SealInvalid | Self::NotAMessage | Self::Undecryptable(_) => ErrorCode::Malformed,
        }
    }
}

/// A commit or a request to leave could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The installation was removed, ejected, or is rejoining (caller).
    #[error("the group is not active here")]
    Inactive,
    /// Another commit of ours is not ordered yet (caller).
    #[error("a commit is pending")]
    CommitPending,
    /// The own inbox asked to leave; others commit (caller).
    #[error("this inbox asked to leave")]
    Leaving,
    /// Others asked for the own inbox's removal; they commit (caller).
    #[error("others asked for this inbox's removal")]
    Unwanted,
    /// The commit is larger than one envelope, or a text or list is too long (caller).
    #[error("the commit is larger than one envelope")]
    TooLarge,
    /// Every member, this one included, would find it void (caller).
    #[error("the commit would be void: {0}")]
    WouldBeVoid(VoidReason),
    /// A DM or a group of own devices is not left (caller).
    #[error("a group of fixed inboxes is not left")]
    NotLeavable,
    /// A library refused it.
    #[error("the cryptographic library failed: {0}")]
    Library(String),
}

/// An ejected member's request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// This installation is not active itself, or has only one member's word for the group.
    #[error("the group is not active here")]
    Inactive,
    /// The request is not from a member's installation, or too old (sender).
    #[error("the request is not one to answer")]
    RequestInvalid,
    /// The asker is ahead of this installation.
    #[error("the asker is ahead")]
    Behind,
    /// Somebody is to go first (MLS-022); commit, then answer.
    #[error("somebody is to go first")]
    CommitFirst,
    /// The group is too large for one envelope.
    #[error("the group is too large for one envelope")]
    TooLarge,
    /// A library refused an input that is ours (bug).
    #[error("the cryptographic library failed")]
    Library,
}

/// A group could not be joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The group is known here and its state is not replaced (MLS-017).
    #[error("the group is known here")]
    AlreadyMember,
    /// The blob does not open, or is not what the pointer says (sender).
    #[error("the blob is not what the pointer says")]
    BlobInvalid,
    /// MLS refused the welcome (sender).
    #[error("the welcome is not valid: {0}")]
    Mls(String),
    /// The group's settings or membership are not acceptable (sender).
    #[error("the group is not acceptable: {0}")]
    Refused(VoidReason),
    /// The group needs a newer version than this one (MLS-013).
    #[error("the group needs protocol version {version}")]
    Newer {
        /// The version needed.
        version: u16,
    },
    /// The commit that made the epoch does not stand where the grant says (sender).
    #[error("the grant does not agree with the ordered lane")]
    NotInLane,
    /// The group has moved on since, or this installation has not read on as far as it can;
    /// to be tried again with what is newer.
    #[error("the grant is for another position")]
    OtherPosition,
    /// Not all inboxes were looked up (caller).
    #[error("{} inboxes have to be looked up first", .0.len())]
    NeedsInboxes(std::collections::BTreeMap<tidings_types::InboxId, crate::facts::InboxSequence>),
    /// A library refused an input that is ours (bug).
    #[error("the cryptographic library failed")]
    Library,
}
