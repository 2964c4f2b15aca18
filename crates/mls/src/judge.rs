//! Processing the ordered lane: one entry, one verdict (MLS-014).

use openmls::framing::ProtocolMessage;
use tidings_envelope::{ClientEnvelope, EnvelopeBody, Lane};
use tidings_types::{Period, Position};

use crate::facts::InboxFacts;
use crate::generation::Generation;
use crate::group::{Group, GroupId};
use crate::message::parse_message;
use crate::record::GroupStatus;
use crate::seal::{self, TranscriptTag};
use crate::statement::OrderedFrame;
use crate::step::Step;
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

/// An entry whose seal was opened.
pub(crate) struct Sealed {
    /// The sender's transcript tag.
    pub(crate) tag: TranscriptTag,
    pub(crate) frame: OrderedFrame,
}

impl Group {
    /// Processes the next entry of one of the group's topics.
    ///
    /// Step one needs no private secret, so all members agree on it: a failure makes the entry
    /// void.
    /// Step two is this installation's own path secret and the confirmation tag: a failure means
    /// that others may be ahead, so this installation declares itself ejected.
    /// A topic that has ended is read on for statements and restarts (MLS-028, MLS-030).
    ///
    /// # Errors
    /// [`ProcessError`] when the entry cannot be judged yet, or not here; the group is unchanged,
    /// but for statements, which may be taken twice.
    pub fn process_ordered(
        &mut self,
        entry: &OrderedEntry<'_>,
        facts: &InboxFacts,
    ) -> Result<Verdict, ProcessError> {
        if self.record.status == GroupStatus::Rejoining {
            return self.process_rejoin(entry);
        }
        let body = &entry.envelope.body;
        let generation = self.record.generation_of(body.topic).ok_or(ProcessError::OtherTopic)?;
        if let Some(early) = self.check_order(entry)? {
            return Ok(early);
        }
        let is_current = body.topic == self.topic();
        let verdict = match open_entry(&generation, body) {
            Ok(sealed) => self.take(entry, &sealed, facts)?,
            Err(reason) => Verdict::Void(reason),
        };
        if matches!(verdict, Verdict::Paused { .. }) {
            return Ok(verdict);
        }
        self.record.advance(body.topic, entry.position);
        if is_current {
            self.settle_pending(body, &verdict);
        }
        Ok(verdict)
    }

    /// The order of positions, in each topic by itself (MLS-023).
    fn check_order(&self, entry: &OrderedEntry<'_>) -> Result<Option<Verdict>, ProcessError> {
        let topic = entry.envelope.body.topic;
        let known = self.record.position_of(topic).ok_or(ProcessError::OtherTopic)?;
        let expected = known.plus(1);
        if entry.position == expected {
            return Ok(None);
        }
        match topic != self.topic() && entry.position < expected {
            true => Ok(Some(Verdict::Stale)),
            false => Err(ProcessError::OutOfOrder { expected }),
        }
    }

    fn take(
        &mut self,
        entry: &OrderedEntry<'_>,
        sealed: &Sealed,
        facts: &InboxFacts,
    ) -> Result<Verdict, ProcessError> {
        let body = &entry.envelope.body;
        if sealed.frame.message.is_empty() {
            return Ok(self.hear_alone(entry, &sealed.frame));
        }
        self.hear_all(entry, &sealed.frame);
        if let Some(contest) = self.restarted_contest(body, sealed) {
            return Ok(self.process_restart(entry, sealed, &contest));
        }
        if self.record.status != GroupStatus::Active || body.topic != self.topic() {
            return Ok(Verdict::Stale);
        }
        match self.step_one(body, sealed, facts, None) {
            Ok(Step::Leave(inbox)) => Ok(self.note_leave(sealed, inbox)),
            Ok(Step::Commit(judged)) => Ok(self.step_two(entry, sealed, *judged, None)),
            Err(Refusal::Void(reason)) => Ok(Verdict::Void(reason)),
            Err(Refusal::Needs(inboxes)) => Err(ProcessError::NeedsInboxes(inboxes)),
            Err(Refusal::Paused { version }) => Ok(Verdict::Paused { version }),
        }
    }

    /// A commit of ours that built on a position is done or lost once that is taken; one that is
    /// good at any position waits until it comes or the epoch ends.
    fn settle_pending(&mut self, body: &EnvelopeBody, verdict: &Verdict) {
        let Some(pending) = self.record.pending else { return };
        let is_decided = pending.expected.is_some()
            || pending.envelope == body.id()
            || matches!(verdict, Verdict::Applied(_));
        if is_decided {
            self.clear_pending();
        }
    }

    /// The public handshake message of this epoch in an entry.
    pub(crate) fn handshake(&self, sealed: &Sealed) -> Result<ProtocolMessage, VoidReason> {
        let message = parse_handshake(&sealed.frame.message).ok_or(VoidReason::Malformed)?;
        let ours = GroupId::of(message.group_id()) == Some(self.record.group);
        if !ours || message.epoch() != self.mls.epoch() {
            return Err(VoidReason::WrongEpoch);
        }
        match self.record.tag_of(self.epoch()) == Some(sealed.tag) {
            true => Ok(message),
            false => Err(VoidReason::TranscriptMismatch),
        }
    }

    pub(crate) fn eject(&mut self) -> Verdict {
        self.record.status = GroupStatus::Ejected;
        Verdict::Ejected
    }
}

/// Opens the seal of an entry and the frame in it (MLS-026).
pub(crate) fn open_entry(
    generation: &Generation,
    body: &EnvelopeBody,
) -> Result<Sealed, VoidReason> {
    if body.lane != Lane::Ordered {
        return Err(VoidReason::Misplaced);
    }
    let opened = seal::open(generation, body).map_err(|_| VoidReason::Seal)?;
    let frame = OrderedFrame::parse(&opened.message).ok_or(VoidReason::Malformed)?;
    Ok(Sealed { tag: opened.tag, frame })
}

/// The public handshake message in `bytes`.
pub(crate) fn parse_handshake(bytes: &[u8]) -> Option<ProtocolMessage> {
    let message @ ProtocolMessage::PublicMessage(_) = parse_message(bytes)? else { return None };
    message.is_handshake_message().then_some(message)
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
