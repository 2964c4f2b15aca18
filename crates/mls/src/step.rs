//! The two steps of judging a commit (MLS-014).

use std::collections::BTreeSet;

use openmls::framing::{MlsMessageBodyOut, ProcessedMessageContent, Sender};
use openmls::group::{PastEpochDeletionPolicy, ProcessMessageError, QueuedProposal};
use openmls::messages::proposals::Proposal;
use openmls_traits::OpenMlsProvider;
use tidings_envelope::EnvelopeBody;
use tidings_types::ed25519::SigningKey;
use tidings_types::{InboxId, Period};

use crate::contest::{Contest, Contestant};
use crate::facts::InboxFacts;
use crate::group::Group;
use crate::installation::LeafSigner;
use crate::judge::{OrderedEntry, Sealed};
use crate::past_epochs::{PAST_EPOCHS_MAX, all_but};
use crate::policy::{Before, Judged};
use crate::record::{GroupStatus, exported_seed, transcript_tag};
use crate::verdict::{Refusal, Verdict, VoidReason};

/// The most commits whose earlier states are kept; more at once are one member's doing alone.
const CONTESTS_MAX: usize = 64;

/// What step one found.
pub(crate) enum Step {
    /// A commit that may be applied.
    Commit(Box<Judged>),
    /// A request to leave that may be noted.
    Leave(InboxId),
}

impl Group {
    /// Everything that all members of the epoch see alike.
    ///
    /// `outcasts` are those that a restart has to remove; none for any other entry.
    pub(crate) fn step_one(
        &self,
        body: &EnvelopeBody,
        sealed: &Sealed,
        facts: &InboxFacts,
        outcasts: Option<&BTreeSet<InboxId>>,
    ) -> Result<Step, Refusal> {
        let message = self.handshake(sealed)?;
        let processed = self
            .mls
            .public_group()
            .process_message(self.provider.crypto(), message)
            .map_err(|_| VoidReason::Mls)?;
        let sender = processed.sender().clone();
        let authenticated_data = processed.aad().to_vec();
        match processed.into_content() {
            ProcessedMessageContent::ProposalMessage(proposal) => {
                if body.expected_position.is_some() {
                    return Err(VoidReason::Misplaced.into());
                }
                Ok(Step::Leave(self.check_leave(&proposal, &authenticated_data)?))
            }
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                let (settings, roster) = (self.settings(), self.roster());
                let before = Before {
                    epoch: self.epoch(),
                    settings: &settings,
                    roster: &roster,
                    leaving: self.leaving_leaves(),
                    wished: self.wished(),
                    outcasts,
                };
                // Whom a commit is to remove could take every position (MLS-032).
                if body.expected_position.is_none() && !before.needs_no_position() {
                    return Err(VoidReason::Misplaced.into());
                }
                let judged = before.judge(&staged, &sender, &authenticated_data, facts)?;
                if judged.rejoins && judged.external_key != self.external_key() {
                    return Err(VoidReason::ExternalKey.into());
                }
                Ok(Step::Commit(Box::new(judged)))
            }
            _ => Err(VoidReason::ProposalNotAllowed.into()),
        }
    }

    /// The key that external commits to this epoch encapsulate to; every member can derive it
    /// (MLS-034).
    fn external_key(&self) -> Option<[u8; 32]> {
        // Who signs does not matter: nobody sees it.
        let nobody = LeafSigner::of(&SigningKey::from_secret(&[0; 32]));
        let exported = self.mls.export_group_info(self.provider.crypto(), &nobody, false).ok()?;
        let MlsMessageBodyOut::GroupInfo(info) = exported.body() else { return None };
        info.extensions().external_pub()?.external_pub().as_slice().try_into().ok()
    }

    /// Which proposals stand alone: requests to leave, once per leaf (MLS-018).
    fn check_leave(
        &self,
        proposal: &QueuedProposal,
        authenticated_data: &[u8],
    ) -> Result<InboxId, VoidReason> {
        let (Proposal::SelfRemove, Sender::Member(index)) =
            (proposal.proposal(), proposal.sender())
        else {
            return Err(VoidReason::ProposalNotAllowed);
        };
        let is_fixed = !self.settings().fixed_inboxes.is_empty();
        let repeats = self.leaving_leaves().contains(&index.u32());
        if is_fixed || repeats || !authenticated_data.is_empty() {
            return Err(VoidReason::ProposalNotAllowed);
        }
        let roster = self.roster();
        roster.0.get(&index.u32()).map(|leaf| leaf.inbox).ok_or(VoidReason::Mls)
    }

    /// Checks the membership tag, which all members hold, and queues the proposal.
    pub(crate) fn note_leave(&mut self, sealed: &Sealed, inbox: InboxId) -> Verdict {
        let message = match self.handshake(sealed) {
            Ok(message) => message,
            Err(reason) => return Verdict::Void(reason),
        };
        let content = match self.mls.process_message(&self.provider, message) {
            Ok(processed) => processed.into_content(),
            Err(_) => return Verdict::Void(VoidReason::Mls),
        };
        let ProcessedMessageContent::ProposalMessage(proposal) = content else {
            return Verdict::Void(VoidReason::Mls);
        };
        // The store is in memory and cannot fail.
        let _ = self.mls.store_pending_proposal(self.provider.storage(), *proposal);
        self.record.hear_of(inbox);
        Verdict::LeaveRequested { inbox }
    }

    /// The own secrets.
    ///
    /// The state before the commit is kept until somebody else has proved it (MLS-028).
    pub(crate) fn step_two(
        &mut self,
        entry: &OrderedEntry<'_>,
        sealed: &Sealed,
        judged: Judged,
        outcasts: Option<BTreeSet<InboxId>>,
    ) -> Verdict {
        let own_leaf = self.mls.own_leaf_index().u32();
        let message = match self.handshake(sealed) {
            Ok(message) => message,
            Err(reason) => return Verdict::Void(reason),
        };
        let (epoch, roster) = (self.epoch(), self.roster());
        let contest = Contest::new(&Contestant {
            topic: self.topic(),
            position: entry.position,
            ordered_at: entry.period,
            epoch,
            tag: sealed.tag,
            committer: judged.applied.committer,
            rejoins: judged.rejoins,
            banned: outcasts.unwrap_or_default(),
            roster: &roster,
            removed: &judged.removed_leaves,
        });
        let content = match self
            .keep_base(contest, |group| group.mls.process_message(&group.provider, message))
        {
            Ok(processed) => processed.into_content(),
            // The membership tag: every member of the epoch can make and check it.
            Err(ProcessMessageError::ValidationError(_)) => return Verdict::Void(VoidReason::Mls),
            Err(_) => return self.eject(),
        };
        if judged.removed_leaves.contains(&own_leaf) {
            if judged.rejoins {
                // Another process with this installation's key took its place.
                return self.eject();
            }
            // openmls would forget the last epoch's secrets; entries on their way are still read.
            self.record.status = GroupStatus::Removed;
            return Verdict::Removed { by: judged.applied.committer };
        }
        let (merged, own) = match content {
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                (self.mls.merge_staged_commit(&self.provider, *staged).is_ok(), false)
            }
            // Told by its confirmation tag, so it counts even if another member sealed it again.
            ProcessedMessageContent::OwnPendingCommit => {
                (self.mls.merge_pending_commit(&self.provider).is_ok(), true)
            }
            _ => (false, false),
        };
        if !merged {
            return self.eject();
        }
        self.record.note_departures(epoch, &judged.removed_leaves, &roster);
        self.record.hear_of(judged.applied.committer);
        self.record.advance(self.topic(), entry.position);
        self.enter_epoch(judged, own, entry.period)
    }

    /// Keeps a copy of the state for `contest`, then does `work` on it; a message that is void
    /// after all leaves neither.
    fn keep_base<T, E>(
        &mut self,
        contest: Option<Contest>,
        work: impl FnOnce(&mut Self) -> Result<T, ProcessMessageError<E>>,
    ) -> Result<T, ProcessMessageError<E>> {
        let Some(contest) = contest else { return work(self) };
        self.record.write(&self.provider);
        self.provider.copy_under(&contest.base(), |key| !crate::contest::is_of_contest(key));
        let done = work(self);
        if matches!(done, Err(ProcessMessageError::ValidationError(_))) {
            contest.forget(&self.provider);
            return done;
        }
        contest.write(&self.provider);
        self.contests.push(contest);
        if self.contests.len() > CONTESTS_MAX {
            self.contests.remove(0).forget(&self.provider);
        }
        done
    }

    /// Drops the keys of epochs that are too old, one having ended in `period` (MLS-037); whether
    /// the library did as it was told.
    fn forget_past_epochs(&mut self, period: Period) -> bool {
        let policy = PastEpochDeletionPolicy::MaxEpochs(PAST_EPOCHS_MAX);
        // A group that an earlier version stored has another one.
        let is_set = *self.mls.past_epoch_deletion_policy() == policy
            || self.mls.set_past_epoch_deletion_policy(&self.provider, policy).is_ok();
        let kept = self.past_epochs.end(period, self.mls.members().count());
        is_set && self.mls.delete_past_epoch_secrets(&self.provider, all_but(kept)).is_ok()
    }

    fn enter_epoch(&mut self, judged: Judged, own: bool, period: Period) -> Verdict {
        let mut applied = judged.applied;
        applied.own = own;
        self.record.note_epoch(self.epoch(), transcript_tag(&self.mls));
        if !self.forget_past_epochs(period) {
            return self.eject();
        }
        if applied.rotated {
            match exported_seed(&self.mls, &self.provider) {
                Some(seed) => self.record.rotate(seed, period),
                None => return self.eject(),
            }
        }
        debug_assert_eq!(judged.after, self.settings());
        Verdict::Applied(Box::new(applied))
    }
}
