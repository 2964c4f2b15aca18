//! Making commits and requests to leave.

use std::collections::BTreeSet;

use openmls::extensions::{Extension, UnknownExtension};
use openmls::framing::Sender;
use openmls::group::CommitMessageBundle;
use openmls::messages::proposals::Proposal;
use openmls_traits::OpenMlsProvider;
use rand_core::CryptoRngCore;
use tidings_envelope::{ClientEnvelope, EnvelopeBody, Lane, Payload, Topic};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{BoundedBytes, InboxId, Position, Wire};
use tls_codec::Serialize;

use crate::error::{CommitError, SealError};
use crate::facts::{InboxFacts, InboxHead};
use crate::generation::GenerationInfo;
use crate::group::Group;
use crate::installation::Installation;
use crate::judge::open_entry;
use crate::manifest::Invitee;
use crate::plan::Plan;
use crate::policy::CommitData;
use crate::record::{GroupStatus, PendingRecord};
use crate::seal::SealContext;
use crate::settings::{GENERATION_EXTENSION, GroupPolicy};
use crate::statement::{OrderedFrame, Statement};
use crate::step::Step;
use crate::verdict::{Refusal, VoidReason};
use crate::welcome::{Blob, BlobKeys, WelcomeReference};
use crate::wish::NotedWish;

/// What a commit is to change; the default renews the committer's keys and lets go who asked to
/// leave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Inboxes to add, and member inboxes whose log has moved on.
    pub heads: Vec<InboxHead>,
    /// Installations to bring in: of those inboxes, or unreachable until now.
    pub invitees: Vec<Invitee>,
    /// Inboxes to remove.
    pub remove: BTreeSet<InboxId>,
    /// A new name.
    pub name: Option<String>,
    /// A new description.
    pub description: Option<String>,
    /// A new policy.
    pub policy: Option<GroupPolicy>,
    /// The new admins, all of them.
    pub admins: Option<BTreeSet<InboxId>>,
    /// Whether to begin a new topic generation even if nothing requires it.
    pub rotate: bool,
}

/// A commit that is to be ordered.
///
/// The delta is stored first, then the welcome's blob until it is replicated, then the envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingCommit {
    /// The commit, for the ordered lane.
    pub envelope: ClientEnvelope,
    /// The position that it builds on.
    pub expected_position: Position,
    /// The welcome for those it adds.
    pub welcome: Option<OutgoingWelcome>,
}

/// The welcome of a commit.
#[derive(Debug, Clone, PartialEq)]
pub struct OutgoingWelcome {
    /// What to store before the commit is submitted.
    pub blob: ClientEnvelope,
    /// What points to it.
    pub reference: WelcomeReference,
    /// Whom to send pointers once the commit is ordered.
    pub invitees: Vec<Invitee>,
}

/// What a commit is made as.
pub(crate) enum Mode<'a> {
    /// One like any other, with keys for the blob of its welcome if it invites anybody.
    Member(Option<Box<BlobKeys>>),
    /// A restart without these.
    Restart(&'a BTreeSet<InboxId>),
}

impl<'a> Mode<'a> {
    fn outcasts(&self) -> Option<&'a BTreeSet<InboxId>> {
        match self {
            Self::Member(_) => None,
            Self::Restart(outcasts) => Some(outcasts),
        }
    }
}

impl Group {
    /// Makes a commit on the current position (MLS-014), or on any if this inbox wished for
    /// the removal of somebody, who could take them all (MLS-032).
    ///
    /// The commit takes effect when [`Group::process_ordered`] gets it back; if another entry
    /// comes first, it is forgotten and made anew from the same changes.
    ///
    /// # Errors
    /// [`CommitError`]; the group is unchanged.
    pub fn commit(
        &mut self,
        installation: &Installation,
        changes: Changes,
        context: &SealContext,
        rng: &mut impl CryptoRngCore,
    ) -> Result<PendingCommit, CommitError> {
        let keys = (!changes.invitees.is_empty()).then(|| Box::new(BlobKeys::generate(rng)));
        self.commit_as(installation, changes, Mode::Member(keys), context)
    }

    pub(crate) fn commit_as(
        &mut self,
        installation: &Installation,
        changes: Changes,
        mode: Mode<'_>,
        context: &SealContext,
    ) -> Result<PendingCommit, CommitError> {
        self.check_may_commit(&mode)?;
        let heads: InboxFacts = changes.heads.iter().cloned().collect();
        let plan = self.plan(changes)?;
        let outcasts = mode.outcasts();
        let result = self.stage(installation, plan, mode, context).and_then(|pending| {
            self.check_own(&pending, &heads, outcasts)?;
            Ok(pending)
        });
        self.mls.set_aad(Vec::new());
        match &result {
            Ok(pending) => {
                self.record.pending = Some(PendingRecord {
                    envelope: pending.envelope.body.id(),
                    expected: pending.envelope.body.expected_position,
                });
            }
            Err(_) => self.clear_pending(),
        }
        result
    }

    /// Forgets the commit that is not ordered yet, because it lost or expired.
    ///
    /// To be called only when its envelope can no longer be ordered.
    pub fn commit_lost(&mut self) {
        if self.record.status == GroupStatus::Active {
            self.clear_pending();
        }
    }

    /// Makes a request to leave, for the ordered lane; the next commit of another inbox lets this
    /// one go, with all its installations (MLS-018).
    ///
    /// # Errors
    /// [`CommitError`]; the group is unchanged.
    pub fn leave(
        &mut self,
        installation: &Installation,
        context: &SealContext,
    ) -> Result<ClientEnvelope, CommitError> {
        self.check_may_commit(&Mode::Member(None))?;
        if !self.settings().fixed_inboxes.is_empty() {
            return Err(CommitError::NotLeavable);
        }
        let message = self
            .mls
            .leave_group_via_self_remove(&self.provider, &installation.signer())
            .map_err(library)?
            .to_bytes()
            .map_err(library)?;
        // openmls queues the proposal at once; it counts only when it is ordered.
        let own = self.mls.own_leaf_index();
        let reference = self.mls.pending_proposals().find_map(|queued| {
            let is_own = *queued.sender() == Sender::Member(own);
            (is_own && *queued.proposal() == Proposal::SelfRemove)
                .then(|| queued.proposal_reference_ref().clone())
        });
        if let Some(reference) = reference {
            self.mls
                .remove_pending_proposal(self.provider.storage(), &reference)
                .map_err(library)?;
        }
        let body = self.ordered_body(context, None);
        self.seal_ordered(body, Vec::new(), message)
    }

    /// Seals a handshake message and what is stated with it.
    fn seal_ordered(
        &self,
        body: EnvelopeBody,
        statements: Vec<Statement>,
        message: Vec<u8>,
    ) -> Result<ClientEnvelope, CommitError> {
        let frame = OrderedFrame::new(statements, message).ok_or(CommitError::TooLarge)?;
        let generation = self.record.generation();
        Ok(self.seal(&generation, body, &frame.to_wire())?)
    }

    pub(crate) fn clear_pending(&mut self) {
        // The store is in memory and cannot fail.
        let _ = self.mls.clear_pending_commit(self.provider.storage());
        self.record.pending = None;
    }

    pub(crate) fn ordered_body(
        &self,
        context: &SealContext,
        expected_position: Option<Position>,
    ) -> EnvelopeBody {
        self.ordered_body_on(self.topic(), context, expected_position)
    }

    pub(crate) fn ordered_body_on(
        &self,
        topic: Topic,
        context: &SealContext,
        expected_position: Option<Position>,
    ) -> EnvelopeBody {
        EnvelopeBody {
            version: PROTOCOL_VERSION,
            topic,
            lane: Lane::Ordered,
            payer: context.payer,
            not_after: context.not_after,
            retention_days: context.retention_days,
            expected_position,
            depends_on: None,
            payload: Payload::default(),
        }
    }

    fn check_may_commit(&self, mode: &Mode<'_>) -> Result<(), CommitError> {
        if self.record.status != GroupStatus::Active {
            return Err(CommitError::Inactive);
        }
        if self.record.pending.is_some() {
            return Err(CommitError::CommitPending);
        }
        let inbox = self.record.inbox;
        let is_outcast = mode.outcasts().is_some_and(|outcasts| outcasts.contains(&inbox));
        if is_outcast || self.wished().remove.contains(&inbox) {
            return Err(CommitError::Unwanted);
        }
        match self.leaving().contains(&inbox) {
            true => Err(CommitError::Leaving),
            false => Ok(()),
        }
    }

    /// Stages the commit in openmls and seals it and its welcome.
    fn stage(
        &mut self,
        installation: &Installation,
        plan: Plan,
        mode: Mode<'_>,
        context: &SealContext,
    ) -> Result<PendingCommit, CommitError> {
        let is_restart = matches!(mode, Mode::Restart(_));
        let blob_keys = match mode {
            Mode::Member(keys) => keys.filter(|_| !plan.invitees.is_empty()),
            Mode::Restart(_) => None,
        };
        let reference = blob_keys.as_deref().map(BlobKeys::reference);
        self.mls.set_aad(CommitData::of_member(reference.clone()).to_wire());
        let bundle = self.build(installation, &plan)?;
        let message = bundle.commit().to_bytes().map_err(library)?;
        let expected_position = self.record.position;
        // Others leave it to whoever wished, so that they do not all order what one can.
        let wishes =
            |noted: &NotedWish| noted.inbox == self.record.inbox && !noted.wish.remove.is_empty();
        let is_free = is_restart || self.record.wishes.iter().any(wishes);
        let body = self.ordered_body(context, (!is_free).then_some(expected_position));
        let statements = match is_restart {
            true => Vec::new(),
            false => self.statements_in_passing(installation),
        };
        let envelope = self.seal_ordered(body, statements, message)?;
        let welcome = match (blob_keys, reference, bundle.welcome()) {
            (Some(keys), Some(reference), Some(welcome)) => {
                let bytes = welcome.tls_serialize_detached().map_err(library)?;
                let bytes = BoundedBytes::new(bytes).map_err(|_| CommitError::TooLarge)?;
                let blob = keys
                    .seal(&Blob::Welcome(bytes), context, self.record.network)
                    .map_err(|_| CommitError::TooLarge)?;
                Some(OutgoingWelcome { blob, reference, invitees: plan.invitees })
            }
            _ => None,
        };
        Ok(PendingCommit { envelope, expected_position, welcome })
    }

    fn build(
        &mut self,
        installation: &Installation,
        plan: &Plan,
    ) -> Result<CommitMessageBundle, CommitError> {
        let info = self.generation_info(plan.rotates);
        let packages = plan.invitees.iter().map(|invitee| invitee.key_package().clone());
        let mut builder = self
            .mls
            .commit_builder()
            .force_self_update(true)
            .propose_adds(packages)
            .propose_removals(plan.removals.iter().copied());
        if plan.extensions_change {
            let extensions = plan
                .settings
                .to_extensions()
                .ok_or_else(|| CommitError::Library("extensions".to_owned()))?;
            builder = builder.propose_group_context_extensions(extensions).map_err(library)?;
        }
        let mut builder = builder.load_psks(self.provider.storage()).map_err(library)?;
        builder = match plan.invitees.is_empty() {
            true => builder.use_ratchet_tree_extension(false).create_group_info(false),
            false => builder.create_group_info_with_extensions([info]).map_err(library)?,
        };
        builder
            .build(self.provider.rand(), self.provider.crypto(), &installation.signer(), |_| true)
            .map_err(library)?
            .stage_commit(&self.provider)
            .map_err(library)
    }

    /// What joiners of the next epoch are told (MLS-019).
    fn generation_info(&self, rotates: bool) -> Extension {
        let info = match rotates {
            true => GenerationInfo {
                version: PROTOCOL_VERSION,
                seed: None,
                position: Position(0),
                tag: None,
            },
            false => GenerationInfo {
                version: PROTOCOL_VERSION,
                seed: Some(self.record.generation().seed().clone()),
                position: self.record.position.plus(1),
                tag: None,
            },
        };
        Extension::Unknown(GENERATION_EXTENSION, UnknownExtension(info.to_wire()))
    }

    /// Judges the own commit as every other member will.
    fn check_own(
        &self,
        pending: &PendingCommit,
        heads: &InboxFacts,
        outcasts: Option<&BTreeSet<InboxId>>,
    ) -> Result<(), CommitError> {
        let body = &pending.envelope.body;
        let sealed = open_entry(&self.record.generation(), body)
            .map_err(|reason| CommitError::Library(reason.to_string()))?;
        match self.step_one(body, &sealed, heads, outcasts) {
            Ok(Step::Commit { .. }) => Ok(()),
            Ok(Step::Leave { .. }) => Err(CommitError::Library("not a commit".to_owned())),
            Err(Refusal::Void(reason)) => Err(CommitError::WouldBeVoid(reason)),
            Err(Refusal::Needs(_)) => Err(CommitError::WouldBeVoid(VoidReason::MembershipMismatch)),
            Err(Refusal::Paused { .. }) => Err(CommitError::WouldBeVoid(VoidReason::Settings)),
        }
    }
}

fn library(error: impl std::fmt::Display) -> CommitError {
    CommitError::Library(error.to_string())
}

impl From<SealError> for CommitError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::TooLarge => Self::TooLarge,
            SealError::Inactive => Self::Inactive,
            SealError::LeavePending | SealError::Library => Self::Library(error.to_string()),
        }
    }
}
