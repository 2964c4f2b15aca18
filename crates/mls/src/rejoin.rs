//! Rejoining by an external commit after an ejection (MLS-022).

use openmls::extensions::{Extension, UnknownExtension};
use openmls::framing::{MlsMessageBodyIn, MlsMessageIn};
use openmls::group::{GroupContext, ProposalStore};
use openmls::messages::group_info::VerifiableGroupInfo;
use openmls::prelude::{ExternalCommitBuilder, LeafNodeParameters, PublicGroup};
use openmls::treesync::RatchetTreeIn;
use openmls_memory_storage::MemoryStorage;
use openmls_rust_crypto::RustCrypto;
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
use crate::join::{Seen, generation_info, mls_error, settings_of};
use crate::judge::OrderedEntry;
use crate::policy::CommitData;
use crate::provider::Provider;
use crate::record::{GroupStatus, Owner, PendingRecord, Record};
use crate::roster::{Leaf, Roster};
use crate::seal::SealContext;
use crate::settings::{GENERATION_EXTENSION, capabilities};
use crate::verdict::{Applied, ProcessError, Verdict, VoidReason};
use crate::welcome::{Blob, BlobKeys, WelcomePointer, WelcomeReference};

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
        let message = MlsMessageIn::tls_deserialize_exact_bytes(&bytes)
            .map_err(|_| JoinError::BlobInvalid)?;
        let MlsMessageBodyIn::GroupInfo(group_info) = message.extract() else {
            return Err(JoinError::BlobInvalid);
        };
        let (public, verified) = PublicGroup::from_external(
            &RustCrypto::default(),
            &MemoryStorage::default(),
            ratchet_tree_of(&group_info)?,
            group_info.clone(),
            ProposalStore::new(),
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
            leaves: roster.by_inbox(),
            info: generation_info(verified.extensions().unknown(GENERATION_EXTENSION))?,
            signer: own,
        };
        Ok(Self { group_info, seen })
    }

    /// The inboxes to look up, and at which positions.
    #[must_use]
    pub fn needed(&self) -> Vec<(InboxId, InboxSequence)> {
        self.seen.needed()
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

fn ratchet_tree_of(group_info: &VerifiableGroupInfo) -> Result<RatchetTreeIn, JoinError> {
    let extension = group_info.extensions().ratchet_tree().ok_or(JoinError::BlobInvalid)?;
    Ok(extension.ratchet_tree().clone())
}
