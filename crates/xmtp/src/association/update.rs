//! An update: from bytes to one whose every signature is known to be whose.

use super::contract::{ContractClaim, ContractWallets};
use super::wire;
use super::{
    AssociationError, Identifier, InboxId, Member, Signature, SignatureText, Signed, TimestampNs,
    UPDATE_BYTES_MAX,
};
use crate::proto::xmtp::identity::associations as proto;
use prost::Message;

/// One change to an inbox, with `S` for whatever is known of its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<S> {
    /// Opens an inbox.
    CreateInbox {
        /// Its first member and recovery identifier.
        first: Identifier,
        /// Tells apart the inboxes that one identifier opens.
        nonce: u64,
        /// By the identifier.
        signature: S,
    },
    /// Lets someone in.
    AddMember {
        /// Who joins.
        member: Member,
        /// By one who may add members.
        existing: S,
        /// By the one who joins.
        new: S,
    },
    /// Puts someone out, with the installations they let in.
    RevokeMember {
        /// Who leaves.
        member: Member,
        /// By the recovery identifier.
        signature: S,
    },
    /// Hands on the right to revoke.
    ChangeRecovery {
        /// Who gets it; need not be a member, and does not sign.
        recovery: Identifier,
        /// By who has it.
        signature: S,
    },
}

impl<S> Action<S> {
    /// Its signatures.
    pub fn signatures(&self) -> impl Iterator<Item = &S> {
        let (first, second) = match self {
            Self::CreateInbox { signature, .. }
            | Self::RevokeMember { signature, .. }
            | Self::ChangeRecovery { signature, .. } => (signature, None),
            Self::AddMember { existing, new, .. } => (existing, Some(new)),
        };
        std::iter::once(first).chain(second)
    }

    /// The same action with each signature replaced by what `f` makes of it.
    fn try_map<T, E>(self, mut f: impl FnMut(S) -> Result<T, E>) -> Result<Action<T>, E> {
        Ok(match self {
            Self::CreateInbox { first, nonce, signature } => {
                Action::CreateInbox { first, nonce, signature: f(signature)? }
            }
            Self::AddMember { member, existing, new } => {
                Action::AddMember { member, existing: f(existing)?, new: f(new)? }
            }
            Self::RevokeMember { member, signature } => {
                Action::RevokeMember { member, signature: f(signature)? }
            }
            Self::ChangeRecovery { recovery, signature } => {
                Action::ChangeRecovery { recovery, signature: f(signature)? }
            }
        })
    }
}

/// An update in its form and within its limits; its signatures are not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedUpdate {
    inbox: InboxId,
    time: TimestampNs,
    actions: Vec<Action<Signature>>,
    text: SignatureText,
}

impl ParsedUpdate {
    /// The update in `bytes`, an encoded `IdentityUpdate`.
    ///
    /// # Errors
    /// An [`AssociationError`] of [`super::Fault::Input`], or
    /// [`AssociationError::LegacyKeyRetired`].
    pub fn parse(bytes: &[u8]) -> Result<Self, AssociationError> {
        if bytes.len() > UPDATE_BYTES_MAX {
            return Err(AssociationError::UpdateTooLarge { length_bytes: bytes.len() });
        }
        proto::IdentityUpdate::decode(bytes)?.try_into()
    }

    pub(super) fn new(inbox: InboxId, time: TimestampNs, actions: Vec<Action<Signature>>) -> Self {
        let text = SignatureText::new(inbox, time, &actions);
        Self { inbox, time, actions, text }
    }

    /// The inbox that it names.
    #[must_use]
    pub const fn inbox(&self) -> InboxId {
        self.inbox
    }

    /// When the client says that it was made.
    #[must_use]
    pub const fn time(&self) -> TimestampNs {
        self.time
    }

    /// The actions, in order.
    #[must_use]
    pub fn actions(&self) -> &[Action<Signature>] {
        &self.actions
    }

    /// What all its signatures are over.
    #[must_use]
    pub const fn text(&self) -> &SignatureText {
        &self.text
    }

    /// What the chains of contract wallets have to be asked before it can be verified.
    pub fn contract_claims(&self) -> impl Iterator<Item = ContractClaim<'_>> {
        self.actions.iter().flat_map(Action::signatures).filter_map(|signature| match signature {
            Signature::Contract(signature) => Some(ContractClaim::new(signature, &self.text)),
            _ => None,
        })
    }

    /// Checks every signature; `wallets` says what is known of contract wallets'.
    ///
    /// # Errors
    /// An [`AssociationError`] of [`super::Fault::Signature`] for one that does not verify, or of
    /// [`super::Fault::Edge`] for one that cannot be judged here.
    pub fn verify<W: ContractWallets + ?Sized>(
        self,
        wallets: &W,
    ) -> Result<VerifiedUpdate, AssociationError> {
        let Self { inbox, time, actions, text } = self;
        let verify = |signature: Signature| signature.verify(&text, wallets);
        let actions = actions
            .into_iter()
            .map(|action| action.try_map(verify))
            .collect::<Result<_, AssociationError>>()?;
        Ok(VerifiedUpdate { inbox, time, actions })
    }
}

impl TryFrom<proto::IdentityUpdate> for ParsedUpdate {
    type Error = AssociationError;

    fn try_from(update: proto::IdentityUpdate) -> Result<Self, AssociationError> {
        wire::update(update)
    }
}

/// An update whose signatures are by whom they say; whether they may do that is for the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedUpdate {
    pub(super) inbox: InboxId,
    pub(super) time: TimestampNs,
    pub(super) actions: Vec<Action<Signed>>,
}

impl VerifiedUpdate {
    /// The inbox that it names.
    #[must_use]
    pub const fn inbox(&self) -> InboxId {
        self.inbox
    }

    /// The actions, in order.
    #[must_use]
    pub fn actions(&self) -> &[Action<Signed>] {
        &self.actions
    }

    /// All its signatures, in order.
    pub(super) fn signatures(&self) -> impl Iterator<Item = &Signed> {
        self.actions.iter().flat_map(Action::signatures)
    }

    /// Whether it does nothing but what the recovery identifier alone can do.
    pub(super) fn only_recovers(&self) -> bool {
        let recovers = |action: &Action<Signed>| {
            matches!(action, Action::RevokeMember { .. } | Action::ChangeRecovery { .. })
        };
        self.actions.iter().all(recovers)
    }
}
