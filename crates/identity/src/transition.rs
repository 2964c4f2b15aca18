//! How an update changes an inbox: one pure function from state to state.

use std::collections::{BTreeMap, BTreeSet};

use tidings_types::constants::{IDENTITY_MEMBERS_MAX, IDENTITY_REVOKED_MAX};
use tidings_types::{ErrorCode, Hash, NetworkId};

use crate::{
    Action, AssociationState, Member, MemberInfo, ParseError, ParsedUpdate, Sequence, UpdateBody,
    VerifiedUpdate, VerifyError,
};

/// Why an update does not apply to a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The update's signatures bind another network.
    #[error("the update was verified for another network")]
    OtherNetwork,
    /// The update continues another inbox's log (IDN-005).
    #[error("the update belongs to another inbox")]
    OtherInbox,
    /// The update is not the next one (IDN-005).
    #[error("expected sequence {expected}, found {found}")]
    SequenceWrong {
        /// The place of the next update.
        expected: Sequence,
        /// The update's place.
        found: Sequence,
    },
    /// The update follows another one than the last (IDN-005).
    #[error("the update does not follow the last one")]
    PreviousWrong,
    /// The one that adds is neither a member nor the recovery identifier (IDN-012).
    #[error("{added_by} has no authority to add members")]
    AuthorityMissing {
        /// Who is said to let the new member in.
        added_by: Member,
    },
    /// The new member belongs to the inbox already (IDN-012).
    #[error("{member} is a member already")]
    AlreadyMember {
        /// The member.
        member: Member,
    },
    /// The installation was revoked before, or is to hold recovery after that (IDN-013, IDN-017).
    #[error("{member} was revoked")]
    Revoked {
        /// The installation.
        member: Member,
    },
    /// The inbox has as many members as it can have (IDN-014).
    #[error("an inbox has at most {IDENTITY_MEMBERS_MAX} members")]
    TooManyMembers,
    /// The one to be revoked does not belong to the inbox (IDN-015).
    #[error("{member} is not a member")]
    NotMember {
        /// Who is to be revoked.
        member: Member,
    },
    /// Someone whose consent the actions need did not sign (IDN-007).
    #[error("the signature of {signer} is missing")]
    SignatureMissing {
        /// Who has to sign.
        signer: Member,
    },
    /// Someone signed whose consent the actions do not need (IDN-007).
    #[error("the signature of {signer} has no place here")]
    SignatureNeedless {
        /// Who signed.
        signer: Member,
    },
}

impl ApplyError {
    /// The code that the sender sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::OtherNetwork => ErrorCode::WrongNetwork,
            Self::OtherInbox | Self::SequenceWrong { .. } | Self::PreviousWrong => {
                ErrorCode::IdentitySequenceWrong
            }
            Self::AuthorityMissing { .. }
            | Self::AlreadyMember { .. }
            | Self::Revoked { .. }
            | Self::NotMember { .. } => ErrorCode::IdentityActionInvalid,
            Self::TooManyMembers => ErrorCode::TooLarge,
            Self::SignatureMissing { .. } | Self::SignatureNeedless { .. } => {
                ErrorCode::IdentitySignatureInvalid
            }
        }
    }
}

/// Why bytes do not continue a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The bytes are no update.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The update can be part of no log.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The update does not continue this log.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl LogError {
    /// The code that the sender sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Parse(error) => error.code(),
            Self::Verify(error) => error.code(),
            Self::Apply(error) => error.code(),
        }
    }
}

impl AssociationState {
    /// The state after the update that creates the inbox.
    ///
    /// # Errors
    /// [`ApplyError`] when the update creates no inbox or breaks a rule on its other actions.
    pub fn create(network: NetworkId, update: &VerifiedUpdate) -> Result<Self, ApplyError> {
        Self::step(None, network, update)
    }

    /// The state after `update`; this one stays as it is (IDN-018).
    ///
    /// # Errors
    /// [`ApplyError`] names the first rule that the update breaks.
    pub fn apply(&self, network: NetworkId, update: &VerifiedUpdate) -> Result<Self, ApplyError> {
        Self::step(Some(self), network, update)
    }

    /// Parses, verifies and applies one update; `current` is `None` before the first.
    ///
    /// # Errors
    /// [`LogError`] of the step that fails.
    pub fn advance(
        current: Option<&Self>,
        network: NetworkId,
        bytes: &[u8],
    ) -> Result<Self, LogError> {
        let update = ParsedUpdate::parse(bytes)?.verify(network)?;
        Ok(Self::step(current, network, &update)?)
    }

    fn step(
        current: Option<&Self>,
        network: NetworkId,
        update: &VerifiedUpdate,
    ) -> Result<Self, ApplyError> {
        if update.network() != network {
            return Err(ApplyError::OtherNetwork);
        }
        let body = &update.as_update().body;
        let (state, needed) = transition(current, body, update.hash())?;
        // IDN-007: exactly those who have to sign did.
        let signers: BTreeSet<Member> = update.signers().collect();
        if let Some(signer) = needed.difference(&signers).next() {
            return Err(ApplyError::SignatureMissing { signer: *signer });
        }
        if let Some(signer) = signers.difference(&needed).next() {
            return Err(ApplyError::SignatureNeedless { signer: *signer });
        }
        Ok(state)
    }

    /// Lets `member` in (IDN-012, IDN-013, IDN-014).
    fn add(&mut self, member: Member, info: MemberInfo) -> Result<(), ApplyError> {
        if self.contains(&member) {
            return Err(ApplyError::AlreadyMember { member });
        }
        if member.installation().is_some_and(|key| self.is_revoked(&key)) {
            return Err(ApplyError::Revoked { member });
        }
        if self.members.len() >= IDENTITY_MEMBERS_MAX {
            return Err(ApplyError::TooManyMembers);
        }
        self.members.insert(member, info);
        Ok(())
    }

    /// Removes `member`, all that it added, all that those added, and so on (IDN-015).
    fn revoke(&mut self, member: Member) -> Result<(), ApplyError> {
        if !self.contains(&member) {
            return Err(ApplyError::NotMember { member });
        }
        let mut added: BTreeMap<Member, Vec<Member>> = BTreeMap::new();
        for (child, info) in &self.members {
            added.entry(info.added_by).or_default().push(*child);
        }
        let mut gone = BTreeSet::new();
        let mut pending = vec![member];
        while let Some(next) = pending.pop() {
            if gone.insert(next) {
                pending.extend(added.remove(&next).unwrap_or_default());
            }
        }
        for member in gone {
            self.members.remove(&member);
            self.revoked.extend(member.installation());
        }
        // IDN-013: the oldest are forgotten, so that an inbox can revoke for ever.
        let surplus = self.revoked.len().saturating_sub(IDENTITY_REVOKED_MAX);
        self.revoked.drain(..surplus);
        Ok(())
    }
}

/// The state that `body` leads to and the members who have to sign it.
pub(crate) fn transition(
    current: Option<&AssociationState>,
    body: &UpdateBody,
    hash: Hash,
) -> Result<(AssociationState, BTreeSet<Member>), ApplyError> {
    let mut state = follow(current, body)?;
    state.sequence = body.sequence;
    state.head = hash;
    let mut needed = BTreeSet::new();
    let added_at = body.sequence;
    for action in body.actions.iter() {
        match *action {
            Action::Create { initial, .. } => {
                state.add(initial, MemberInfo { added_by: initial, added_at })?;
                needed.insert(initial);
            }
            Action::AddMember { member, added_by } => {
                // IDN-012: recovery can let a member in when all others are gone.
                if !state.contains(&added_by) && added_by != state.recovery {
                    return Err(ApplyError::AuthorityMissing { added_by });
                }
                state.add(member, MemberInfo { added_by, added_at })?;
                needed.extend([member, added_by]);
            }
            Action::RevokeMember { member } => {
                state.revoke(member)?;
                needed.insert(state.recovery);
            }
            Action::ChangeRecovery { recovery } => {
                // IDN-016: the one that gives recovery away signs.
                needed.insert(state.recovery);
                state.recovery = recovery;
            }
        }
    }
    // IDN-017: a revoked key keeps no power over the inbox.
    let member = state.recovery;
    match member.installation() {
        Some(key) if state.is_revoked(&key) => Err(ApplyError::Revoked { member }),
        _ => Ok((state, needed)),
    }
}

/// The state to start from, once the update is known to follow it (IDN-005).
fn follow(
    current: Option<&AssociationState>,
    body: &UpdateBody,
) -> Result<AssociationState, ApplyError> {
    let found = body.sequence;
    let Some(state) = current else {
        let expected = Sequence(0);
        return match body.actions.first() {
            Some(Action::Create { recovery, .. }) if found == expected => Ok(AssociationState {
                inbox: body.inbox,
                sequence: expected,
                head: Hash::default(),
                recovery: *recovery,
                members: BTreeMap::new(),
                revoked: Vec::new(),
            }),
            _ => Err(ApplyError::SequenceWrong { expected, found }),
        };
    };
    if body.inbox != state.inbox {
        return Err(ApplyError::OtherInbox);
    }
    match state.sequence.next() {
        Some(expected) if expected == found => {}
        next => {
            let expected = next.unwrap_or(state.sequence);
            return Err(ApplyError::SequenceWrong { expected, found });
        }
    }
    match body.previous == state.head {
        true => Ok(state.clone()),
        false => Err(ApplyError::PreviousWrong),
    }
}
