//! Who belongs to an inbox after a prefix of its log.

use std::collections::{BTreeMap, BTreeSet};

use super::{Identifier, InboxId, InstallationKey, Member, ReplayKey, TimestampNs};

/// What is known of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberInfo {
    /// Who let it in; none for the first.
    pub added_by: Option<Member>,
    /// When, by the client's clock; none for the first.
    pub added_at: Option<TimestampNs>,
    /// By which update, counted from 0; of two inboxes that an identifier belongs to, it is found
    /// in the one that it joined later.
    pub added_in: u32,
    /// The chain of a contract wallet; none for any other member.
    pub chain_id: Option<u64>,
}

/// An inbox after some updates: a value, which [`Self::apply`] makes the next one of.
///
/// [`Self::apply`]: AssociationState::apply
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssociationState {
    pub(super) inbox: InboxId,
    pub(super) members: BTreeMap<Member, MemberInfo>,
    pub(super) recovery: Identifier,
    /// The recovery identifier's chain, which outlives its membership as the role does.
    pub(super) recovery_chain_id: Option<u64>,
    pub(super) seen: BTreeSet<ReplayKey>,
    pub(super) update_count: u32,
}

impl AssociationState {
    /// The inbox.
    #[must_use]
    pub const fn inbox(&self) -> InboxId {
        self.inbox
    }

    /// Who may revoke members; perhaps no member itself.
    #[must_use]
    pub const fn recovery(&self) -> &Identifier {
        &self.recovery
    }

    /// How many updates were applied.
    #[must_use]
    pub const fn update_count(&self) -> u32 {
        self.update_count
    }

    /// All members, in a fixed order.
    pub fn members(&self) -> impl Iterator<Item = (&Member, &MemberInfo)> {
        self.members.iter()
    }

    /// What is known of `member`; `None` when it does not belong to the inbox.
    #[must_use]
    pub fn member(&self, member: &Member) -> Option<&MemberInfo> {
        self.members.get(member)
    }

    /// Whether `member` belongs to the inbox.
    #[must_use]
    pub fn contains(&self, member: &Member) -> bool {
        self.members.contains_key(member)
    }

    /// The installations.
    pub fn installations(&self) -> impl Iterator<Item = InstallationKey> {
        self.members.keys().filter_map(Member::installation)
    }

    /// The addresses and passkeys by which the inbox is found.
    pub fn identifiers(&self) -> impl Iterator<Item = &Identifier> {
        self.members.keys().filter_map(Member::identifier)
    }
}
