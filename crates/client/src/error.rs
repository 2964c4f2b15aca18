//! What can go wrong, by whose fault it is.

use tidings_envelope::StateProofInvalid;
use tidings_identity::{ApplyError, AttachError, BuildError, LogError, Member, UpdateIncomplete};
use tidings_types::{ErrorCode, Height, InboxId, ShardId};

use crate::{ConversationId, ConversationState, StoreError};

/// Why a call to the client failed.
///
/// [`ClientError::code`] is what the network said, where it did;
/// [`ClientError::retryable`] says whether the same call may succeed later.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Caller: something is asked for that does not make sense here.
    #[error(transparent)]
    Caller(#[from] CallerError),
    /// Caller or environment: the local store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Network: what was sent is refused, or the lane decided against it.
    #[error("the network refused: {code}")]
    Refused {
        /// Why.
        code: ErrorCode,
    },
    /// Environment: nobody who could answer did.
    #[error("no server answered: {reason}")]
    Unreachable {
        /// What the last attempt ended with, for people.
        reason: String,
    },
    /// Peer: what every server answered fails verification.
    #[error(transparent)]
    Unverified(#[from] VerifyFailure),
    /// Caller: an identity update cannot be made or signed like this.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Caller or environment: the group does not allow it, or its state cannot be used.
    #[error(transparent)]
    Group(#[from] GroupError),
}

/// What the caller got wrong.
#[derive(Debug, thiserror::Error)]
pub enum CallerError {
    /// There is no inbox here yet.
    #[error("this client has no inbox yet; create one first")]
    NoInbox,
    /// There is an inbox here already.
    #[error("this client has inbox {0} already")]
    HasInbox(InboxId),
    /// The conversation is not known here.
    #[error("there is no conversation {0} here")]
    UnknownConversation(ConversationId),
    /// We do not take part in the conversation.
    #[error("conversation {id} is not active: {state:?}")]
    NotActive {
        /// Which conversation.
        id: ConversationId,
        /// What became of it.
        state: ConversationState,
    },
    /// Nobody is found under this name, address or id.
    #[error("nobody is found under {0}")]
    UnknownRecipient(String),
    /// Names need a resolver, and this client has none.
    #[error("{0} is a name; this client resolves addresses and inbox ids only")]
    NameNotResolvable(String),
    /// A DM with oneself.
    #[error("a conversation needs somebody else")]
    Alone,
    /// The inbox has no installation that can be reached.
    #[error("inbox {0} has no installation with usable key packages")]
    NotReachable(InboxId),
    /// A URL does not parse or is of a scheme that is not spoken here.
    #[error("{0} is not a URL that can be used")]
    UrlInvalid(String),
    /// The text or payload is too long.
    #[error("{length_bytes} bytes are too many")]
    TooLong {
        /// How many there are.
        length_bytes: usize,
    },
    /// The node is not in the registry.
    #[error("node {0} is not in the registry")]
    UnknownNode(tidings_types::NodeId),
    /// There is no identity update that waits for signatures.
    #[error("no identity update waits for signatures")]
    NoDraft,
    /// No wallet key is kept here.
    #[error("no wallet is kept here; sign with your own")]
    NoLocalWallet,
}

/// Why an identity update cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The actions make no update.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A signature was not taken.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Signatures are missing.
    #[error(transparent)]
    Incomplete(#[from] UpdateIncomplete),
    /// The update does not apply any more: the inbox has moved on.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The wallet did not sign.
    #[error("the wallet did not sign: {reason}")]
    WalletRefused {
        /// What it said.
        reason: String,
    },
    /// The member named has no part in this inbox.
    #[error("{0} does not belong to the inbox")]
    NotMember(Member),
}

/// Why an answer is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyFailure {
    /// The server belongs to another network.
    #[error("the server belongs to another network")]
    OtherNetwork,
    /// The registry contradicts itself or is older than one seen before.
    #[error("the registry is not acceptable: {0}")]
    Registry(String),
    /// The structure's version is not known.
    #[error("unknown version")]
    Version,
    /// The entry belongs to another topic or envelope than it is served for.
    #[error("the answer is about something else")]
    Misplaced,
    /// The entry does not follow the one before it in its log.
    #[error("an entry of log {log} does not follow the one read before")]
    Chain {
        /// Which log.
        log: tidings_envelope::LogId,
    },
    /// The payload is not the one that the header was built over.
    #[error("the payload does not match its header")]
    Payload,
    /// The envelope breaks a rule or its write proof does not verify.
    #[error("the envelope is not valid: {0}")]
    Envelope(ErrorCode),
    /// An ordered entry is not at the position that is due.
    #[error("ordered position {found} came where {expected} was due")]
    Position {
        /// What was due.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// A receipt proves nothing.
    #[error(transparent)]
    Receipt(#[from] tidings_envelope::ReceiptInvalid),
    /// An inbox's log breaks a rule of identity.
    #[error(transparent)]
    Inbox(#[from] LogError),
    /// A proof about the ordered state proves nothing, or the value beside it is another one.
    #[error(transparent)]
    State(#[from] StateProofInvalid),
    /// A proof about the ordered state is for a block before one that was seen.
    #[error("the state is shown after block {shown}, and block {seen} was seen before")]
    StateStale {
        /// The block of the proof.
        shown: Height,
        /// The newest block seen of the shard.
        seen: Height,
    },
    /// Two blocks of one height are certified: more nodes cheat than the network tolerates.
    #[error("shard {shard} has two certified blocks of height {height}; nothing of it is believed")]
    Forked {
        /// Which shard.
        shard: ShardId,
        /// Which height.
        height: Height,
    },
    /// The value proved to be an inbox's state is none.
    #[error("the certified state of inbox {0} cannot be read")]
    InboxState(InboxId),
    /// The inbox does not hold the account that it was found under.
    #[error("inbox {0} does not hold the account it was found under")]
    AccountMismatch(InboxId),
}

/// Why a conversation cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// It cannot be made.
    #[error(transparent)]
    Create(#[from] tidings_mls::CreateError),
    /// Its stored state cannot be read.
    #[error(transparent)]
    Load(#[from] tidings_mls::LoadError),
    /// The stored key packages cannot be read, or none can be made.
    #[error(transparent)]
    Installation(#[from] tidings_mls::InstallationError),
    /// A message cannot be sealed.
    #[error(transparent)]
    Seal(#[from] tidings_mls::SealError),
    /// A change cannot be made.
    #[error(transparent)]
    Commit(#[from] tidings_mls::CommitError),
    /// An ordered entry cannot be judged.
    #[error(transparent)]
    Process(#[from] tidings_mls::ProcessError),
    /// A welcome cannot be pointed to.
    #[error(transparent)]
    Pointer(#[from] tidings_mls::PointerError),
    /// Others were first each time; the same call may succeed later.
    #[error("others changed the group first, {attempts} times in a row")]
    Raced {
        /// How often it was tried.
        attempts: u32,
    },
    /// Strangers' welcomes have used up this turn's budget; the mailbox is read on at the next.
    #[error("too many bogus welcomes; the rest is looked at later")]
    BogusWelcomes,
    /// The group uses a newer version of the protocol than this program knows.
    #[error("the group needs protocol version {version}")]
    Newer {
        /// The version needed.
        version: u16,
    },
}

impl ClientError {
    /// What the network said, or what is wrong with what it said, where there is a code for it.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code } => Some(*code),
            Self::Unreachable { .. } => Some(ErrorCode::Unreachable),
            Self::Unverified(failure) => failure.code(),
            _ => None,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        let raced = matches!(self, Self::Group(GroupError::Raced { .. }));
        raced || self.code().is_some_and(ErrorCode::retryable)
    }

    /// Whether asking again later, or somebody else, may give another answer to a look-up.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Refused { code } => !code.peer_at_fault(),
            Self::Unreachable { .. } => true,
            Self::Unverified(failure) => !matches!(failure, VerifyFailure::Forked { .. }),
            _ => false,
        }
    }
}

impl VerifyFailure {
    /// The code of what is wrong, where there is one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::State(StateProofInvalid::Certificate) => Some(ErrorCode::CertificateInvalid),
            Self::State(StateProofInvalid::Version) => Some(ErrorCode::UnknownVersion),
            Self::State(StateProofInvalid::Epoch(_)) => Some(ErrorCode::RegistryEpochWrong),
            Self::State(_) | Self::InboxState(_) => Some(ErrorCode::MerkleProofInvalid),
            Self::StateStale { .. } => Some(ErrorCode::StateStale),
            Self::Forked { .. } => Some(ErrorCode::OrderingHalted),
            _ => None,
        }
    }
}

macro_rules! identity_errors {
    ($($error:ty),*) => {
        $(impl From<$error> for ClientError {
            fn from(error: $error) -> Self {
                Self::Identity(error.into())
            }
        })*
    };
}

identity_errors!(BuildError, AttachError, UpdateIncomplete, ApplyError);

macro_rules! group_errors {
    ($($error:ident),*) => {
        $(impl From<tidings_mls::$error> for ClientError {
            fn from(error: tidings_mls::$error) -> Self {
                Self::Group(error.into())
            }
        })*
    };
}

group_errors!(
    CreateError,
    LoadError,
    InstallationError,
    SealError,
    CommitError,
    ProcessError,
    PointerError
);
