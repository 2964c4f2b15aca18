//! Who holds which leaf of the ratchet tree, in our own terms.

use std::collections::{BTreeMap, BTreeSet};

use openmls::credentials::{BasicCredential, Credential};
use openmls::group::Member;
use openmls::treesync::LeafNode;
use tidings_types::InboxId;
use tidings_types::ed25519::PublicKey;

/// The owner of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Leaf {
    /// Whose leaf.
    pub(crate) inbox: InboxId,
    /// On which installation.
    pub(crate) installation: PublicKey,
}

impl Leaf {
    /// The owner of a leaf with this credential and key (MLS-002).
    pub(crate) fn new(credential: &Credential, signature_key: &[u8]) -> Option<Self> {
        let installation = PublicKey(signature_key.try_into().ok()?);
        Some(Self { inbox: inbox_of(credential)?, installation })
    }

    /// The owner of a leaf node.
    pub(crate) fn of_node(node: &LeafNode) -> Option<Self> {
        Self::new(node.credential(), node.signature_key().as_slice())
    }
}

/// The inbox that a credential names (MLS-002).
pub(crate) fn inbox_of(credential: &Credential) -> Option<InboxId> {
    let basic = BasicCredential::try_from(credential.clone()).ok()?;
    Some(InboxId(basic.identity().try_into().ok()?))
}

/// All leaves by index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Roster(pub(crate) BTreeMap<u32, Leaf>);

impl Roster {
    /// The leaves of a tree, or `None` when one has no owner that we understand.
    pub(crate) fn new(members: impl Iterator<Item = Member>) -> Option<Self> {
        members
            .map(|member| {
                let leaf = Leaf::new(&member.credential, &member.signature_key)?;
                Some((member.index.u32(), leaf))
            })
            .collect::<Option<_>>()
            .map(Self)
    }

    /// The index of an installation's leaf.
    pub(crate) fn index_of(&self, installation: &PublicKey) -> Option<u32> {
        self.0.iter().find(|(_, leaf)| leaf.installation == *installation).map(|(index, _)| *index)
    }

    /// Whose installation has a leaf.
    pub(crate) fn inbox_of(&self, installation: &PublicKey) -> Option<InboxId> {
        self.0.values().find(|leaf| leaf.installation == *installation).map(|leaf| leaf.inbox)
    }

    /// The installations of each inbox.
    pub(crate) fn by_inbox(&self) -> BTreeMap<InboxId, BTreeSet<PublicKey>> {
        group_by_inbox(self.0.values().copied())
    }
}

/// The installations of each inbox among `leaves`.
pub(crate) fn group_by_inbox(
    leaves: impl IntoIterator<Item = Leaf>,
) -> BTreeMap<InboxId, BTreeSet<PublicKey>> {
    let mut inboxes: BTreeMap<InboxId, BTreeSet<PublicKey>> = BTreeMap::new();
    for leaf in leaves {
        inboxes.entry(leaf.inbox).or_default().insert(leaf.installation);
    }
    inboxes
}
