//! Rejoining by an external commit after an ejection (MLS-022).

use openmls::extensions::{Extension, UnknownExtension};
use openmls::framing::{MlsMessageBodyIn, MlsMessageIn, ProtocolMessage};
use openmls::group::{GroupContext, ProposalStore};
use openmls::messages::ConfirmationTag;
use openmls::messages::group_info::VerifiableGroupInfo;
use openmls::prelude::{ExternalCommitBuilder, LeafNodeParameters, PublicGroup};
use openmls::treesync::RatchetTreeIn;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::OpenMlsProvider;
use rand_core::CryptoRngCore;
use tidings_envelope::{ClientEnvelope, EnvelopeBody, Topic};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{BoundedBytes, InboxId, Period, Position, Wire};
use tls_codec::DeserializeBytes;

use crate::commit::PendingCommit;
use crate::error::{GrantError, JoinError};
use crate::facts::{InboxFacts, InboxSequence};
use crate::generation::{Generation, GenerationInfo};
use crate::group::{Group, GroupId, join_config};
use crate::installation::Installation;
use crate::join::{Seen, generation_info, mls_error, settings_of};
use crate::judge::{OrderedEntry, open_entry, parse_handshake};
use crate::policy::CommitData;
use crate::provider::Provider;
use crate::record::{GroupStatus, Owner, PendingRecord, Record};
use crate::request::RejoinRequest;
use crate::roster::{Leaf, Roster};
use crate::seal::{SealContext, TranscriptTag};
use crate::settings::{GENERATION_EXTENSION, capabilities};
use crate::statement::OrderedFrame;
use crate::store::Store;
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
    /// Answers the request of a member installation that was ejected (MLS-033).
    ///
    /// The grant is good as long as no entry is ordered after the current position; `now` is the
    /// current period.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn grant_rejoin(
        &self,
        installation: &Installation,
        request: &RejoinRequest,
        now: Period,
        context: &SealContext,
        rng: &mut impl CryptoRngCore,
    ) -> Result<RejoinGrant, GrantError> {
        if self.record.status != GroupStatus::Active || self.record.voucher.is_some() {
            return Err(GrantError::Inactive);
        }
        let is_member = self.roster().inbox_of(&request.installation) == Some(request.inbox);
        let is_other = request.installation != self.record.installation;
        let is_ours = request.group == self.record.group && is_member && is_other;
        if !is_ours || !request.is_good(self.record.network, now) {
            return Err(GrantError::RequestInvalid);
        }
        if request.epoch > self.epoch() {
            return Err(GrantError::Behind);
        }
        if !self.leaving_leaves().is_empty() || !self.wished().remove.is_empty() {
            return Err(GrantError::CommitFirst);
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
            .ok_or(GrantError::Library)?;
        let bytes = BoundedBytes::new(bytes).map_err(|_| GrantError::TooLarge)?;
        let keys = BlobKeys::generate(rng);
        let reference = keys.reference();
        let blob = keys
            .seal(&Blob::Rejoin(bytes), context, self.record.network)
            .map_err(|_| GrantError::TooLarge)?;
        Ok(RejoinGrant { blob, reference })
    }

    /// The own rejoin comes back, or another entry did first.
    pub(crate) fn process_rejoin(
        &mut self,
        entry: &OrderedEntry<'_>,
    ) -> Result<Verdict, ProcessError> {
        let body = &entry.envelope.body;
        let pending = self.record.pending.ok_or(ProcessError::RejoinLost)?;
        let is_earlier = pending.expected.is_some_and(|expected| entry.position <= expected);
        if body.topic != self.topic() || is_earlier {
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
            rejoined: Some(self.record.installation),
            restarts: false,
            welcome: None,
        })))
    }
}

/// A grant that was opened; rejoining waits for the lane to be read and the members' inboxes to be
/// looked up.
#[derive(Debug)]
pub struct StagedRejoin {
    group_info: VerifiableGroupInfo,
    confirmation_tag: ConfirmationTag,
    epoch: u64,
    /// What the rejoin will encapsulate to, as the grant says (MLS-034).
    pub(crate) external_key: Option<[u8; 32]>,
    generation: Generation,
    tag: TranscriptTag,
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
            &Store::default(),
            ratchet_tree_of(&group_info)?,
            group_info.clone(),
            ProposalStore::new(),
        )
        .map_err(mls_error)?;
        let context: &GroupContext = verified.group_context();
        let mismatch = JoinError::Refused(VoidReason::MembershipMismatch);
        let roster = Roster::new(public.members()).ok_or_else(|| mismatch.clone())?;
        let own = Leaf { inbox: installation.inbox(), installation: installation.public_key() };
        let settings = settings_of(context.extensions())?;
        let signer = signer_of(&bytes).and_then(|index| roster.0.get(&index)).copied();
        let signer = signer.filter(|signer| *signer != own).ok_or_else(|| mismatch.clone())?;
        let is_member = roster.0.values().any(|leaf| *leaf == own);
        if !is_member || settings.network != installation.network() {
            return Err(mismatch);
        }
        let info = generation_info(verified.extensions().unknown(GENERATION_EXTENSION))?;
        let seed = info.seed.clone().ok_or(JoinError::BlobInvalid)?;
        let tag = info.tag.ok_or(JoinError::BlobInvalid)?;
        let epoch = context.epoch().as_u64();
        if epoch < ejected.epoch() {
            return Err(JoinError::OtherPosition);
        }
        let group = GroupId::of(context.group_id()).filter(|group| *group == pointer.group);
        let group = group.ok_or(JoinError::BlobInvalid)?;
        let seen = Seen { group, settings, leaves: roster.by_inbox(), info, signer };
        seen.check_listed()?;
        let (generation, confirmation_tag) =
            (Generation::new(seed), public.confirmation_tag().clone());
        let external_key = group_info.extensions().external_pub();
        let external_key = external_key.and_then(|it| it.external_pub().as_slice().try_into().ok());
        Ok(Self { group_info, confirmation_tag, epoch, external_key, generation, tag, seen })
    }

    /// The topic that the group is said to write to.
    #[must_use]
    pub fn topic(&self) -> Topic {
        self.generation.topic()
    }

    /// Whose word it is.
    #[must_use]
    pub fn granted_by(&self) -> InboxId {
        self.seen.signer.inbox
    }

    /// Checks the grant against the ordered lane: `entries` are all those of [`Self::topic`] as
    /// certified, from its first (MLS-035).
    ///
    /// The commit that made the epoch has to stand there, or where it ended the topic of
    /// `ejected`, and nothing after the position that the rejoin will build on.
    ///
    /// # Errors
    /// [`JoinError::OtherPosition`] when the group has moved on, [`JoinError::NotInLane`].
    pub fn check_lane(&self, ejected: &Group, entries: &[ClientEnvelope]) -> Result<(), JoinError> {
        let position = self.seen.info.position;
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        if position != Position(count) {
            return Err(JoinError::OtherPosition);
        }
        // What is still to be heard on the own topics has to be heard first.
        let known = ejected.record.position_of(self.topic());
        if known.is_some_and(|known| known != position) {
            return Err(JoinError::OtherPosition);
        }
        let begins_topic = self.seen.settings.generation_epoch == self.epoch;
        if begins_topic || entries.iter().any(|entry| self.is_made_by(&entry.body)) {
            return Ok(());
        }
        Err(JoinError::NotInLane)
    }

    /// Whether an entry holds the commit that made the epoch.
    fn is_made_by(&self, body: &EnvelopeBody) -> bool {
        let Ok(sealed) = open_entry(&self.generation, body) else { return false };
        let Some(ProtocolMessage::PublicMessage(message)) = parse_handshake(&sealed.frame.message)
        else {
            return false;
        };
        message.epoch().as_u64().checked_add(1) == Some(self.epoch)
            && message.confirmation_tag() == Some(&self.confirmation_tag)
    }

    /// The inboxes to look up, and at which positions; whose word it is comes first.
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

    /// Makes the external commit (MLS-022).
    ///
    /// The group waits for it to come back from the ordered lane; if
    /// [`ProcessError::RejoinLost`] comes instead, the group is dropped and another grant asked
    /// for.
    /// Until then `ejected` is kept, and after it until [`Group::voucher`] is none (MLS-036).
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn rejoin(
        self,
        installation: &Installation,
        ejected: &Group,
        facts: &InboxFacts,
        now: Period,
        context: &SealContext,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(Group, PendingCommit), JoinError> {
        self.seen.check(facts)?;
        let provider = Provider::new(rng);
        let external_key = self.external_key;
        let data = CommitData { version: PROTOCOL_VERSION, welcome: None, external_key };
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
        let mut record = Record::new(owner, self.generation.seed().clone(), expected_position);
        record.inherit_topics(&ejected.record, now);
        record.sent = ejected.record.sent.clone();
        record.voucher = Some(self.seen.voucher(installation.inbox()));
        let mut group = Group::assemble(provider, mls, record);
        group.inherit_contests(ejected);
        let body = group.ordered_body(context, Some(expected_position));
        let frame = OrderedFrame::new(Vec::new(), message).ok_or(JoinError::Library)?;
        let envelope = group
            .seal_with_tag(&self.generation, body, &frame.to_wire(), self.tag)
            .map_err(|_| JoinError::Library)?;
        group.record.status = GroupStatus::Rejoining;
        group.record.pending =
            Some(PendingRecord { envelope: envelope.body.id(), expected: Some(expected_position) });
        let pending = PendingCommit { envelope, expected_position, welcome: None };
        Ok((group, pending))
    }
}

impl Group {
    /// Takes over what is still open about the commits of an earlier membership, so that a restart
    /// finds this installation too.
    fn inherit_contests(&mut self, earlier: &Self) {
        self.contests.clone_from(&earlier.contests);
        for contest in &self.contests {
            contest.write(&self.provider);
            self.provider.copy_from(&earlier.provider, &contest.base());
        }
    }
}

fn ratchet_tree_of(group_info: &VerifiableGroupInfo) -> Result<RatchetTreeIn, JoinError> {
    let extension = group_info.extensions().ratchet_tree().ok_or(JoinError::BlobInvalid)?;
    Ok(extension.ratchet_tree().clone())
}

/// The leaf that signed a GroupInfo, which openmls keeps to itself: the number before the
/// signature at the end (RFC 9420 §12.4.3).
fn signer_of(group_info: &[u8]) -> Option<u32> {
    /// A length of 64 as a variable-size integer.
    const SIGNATURE_LENGTH: [u8; 2] = [0x40, 0x40];
    let (rest, _signature) = group_info.split_last_chunk::<64>()?;
    let (rest, length) = rest.split_last_chunk::<2>()?;
    let (_, signer) = rest.split_last_chunk::<4>()?;
    (*length == SIGNATURE_LENGTH).then_some(u32::from_be_bytes(*signer))
}
