//! How an update changes an inbox: one pure function from state to state.

use std::collections::{BTreeMap, BTreeSet};

use super::limit::{
    INSTALLATIONS_PER_INBOX_MAX, MEMBERS_PER_INBOX_MAX, RECOVERY_UPDATES_PER_INBOX_MAX,
    UPDATES_PER_INBOX_MAX,
};
use super::{
    Action, AssociationError, AssociationState, Identifier, InboxId, Member, MemberInfo,
    MemberKind, Signed, TimestampNs, VerifiedUpdate,
};

/// What an update changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// The inbox.
    pub inbox: InboxId,
    /// Who joined, and who left and joined again.
    pub added: Vec<Member>,
    /// Who left, and who left and joined again.
    pub removed: Vec<Member>,
    /// The new recovery identifier, where it changed.
    pub recovery: Option<Identifier>,
}

impl Diff {
    /// The addresses and passkeys that lead to the inbox from now on.
    pub fn added_identifiers(&self) -> impl Iterator<Item = &Identifier> {
        self.added.iter().filter_map(Member::identifier)
    }

    /// The addresses and passkeys that lead to it no longer, unless they were added again.
    pub fn removed_identifiers(&self) -> impl Iterator<Item = &Identifier> {
        self.removed.iter().filter_map(Member::identifier)
    }
}

/// The outcome of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The inbox afterwards.
    pub state: AssociationState,
    /// What changed.
    pub diff: Diff,
}

impl AssociationState {
    /// The inbox after `update`, which continues `previous` or, without one, opens an inbox.
    ///
    /// # Errors
    /// An [`AssociationError`] of [`super::Fault::State`], [`super::Fault::Limit`] or
    /// [`super::Fault::Signature`] when any action breaks a rule; then nothing of it applies.
    pub fn apply(
        previous: Option<&Self>,
        update: &VerifiedUpdate,
    ) -> Result<Transition, AssociationError> {
        let mut state = match previous {
            Some(state) => state.clone(),
            None => Self::open(update)?,
        };
        if state.inbox != update.inbox {
            let (expected, named) = (state.inbox, update.inbox);
            return Err(AssociationError::InboxMismatch { expected, named });
        }
        state.count(update)?;
        if update.signatures().any(|signed| state.seen.contains(&signed.replay_key)) {
            return Err(AssociationError::SignatureReplayed);
        }
        let opening = usize::from(previous.is_none());
        for action in update.actions.iter().skip(opening) {
            state.act(action, update.time)?;
        }
        // One signature serves all actions of its update, and none of any other.
        state.seen.extend(update.signatures().map(|signed| signed.replay_key));
        let diff = Diff::between(previous, &state);
        Ok(Transition { state, diff })
    }

    /// The inbox after a whole log.
    ///
    /// # Errors
    /// As [`Self::apply`]; [`AssociationError::CreateMissing`] for an empty log.
    pub fn replay<'a>(
        log: impl IntoIterator<Item = &'a VerifiedUpdate>,
    ) -> Result<Self, AssociationError> {
        let mut state = None;
        for update in log {
            state = Some(Self::apply(state.as_ref(), update)?.state);
        }
        state.ok_or(AssociationError::CreateMissing)
    }

    fn open(update: &VerifiedUpdate) -> Result<Self, AssociationError> {
        let Some(Action::CreateInbox { first, nonce, signature }) = update.actions.first() else {
            return Err(AssociationError::CreateMissing);
        };
        let member = Member::from(first.clone());
        expect_signer(&member, signature)?;
        let chain_id = signature.chain_id;
        let info = MemberInfo { added_by: None, added_at: None, added_in: 0, chain_id };
        Ok(Self {
            inbox: InboxId::derive(first, *nonce),
            members: BTreeMap::from([(member, info)]),
            recovery: first.clone(),
            recovery_chain_id: chain_id,
            seen: BTreeSet::new(),
            update_count: 0,
        })
    }

    fn count(&mut self, update: &VerifiedUpdate) -> Result<(), AssociationError> {
        let max = match update.only_recovers() {
            true => UPDATES_PER_INBOX_MAX + RECOVERY_UPDATES_PER_INBOX_MAX,
            false => UPDATES_PER_INBOX_MAX,
        };
        if self.update_count >= max {
            return Err(AssociationError::TooManyUpdates);
        }
        self.update_count += 1;
        Ok(())
    }

    fn act(&mut self, action: &Action<Signed>, time: TimestampNs) -> Result<(), AssociationError> {
        match action {
            Action::CreateInbox { .. } => Err(AssociationError::CreateRepeated),
            Action::AddMember { member, existing, new } => self.add(member, existing, new, time),
            Action::RevokeMember { member, signature } => {
                self.expect_recovery(signature)?;
                self.revoke(member);
                Ok(())
            }
            Action::ChangeRecovery { recovery, signature } => {
                self.expect_recovery(signature)?;
                self.hand_on(recovery);
                Ok(())
            }
        }
    }

    fn add(
        &mut self,
        member: &Member,
        existing: &Signed,
        new: &Signed,
        time: TimestampNs,
    ) -> Result<(), AssociationError> {
        expect_signer(member, new)?;
        if existing.signer == *member {
            return Err(AssociationError::AddsItself { member: member.clone() });
        }
        self.expect_authority(existing)?;
        let adder_kind = existing.signer.kind();
        if adder_kind == MemberKind::Installation && member.kind() == MemberKind::Installation {
            return Err(AssociationError::InstallationAddsInstallation);
        }
        if self.contains(member) {
            return Err(AssociationError::AlreadyMember { member: member.clone() });
        }
        self.expect_room(member.kind())?;
        let info = MemberInfo {
            added_by: Some(existing.signer.clone()),
            added_at: Some(time),
            added_in: self.update_count - 1,
            chain_id: new.chain_id,
        };
        self.members.insert(member.clone(), info);
        Ok(())
    }

    /// Members and the recovery identifier may add.
    fn expect_authority(&self, signed: &Signed) -> Result<(), AssociationError> {
        let is_recovery = signed.signer.identifier() == Some(&self.recovery);
        match self.members.get(&signed.signer) {
            Some(info) => expect_chain(info.chain_id, signed)?,
            None if is_recovery => {}
            None => {
                let signer = signed.signer.clone();
                return Err(AssociationError::AuthorityMissing { signer });
            }
        }
        match is_recovery {
            true => expect_chain(self.recovery_chain_id, signed),
            false => Ok(()),
        }
    }

    fn expect_recovery(&self, signed: &Signed) -> Result<(), AssociationError> {
        if signed.signer.identifier() != Some(&self.recovery) {
            let (recovery, signer) = (self.recovery.clone(), signed.signer.clone());
            return Err(AssociationError::RecoveryMismatch { recovery, signer });
        }
        if let Some(info) = self.members.get(&signed.signer) {
            expect_chain(info.chain_id, signed)?;
        }
        expect_chain(self.recovery_chain_id, signed)
    }

    fn expect_room(&self, kind: MemberKind) -> Result<(), AssociationError> {
        if kind == MemberKind::Installation
            && self.installations().count() >= INSTALLATIONS_PER_INBOX_MAX
        {
            return Err(AssociationError::TooManyInstallations);
        }
        match self.members.len() < MEMBERS_PER_INBOX_MAX {
            true => Ok(()),
            false => Err(AssociationError::TooManyMembers),
        }
    }

    /// Puts `member` out with the installations that it let in, also when it is out already.
    fn revoke(&mut self, member: &Member) {
        self.members.remove(member);
        self.members.retain(|other, info| {
            other.kind() != MemberKind::Installation || info.added_by.as_ref() != Some(member)
        });
    }

    fn hand_on(&mut self, recovery: &Identifier) {
        // The new one signs nothing: its chain is known only if it is a member.
        let info = self.members.get(&Member::from(recovery.clone()));
        self.recovery_chain_id = info.and_then(|info| info.chain_id);
        self.recovery = recovery.clone();
    }
}

impl Diff {
    fn between(previous: Option<&AssociationState>, next: &AssociationState) -> Self {
        let none = BTreeMap::new();
        let before = previous.map_or(&none, |state| &state.members);
        let only_in = |one: &BTreeMap<Member, MemberInfo>, other: &BTreeMap<Member, MemberInfo>| {
            let unlike = |entry: &(&Member, &MemberInfo)| other.get(entry.0) != Some(entry.1);
            one.iter().filter(unlike).map(|(member, _)| member.clone()).collect()
        };
        let recovery =
            Some(&next.recovery).filter(|new| previous.is_none_or(|state| state.recovery != **new));
        Self {
            inbox: next.inbox,
            added: only_in(&next.members, before),
            removed: only_in(before, &next.members),
            recovery: recovery.cloned(),
        }
    }
}

fn expect_signer(expected: &Member, signed: &Signed) -> Result<(), AssociationError> {
    match signed.signer == *expected {
        true => Ok(()),
        false => {
            let (expected, signer) = (expected.clone(), signed.signer.clone());
            Err(AssociationError::SignerMismatch { expected, signer })
        }
    }
}

fn expect_chain(expected: Option<u64>, signed: &Signed) -> Result<(), AssociationError> {
    let found = signed.chain_id;
    match found == expected {
        true => Ok(()),
        false => {
            let signer = signed.signer.clone();
            Err(AssociationError::ChainMismatch { signer, expected, found })
        }
    }
}
