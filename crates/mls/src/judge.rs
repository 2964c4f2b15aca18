//! Processing the ordered lane: one entry, one verdict (MLS-014).

use openmls::framing::{ProcessedMessageContent, ProtocolMessage, Sender};
use openmls::group::{ProcessMessageError, QueuedProposal};
use openmls::messages::proposals::Proposal;
use openmls_traits::OpenMlsProvider;
use tidings_envelope::{ClientEnvelope, EnvelopeBody, Lane};
use tidings_types::{InboxId, Period, Position};

use crate::facts::InboxFacts;
use crate::group::{Group, GroupId};
use crate::message::parse_message;
use crate::policy::{Before, Judged};
use crate::record::{GroupStatus, exported_seed, transcript_tag};
use crate::seal;
use crate::verdict::{ProcessError, Refusal, Verdict, VoidReason};

/// An entry of a group's topic in the ordered lane.
#[derive(Debug, Clone, Copy)]
pub struct OrderedEntry<'a> {
    /// The topic's position after it, from 1.
    pub position: Position,
    /// The period of its block.
    pub period: Period,
    /// The entry.
    pub envelope: &'a ClientEnvelope,
}

/// What step one found.
pub(crate) enum Step {
    /// A commit that may be applied.
    Commit(Box<Judged>),
    /// A request to leave that may be noted.
    Leave(InboxId),
}

impl Group {
    /// Processes the next entry of the group's topic.
    ///
    /// Step one needs no private secret, so all members agree on it: a failure makes the entry
    /// void.
    /// Step two is this installation's own path secret and the confirmation tag: a failure means
    /// that others may be ahead, so this installation declares itself ejected.
    ///
    /// # Errors
    /// [`ProcessError`] when the entry cannot be judged yet, or not here; the group is unchanged.
    pub fn process_ordered(
        &mut self,
        entry: &OrderedEntry<'_>,
        facts: &InboxFacts,
    ) -> Result<Verdict, ProcessError> {
        match self.record.status {
            GroupStatus::Active => {}
            GroupStatus::Rejoining => return self.process_rejoin(entry),
            GroupStatus::Removed | GroupStatus::Ejected => return Err(ProcessError::Inactive),
        }
        let body = &entry.envelope.body;
        if let Some(early) = self.check_order(entry)? {
            return Ok(early);
        }
        let verdict = match self.step_one(body, facts) {
            Ok(Step::Leave(inbox)) => self.note_leave(body, inbox),
            Ok(Step::Commit(judged)) => self.step_two(body, *judged, entry.period),
            Err(Refusal::Void(reason)) => Verdict::Void(reason),
            Err(Refusal::Needs(inboxes)) => return Err(ProcessError::NeedsInboxes(inboxes)),
            Err(Refusal::Paused { version }) => return Ok(Verdict::Paused { version }),
        };
        let advances = match &verdict {
            Verdict::Applied(applied) => !applied.rotated,
            Verdict::LeaveRequested { .. } | Verdict::Void(_) => true,
            _ => false,
        };
        if advances {
            self.record.position = entry.position;
        }
        // Whatever took the position, a commit of ours that built on it is done or lost.
        if self.record.pending.is_some() {
            self.clear_pending();
        }
        Ok(verdict)
    }

    /// Topic and position (MLS-023).
    fn check_order(&self, entry: &OrderedEntry<'_>) -> Result<Option<Verdict>, ProcessError> {
        let topic = entry.envelope.body.topic;
        if topic != self.topic() {
            let is_past = self.record.past_generations().any(|(past, _)| past.topic() == topic);
            return if is_past { Ok(Some(Verdict::Stale)) } else { Err(ProcessError::OtherTopic) };
        }
        let expected = self.record.position.plus(1);
        match entry.position == expected {
            true => Ok(None),
            false => Err(ProcessError::OutOfOrder { expected }),
        }
    }

    /// Everything that all members see alike.
    pub(crate) fn step_one(
        &self,
        body: &EnvelopeBody,
        facts: &InboxFacts,
    ) -> Result<Step, Refusal> {
        let message = self.handshake(body)?;
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
                if body.expected_position.is_none() {
                    return Err(VoidReason::Misplaced.into());
                }
                let (settings, roster) = (self.settings(), self.roster());
                let before = Before {
                    epoch: self.epoch(),
                    settings: &settings,
                    roster: &roster,
                    leaving: self.leaving_leaves(),
                };
                let judged = before.judge(&staged, &sender, &authenticated_data, facts)?;
                Ok(Step::Commit(Box::new(judged)))
            }
            _ => Err(VoidReason::ProposalNotAllowed.into()),
        }
    }

    /// The public handshake message of this epoch in an envelope.
    fn handshake(&self, body: &EnvelopeBody) -> Result<ProtocolMessage, VoidReason> {
        if body.lane != Lane::Ordered {
            return Err(VoidReason::Misplaced);
        }
        let opened = seal::open(&self.record.generation(), body).map_err(|_| VoidReason::Seal)?;
        let message = match parse_message(&opened.message) {
            Some(message @ ProtocolMessage::PublicMessage(_)) => message,
            _ => return Err(VoidReason::Malformed),
        };
        if !message.is_handshake_message() {
            return Err(VoidReason::Malformed);
        }
        let ours = GroupId::of(message.group_id()) == Some(self.record.group);
        if !ours || message.epoch() != self.mls.epoch() {
            return Err(VoidReason::WrongEpoch);
        }
        match self.record.tag_of(self.epoch()) == Some(opened.tag) {
            true => Ok(message),
            false => Err(VoidReason::TranscriptMismatch),
        }
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
    fn note_leave(&mut self, body: &EnvelopeBody, inbox: InboxId) -> Verdict {
        let message = match self.handshake(body) {
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
        Verdict::LeaveRequested { inbox }
    }

    /// The own secrets.
    fn step_two(&mut self, body: &EnvelopeBody, judged: Judged, period: Period) -> Verdict {
        let own_leaf = self.mls.own_leaf_index().u32();
        let message = match self.handshake(body) {
            Ok(message) => message,
            Err(reason) => return Verdict::Void(reason),
        };
        let content = match self.mls.process_message(&self.provider, message) {
            Ok(processed) => processed.into_content(),
            // The membership tag: every member of the epoch can make and check it.
            Err(ProcessMessageError::ValidationError(_)) => return Verdict::Void(VoidReason::Mls),
            Err(_) => return self.eject(),
        };
        if judged.removed_leaves.contains(&own_leaf) {
            // openmls would forget the last epoch's secrets; entries on their way are still read.
            self.record.status = GroupStatus::Removed;
            return Verdict::Removed { by: judged.applied.committer };
        }
        let (epoch, roster) = (self.epoch(), self.roster());
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
        self.enter_epoch(judged, own, period)
    }

    fn enter_epoch(&mut self, judged: Judged, own: bool, period: Period) -> Verdict {
        let mut applied = judged.applied;
        applied.own = own;
        self.record.note_epoch(self.epoch(), transcript_tag(&self.mls));
        if applied.rotated {
            match exported_seed(&self.mls, &self.provider) {
                Some(seed) => self.record.rotate(seed, period),
                None => return self.eject(),
            }
        }
        debug_assert_eq!(judged.after, self.settings());
        Verdict::Applied(Box::new(applied))
    }

    fn eject(&mut self) -> Verdict {
        self.record.status = GroupStatus::Ejected;
        Verdict::Ejected
    }
}

#[cfg(test)]
mod tests;
