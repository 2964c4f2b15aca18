//! Step one of judging a commit: everything that all members see alike (MLS-014).

use std::collections::BTreeSet;

use openmls::framing::Sender;
use openmls::group::StagedCommit;
use openmls::messages::proposals::Proposal;
use tidings_types::constants::{
    GENERATION_COMMITS_MAX, GROUP_ADDS_PER_COMMIT_MAX, GROUP_INSTALLATIONS_MAX, PROTOCOL_VERSION,
};
use tidings_types::ed25519::PublicKey;
use tidings_types::{InboxId, Wire};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::facts::InboxFacts;
use crate::manifest::{key_package_is_acceptable, leaf_is_acceptable};
use crate::membership::{self, Membered};
use crate::roster::{Leaf, Roster, group_by_inbox};
use crate::settings::{GroupSettings, Membership, SettingsError};
use crate::verdict::{Applied, Refusal, VoidReason};
use crate::welcome::WelcomeReference;
use crate::wish::Wished;

/// What a commit carries as authenticated data.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub(crate) struct CommitData {
    /// The version of this structure.
    pub(crate) version: u16,
    /// The welcome for those it adds.
    pub(crate) welcome: Option<WelcomeReference>,
    /// The epoch's external key, as a rejoin was told (MLS-034).
    pub(crate) external_key: Option<[u8; 32]>,
}

impl CommitData {
    /// What a commit of a member carries.
    pub(crate) fn of_member(welcome: Option<WelcomeReference>) -> Self {
        Self { version: PROTOCOL_VERSION, welcome, external_key: None }
    }
}

/// The group as it is before a commit.
pub(crate) struct Before<'a> {
    pub(crate) epoch: u64,
    pub(crate) settings: &'a GroupSettings,
    pub(crate) roster: &'a Roster,
    /// The leaves that asked to leave.
    pub(crate) leaving: BTreeSet<u32>,
    /// What members wished for.
    pub(crate) wished: Wished,
    /// Whom a restart has to remove; none for any other commit.
    pub(crate) outcasts: Option<&'a BTreeSet<InboxId>>,
}

/// A commit, taken apart.
struct Parts {
    committer: Leaf,
    rejoins: bool,
    adds: Vec<Leaf>,
    removes: BTreeSet<u32>,
    leavers: BTreeSet<u32>,
    after: GroupSettings,
    welcome: Option<WelcomeReference>,
    external_key: Option<[u8; 32]>,
}

/// A commit that passed step one.
pub(crate) struct Judged {
    /// The group's settings after it.
    pub(crate) after: GroupSettings,
    /// The leaves that it blanks.
    pub(crate) removed_leaves: BTreeSet<u32>,
    /// Whether it is a rejoin, and the external key that it builds on.
    pub(crate) rejoins: bool,
    pub(crate) external_key: Option<[u8; 32]>,
    /// What it changes.
    pub(crate) applied: Applied,
}

impl Before<'_> {
    /// Judges a commit that passed the checks of RFC 9420 on public state.
    pub(crate) fn judge(
        &self,
        staged: &StagedCommit,
        sender: &Sender,
        authenticated_data: &[u8],
        facts: &InboxFacts,
    ) -> Result<Judged, Refusal> {
        let parts = self.take_apart(staged, sender, authenticated_data)?;
        if parts.rejoins {
            self.check_rejoin(&parts)?;
        } else {
            self.check_member_commit(&parts)?;
        }
        if let Some(outcasts) = self.outcasts {
            self.check_restart(&parts, outcasts)?;
        }
        self.check_sizes(&parts)?;
        let leaves = group_by_inbox(self.leaves_after(&parts));
        let had = self.roster.by_inbox();
        let before = Membered { settings: self.settings, leaves: &had };
        let after = Membered { settings: &parts.after, leaves: &leaves };
        membership::check(Some(&before), &after, facts)?;
        Ok(self.judged(parts))
    }

    fn take_apart(
        &self,
        staged: &StagedCommit,
        sender: &Sender,
        authenticated_data: &[u8],
    ) -> Result<Parts, Refusal> {
        let path_leaf = staged.update_path_leaf_node().ok_or(VoidReason::CommitterLeaf)?;
        if !leaf_is_acceptable(path_leaf) {
            return Err(VoidReason::CommitterLeaf.into());
        }
        let committer = Leaf::of_node(path_leaf).ok_or(VoidReason::CommitterLeaf)?;
        let rejoins = match sender {
            Sender::Member(index) => {
                if self.roster.0.get(&index.u32()) != Some(&committer) {
                    return Err(VoidReason::CommitterLeaf.into());
                }
                false
            }
            Sender::NewMemberCommit => true,
            Sender::External(_) | Sender::NewMemberProposal => {
                return Err(VoidReason::ProposalNotAllowed.into());
            }
        };
        let (mut adds, mut removes, mut leavers) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for queued in staged.queued_proposals() {
            match queued.proposal() {
                Proposal::Add(add) => {
                    let package = add.key_package();
                    let leaf = Leaf::of_node(package.leaf_node()).ok_or(VoidReason::KeyPackage)?;
                    if !key_package_is_acceptable(package) {
                        return Err(VoidReason::KeyPackage.into());
                    }
                    adds.push(leaf);
                }
                Proposal::Remove(remove) => {
                    removes.insert(remove.removed().u32());
                }
                Proposal::SelfRemove => match queued.sender() {
                    Sender::Member(index) => {
                        leavers.insert(index.u32());
                    }
                    _ => return Err(VoidReason::ProposalNotAllowed.into()),
                },
                Proposal::GroupContextExtensions(_) if !rejoins => {}
                Proposal::ExternalInit(_) if rejoins => {}
                _ => return Err(VoidReason::ProposalNotAllowed.into()),
            }
        }
        let data = CommitData::from_wire(authenticated_data)
            .ok()
            .filter(|data| data.version == PROTOCOL_VERSION)
            .ok_or(VoidReason::Malformed)?;
        let after = self.settings_after(staged, committer.inbox)?;
        let CommitData { welcome, external_key, .. } = data;
        Ok(Parts { committer, rejoins, adds, removes, leavers, after, welcome, external_key })
    }

    /// The settings after the commit; those of a newer version pause the group if an admin set
    /// them (MLS-013).
    fn settings_after(
        &self,
        staged: &StagedCommit,
        committer: InboxId,
    ) -> Result<GroupSettings, Refusal> {
        match GroupSettings::of(staged.group_context().extensions()) {
            Ok(settings) => Ok(settings),
            Err(SettingsError::Newer { version }) if self.settings.is_admin(committer) => {
                Err(Refusal::Paused { version })
            }
            Err(SettingsError::Newer { .. }) => Err(VoidReason::NotPermitted.into()),
            Err(SettingsError::Malformed) => Err(VoidReason::Settings.into()),
        }
    }

    fn leaves_after(&self, parts: &Parts) -> Vec<Leaf> {
        let stays = |index: &u32| !parts.removes.contains(index) && !parts.leavers.contains(index);
        let kept = self.roster.0.iter().filter(|(index, _)| stays(index)).map(|(_, leaf)| *leaf);
        let rejoined = parts.rejoins.then_some(parts.committer);
        kept.chain(parts.adds.iter().copied()).chain(rejoined).collect()
    }

    /// Whether a commit is good at any position (MLS-030, MLS-032).
    pub(crate) fn needs_no_position(&self) -> bool {
        self.outcasts.is_some() || !self.wished.remove.is_empty()
    }

    /// A rejoin replaces the committer's own leaf and changes nothing else (MLS-022).
    ///
    /// It waits while anybody is to go, or it would get them a reprieve.
    fn check_rejoin(&self, parts: &Parts) -> Result<(), VoidReason> {
        if self.outcasts.is_some() || !self.leaving.is_empty() || !self.wished.remove.is_empty() {
            return Err(VoidReason::NotPermitted);
        }
        let own = self.roster.index_of(&parts.committer.installation);
        let replaces_own_leaf = own.is_some_and(|index| {
            parts.removes == BTreeSet::from([index])
                && self.roster.0.get(&index) == Some(&parts.committer)
        });
        let changes_nothing_else = parts.adds.is_empty()
            && parts.leavers.is_empty()
            && parts.welcome.is_none()
            && parts.after == *self.settings;
        match replaces_own_leaf && changes_nothing_else {
            true => Ok(()),
            false => Err(VoidReason::NotPermitted),
        }
    }

    fn check_member_commit(&self, parts: &Parts) -> Result<(), VoidReason> {
        if parts.leavers != self.leaving {
            return Err(VoidReason::LeaveNotHonoured);
        }
        if parts.welcome.is_some() == parts.adds.is_empty() {
            return Err(VoidReason::WelcomeMisplaced);
        }
        if parts.external_key.is_some() {
            return Err(VoidReason::Malformed);
        }
        self.check_constants(&parts.after)?;
        self.check_inboxes(parts)?;
        self.check_settings(parts)?;
        self.check_rotation(parts)
    }

    /// A restart removes whom it is made against, and whom every commit has to, and changes
    /// nothing else (MLS-030).
    fn check_restart(&self, parts: &Parts, outcasts: &BTreeSet<InboxId>) -> Result<(), VoidReason> {
        let (before, after) = (self.settings, &parts.after);
        let gone: BTreeSet<InboxId> = difference(before, after).into_iter().collect();
        let mut expected = self.inboxes_of(&parts.leavers);
        expected.extend(outcasts.iter().chain(&self.wished.remove));
        let unchanged = GroupSettings {
            members: before.members.clone(),
            admins: before.admins.clone(),
            generation_epoch: before.generation_epoch,
            ..after.clone()
        };
        let stays = |it: &&Membership| !expected.contains(&it.inbox);
        let restarts = gone == expected
            && before.members.iter().filter(stays).eq(after.members.iter())
            && unchanged == *before
            && parts.adds.is_empty();
        restarts.then_some(()).ok_or(VoidReason::NotPermitted)
    }

    fn check_constants(&self, after: &GroupSettings) -> Result<(), VoidReason> {
        let before = self.settings;
        let same = after.network == before.network
            && after.kind == before.kind
            && after.fixed_inboxes == before.fixed_inboxes
            && after.version_min >= before.version_min;
        same.then_some(()).ok_or(VoidReason::Settings)
    }

    /// Who may add and remove whom (MLS-007, MLS-012, MLS-018).
    fn check_inboxes(&self, parts: &Parts) -> Result<(), VoidReason> {
        let (before, after, by) = (self.settings, &parts.after, parts.committer.inbox);
        let left = self.inboxes_of(&parts.leavers);
        if left.iter().any(|inbox| after.is_member(*inbox)) {
            return Err(VoidReason::LeaveNotHonoured);
        }
        if self.wished.remove.iter().any(|inbox| after.is_member(*inbox)) {
            return Err(VoidReason::WishNotHonoured);
        }
        let is_fixed = !before.fixed_inboxes.is_empty();
        for inbox in difference(before, after) {
            let is_outcast = self.outcasts.is_some_and(|outcasts| outcasts.contains(&inbox));
            let may_remove = left.contains(&inbox)
                || self.wished.remove.contains(&inbox)
                || before.may_remove(inbox, by);
            if inbox == by || !(is_outcast || (may_remove && !is_fixed)) {
                return Err(VoidReason::NotPermitted);
            }
        }
        for inbox in difference(after, before) {
            let may_add = match is_fixed {
                true => before.fixed_inboxes.contains(&inbox),
                false => before.permits(before.policy.add, by) || self.wished.add.contains(&inbox),
            };
            if !may_add {
                return Err(VoidReason::NotPermitted);
            }
        }
        Ok(())
    }

    /// Who may change policy, admins, name and description (MLS-007).
    fn check_settings(&self, parts: &Parts) -> Result<(), VoidReason> {
        let (before, after, by) = (self.settings, &parts.after, parts.committer.inbox);
        let remaining: BTreeSet<InboxId> =
            before.admin_set().into_iter().filter(|admin| after.is_member(*admin)).collect();
        let admins_only = after.policy != before.policy
            || after.admin_set() != remaining
            || after.version_min != before.version_min;
        let renamed = after.name != before.name || after.description != before.description;
        let may_rename =
            before.permits(before.policy.metadata, by) || self.wished.names(before, after);
        let permitted = (!admins_only || before.is_admin(by))
            && (!renamed || may_rename)
            && after.admins.iter().all(|admin| after.is_member(*admin));
        permitted.then_some(()).ok_or(VoidReason::NotPermitted)
    }

    /// A commit that removes a leaf, or is the 64th of its generation, begins the next; others
    /// may (MLS-009).
    fn check_rotation(&self, parts: &Parts) -> Result<(), VoidReason> {
        let began = self.settings.generation_epoch;
        let epoch = self.epoch.saturating_add(1);
        let due = rotation_is_due(
            self.epoch,
            began,
            !parts.removes.is_empty() || !parts.leavers.is_empty(),
        );
        let after = parts.after.generation_epoch;
        match after == epoch || (!due && after == began) {
            true => Ok(()),
            false => Err(VoidReason::Rotation),
        }
    }

    fn check_sizes(&self, parts: &Parts) -> Result<(), VoidReason> {
        let installations: BTreeSet<PublicKey> =
            self.leaves_after(parts).iter().map(|leaf| leaf.installation).collect();
        let fits = parts.adds.len() <= GROUP_ADDS_PER_COMMIT_MAX
            && installations.len() <= GROUP_INSTALLATIONS_MAX;
        fits.then_some(()).ok_or(VoidReason::TooManyInstallations)
    }

    fn inboxes_of(&self, indexes: &BTreeSet<u32>) -> BTreeSet<InboxId> {
        indexes.iter().filter_map(|index| self.roster.0.get(index)).map(|leaf| leaf.inbox).collect()
    }

    fn judged(&self, parts: Parts) -> Judged {
        let (before, after) = (self.settings, &parts.after);
        let left = self.inboxes_of(&parts.leavers);
        let removed = difference(before, after).into_iter().filter(|it| !left.contains(it));
        let epoch = self.epoch.saturating_add(1);
        let settings_changed = (&before.name, &before.description, before.policy, &before.admins)
            != (&after.name, &after.description, after.policy, &after.admins);
        let applied = Applied {
            epoch,
            committer: parts.committer.inbox,
            own: false,
            added: difference(after, before),
            removed: removed.collect(),
            left: left.into_iter().collect(),
            joined: parts.adds.iter().map(|leaf| leaf.installation).collect(),
            settings_changed,
            rotated: after.generation_epoch == epoch,
            rejoined: parts.rejoins.then_some(parts.committer.installation),
            restarts: self.outcasts.is_some(),
            welcome: parts.welcome,
        };
        let removed_leaves = parts.removes.union(&parts.leavers).copied().collect();
        let (after, rejoins, external_key) = (parts.after, parts.rejoins, parts.external_key);
        Judged { after, removed_leaves, rejoins, external_key, applied }
    }
}

/// Whether the commit that ends `epoch` has to begin a topic generation (MLS-009).
pub(crate) fn rotation_is_due(epoch: u64, generation_epoch: u64, removes_leaf: bool) -> bool {
    let commits = epoch.saturating_add(1).saturating_sub(generation_epoch);
    removes_leaf || commits >= GENERATION_COMMITS_MAX
}

/// The inboxes in `one` and not in `other`, ascending.
fn difference(one: &GroupSettings, other: &GroupSettings) -> Vec<InboxId> {
    let others: BTreeSet<InboxId> = other.members.iter().map(|it| it.inbox).collect();
    one.members.iter().map(|it| it.inbox).filter(|inbox| !others.contains(inbox)).collect()
}
