//! From what a commit is to change to the proposals that change it.

use std::collections::{BTreeMap, BTreeSet};

use openmls::prelude::LeafNodeIndex;
use tidings_types::constants::GROUP_INSTALLATIONS_MAX;
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
use crate::verdict::VoidReason;

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
        let mut gone: BTreeSet<InboxId> = changes.remove.union(&leaving).copied().collect();
        gone.extend(self.wished().remove);
        let heads = heads_that_count(&before, &changes.heads, &gone);
        let invitees: Vec<Invitee> = changes
            .invitees
            .iter()
            .filter(|invitee| !gone.contains(&invitee.inbox()))
            .filter(|invitee| roster.index_of(&invitee.installation()).is_none())
            .cloned()
            .collect();
        let removals = removals(&roster, &gone, &heads, &self.leaving_leaves());
        if removals.contains(&self.mls.own_leaf_index()) {
            return Err(CommitError::WouldBeVoid(VoidReason::NotPermitted));
        }
        let removes_leaf = !removals.is_empty() || !leaving.is_empty();
        let rotates =
            changes.rotate || rotation_is_due(self.epoch(), before.generation_epoch, removes_leaf);
        let mut settings = before.clone();
        settings.members = members_after(&before, &roster, &gone, &heads, &invitees)?;
        change_settings(&mut settings, changes, &gone)?;
        if rotates {
            settings.generation_epoch = self.epoch().saturating_add(1);
        }
        let extensions_change = settings != before;
        Ok(Plan { settings, extensions_change, removals, invitees, rotates })
    }
}

/// The heads of inboxes that stay, but those that the group is already past: a commit that lost a
/// race is made anew from the same changes.
fn heads_that_count<'a>(
    before: &GroupSettings,
    heads: &'a [InboxHead],
    gone: &BTreeSet<InboxId>,
) -> BTreeMap<InboxId, &'a InboxHead> {
    let members = before.memberships();
    let is_old = |head: &InboxHead| {
        members.get(&head.inbox).is_some_and(|member| member.sequence > head.sequence)
    };
    heads
        .iter()
        .filter(|head| !gone.contains(&head.inbox) && !is_old(head))
        .map(|head| (head.inbox, head))
        .collect()
}

/// The membership map after a commit.
fn members_after(
    before: &GroupSettings,
    roster: &Roster,
    gone: &BTreeSet<InboxId>,
    heads: &BTreeMap<InboxId, &InboxHead>,
    invitees: &[Invitee],
) -> Result<BoundedVec<Membership, GROUP_INSTALLATIONS_MAX>, CommitError> {
    let mut members: BTreeMap<InboxId, Membership> = before
        .members
        .iter()
        .filter(|member| !gone.contains(&member.inbox))
        .map(|member| (member.inbox, member.clone()))
        .collect();
    let present = roster.by_inbox();
    for (inbox, head) in heads {
        let leaves = present.get(inbox);
        let is_missing = |key: &PublicKey| leaves.is_none_or(|leaves| !leaves.contains(key));
        let missing = head.installations.iter().copied().filter(is_missing).collect();
        let entry = Membership {
            inbox: *inbox,
            sequence: head.sequence,
            unreachable: BoundedVec::new(missing).map_err(|_| CommitError::TooLarge)?,
        };
        members.insert(*inbox, entry);
    }
    for invitee in invitees {
        if let Some(member) = members.get_mut(&invitee.inbox()) {
            member.unreachable = without(&member.unreachable, &invitee.installation());
        }
    }
    BoundedVec::new(members.into_values().collect()).map_err(|_| CommitError::TooLarge)
}

/// Policy, admins, name and description after a commit.
fn change_settings(
    settings: &mut GroupSettings,
    changes: Changes,
    gone: &BTreeSet<InboxId>,
) -> Result<(), CommitError> {
    let admins = changes.admins.unwrap_or_else(|| settings.admin_set());
    let admins = admins.into_iter().filter(|admin| !gone.contains(admin)).collect();
    settings.admins = BoundedVec::new(admins).map_err(|_| CommitError::TooLarge)?;
    settings.policy = changes.policy.unwrap_or(settings.policy);
    if let Some(name) = changes.name {
        settings.name = BoundedBytes::new(name.into_bytes()).map_err(|_| CommitError::TooLarge)?;
    }
    if let Some(description) = changes.description {
        settings.description =
            BoundedBytes::new(description.into_bytes()).map_err(|_| CommitError::TooLarge)?;
    }
    Ok(())
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
        let revoked = heads
            .get(&leaf.inbox)
            .is_some_and(|head| !head.installations.contains(&leaf.installation));
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
