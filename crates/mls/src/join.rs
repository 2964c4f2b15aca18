//! Joining by a welcome.

use std::collections::BTreeSet;
use std::sync::Arc;

use openmls::extensions::{Extensions, UnknownExtension};
use openmls::group::{GroupContext, StagedWelcome};
use openmls::messages::Welcome;
use openmls::prelude::{JoinBuilder, ProcessedWelcome};
use rand_core::CryptoRngCore;
use tidings_envelope::ClientEnvelope;
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{InboxId, Wire};
use tls_codec::DeserializeBytes;

use crate::error::JoinError;
use crate::facts::{InboxFacts, InboxSequence};
use crate::generation::GenerationInfo;
use crate::group::{Group, GroupId, join_config};
use crate::installation::Installation;
use crate::membership::{self, Leaves, Membered};
use crate::provider::Provider;
use crate::record::{Owner, Record, exported_seed};
use crate::roster::{Leaf, Roster};
use crate::settings::{GENERATION_EXTENSION, GroupSettings, SettingsError};
use crate::verdict::{Refusal, VoidReason};
use crate::welcome::{Blob, WelcomePointer};

/// What a joiner can see of a group before it has checked the members.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) group: GroupId,
    pub(crate) settings: GroupSettings,
    /// The installations of each inbox.
    pub(crate) leaves: Leaves,
    pub(crate) info: GenerationInfo,
    /// Who vouches for all of it.
    pub(crate) signer: Leaf,
}

/// A welcome that was opened; joining waits for the members' inboxes to be looked up.
pub struct StagedJoin {
    provider: Provider,
    /// What the installation's store lent.
    lent: Vec<Vec<u8>>,
    staged: StagedWelcome,
    seen: Seen,
    owner: Leaf,
}

impl std::fmt::Debug for StagedJoin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "StagedJoin({:?})", self.seen.group)
    }
}

impl StagedJoin {
    /// Opens the welcome that `pointer` points to; `blob` is the envelope on its topic.
    ///
    /// `known` are the groups with live state here: a welcome never replaces it (MLS-017).
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn open(
        installation: &Installation,
        pointer: &WelcomePointer,
        blob: &ClientEnvelope,
        known: &BTreeSet<GroupId>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, JoinError> {
        if known.contains(&pointer.group) {
            return Err(JoinError::AlreadyMember);
        }
        let Some(Blob::Welcome(bytes)) = pointer.reference.open(blob, installation.network())
        else {
            return Err(JoinError::BlobInvalid);
        };
        let welcome =
            Welcome::tls_deserialize_exact_bytes(&bytes).map_err(|_| JoinError::BlobInvalid)?;
        let provider = Provider::new(rng);
        let lent = installation.provider().store().entries();
        for (key, value) in &lent {
            provider.store().write_shared(key.clone(), Arc::clone(value));
        }
        let processed = ProcessedWelcome::new_from_welcome(&provider, &join_config(), welcome)
            .map_err(mls_error)?;
        let info = generation_info(
            processed.unverified_group_info().extensions().unknown(GENERATION_EXTENSION),
        )?;
        // Lifetimes are unlimited by rule and clocks decide nothing, so openmls is not to look.
        let staged = JoinBuilder::new(&provider, processed)
            .skip_lifetime_validation()
            .build()
            .map_err(mls_error)?;
        let signer = staged.welcome_sender().ok().and_then(Leaf::of_node);
        let seen = Seen {
            group: GroupId::of(staged.group_context().group_id())
                .filter(|group| *group == pointer.group)
                .ok_or(JoinError::BlobInvalid)?,
            settings: settings_of(staged.group_context().extensions())?,
            leaves: Roster::new(staged.members())
                .ok_or(JoinError::Refused(VoidReason::MembershipMismatch))?
                .by_inbox(),
            info,
            signer: signer.ok_or(JoinError::Refused(VoidReason::CommitterLeaf))?,
        };
        let owner = Leaf { inbox: installation.inbox(), installation: installation.public_key() };
        let own_leaf = staged.own_leaf_node().and_then(Leaf::of_node);
        if own_leaf != Some(owner) || seen.settings.network != installation.network() {
            return Err(JoinError::Refused(VoidReason::MembershipMismatch));
        }
        seen.check_listed()?;
        Ok(Self { provider, lent: lent.into_keys().collect(), staged, seen, owner })
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.seen.group
    }

    /// What its members agree on.
    #[must_use]
    pub fn settings(&self) -> &GroupSettings {
        &self.seen.settings
    }

    /// Who added this installation; for consent.
    #[must_use]
    pub fn added_by(&self) -> InboxId {
        self.seen.signer.inbox
    }

    /// The inboxes to look up, and at which positions; who added this installation comes first.
    ///
    /// The map has been checked against the leaves, but whoever made the group may have invented
    /// both: look one up, [`StagedJoin::check`] it, and only then look up the next.
    #[must_use]
    pub fn needed(&self) -> Vec<(InboxId, InboxSequence)> {
        self.seen.needed()
    }

    /// Checks one member against its inbox (MLS-006).
    ///
    /// # Errors
    /// [`JoinError`]; then the others need not be looked up.
    pub fn check(&self, inbox: InboxId, facts: &InboxFacts) -> Result<(), JoinError> {
        self.seen.check_member(inbox, facts)
    }

    /// Joins, if every member is what its inbox says (MLS-006).
    ///
    /// # Errors
    /// [`JoinError`]; the welcome can be opened again.
    pub fn join(self, facts: &InboxFacts) -> Result<Group, JoinError> {
        self.seen.check(facts)?;
        let network = self.seen.settings.network;
        let mls = self.staged.into_group(&self.provider).map_err(mls_error)?;
        self.lent.iter().for_each(|key| self.provider.store().remove(key));
        let voucher = self.seen.voucher(self.owner.inbox);
        let seed = match self.seen.info.seed {
            Some(seed) => seed,
            None => exported_seed(&mls, &self.provider).ok_or(JoinError::Library)?,
        };
        let owner = Owner {
            network,
            group: self.seen.group,
            inbox: self.owner.inbox,
            installation: self.owner.installation,
        };
        let mut record = Record::new(owner, seed, self.seen.info.position);
        record.voucher = (voucher != self.owner.inbox).then_some(voucher);
        Ok(Group::assemble(self.provider, mls, record))
    }
}

impl Seen {
    /// The inboxes to look up, the one that vouches for the rest first.
    pub(crate) fn needed(&self) -> Vec<(InboxId, InboxSequence)> {
        let mut needed: Vec<_> = membership::positions(&self.settings).into_iter().collect();
        needed.sort_by_key(|(inbox, _)| *inbox != self.signer.inbox);
        needed
    }

    /// Whose word is not enough: whoever vouches, or nobody but oneself where there is no third.
    pub(crate) fn voucher(&self, own: InboxId) -> InboxId {
        let signer = self.signer.inbox;
        let has_third = self.leaves.keys().any(|inbox| *inbox != own && *inbox != signer);
        if has_third { signer } else { own }
    }

    /// Checks the map against the leaves, before anything is looked up.
    pub(crate) fn check_listed(&self) -> Result<(), JoinError> {
        membership::check_listed(&self.membered()).map_err(JoinError::Refused)
    }

    /// Checks one member against its inbox (MLS-006).
    pub(crate) fn check_member(&self, inbox: InboxId, facts: &InboxFacts) -> Result<(), JoinError> {
        membership::check_member(&self.membered(), inbox, facts).map_err(join_error)
    }

    /// Checks every member against its inbox (MLS-006).
    pub(crate) fn check(&self, facts: &InboxFacts) -> Result<(), JoinError> {
        membership::check(None, &self.membered(), facts).map_err(join_error)
    }

    fn membered(&self) -> Membered<'_> {
        Membered { settings: &self.settings, leaves: &self.leaves }
    }
}

fn join_error(refusal: Refusal) -> JoinError {
    match refusal {
        Refusal::Void(reason) => JoinError::Refused(reason),
        Refusal::Needs(inboxes) => JoinError::NeedsInboxes(inboxes),
        Refusal::Paused { version } => JoinError::Newer { version },
    }
}

pub(crate) fn settings_of(
    extensions: &Extensions<GroupContext>,
) -> Result<GroupSettings, JoinError> {
    GroupSettings::of(extensions).map_err(|error| match error {
        SettingsError::Newer { version } => JoinError::Newer { version },
        SettingsError::Malformed => JoinError::Refused(VoidReason::Settings),
    })
}

pub(crate) fn generation_info(
    extension: Option<&UnknownExtension>,
) -> Result<GenerationInfo, JoinError> {
    extension
        .and_then(|extension| GenerationInfo::from_wire(&extension.0).ok())
        .filter(|info| info.version == PROTOCOL_VERSION)
        .ok_or(JoinError::BlobInvalid)
}

pub(crate) fn mls_error(error: impl std::fmt::Display) -> JoinError {
    JoinError::Mls(error.to_string())
}
