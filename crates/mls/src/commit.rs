//! Making commits and requests to leave.

use std::collections::BTreeSet;

use openmls::extensions::{Extension, UnknownExtension};
use openmls::framing::Sender;
use openmls::group::CommitMessageBundle;
use openmls::messages::proposals::Proposal;
use openmls_traits::OpenMlsProvider;
use rand_core::CryptoRngCore;
use tidings_envelope::{ClientEnvelope, EnvelopeBody, Lane, Payload};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{BoundedBytes, InboxId, Position, Wire};
use tls_codec::Serialize;

use crate::error::{CommitError, SealError};
use crate::facts::{InboxFacts, InboxHead};
use crate::generation::GenerationInfo;
use crate::group::Group;
use crate::installation::Installation;
use crate::judge::Step;
use crate::manifest::Invitee;
use crate::plan::Plan;
use crate::policy::CommitData;
use crate::record::{GroupStatus, PendingRecord};
use crate::seal::SealContext;
use crate::settings::{GENERATION_EXTENSION, GroupPolicy};
use crate::verdict::{Refusal, VoidReason};
use crate::welcome::{Blob, BlobKeys, WelcomeReference};

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

impl Group {
    /// Makes a commit on the current position (MLS-014).
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
        self.check_may_commit()?;
        let heads: InboxFacts = changes.heads.iter().cloned().collect();
        let plan = self.plan(changes)?;
        let blob_keys = (!plan.invitees.is_empty()).then(|| BlobKeys::generate(rng));
        let result = self.stage(installation, plan, blob_keys, context).and_then(|pending| {
            self.check_own(&pending, &heads)?;
            Ok(pending)
        });
        self.mls.set_aad(Vec::new());
        match &result {
            Ok(pending) => {
                self.record.pending = Some(PendingRecord {
                    envelope: pending.envelope.body.id(),
                    expected: pending.expected_position,
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
        self.check_may_commit()?;
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
        let generation = self.record.generation();
        self.seal(&generation, body, &message).map_err(CommitError::from)
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
        EnvelopeBody {
            version: PROTOCOL_VERSION,
            topic: self.topic(),
            lane: Lane::Ordered,
            payer: context.payer,
            not_after: context.not_after,
            retention_days: context.retention_days,
            expected_position,
            depends_on: None,
            payload: Payload::default(),
        }
    }

    fn check_may_commit(&self) -> Result<(), CommitError> {
        if self.record.status != GroupStatus::Active {
            return Err(CommitError::Inactive);
        }
        if self.record.pending.is_some() {
            return Err(CommitError::CommitPending);
        }
        match self.leaving().contains(&self.record.inbox) {
            true => Err(CommitError::Leaving),
            false => Ok(()),
        }
    }

    /// Stages the commit in openmls and seals it and its welcome.
    fn stage(
        &mut self,
        installation: &Installation,
        plan: Plan,
        blob_keys: Option<BlobKeys>,
        context: &SealContext,
    ) -> Result<PendingCommit, CommitError> {
        let reference = blob_keys.as_ref().map(BlobKeys::reference);
        let data = CommitData { version: PROTOCOL_VERSION, welcome: reference.clone() };
        self.mls.set_aad(data.to_wire());
        let bundle = self.build(installation, &plan)?;
        let message = bundle.commit().to_bytes().map_err(library)?;
        let expected_position = self.record.position;
        let body = self.ordered_body(context, Some(expected_position));
        let envelope = self.seal(&self.record.generation(), body, &message)?;
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
    fn check_own(&self, pending: &PendingCommit, heads: &InboxFacts) -> Result<(), CommitError> {
        match self.step_one(&pending.envelope.body, heads) {
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
