//! Joining by a welcome, and rejoining by an external commit after an ejection.

use std::collections::{BTreeMap, BTreeSet};

use openmls::extensions::{Extension, Extensions, UnknownExtension};
use openmls::framing::{MlsMessageBodyIn, MlsMessageIn};
use openmls::group::{GroupContext, StagedWelcome};
use openmls::messages::Welcome;
use openmls::messages::group_info::{GroupInfo, VerifiableGroupInfo};
use openmls::prelude::{ExternalCommitBuilder, JoinBuilder, LeafNodeParameters, ProcessedWelcome};
use openmls_traits::OpenMlsProvider;
use rand_core::CryptoRngCore;
use tidings_envelope::ClientEnvelope;
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{BoundedBytes, InboxId, Wire};
use tls_codec::DeserializeBytes;

use crate::commit::PendingCommit;
use crate::error::{CommitError, JoinError};
use crate::facts::{InboxFacts, InboxSequence};
use crate::generation::GenerationInfo;
use crate::group::{Group, GroupId, join_config};
use crate::installation::Installation;
use crate::judge::OrderedEntry;
use crate::membership::{self, Membered};
use crate::policy::CommitData;
use crate::provider::Provider;
use crate::record::{
    GroupStatus, Owner, PendingRecord, Record, exported_seed,
};
use crate::roster::{Leaf, Roster};
use crate::seal::SealContext;
use crate::settings::{GENERATION_EXTENSION, GroupSettings, SettingsError, capabilities};
use crate::verdict::{Applied, ProcessError, Refusal, Verdict, VoidReason};
use crate::welcome::{Blob, BlobKeys, WelcomePointer, WelcomeReference};

/// What a joiner can see of a group before it has checked the members.
#[derive(Debug)]
struct Seen {
    group: GroupId,
    settings: GroupSettings,
    roster: Roster,
    info: GenerationInfo,
    /// Who vouches for all of it.
    signer: Leaf,
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
        let lent = installation.provider().entries();
        for (key, value) in &lent {
            provider.write(key, value.to_vec());
        }
        let processed = ProcessedWelcome::new_from_welcome(&provider, &join_config(), welcome)
            .map_err(mls_error)?;
        let info = generation_info(processed.unverified_group_info().extensions().unknown(
            GENERATION_EXTENSION,
        ))?;
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
            roster: Roster::new(staged.members())
                .ok_or(JoinError::Refused(VoidReason::MembershipMismatch))?,
            info,
            signer: signer.ok_or(JoinError::Refused(VoidReason::CommitterLeaf))?,
        };
        let owner = Leaf { inbox: installation.inbox(), installation: installation.public_key() };
        let own_leaf = staged.own_leaf_node().and_then(Leaf::of_node);
        if own_leaf != Some(owner) || seen.settings.network != installation.network() {
            return Err(JoinError::Refused(VoidReason::MembershipMismatch));
        }
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

    /// The inboxes to look up, and at which positions.
    #[must_use]
    pub fn needed(&self) -> BTreeMap<InboxId, InboxSequence> {
        membership::positions(&self.seen.settings)
    }

    /// Joins, if every member is what its inbox says (MLS-006).
    ///
    /// # Errors
    /// [`JoinError`]; the welcome can be opened again.
    pub fn join(self, facts: &InboxFacts) -> Result<Group, JoinError> {
        self.seen.check(facts)?;
        let network = self.seen.settings.network;
        let mls = self.staged.into_group(&self.provider).map_err(mls_error)?;
        self.provider.remove(self.lent);
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
        let record = Record::new(owner, seed, self.seen.info.position);
        Ok(Group::assemble(self.provider, mls, record))
    }
}

/// What a member gives an ejected installation so that it can rejoin (MLS-022).
#[derive(Debug, Clone, PartialEq)]
pub struct RejoinGrant {
    /// What to publish.
    pub blob: ClientEnvelope,
    /// What points to it; to be sent to the installation alone.
    pub reference: WelcomeReference,
}

impl Group {
    /// Makes a grant for a member installation that was ejected.
    ///
    /// It is good as long as no entry is ordered after the current position.
    ///
    /// # Errors
    /// [`CommitError`] when this installation is not active itself.
    pub fn grant_rejoin(
        &self,
        installation: &Installation,
        context: &SealContext,
        rng: &mut impl CryptoRngCore,
    ) -> Result<RejoinGrant, CommitError> {
        if self.record.status != GroupStatus::Active {
            return Err(CommitError::Inactive);
        }
        let info = GenerationInfo {
            version: PROTOCOL_VERSION,
            seed: Some(self.record.generation().seed().clone()),
            position: self.record.position,
            tag: self.record.tag_of(self.epoch()),
        };
        let extension = Extension::Unknown(GENERATION_EXTENSION, UnknownExtension(info.to_wire()));
        let bytes = self
            .mls
            .export_group_info_with_additional_extensions(
                self.provider.crypto(),
                &installation.signer(),
                true,
                [extension],
            )
            .ok()
            .and_then(|message| message.to_bytes().ok())
            .ok_or_else(|| CommitError::Library("group info".to_owned()))?;
        let bytes = BoundedBytes::new(bytes).map_err(|_| CommitError::TooLarge)?;
        let keys = BlobKeys::generate(rng);
        let reference = keys.reference();
        let blob = keys
            .seal(&Blob::Rejoin(bytes), context, self.record.network)
            .map_err(|_| CommitError::TooLarge)?;
        Ok(RejoinGrant { blob, reference })
    }

    /// The own rejoin comes back, or another entry did first.
    pub(crate) fn process_rejoin(
        &mut self,
        entry: &OrderedEntry<'_>,
    ) -> Result<Verdict, ProcessError> {
        let body = &entry.envelope.body;
        let pending = self.record.pending.ok_or(ProcessError::RejoinLost)?;
        if body.topic != self.topic() || entry.position <= pending.expected {
            return Ok(Verdict::Stale);
        }
        if body.id() != pending.envelope {
            return Err(ProcessError::RejoinLost);
        }
        self.record.pending = None;
        self.record.status = GroupStatus::Active;
        self.record.position = entry.position;
        Ok(Verdict::Applied(Box::new(Applied {
            epoch: self.epoch(),
            committer: self.record.inbox,
            own: true,
            added: Vec::new(),
            removed: Vec::new(),
            left: Vec::new(),
            joined: Vec::new(),
            settings_changed: false,
            rotated: false,
            welcome: None,
        })))
    }
}

/// A grant that was opened; rejoining waits for the members' inboxes to be looked up.
#[derive(Debug)]
pub struct StagedRejoin {
    group_info: VerifiableGroupInfo,
    seen: Seen,
}

impl StagedRejoin {
    /// Opens the grant that `pointer` points to; `ejected` is the state that it is to replace.
    ///
    /// # Errors
    /// [`JoinError::AlreadyMember`] unless `ejected` says that it was, else another
    /// [`JoinError`].
    pub fn open(
        installation: &Installation,
        ejected: &Group,
        pointer: &WelcomePointer,
        blob: &ClientEnvelope,
    ) -> Result<Self, JoinError> {
        if ejected.status() != GroupStatus::Ejected || ejected.id() != pointer.group {
            return Err(JoinError::AlreadyMember);
        }
        let Some(Blob::Rejoin(bytes)) = pointer.reference.open(blob, installation.network()) else {
            return Err(JoinError::BlobInvalid);
        };
        let message =
            MlsMessageIn::tls_deserialize_exact_bytes(&bytes).map_err(|_| JoinError::BlobInvalid)?;
        let MlsMessageBodyIn::GroupInfo(group_info) = message.extract() else {
            return Err(JoinError::BlobInvalid);
        };
        let (public, verified) = openmls::prelude::PublicGroup::from_external(
            &openmls_rust_crypto::RustCrypto::default(),
            &openmls_memory_storage::MemoryStorage::default(),
            ratchet_tree_of(&group_info)?,
            group_info.clone(),
            openmls::group::ProposalStore::new(),
        )
        .map_err(mls_error)?;
        let context: &GroupContext = verified.group_context();
        let roster = Roster::new(public.members())
            .ok_or(JoinError::Refused(VoidReason::MembershipMismatch))?;
        let own = Leaf { inbox: installation.inbox(), installation: installation.public_key() };
        let is_member = roster.0.values().any(|leaf| *leaf == own);
        let settings = settings_of(context.extensions())?;
        if !is_member || settings.network != installation.network() {
            return Err(JoinError::Refused(VoidReason::MembershipMismatch));
        }
        let seen = Seen {
            group: GroupId::of(context.group_id())
                .filter(|group| *group == pointer.group)
                .ok_or(JoinError::BlobInvalid)?,
            settings,
            roster,
            info: generation_info(extension_of(&verified))?,
            signer: own,
        };
        Ok(Self { group_info, seen })
    }

    /// The inboxes to look up, and at which positions.
    #[must_use]
    pub fn needed(&self) -> BTreeMap<InboxId, InboxSequence> {
        membership::positions(&self.seen.settings)
    }

    /// Makes the external commit (MLS-022).
    ///
    /// The group waits for it to come back from the ordered lane; if
    /// [`ProcessError::RejoinLost`] comes instead, the group is dropped and another grant asked
    /// for.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn rejoin(
        self,
        installation: &Installation,
        facts: &InboxFacts,
        context: &SealContext,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(Group, PendingCommit), JoinError> {
        self.seen.check(facts)?;
        let provider = Provider::new(rng);
        let seed = self.seen.info.seed.clone().ok_or(JoinError::BlobInvalid)?;
        let tag = self.seen.info.tag.ok_or(JoinError::BlobInvalid)?;
        let data = CommitData { version: PROTOCOL_VERSION, welcome: None };
        let parameters = LeafNodeParameters::builder().with_capabilities(capabilities()).build();
        let (mls, bundle) = ExternalCommitBuilder::new()
            .skip_lifetime_validation()
            .with_config(join_config())
            .with_aad(data.to_wire())
            .build_group(&provider, self.group_info, installation.credential())
            .map_err(mls_error)?
            .leaf_node_parameters(parameters)
            .load_psks(provider.storage())
            .map_err(mls_error)?
            .build(provider.rand(), provider.crypto(), &installation.signer(), |_| true)
            .map_err(mls_error)?
            .finalize(&provider)
            .map_err(mls_error)?;
        let message = bundle.commit().to_bytes().map_err(mls_error)?;
        let owner = Owner {
            network: installation.network(),
            group: self.seen.group,
            inbox: installation.inbox(),
            installation: installation.public_key(),
        };
        let expected_position = self.seen.info.position;
        let record = Record::new(owner, seed, expected_position);
        let mut group = Group::assemble(provider, mls, record);
        let body = group.ordered_body(context, Some(expected_position));
        let envelope = group
            .seal_with_tag(&group.record.generation(), body, &message, tag)
            .map_err(|_| JoinError::Library)?;
        group.record.status = GroupStatus::Rejoining;
        group.record.pending =
            Some(PendingRecord { envelope: envelope.body.id(), expected: expected_position });
        let pending = PendingCommit { envelope, expected_position, welcome: None };
        Ok((group, pending))
    }
}

impl Seen {
    fn check(&self, facts: &InboxFacts) -> Result<(), JoinError> {
        let leaves = self.roster.by_inbox();
        let after = Membered { settings: &self.settings, leaves: &leaves };
        membership::check(None, &after, facts).map_err(|refusal| match refusal {
            Refusal::Void(reason) => JoinError::Refused(reason),
            Refusal::Needs(inboxes) => JoinError::NeedsInboxes(inboxes),
            Refusal::Paused { version } => JoinError::Newer { version },
        })
    }
}

fn settings_of(extensions: &Extensions<GroupContext>) -> Result<GroupSettings, JoinError> {
    GroupSettings::of(extensions).map_err(|error| match error {
        SettingsError::Newer { version } => JoinError::Newer { version },
        SettingsError::Malformed => JoinError::Refused(VoidReason::Settings),
    })
}

fn generation_info(extension: Option<&UnknownExtension>) -> Result<GenerationInfo, JoinError> {
    extension
        .and_then(|extension| GenerationInfo::from_wire(&extension.0).ok())
        .filter(|info| info.version == PROTOCOL_VERSION)
        .ok_or(JoinError::BlobInvalid)
}

fn extension_of(group_info: &GroupInfo) -> Option<&UnknownExtension> {
    group_info.extensions().unknown(GENERATION_EXTENSION)
}

fn ratchet_tree_of(
    group_info: &VerifiableGroupInfo,
) -> Result<openmls::treesync::RatchetTreeIn, JoinError> {
    let extension = group_info.extensions().ratchet_tree().ok_or(JoinError::BlobInvalid)?;
    Ok(extension.ratchet_tree().clone())
}

fn mls_error(error: impl std::fmt::Display) -> JoinError {
    JoinError::Mls(error.to_string())
}
