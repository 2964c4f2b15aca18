//! The group context extension: what all members of a group agree on (MLS-003).

use std::collections::{BTreeMap, BTreeSet};

use openmls::extensions::{
    Extension, ExtensionType, Extensions, RequiredCapabilitiesExtension, UnknownExtension,
};
use openmls::group::GroupContext;
use openmls::messages::proposals::ProposalType;
use openmls::prelude::Capabilities;
use openmls::versions::ProtocolVersion;
use openmls_traits::types::Ciphersuite;
use tidings_types::constants::{GROUP_INSTALLATIONS_MAX, PROTOCOL_VERSION};
use tidings_types::ed25519::PublicKey;
use tidings_types::{BoundedBytes, BoundedVec, InboxId, NetworkId, Wire};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::facts::InboxSequence;

/// The group context extension of [`GroupSettings`], from the private-use range of RFC 9420 §17.3.
pub(crate) const SETTINGS_EXTENSION: u16 = 0xf7d1;

/// The GroupInfo extension that tells joiners the topic generation.
pub(crate) const GENERATION_EXTENSION: u16 = 0xf7d2;

/// The cipher suite of every group (MLS-001).
pub(crate) const CIPHERSUITE: Ciphersuite =
    Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;

/// A name longer than a line of text helps nobody. Unit: bytes of UTF-8.
pub const GROUP_NAME_BYTES_MAX: usize = 256;

/// A description longer than a page is a message. Unit: bytes of UTF-8.
pub const GROUP_DESCRIPTION_BYTES_MAX: usize = 4_096;

/// What a group is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
)]
#[repr(u8)]
pub enum GroupKind {
    /// A conversation of any number of inboxes.
    Group = 1,
    /// A conversation of two inboxes under a fixed policy (MLS-012).
    Dm = 2,
    /// An inbox's own devices among themselves; nobody else may be added.
    Own = 3,
}

/// Who may do a thing.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
)]
#[repr(u8)]
pub enum Who {
    /// Nobody.
    Nobody = 0,
    /// Admins.
    Admins = 1,
    /// Every member.
    Everyone = 2,
}

/// Who may change what in a group (MLS-007).
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct GroupPolicy {
    /// Who adds inboxes.
    pub add: Who,
    /// Who removes inboxes; an admin is removed by admins only.
    pub remove: Who,
    /// Who changes name and description.
    pub metadata: Who,
}

impl GroupPolicy {
    /// Everyone adds and names; admins remove.
    pub const OPEN: Self =
        Self { add: Who::Everyone, remove: Who::Admins, metadata: Who::Everyone };

    /// Admins do everything.
    pub const ADMINS: Self = Self { add: Who::Admins, remove: Who::Admins, metadata: Who::Admins };

    /// What DMs and groups of an inbox's own devices have (MLS-012).
    pub const FIXED: Self = Self { add: Who::Nobody, remove: Who::Nobody, metadata: Who::Nobody };
}

/// An inbox's entry in the membership map.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Membership {
    /// Which inbox.
    pub inbox: InboxId,
    /// The position of its log that the group has taken over.
    pub sequence: InboxSequence,
    /// Installations at that position that are not in the group because their key packages
    /// could not be had; ascending. Any member may add them later.
    pub unreachable: BoundedVec<PublicKey, GROUP_INSTALLATIONS_MAX>,
}

/// What all members of a group agree on.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct GroupSettings {
    /// The version of this structure.
    pub version: u16,
    /// Peers whose protocol version is lower pause (MLS-013).
    pub version_min: u16,
    /// The network that the group lives on.
    pub network: NetworkId,
    /// What the group is; never changes.
    pub kind: GroupKind,
    /// The only inboxes that may be in the group, ascending; empty when any may. Never changes.
    pub fixed_inboxes: BoundedVec<InboxId, 2>,
    /// The epoch that began the topic generation in use (MLS-009).
    pub generation_epoch: u64,
    /// Who may change what.
    pub policy: GroupPolicy,
    /// The admins, ascending; each is a member.
    pub admins: BoundedVec<InboxId, GROUP_INSTALLATIONS_MAX>,
    /// The group's name, in UTF-8; may be empty.
    pub name: BoundedBytes<GROUP_NAME_BYTES_MAX>,
    /// The group's description, in UTF-8; may be empty.
    pub description: BoundedBytes<GROUP_DESCRIPTION_BYTES_MAX>,
    /// The membership map, ascending by inbox.
    pub members: BoundedVec<Membership, GROUP_INSTALLATIONS_MAX>,
}

/// The group context does not hold acceptable settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingsError {
    /// They need a newer version than this one.
    #[error("the group needs protocol version {version}")]
    Newer {
        /// The version needed.
        version: u16,
    },
    /// They are missing, malformed, unordered, or beside unknown extensions.
    #[error("the group settings are malformed")]
    Malformed,
}

impl GroupSettings {
    /// The settings in a group context, strictly (MLS-003, MLS-013).
    pub(crate) fn of(extensions: &Extensions<GroupContext>) -> Result<Self, SettingsError> {
        let bytes = &extensions.unknown(SETTINGS_EXTENSION).ok_or(SettingsError::Malformed)?.0;
        let version = Self::version_needed(bytes).ok_or(SettingsError::Malformed)?;
        if version > PROTOCOL_VERSION {
            return Err(SettingsError::Newer { version });
        }
        let settings = Self::from_wire(bytes).map_err(|_| SettingsError::Malformed)?;
        let expected = settings.to_extensions().ok_or(SettingsError::Malformed)?;
        if settings.is_canonical() && *extensions == expected {
            Ok(settings)
        } else {
            Err(SettingsError::Malformed)
        }
    }

    /// The higher of the two versions that every version of the structure starts with.
    fn version_needed(bytes: &[u8]) -> Option<u16> {
        let (version, rest) = bytes.split_first_chunk::<2>()?;
        let (version_min, _) = rest.split_first_chunk::<2>()?;
        Some(u16::from_be_bytes(*version).max(u16::from_be_bytes(*version_min)))
    }

    fn is_canonical(&self) -> bool {
        let ascending = |ids: &[InboxId]| ids.is_sorted_by(|one, two| one < two);
        self.version == PROTOCOL_VERSION
            && ascending(&self.fixed_inboxes)
            && ascending(&self.admins)
            && self.members.is_sorted_by(|one, two| one.inbox < two.inbox)
            && self
                .members
                .iter()
                .all(|member| member.unreachable.is_sorted_by(|one, two| one < two))
            && std::str::from_utf8(&self.name).is_ok()
            && std::str::from_utf8(&self.description).is_ok()
    }

    /// The group context extensions that hold these settings: they and the required
    /// capabilities, in this order and nothing else.
    pub(crate) fn to_extensions(&self) -> Option<Extensions<GroupContext>> {
        let required = RequiredCapabilitiesExtension::new(
            &[ExtensionType::Unknown(SETTINGS_EXTENSION)],
            &[ProposalType::SelfRemove],
            &[],
        );
        Extensions::from_vec(vec![
            Extension::RequiredCapabilities(required),
            Extension::Unknown(SETTINGS_EXTENSION, UnknownExtension(self.to_wire())),
        ])
        .ok()
    }

    /// The group's name.
    #[must_use]
    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.name).unwrap_or_default()
    }

    /// The group's description.
    #[must_use]
    pub fn description(&self) -> &str {
        std::str::from_utf8(&self.description).unwrap_or_default()
    }

    /// Whether `inbox` is in the membership map.
    #[must_use]
    pub fn is_member(&self, inbox: InboxId) -> bool {
        self.members.iter().any(|member| member.inbox == inbox)
    }

    /// Whether `inbox` is an admin.
    #[must_use]
    pub fn is_admin(&self, inbox: InboxId) -> bool {
        self.admins.contains(&inbox)
    }

    /// Whether `inbox` may do what `who` may.
    #[must_use]
    pub fn permits(&self, who: Who, inbox: InboxId) -> bool {
        match who {
            Who::Nobody => false,
            Who::Admins => self.is_admin(inbox),
            Who::Everyone => self.is_member(inbox),
        }
    }

    /// Whether `by` may put `inbox` out: an admin is removed by admins only (MLS-007).
    #[must_use]
    pub fn may_remove(&self, inbox: InboxId, by: InboxId) -> bool {
        self.permits(self.policy.remove, by) && (!self.is_admin(inbox) || self.is_admin(by))
    }

    /// The membership map as a map.
    #[must_use]
    pub fn memberships(&self) -> BTreeMap<InboxId, &Membership> {
        self.members.iter().map(|member| (member.inbox, member)).collect()
    }

    /// The admins as a set.
    #[must_use]
    pub fn admin_set(&self) -> BTreeSet<InboxId> {
        self.admins.iter().copied().collect()
    }
}

/// The capabilities of every leaf.
pub(crate) fn capabilities() -> Capabilities {
    Capabilities::new(
        Some(&[ProtocolVersion::Mls10]),
        Some(&[CIPHERSUITE]),
        Some(&[
            ExtensionType::Unknown(SETTINGS_EXTENSION),
            ExtensionType::Unknown(GENERATION_EXTENSION),
            ExtensionType::LastResort,
        ]),
        Some(&[ProposalType::SelfRemove]),
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> GroupSettings {
        GroupSettings {
            version: PROTOCOL_VERSION,
            version_min: PROTOCOL_VERSION,
            network: NetworkId([1; 32]),
            kind: GroupKind::Group,
            fixed_inboxes: BoundedVec::default(),
            generation_epoch: 0,
            policy: GroupPolicy::OPEN,
            admins: vec![InboxId([1; 32])].try_into().unwrap(),
            name: b"name".to_vec().try_into().unwrap(),
            description: BoundedBytes::default(),
            members: vec![
                Membership {
                    inbox: InboxId([1; 32]),
                    sequence: InboxSequence(3),
                    unreachable: BoundedVec::default(),
                },
                Membership {
                    inbox: InboxId([2; 32]),
                    sequence: InboxSequence(0),
                    unreachable: vec![PublicKey([9; 32])].try_into().unwrap(),
                },
            ]
            .try_into()
            .unwrap(),
        }
    }

    fn check(edit: impl FnOnce(&mut GroupSettings), expected: Result<(), SettingsError>) {
        let mut changed = settings();
        edit(&mut changed);
        let extensions = changed.to_extensions().unwrap();
        assert_eq!(GroupSettings::of(&extensions), expected.map(|()| changed));
    }

    #[test]
    fn only_canonical_settings_are_read() {
        // covers: MLS-003
        check(|_| {}, Ok(()));
        let malformed = Err(SettingsError::Malformed);
        check(|it| it.name = vec![0xff].try_into().unwrap(), malformed);
        check(|it| it.admins = vec![InboxId([1; 32]); 2].try_into().unwrap(), malformed);
        check(
            |it| {
                let mut members = it.members.to_vec();
                members.reverse();
                it.members = members.try_into().unwrap();
            },
            malformed,
        );
    }

    #[test]
    fn newer_versions_say_so() {
        // covers: MLS-013
        check(|it| it.version_min = 2, Err(SettingsError::Newer { version: 2 }));
        check(|it| it.version = 7, Err(SettingsError::Newer { version: 7 }));
    }
}
