//! Wishes: what a member that lost a race leaves to whoever commits next (MLS-031, MLS-032).

use std::collections::BTreeSet;

use tidings_types::constants::WISH_INBOXES_MAX;
use tidings_types::{BoundedBytes, BoundedVec, InboxId};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::settings::{GROUP_DESCRIPTION_BYTES_MAX, GROUP_NAME_BYTES_MAX, GroupSettings};

/// What a member wants changed.
///
/// Removals bind whoever commits next; the rest is included by those who can.
#[derive(Debug, Clone, PartialEq, Eq, Default, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Wish {
    /// Inboxes to bring in, ascending.
    pub add: BoundedVec<InboxId, WISH_INBOXES_MAX>,
    /// Members to put out, ascending.
    pub remove: BoundedVec<InboxId, WISH_INBOXES_MAX>,
    /// A new name, in UTF-8.
    pub name: Option<BoundedBytes<GROUP_NAME_BYTES_MAX>>,
    /// A new description, in UTF-8.
    pub description: Option<BoundedBytes<GROUP_DESCRIPTION_BYTES_MAX>>,
}

/// A wish that counts in the current epoch.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub(crate) struct NotedWish {
    /// Whose it is.
    pub(crate) inbox: InboxId,
    pub(crate) wish: Wish,
}

impl Wish {
    /// Whether it wants something, and is spelt in the one way there is.
    pub(crate) fn is_canonical(&self) -> bool {
        let ascending = |ids: &[InboxId]| ids.is_sorted_by(|one, two| one < two);
        let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
        *self != Self::default()
            && ascending(&self.add)
            && ascending(&self.remove)
            && self.name.as_ref().is_none_or(|name| is_text(name))
            && self.description.as_ref().is_none_or(|text| is_text(text))
    }

    /// Whether `by` may have all of it under `settings` (MLS-007, MLS-031).
    pub(crate) fn is_permitted(&self, by: InboxId, settings: &GroupSettings) -> bool {
        let renames = self.name.is_some() || self.description.is_some();
        settings.fixed_inboxes.is_empty()
            && settings.is_member(by)
            && self.remove.iter().all(|inbox| {
                *inbox != by && settings.is_member(*inbox) && settings.may_remove(*inbox, by)
            })
            && self.add.iter().all(|inbox| !settings.is_member(*inbox))
            && (self.add.is_empty() || settings.permits(settings.policy.add, by))
            && (!renames || settings.permits(settings.policy.metadata, by))
    }
}

/// All wishes of an epoch together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wished {
    /// Who is to go: the next commit has to see to it.
    pub(crate) remove: BTreeSet<InboxId>,
    /// Who may come in, whatever the committer may do.
    pub(crate) add: BTreeSet<InboxId>,
    /// What the group may be called.
    names: BTreeSet<Vec<u8>>,
    descriptions: BTreeSet<Vec<u8>>,
}

impl Wished {
    /// What these wishes come to.
    pub(crate) fn of<'a>(wishes: impl IntoIterator<Item = &'a NotedWish>) -> Self {
        let mut wished = Self::default();
        for NotedWish { wish, .. } in wishes {
            wished.add.extend(wish.add.iter());
            wished.remove.extend(wish.remove.iter());
            wished.names.extend(wish.name.iter().map(|name| name.to_vec()));
            wished.descriptions.extend(wish.description.iter().map(|text| text.to_vec()));
        }
        wished
    }

    /// Whether somebody who may wished for the name and description of `after`, where they differ
    /// from those of `before`.
    pub(crate) fn names(&self, before: &GroupSettings, after: &GroupSettings) -> bool {
        let name = before.name == after.name || self.names.contains(&after.name[..]);
        let description = before.description == after.description
            || self.descriptions.contains(&after.description[..]);
        name && description
    }
}
