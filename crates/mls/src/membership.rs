//! Whether the membership map, the leaves of the tree and the identity logs agree (MLS-006).

use std::collections::{BTreeMap, BTreeSet};

use tidings_types::InboxId;
use tidings_types::constants::GROUP_INSTALLATIONS_MAX;
use tidings_types::ed25519::PublicKey;

use crate::facts::{Fact, InboxFacts, InboxSequence};
use crate::settings::{GroupSettings, Membership};
use crate::verdict::{Refusal, VoidReason};

pub(crate) type Leaves = BTreeMap<InboxId, BTreeSet<PublicKey>>;

/// A group's membership map and leaves at one epoch.
pub(crate) struct Membered<'a> {
    pub(crate) settings: &'a GroupSettings,
    pub(crate) leaves: &'a Leaves,
}

/// Checks the entries of `after` against its leaves, the entries `before`, and `facts`.
///
/// An inbox whose position is unchanged keeps its leaves and gains only unreachable ones.
/// An inbox that is new or has moved has exactly the installations of its head, each a leaf or
/// unreachable, and loses only leaves that the head no longer has.
pub(crate) fn check(
    before: Option<&Membered<'_>>,
    after: &Membered<'_>,
    facts: &InboxFacts,
) -> Result<(), Refusal> {
    check_listed(after)?;
    let earlier = before.map(|before| before.settings.memberships()).unwrap_or_default();
    let mut needed = BTreeMap::new();
    for membership in after.settings.members.iter() {
        let leaves = after.leaves.get(&membership.inbox).cloned().unwrap_or_default();
        let had = before
            .and_then(|before| before.leaves.get(&membership.inbox))
            .cloned()
            .unwrap_or_default();
        match earlier.get(&membership.inbox) {
            Some(old) if old.sequence == membership.sequence => {
                check_unmoved(old, membership, &had, &leaves)?;
            }
            Some(old) if old.sequence > membership.sequence => {
                return Err(VoidReason::MembershipMismatch.into());
            }
            _ => match facts.at(membership.inbox, membership.sequence) {
                Fact::Unknown => {
                    needed.insert(membership.inbox, membership.sequence);
                }
                Fact::Absent => return Err(VoidReason::InboxUnknown.into()),
                Fact::Head(head) => check_moved(membership, &had, &leaves, &head.installations)?,
            },
        }
    }
    match needed.is_empty() {
        true => Ok(()),
        false => Err(Refusal::Needs(needed)),
    }
}

/// Checks what needs no look-up: that the map lists the inboxes of the leaves and no others, and
/// no more installations than a group may have.
pub(crate) fn check_listed(group: &Membered<'_>) -> Result<(), VoidReason> {
    let members = &group.settings.members;
    if !members.iter().map(|it| &it.inbox).eq(group.leaves.keys()) {
        return Err(VoidReason::MembershipMismatch);
    }
    let leaves: usize = group.leaves.values().map(BTreeSet::len).sum();
    if leaves > GROUP_INSTALLATIONS_MAX {
        return Err(VoidReason::TooManyInstallations);
    }
    let no_leaves = BTreeSet::new();
    let overlaps = members
        .iter()
        .any(|member| !is_disjoint(group.leaves.get(&member.inbox).unwrap_or(&no_leaves), member));
    match overlaps {
        true => Err(VoidReason::MembershipMismatch),
        false => Ok(()),
    }
}

/// Checks one entry of a map that a joiner sees for the first time.
pub(crate) fn check_member(
    group: &Membered<'_>,
    inbox: InboxId,
    facts: &InboxFacts,
) -> Result<(), Refusal> {
    let members = &group.settings.members;
    let place = members.binary_search_by_key(&inbox, |it| it.inbox).ok();
    let entry = place.and_then(|place| members.get(place));
    let (Some(entry), Some(leaves)) = (entry, group.leaves.get(&inbox)) else {
        return Err(VoidReason::MembershipMismatch.into());
    };
    match facts.at(inbox, entry.sequence) {
        Fact::Unknown => Err(Refusal::Needs([(inbox, entry.sequence)].into())),
        Fact::Absent => Err(VoidReason::InboxUnknown.into()),
        Fact::Head(head) => Ok(check_moved(entry, &BTreeSet::new(), leaves, &head.installations)?),
    }
}

/// The positions of all inboxes in `settings`.
pub(crate) fn positions(settings: &GroupSettings) -> BTreeMap<InboxId, InboxSequence> {
    settings.members.iter().map(|it| (it.inbox, it.sequence)).collect()
}

fn check_unmoved(
    old: &Membership,
    new: &Membership,
    had: &BTreeSet<PublicKey>,
    leaves: &BTreeSet<PublicKey>,
) -> Result<(), VoidReason> {
    let all = |leaves: &BTreeSet<PublicKey>, entry: &Membership| -> BTreeSet<PublicKey> {
        leaves.iter().chain(entry.unreachable.iter()).copied().collect()
    };
    let agrees =
        had.is_subset(leaves) && all(had, old) == all(leaves, new) && is_disjoint(leaves, new);
    agrees.then_some(()).ok_or(VoidReason::MembershipMismatch)
}

fn check_moved(
    new: &Membership,
    had: &BTreeSet<PublicKey>,
    leaves: &BTreeSet<PublicKey>,
    installations: &BTreeSet<PublicKey>,
) -> Result<(), VoidReason> {
    let all: BTreeSet<PublicKey> = leaves.iter().chain(new.unreachable.iter()).copied().collect();
    let keeps_active = had.intersection(installations).all(|key| leaves.contains(key));
    let agrees = all == *installations && is_disjoint(leaves, new) && keeps_active;
    agrees.then_some(()).ok_or(VoidReason::MembershipMismatch)
}

fn is_disjoint(leaves: &BTreeSet<PublicKey>, entry: &Membership) -> bool {
    entry.unreachable.iter().all(|key| !leaves.contains(key))
}
