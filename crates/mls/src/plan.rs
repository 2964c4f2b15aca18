//! From what a commit is to change to the proposals that change it.

use std::collections::{BTreeMap, BTreeSet};

use openmls::prelude::LeafNodeIndex;
use tidings_types::ed25519::PublicKey;
use tidings_types::{BoundedBytes, BoundedVec, InboxId};

use crate::commit::Changes;
use crate::error::CommitError;
use crate::facts::InboxHead;
use crate::group::Group;
use crate::manifest::Invitee;
use crate::policy::rotation_is_due;
use crate::roster::{Leaf, Roster};
use crate::settings::{GroupSettings, Membership};

/// A commit as it goes into openmls.
pub(crate) struct Plan {
    pub(crate) settings: GroupSettings,
    pub(crate) extensions_change: bool,
    pub(crate) removals: Vec<LeafNodeIndex>,
    pub(crate) invitees: Vec<Invitee>,
    pub(crate) rotates: bool,
}

impl Group {
    /// The proposals that make `changes`, and the settings after them.
    pub(crate) fn plan(&self, changes: Changes) -> Result<Plan, CommitError> {
        let before = self.settings();
        let roster = self.roster();
        let leaving = self.leaving();
        let present = roster.by_inbox();
        let gone: BTreeSet<InboxId> = changes.remove.union(&leaving).copied().collect();
        let heads: BTreeMap<InboxId, &InboxHead> =
            changes.heads.iter().map(|head| (head.inbox, head)).collect();
        let invitees: Vec<Invitee> = changes
            .invitees
            .into_iter()
            .filter(|invitee| roster.index_of(&invitee.installation()).is_none())
            .collect();
        let removals = removals(&roster, &gone, &heads, &self.leaving_leaves());
        let rotates = changes.rotate
            || rotation_is_due(
                self.epoch(),
                before.generation_epoch,
                !removals.is_empty() || !leaving.is_empty(),
            );

        let mut settings = before.clone();
        let mut members: BTreeMap<InboxId, Membership> = before
            .members
            .iter()
            .filter(|member| !gone.contains(&member.inbox))
            .map(|member| (member.inbox, member.clone()))
            .collect();
        for (inbox, head) in heads {
            let leaves = present.get(&inbox);
            let missing = head
                .installations
                .iter()
                .filter(|key| leaves.is_none_or(|leaves| !leaves.contains(key)))
                .copied()
                .collect();
            let entry = Membership {
                inbox,
                sequence: head.sequence,
                unreachable: BoundedVec::new(missing).map_err(|_| CommitError::TooLarge)?,
            };
            members.insert(inbox, entry);
        }
        for invitee in &invitees {
            if let Some(member) = members.get_mut(&invitee.inbox()) {
                member.unreachable = without(&member.unreachable, &invitee.installation());
            }
        }
        let admins = changes.admins.unwrap_or_else(|| before.admin_set());
        let admins = admins.into_iter().filter(|admin| !gone.contains(admin)).collect();
        settings.members =
            BoundedVec::new(members.into_values().collect()).map_err(|_| CommitError::TooLarge)?;
        settings.admins = BoundedVec::new(admins).map_err(|_| CommitError::TooLarge)?;
        settings.policy = changes.policy.unwrap_or(before.policy);
        if let Some(name) = changes.name {
            settings.name =
                BoundedBytes::new(name.into_bytes()).map_err(|_| CommitError::TooLarge)?;
        }
        if let Some(description) = changes.description {
            settings.description =
                BoundedBytes::new(description.into_bytes()).map_err(|_| CommitError::TooLarge)?;
        }
        if rotates {
            settings.generation_epoch = self.epoch().saturating_add(1);
        }
        let extensions_change = settings != before;
        Ok(Plan { settings, extensions_change, removals, invitees, rotates })
    }
}

/// The leaves to remove: of inboxes that go, and those that a newer head no longer has; leaves
/// whose own request to leave is committed are not removed a second time.
fn removals(
    roster: &Roster,
    gone: &BTreeSet<InboxId>,
    heads: &BTreeMap<InboxId, &InboxHead>,
    leavers: &BTreeSet<u32>,
) -> Vec<LeafNodeIndex> {
    let goes = |leaf: &Leaf| {
        let revoked =
            heads.get(&leaf.inbox).is_some_and(|head| !head.installations.contains(&leaf.installation));
        gone.contains(&leaf.inbox) || revoked
    };
    roster
        .0
        .iter()
        .filter(|(index, leaf)| goes(leaf) && !leavers.contains(index))
        .map(|(index, _)| LeafNodeIndex::new(*index))
        .collect()
}

fn without<const MAX: usize>(
    keys: &BoundedVec<PublicKey, MAX>,
    key: &PublicKey,
) -> BoundedVec<PublicKey, MAX> {
    let kept = keys.iter().copied().filter(|other| other != key).collect();
    BoundedVec::new(kept).unwrap_or_default()
}
