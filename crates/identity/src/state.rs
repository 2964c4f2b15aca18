//! Who belongs to an inbox: the state that its log leads to, in one canonical encoding.

use std::collections::{BTreeMap, BTreeSet};

use tidings_types::constants::{IDENTITY_MEMBERS_MAX, IDENTITY_REVOKED_MAX, PROTOCOL_VERSION};
use tidings_types::ed25519::PublicKey;
use tidings_types::{BoundedVec, DecodeError, Hash, InboxId, Wire, labelled_hash};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::{Member, Sequence};

/// How a member came to belong to the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct MemberInfo {
    /// Who let it in; the first member is there by itself.
    pub added_by: Member,
    /// The update that added it.
    pub added_at: Sequence,
}

/// The state of one inbox after an update.
///
/// It holds all that later updates are judged by, so a log can be continued from a certified
/// state without its history (IDN-019).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssociationState {
    pub(crate) inbox: InboxId,
    pub(crate) sequence: Sequence,
    pub(crate) head: Hash,
    pub(crate) recovery: Member,
    pub(crate) members: BTreeMap<Member, MemberInfo>,
    /// Oldest first; at most `IDENTITY_REVOKED_MAX`.
    pub(crate) revoked: Vec<PublicKey>,
}

/// Why bytes are no association state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateDecodeError {
    /// The state is of a version that is not known here.
    #[error("version {version} is not known")]
    UnknownVersion {
        /// The version found.
        version: u16,
    },
    /// The bytes are not the canonical encoding.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// The bytes encode what no log leads to.
    #[error("no log leads to this state: {0}")]
    Impossible(&'static str),
}

#[derive(TlsSize, TlsSerialize, TlsDeserializeBytes)]
struct StateRecord {
    version: u16,
    inbox: InboxId,
    sequence: Sequence,
    head: Hash,
    recovery: Member,
    members: BoundedVec<MemberRecord, IDENTITY_MEMBERS_MAX>,
    revoked: BoundedVec<PublicKey, IDENTITY_REVOKED_MAX>,
}

#[derive(Debug, TlsSize, TlsSerialize, TlsDeserializeBytes)]
struct MemberRecord {
    member: Member,
    info: MemberInfo,
}

impl AssociationState {
    /// Whose state it is.
    #[must_use]
    pub const fn inbox(&self) -> InboxId {
        self.inbox
    }

    /// The place of the last update.
    #[must_use]
    pub const fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// The hash of the last update, which the next one names as `previous`.
    #[must_use]
    pub const fn head(&self) -> Hash {
        self.head
    }

    /// Who may revoke members and change recovery; need not be a member.
    #[must_use]
    pub const fn recovery(&self) -> Member {
        self.recovery
    }

    /// Whether `member` belongs to the inbox now.
    #[must_use]
    pub fn contains(&self, member: &Member) -> bool {
        self.members.contains_key(member)
    }

    /// How `member` came to belong to the inbox, if it does.
    #[must_use]
    pub fn info(&self, member: &Member) -> Option<&MemberInfo> {
        self.members.get(member)
    }

    /// All members in ascending order.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (&Member, &MemberInfo)> {
        self.members.iter()
    }

    /// The keys of all installations in ascending order.
    pub fn installations(&self) -> impl Iterator<Item = PublicKey> {
        self.members.keys().filter_map(Member::installation)
    }

    /// Whether the installation is among those revoked last (IDN-013).
    #[must_use]
    pub fn is_revoked(&self, installation: &PublicKey) -> bool {
        self.revoked.contains(installation)
    }

    /// The installations revoked last, oldest first.
    #[must_use]
    pub fn revoked(&self) -> &[PublicKey] {
        &self.revoked
    }

    /// The canonical bytes (IDN-019).
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        let members = self.members.iter();
        let members = members.map(|(member, info)| MemberRecord { member: *member, info: *info });
        StateRecord {
            version: PROTOCOL_VERSION,
            inbox: self.inbox,
            sequence: self.sequence,
            head: self.head,
            recovery: self.recovery,
            members: BoundedVec::new(members.collect()).expect("transitions keep IDN-014"),
            revoked: BoundedVec::new(self.revoked.clone()).expect("transitions keep IDN-013"),
        }
        .to_wire()
    }

    /// Reads a state from all of `bytes` (IDN-019).
    ///
    /// # Errors
    /// [`StateDecodeError`] when the bytes are not the canonical encoding of a state that some
    /// log leads to.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, StateDecodeError> {
        if let Some((version, _)) = bytes.split_first_chunk::<2>() {
            let version = u16::from_be_bytes(*version);
            if version != PROTOCOL_VERSION {
                return Err(StateDecodeError::UnknownVersion { version });
            }
        }
        let record = StateRecord::from_wire(bytes)?;
        if !record.members.is_sorted_by(|one, next| one.member < next.member) {
            return Err(StateDecodeError::Impossible("members are not in ascending order"));
        }
        let members = record.members.into_vec().into_iter();
        let state = Self {
            inbox: record.inbox,
            sequence: record.sequence,
            head: record.head,
            recovery: record.recovery,
            members: members.map(|record| (record.member, record.info)).collect(),
            revoked: record.revoked.into_vec(),
        };
        state.check()?;
        Ok(state)
    }

    /// The hash of the canonical bytes (IDN-019).
    #[must_use]
    pub fn hash(&self) -> Hash {
        labelled_hash("association state", &[&self.to_wire()])
    }

    fn check(&self) -> Result<(), StateDecodeError> {
        let impossible = |why| Err(StateDecodeError::Impossible(why));
        let revoked: BTreeSet<&PublicKey> = self.revoked.iter().collect();
        if revoked.len() != self.revoked.len() {
            return impossible("an installation is revoked twice");
        }
        let is_revoked =
            |member: &Member| member.installation().is_some_and(|key| revoked.contains(&key));
        if is_revoked(&self.recovery) || !self.recovery.is_supported() {
            return impossible("recovery is revoked or of a reserved kind");
        }
        for (member, info) in &self.members {
            if is_revoked(member) {
                return impossible("a revoked installation is a member");
            }
            if !member.is_supported() || !info.added_by.is_supported() {
                return impossible("a member is of a reserved kind");
            }
            if info.added_at > self.sequence {
                return impossible("a member was added later than the last update");
            }
        }
        Ok(())
    }
}
