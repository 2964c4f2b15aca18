//! The wire structures of an inbox's log.

use std::fmt;

use serde::{Deserialize, Serialize};
use tidings_types::constants::{IDENTITY_ACTIONS_PER_UPDATE_MAX, PROTOCOL_VERSION};
use tidings_types::{BoundedVec, Hash, InboxId, Wire, labelled_hash};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::{Member, UpdateSignature};

/// The most signatures one update can need: both sides of every action.
///
/// Unit: signatures.
pub const SIGNATURES_PER_UPDATE_MAX: usize = 2 * IDENTITY_ACTIONS_PER_UPDATE_MAX;

/// The place of an update in its inbox's log; the update that creates the inbox has 0.
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
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The place after this one; `None` after the last that the encoding holds.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(next) => Some(Self(next)),
            None => None,
        }
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One change to an inbox; the actions of an update take effect in order, all or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum Action {
    /// Opens the inbox; `initial` signs (IDN-006).
    #[tls_codec(discriminant = 1)]
    Create {
        /// The first member.
        initial: Member,
        /// Tells apart the inboxes that one identifier opens.
        nonce: u64,
        /// Who may revoke members and change recovery.
        recovery: Member,
    },
    /// Adds a member; `member` and `added_by` sign (IDN-012).
    #[tls_codec(discriminant = 2)]
    AddMember {
        /// Who joins.
        member: Member,
        /// The member, or the recovery identifier, that lets it in.
        added_by: Member,
    },
    /// Removes a member and all that it added; the recovery identifier signs (IDN-015).
    #[tls_codec(discriminant = 3)]
    RevokeMember {
        /// Who leaves.
        member: Member,
    },
    /// Names another recovery identifier; the one before signs (IDN-016).
    #[tls_codec(discriminant = 4)]
    ChangeRecovery {
        /// Who may revoke from here on.
        recovery: Member,
    },
}

impl Action {
    /// The members that the action names.
    pub(crate) fn members(&self) -> impl Iterator<Item = Member> {
        let (first, second) = match *self {
            Self::Create { initial, recovery, .. } => (initial, Some(recovery)),
            Self::AddMember { member, added_by } => (member, Some(added_by)),
            Self::RevokeMember { member } => (member, None),
            Self::ChangeRecovery { recovery } => (recovery, None),
        };
        std::iter::once(first).chain(second)
    }
}

impl fmt::Display for Action {
    /// The line that people read in their wallet before they sign (IDN-009).
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { initial, nonce, recovery } => {
                write!(formatter, "Create inbox {nonce} of {initial} with recovery {recovery}")
            }
            Self::AddMember { member, added_by } => {
                write!(formatter, "Add {member} on the authority of {added_by}")
            }
            Self::RevokeMember { member } => write!(formatter, "Revoke {member} and all it added"),
            Self::ChangeRecovery { recovery } => {
                write!(formatter, "Change recovery to {recovery}")
            }
        }
    }
}

/// What the signers of an update agree to.
///
/// The network is not encoded here: every signature binds it.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct UpdateBody {
    /// The version of this structure.
    pub version: u16,
    /// Whose log it continues.
    pub inbox: InboxId,
    /// Its place in the log.
    pub sequence: Sequence,
    /// The hash of the update before it; zero where there is none.
    pub previous: Hash,
    /// What changes, at least one action.
    pub actions: BoundedVec<Action, IDENTITY_ACTIONS_PER_UPDATE_MAX>,
}

impl UpdateBody {
    /// A body of the current version.
    #[must_use]
    pub fn new(
        inbox: InboxId,
        sequence: Sequence,
        previous: Hash,
        actions: BoundedVec<Action, IDENTITY_ACTIONS_PER_UPDATE_MAX>,
    ) -> Self {
        Self { version: PROTOCOL_VERSION, inbox, sequence, previous, actions }
    }

    /// The update's hash, which later updates name; signatures never enter it (IDN-002).
    #[must_use]
    pub fn hash(&self) -> Hash {
        labelled_hash("identity update", &[&self.to_wire()])
    }
}

/// An update as it travels: the body and its signatures.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct IdentityUpdate {
    /// What was signed.
    pub body: UpdateBody,
    /// Who signed, in ascending order of signers (IDN-007).
    pub signatures: BoundedVec<UpdateSignature, SIGNATURES_PER_UPDATE_MAX>,
}

/// The id of the inbox that `initial` opens with `nonce` (IDN-001).
#[must_use]
pub fn inbox_id(initial: &Member, nonce: u64) -> InboxId {
    InboxId(labelled_hash("inbox id", &[&initial.to_wire(), &nonce.to_be_bytes()]))
}

#[cfg(test)]
mod tests {
    use tidings_types::EthereumAddress;

    use super::*;

    #[test]
    fn identifiers_and_nonces_make_inboxes() {
        // covers: IDN-001
        let one = Member::EthereumAccount(EthereumAddress([1; 20]));
        let two = Member::EthereumAccount(EthereumAddress([2; 20]));
        assert_ne!(inbox_id(&one, 0), inbox_id(&two, 0));
        assert_ne!(inbox_id(&one, 0), inbox_id(&one, 1));
    }

    #[test]
    fn the_last_sequence_has_no_successor() {
        assert_eq!(Sequence(1).next(), Some(Sequence(2)));
        assert_eq!(Sequence(u64::MAX).next(), None);
    }
}
