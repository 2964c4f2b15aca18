//! From bytes to a verified update: everything that can be judged without the inbox's state.

use tidings_types::constants::{IDENTITY_UPDATE_BYTES_MAX, PROTOCOL_VERSION};
use tidings_types::{DecodeError, ErrorCode, Hash, InboxId, NetworkId, Wire};

use crate::{Action, IdentityUpdate, Member, Sequence, Statement, UpdateBody, inbox_id};

/// Why bytes are no update.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// There are more bytes than any update has (IDN-003).
    #[error("{length_bytes} bytes exceed the maximum of {IDENTITY_UPDATE_BYTES_MAX}")]
    TooLarge {
        /// How many bytes there are.
        length_bytes: usize,
    },
    /// The update is of a version that is not known here (IDN-003).
    #[error("version {version} is not known")]
    UnknownVersion {
        /// The version found.
        version: u16,
    },
    /// The bytes are not the canonical encoding (IDN-003).
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

impl ParseError {
    /// The code that the sender sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge { .. } => ErrorCode::TooLarge,
            Self::UnknownVersion { .. } => ErrorCode::UnknownVersion,
            Self::Malformed(_) => ErrorCode::Malformed,
        }
    }
}

/// Why an update can be part of no log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The update changes nothing (IDN-006).
    #[error("the update has no actions")]
    NoActions,
    /// An inbox is created elsewhere than by the first action of sequence 0, or not there, or
    /// with a predecessor (IDN-006).
    #[error("an inbox is created by the first action of its first update, and only there")]
    CreateMisplaced,
    /// The inbox is not the one that the first identifier and the nonce make (IDN-001).
    #[error("the inbox id does not belong to the first identifier")]
    InboxMismatch,
    /// A member or proof is of a reserved kind (IDN-004).
    #[error("signatures of {member} cannot be checked by this version")]
    KindReserved {
        /// The member.
        member: Member,
    },
    /// The signers are not in ascending order, or one is there twice (IDN-007).
    #[error("signatures are not in ascending order of signers")]
    SignersUnordered,
    /// A signature is not the signer's over this update on this network (IDN-008 to IDN-011).
    #[error("the signature of {signer} does not verify")]
    SignatureInvalid {
        /// Who is said to have signed.
        signer: Member,
    },
}

impl VerifyError {
    /// The code that the sender sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NoActions | Self::CreateMisplaced | Self::InboxMismatch => {
                ErrorCode::IdentityActionInvalid
            }
            Self::KindReserved { .. } => ErrorCode::UnknownVersion,
            Self::SignersUnordered | Self::SignatureInvalid { .. } => {
                ErrorCode::IdentitySignatureInvalid
            }
        }
    }
}

/// An update in canonical form; its signatures are not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedUpdate(IdentityUpdate);

impl ParsedUpdate {
    /// Reads an update from all of `bytes` (IDN-003).
    ///
    /// # Errors
    /// [`ParseError`] for bytes that are too many, of another version, or not canonical.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        if bytes.len() > IDENTITY_UPDATE_BYTES_MAX {
            return Err(ParseError::TooLarge { length_bytes: bytes.len() });
        }
        if let Some((version, _)) = bytes.split_first_chunk::<2>() {
            let version = u16::from_be_bytes(*version);
            if version != PROTOCOL_VERSION {
                return Err(ParseError::UnknownVersion { version });
            }
        }
        Ok(Self(IdentityUpdate::from_wire(bytes)?))
    }

    /// What the update says, unverified.
    #[must_use]
    pub const fn as_update(&self) -> &IdentityUpdate {
        &self.0
    }

    /// Checks all that needs no state: the shape of the actions and every signature.
    ///
    /// # Errors
    /// [`VerifyError`] names the first rule that the update breaks.
    pub fn verify(self, network: NetworkId) -> Result<VerifiedUpdate, VerifyError> {
        let update = self.0;
        check_shape(&update.body)?;
        // IDN-007: one order and no repetition, so that nobody can pad an update.
        if !update.signatures.is_sorted_by(|one, next| one.signer < next.signer) {
            return Err(VerifyError::SignersUnordered);
        }
        let statement = Statement::new(&update.body, network);
        for signature in update.signatures.iter() {
            signature.verify(&statement)?;
        }
        Ok(VerifiedUpdate { network, hash: statement.update(), update })
    }
}

/// An update whose shape is right and whose signatures all verify.
///
/// Whether they are the signatures that its actions need depends on the inbox's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedUpdate {
    network: NetworkId,
    hash: Hash,
    update: IdentityUpdate,
}

impl VerifiedUpdate {
    /// The network that its signatures bind.
    #[must_use]
    pub const fn network(&self) -> NetworkId {
        self.network
    }

    /// The update's hash (IDN-002).
    #[must_use]
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// Whose log it continues.
    #[must_use]
    pub const fn inbox(&self) -> InboxId {
        self.update.body.inbox
    }

    /// Its place in the log.
    #[must_use]
    pub const fn sequence(&self) -> Sequence {
        self.update.body.sequence
    }

    /// The update itself.
    #[must_use]
    pub const fn as_update(&self) -> &IdentityUpdate {
        &self.update
    }

    /// Who signed, in ascending order.
    pub fn signers(&self) -> impl Iterator<Item = Member> {
        self.update.signatures.iter().map(|signature| signature.signer)
    }
}

/// Checks the rules on actions that hold in every state (IDN-001, IDN-004, IDN-006).
pub(crate) fn check_shape(body: &UpdateBody) -> Result<(), VerifyError> {
    let (first, rest) = body.actions.split_first().ok_or(VerifyError::NoActions)?;
    for member in body.actions.iter().flat_map(Action::members) {
        if !member.is_supported() {
            return Err(VerifyError::KindReserved { member });
        }
    }
    if rest.iter().any(|action| matches!(action, Action::Create { .. })) {
        return Err(VerifyError::CreateMisplaced);
    }
    let is_first = body.sequence == Sequence(0);
    match *first {
        Action::Create { initial, nonce, .. } if is_first && body.previous == Hash::default() => {
            match inbox_id(&initial, nonce) == body.inbox {
                true => Ok(()),
                false => Err(VerifyError::InboxMismatch),
            }
        }
        Action::Create { .. } => Err(VerifyError::CreateMisplaced),
        _ if is_first => Err(VerifyError::CreateMisplaced),
        _ => Ok(()),
    }
}
