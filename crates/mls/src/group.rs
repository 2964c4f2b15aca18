//! One group on one installation: an actor in memory that takes inputs and returns values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use openmls::framing::Sender;
use openmls::group::{
    MlsGroup, MlsGroupCreateConfig, MlsGroupJoinConfig, PURE_PLAINTEXT_WIRE_FORMAT_POLICY,
    PastEpochDeletionPolicy,
};
use openmls::messages::proposals::Proposal;
use openmls::prelude::SenderRatchetConfiguration;
use openmls_traits::OpenMlsProvider;
use openmls_traits::random::OpenMlsRand;
use rand_core::CryptoRngCore;
use tidings_envelope::Topic;
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::PublicKey;
use tidings_types::{BoundedBytes, BoundedVec, EnvelopeId, InboxId, NetworkId, Period, Position};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::content::MessageId;
use crate::contest::Contest;
use crate::error::{CreateError, LoadError};
use crate::facts::InboxHead;
use crate::installation::Installation;
use crate::manifest::unlimited_lifetime;
use crate::past_epochs::{PAST_EPOCHS_MAX, PastEpochs};
use crate::provider::{Delta, Provider};
use crate::record::{GroupStatus, Owner, Record, exported_seed, transcript_tag};
use crate::roster::Roster;
use crate::settings::{
    CIPHERSUITE, GroupKind, GroupPolicy, GroupSettings, Membership, capabilities,
};

/// How far out of order one sender's messages may arrive. Unit: messages.
const OUT_OF_ORDER_MESSAGES_MAX: u32 = 64;

/// How many of one sender's messages in one epoch may be missing. Unit: messages.
const MISSING_MESSAGES_MAX: u32 = 4_096;

/// Names a group; random.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, TlsSize, TlsSerialize, TlsDeserializeBytes,
)]
pub struct GroupId(pub [u8; 32]);

impl fmt::Display for GroupId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "GroupId({self})")
    }
}

impl GroupId {
    pub(crate) fn to_mls(self) -> openmls::group::GroupId {
        openmls::group::GroupId::from_slice(&self.0)
    }

    pub(crate) fn of(mls: &openmls::group::GroupId) -> Option<Self> {
        Some(Self(mls.as_slice().try_into().ok()?))
    }
}

/// What a new group is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewGroup {
    /// A group whose creator is its first admin.
    Group {
        /// Its name, at most [`crate::GROUP_NAME_BYTES_MAX`] bytes.
        name: String,
        /// Its description, at most [`crate::GROUP_DESCRIPTION_BYTES_MAX`] bytes.
        description: String,
        /// Who may change what.
        policy: GroupPolicy,
    },
    /// A conversation with one other inbox (MLS-012).
    Dm {
        /// The other inbox.
        peer: InboxId,
    },
    /// The group of an inbox's own devices.
    Own,
}

/// One group on one installation.
///
/// It owns its state; what an operation changed is in the next [`Delta`].
#[derive(Debug)]
pub struct Group {
    pub(crate) provider: Provider,
    pub(crate) mls: MlsGroup,
    pub(crate) record: Record,
    /// The commits that nobody has proved yet, oldest first.
    pub(crate) contests: Vec<Contest>,
    pub(crate) past_epochs: PastEpochs,
}

impl Group {
    /// Creates a group whose only leaf is `installation`.
    ///
    /// `head` is the creator's inbox; its other installations count as unreachable until a commit
    /// adds them.
    ///
    /// # Errors
    /// [`CreateError`] when `head` is not the installation's inbox or a text is too long.
    pub fn create(
        installation: &Installation,
        head: &InboxHead,
        new: NewGroup,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, CreateError> {
        let own = installation.public_key();
        if head.inbox != installation.inbox() || !head.installations.contains(&own) {
            return Err(CreateError::OtherInbox);
        }
        let settings = first_settings(installation.network(), own, head, new)?;
        let provider = Provider::new(rng);
        let group = GroupId(provider.rand().random_array().map_err(|_| CreateError::Library)?);
        let extensions = settings.to_extensions().ok_or(CreateError::Library)?;
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(CIPHERSUITE)
            .lifetime(unlimited_lifetime())
            .capabilities(capabilities())
            .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
            .use_ratchet_tree_extension(true)
            .set_past_epoch_deletion_policy(PastEpochDeletionPolicy::MaxEpochs(PAST_EPOCHS_MAX))
            .sender_ratchet_configuration(ratchets())
            .with_group_context_extensions(extensions)
            .build();
        let mls = MlsGroup::new_with_group_id(
            &provider,
            &installation.signer(),
            &config,
            group.to_mls(),
            installation.credential(),
        )
        .map_err(|_| CreateError::Library)?;
        let seed = exported_seed(&mls, &provider).ok_or(CreateError::Library)?;
        let owner = Owner {
            network: installation.network(),
            group,
            inbox: installation.inbox(),
            installation: own,
        };
        let record = Record::new(owner, seed, Position(0));
        Ok(Self::assemble(provider, mls, record))
    }

    /// The group that deltas stored (MLS-015).
    ///
    /// `rng` must not repeat what it gave an earlier load.
    ///
    /// # Errors
    /// [`LoadError`] when the state is damaged.
    pub fn load(
        stored: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, LoadError> {
        let provider = Provider::load(stored, rng);
        let record = Record::read(&provider).ok_or(LoadError)?;
        let mls = MlsGroup::load(provider.storage(), &record.group.to_mls())
            .ok()
            .flatten()
            .ok_or(LoadError)?;
        let contests = Contest::read_all(&provider);
        let past_epochs = PastEpochs::loaded(record.past_epochs_count());
        Ok(Self { provider, mls, record, contests, past_epochs })
    }

    /// A group at the epoch of `mls`, whose tag is noted.
    pub(crate) fn assemble(provider: Provider, mls: MlsGroup, mut record: Record) -> Self {
        record.note_epoch(mls.epoch().as_u64(), transcript_tag(&mls));
        let past_epochs = PastEpochs::default();
        Self { provider, mls, record, contests: Vec::new(), past_epochs }
    }

    /// What changed since the last call; to be stored before anything it made is sent, and in
    /// one transaction with whatever was received (MLS-015).
    pub fn take_delta(&mut self) -> Delta {
        self.record.write(&self.provider);
        self.provider.take_delta()
    }

    /// Goes on where an earlier membership of this installation ended: what is said next follows
    /// what was said last, which may still be on its way (MLS-024).
    pub fn continue_after(&mut self, earlier: &Self) {
        self.record.sent = earlier.record.sent.clone();
    }

    /// Gives up a message that was encrypted and that nobody will ever see, so that what is said
    /// next does not follow it: receivers would wait (MLS-024).
    pub fn withdraw(&mut self, id: MessageId) {
        self.record.withdraw(id);
    }

    /// The group's id.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.record.group
    }

    /// The inbox on whose behalf this installation is in the group.
    #[must_use]
    pub fn inbox(&self) -> InboxId {
        self.record.inbox
    }

    /// The installation.
    #[must_use]
    pub fn installation(&self) -> PublicKey {
        self.record.installation
    }

    /// Whose commit ejected this installation, while that may still be undone.
    #[must_use]
    pub fn ejected_by(&self) -> Option<InboxId> {
        let contest = self.contests.last().filter(|_| self.record.status == GroupStatus::Ejected);
        contest.map(|contest| contest.committer)
    }

    /// Whether this installation takes part.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        self.record.status
    }

    /// The current epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.mls.epoch().as_u64()
    }

    /// The RFC 9420 epoch authenticator; equal at all members, and at nobody else.
    #[must_use]
    pub fn authenticator(&self) -> &[u8] {
        self.mls.epoch_authenticator().as_slice()
    }

    /// The topic that the group writes to now.
    #[must_use]
    pub fn topic(&self) -> Topic {
        self.record.generation().topic()
    }

    /// How many ordered entries of that topic were processed.
    #[must_use]
    pub fn position(&self) -> Position {
        self.record.position
    }

    /// How many ordered entries of one of the group's topics, present or past, were processed.
    #[must_use]
    pub fn position_of(&self, topic: Topic) -> Option<Position> {
        self.record.position_of(topic)
    }

    /// The topics of earlier generations that can still be read, newest first, and the period in
    /// which each ended (MLS-020).
    #[must_use]
    pub fn past_topics(&self) -> Vec<(Topic, Period)> {
        self.record.past_generations().map(|(past, retired)| (past.topic(), retired)).collect()
    }

    /// Drops the keys of generations that ended before `period`, once their topics are read; those
    /// on which something is still open stay.
    pub fn forget_generations_before(&mut self, period: Period) {
        let open = self.open_topics();
        self.record.forget_generations_before(period, &open);
    }

    /// What the members agree on.
    ///
    /// # Panics
    /// Never: a group is only entered with settings that parse.
    #[must_use]
    pub fn settings(&self) -> GroupSettings {
        GroupSettings::of(self.mls.extensions()).expect("checked when the epoch was entered")
    }

    /// The installations of each member inbox that are in the group.
    #[must_use]
    pub fn installations(&self) -> BTreeMap<InboxId, BTreeSet<PublicKey>> {
        self.roster().by_inbox()
    }

    /// The other inbox of a DM (MLS-012).
    #[must_use]
    pub fn peer(&self) -> Option<InboxId> {
        let settings = self.settings();
        let is_dm = settings.kind == GroupKind::Dm;
        settings.fixed_inboxes.iter().copied().find(|inbox| is_dm && *inbox != self.record.inbox)
    }

    /// The inboxes that asked to leave; the next commit lets them go (MLS-018).
    #[must_use]
    pub fn leaving(&self) -> BTreeSet<InboxId> {
        let roster = self.roster();
        self.leaving_leaves()
            .iter()
            .filter_map(|leaf| roster.0.get(leaf))
            .map(|leaf| leaf.inbox)
            .collect()
    }

    /// Whether somebody is to go, and this installation can see to it: the next commit has to
    /// (MLS-018, MLS-032).
    #[must_use]
    pub fn owes_commit(&self) -> bool {
        let mut to_go = self.leaving();
        to_go.extend(self.wished().remove);
        let is_active = self.record.status == GroupStatus::Active;
        is_active && !to_go.is_empty() && !to_go.contains(&self.record.inbox)
    }

    /// Who let this installation in, while nobody else of the group has been heard of; until then
    /// all that is known about the group is that one's word (MLS-036).
    #[must_use]
    pub fn voucher(&self) -> Option<InboxId> {
        self.record.voucher
    }

    /// The commit of ours that is not ordered yet.
    #[must_use]
    pub fn pending_commit(&self) -> Option<EnvelopeId> {
        self.record.pending.map(|pending| pending.envelope)
    }

    pub(crate) fn roster(&self) -> Roster {
        Roster::new(self.mls.members()).unwrap_or_default()
    }

    pub(crate) fn leaving_leaves(&self) -> BTreeSet<u32> {
        self.mls
            .pending_proposals()
            .filter_map(|queued| match (queued.proposal(), queued.sender()) {
                (Proposal::SelfRemove, Sender::Member(index)) => Some(index.u32()),
                _ => None,
            })
            .collect()
    }
}

/// How joiners set their group up; equal to what its creator has.
pub(crate) fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .use_ratchet_tree_extension(true)
        .set_past_epoch_deletion_policy(PastEpochDeletionPolicy::MaxEpochs(PAST_EPOCHS_MAX))
        .sender_ratchet_configuration(ratchets())
        .build()
}

fn ratchets() -> SenderRatchetConfiguration {
    SenderRatchetConfiguration::new(OUT_OF_ORDER_MESSAGES_MAX, MISSING_MESSAGES_MAX)
}

fn first_settings(
    network: NetworkId,
    own: PublicKey,
    head: &InboxHead,
    new: NewGroup,
) -> Result<GroupSettings, CreateError> {
    let (kind, mut fixed, policy, admins, name, description) = match new {
        NewGroup::Group { name, description, policy } => {
            (GroupKind::Group, vec![], policy, vec![head.inbox], name, description)
        }
        NewGroup::Dm { peer } if peer == head.inbox => return Err(CreateError::OtherInbox),
        NewGroup::Dm { peer } => {
            let fixed = vec![head.inbox, peer];
            (GroupKind::Dm, fixed, GroupPolicy::FIXED, vec![], String::new(), String::new())
        }
        NewGroup::Own => {
            let fixed = vec![head.inbox];
            (GroupKind::Own, fixed, GroupPolicy::FIXED, vec![], String::new(), String::new())
        }
    };
    fixed.sort_unstable();
    let unreachable: Vec<PublicKey> =
        head.installations.iter().copied().filter(|key| *key != own).collect();
    let member = Membership {
        inbox: head.inbox,
        sequence: head.sequence,
        unreachable: BoundedVec::new(unreachable).map_err(|_| CreateError::TooLong)?,
    };
    Ok(GroupSettings {
        version: PROTOCOL_VERSION,
        version_min: PROTOCOL_VERSION,
        network,
        kind,
        fixed_inboxes: BoundedVec::new(fixed).map_err(|_| CreateError::Library)?,
        generation_epoch: 0,
        policy,
        admins: BoundedVec::new(admins).map_err(|_| CreateError::Library)?,
        name: BoundedBytes::new(name.into_bytes()).map_err(|_| CreateError::TooLong)?,
        description: BoundedBytes::new(description.into_bytes())
            .map_err(|_| CreateError::TooLong)?,
        members: BoundedVec::new(vec![member]).map_err(|_| CreateError::Library)?,
    })
}
