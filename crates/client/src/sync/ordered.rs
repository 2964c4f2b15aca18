//! One entry of the ordered lane: judged, stored and counted in one transaction.

use tidings_envelope::Topic;
use tidings_envelope::api::{TopicCursor, TopicEntry};
use tidings_mls::{
    GENERATION_GRACE_PERIODS, Group, GroupStatus, InboxFacts, OrderedEntry, ProcessError, Verdict,
};
use tidings_types::Position;

use crate::core::{Core, Engine};
use crate::error::{ClientError, GroupError, VerifyFailure};
use crate::event::Event;
use crate::store::{Scope, StoreError, TopicRole, TopicRow, Tx};
use crate::sync::broadcast::Incoming;
use crate::verify::Ordered;
use crate::{ConversationId, ConversationState};

/// Judging asks for inboxes at most this often for one entry: those of the members, and those
/// of whom they add.
const LOOK_UPS_MAX: u32 = 4;

impl Core {
    /// Deals with the next entry of a topic's ordered lane, if it is that.
    pub(crate) async fn take_ordered(
        &self,
        engine: &mut Engine,
        topic: &Topic,
        entry: &Ordered,
    ) -> Result<(), ClientError> {
        let Some(row) = self.store().view().topic(topic)? else { return Ok(()) };
        let expected = row.cursor.position.plus(1);
        if entry.position < expected {
            return Ok(());
        }
        if entry.position != expected {
            let (expected, found) = (expected.0, entry.position.0);
            return Err(VerifyFailure::Position { expected, found }.into());
        }
        let cursor = TopicCursor { position: entry.position, ..row.cursor.clone() };
        let Some(id) = row.conversation else {
            return self.pass(topic, &cursor, entry.id);
        };
        let was_out = engine.group(id)?.1.status() != GroupStatus::Active;
        let Some(verdict) = self.judge(engine, id, entry).await? else {
            return self.pass(topic, &cursor, entry.id);
        };
        if let Verdict::Paused { version } = verdict {
            return Err(GroupError::Newer { version }.into());
        }
        let released = self.apply(engine, id, topic, &cursor, entry, &verdict)?;
        self.tell(id, &verdict);
        if was_out && matches!(verdict, Verdict::Applied(_)) {
            self.events.tell(&Event::Returned { conversation: id });
        }
        for held in &released {
            let header = &held.entry.header;
            let incoming = Incoming {
                id: header.envelope_id,
                admitted: header.fee_period,
                entry: held,
                cursor: None,
            };
            self.take_message(engine, id, topic, incoming)?;
        }
        Ok(())
    }

    /// The group's verdict; none when the group has nothing to say on the entry any more.
    async fn judge(
        &self,
        engine: &mut Engine,
        id: ConversationId,
        entry: &Ordered,
    ) -> Result<Option<Verdict>, ClientError> {
        let (position, period) = (entry.position, entry.period);
        let ordered = OrderedEntry { position, period, envelope: &entry.envelope };
        let mut facts = InboxFacts::none();
        for _ in 0..LOOK_UPS_MAX {
            let (_, group) = engine.group(id)?;
            match group.process_ordered(&ordered, &facts) {
                Ok(verdict) => return Ok(Some(verdict)),
                Err(ProcessError::NeedsInboxes(needed)) => {
                    facts = self.facts(needed, facts).await?;
                }
                // A topic of epochs that were undone.
                Err(ProcessError::OtherTopic) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Err(ProcessError::NeedsInboxes(Default::default()).into())
    }

    /// Stores what the verdict changes; returns the broadcast entries that waited for it.
    fn apply(
        &self,
        engine: &mut Engine,
        id: ConversationId,
        topic: &Topic,
        cursor: &TopicCursor,
        entry: &Ordered,
        verdict: &Verdict,
    ) -> Result<Vec<TopicEntry>, ClientError> {
        let is_back = engine.rejoins.contains_key(&id);
        let (_, group) = engine.group(id)?;
        let delta = group.take_delta();
        let is_applied = matches!(verdict, Verdict::Applied(_));
        let mut is_own = false;
        let written: Result<Vec<TopicEntry>, ClientError> = self.store().transact(|tx| {
            tx.apply_delta(Scope::Group(id), delta)?;
            tx.put_cursor(topic, cursor)?;
            tx.mark_seen(entry.id)?;
            is_own = tx.is_pending_commit(id, entry.id)?;
            match is_own && is_applied {
                true => tx.settle_pending_commit(id)?,
                // Whatever took the position decided a commit of ours that built on it; a way
                // back in is decided by itself.
                false if group.pending_commit().is_none() && !is_back => {
                    tx.remove_pending_commit(id)?;
                }
                false => {}
            }
            note_conversation(tx, id, group, verdict)?;
            follow_generations(tx, id, group)?;
            Ok(tx.release(id, topic, released_up_to(topic, group, entry.position))?)
        });
        let released = self.reload_on_failure(engine, id, written)?;
        if is_own && is_applied {
            engine.applied = Some(entry.id);
        }
        self.topics_changed.notify_waiters();
        Ok(released)
    }

    fn tell(&self, conversation: ConversationId, verdict: &Verdict) {
        let event = match verdict {
            Verdict::Applied(applied) => Event::Changed {
                conversation,
                by: applied.committer,
                added: applied.added.clone(),
                removed: applied.removed.clone(),
                left: applied.left.clone(),
                settings: applied.settings_changed,
            },
            Verdict::Removed { by } => {
                Event::Gone { conversation, reason: format!("removed by {by}") }
            }
            Verdict::Ejected => Event::Ejected { conversation },
            Verdict::Void(reason) => Event::SetAside { conversation, reason: reason.to_string() },
            Verdict::LeaveRequested { .. }
            | Verdict::Wished { .. }
            | Verdict::Noted
            | Verdict::Paused { .. }
            | Verdict::Stale => return,
        };
        self.events.tell(&event);
    }
}

pub(super) const EJECTED: &str =
    "this installation could not follow a change and is on its way back";

/// Once a generation has ended, nothing more is ordered in it: what waits is read as it is.
fn released_up_to(topic: &Topic, group: &Group, position: Position) -> Position {
    match group.topic() == *topic && group.status() == GroupStatus::Active {
        true => position,
        false => Position(u64::MAX),
    }
}

/// Brings the list of conversations up to date.
fn note_conversation(
    tx: &Tx<'_>,
    id: ConversationId,
    group: &Group,
    verdict: &Verdict,
) -> Result<(), StoreError> {
    let Some(mut row) = tx.view().conversation(id)? else { return Ok(()) };
    let was_leaving = row.state == ConversationState::Leaving;
    match verdict {
        Verdict::Applied(_) => {
            group.settings().name().clone_into(&mut row.name);
            // A commit that put us out was undone.
            if matches!(row.state, ConversationState::Ejected | ConversationState::Removed) {
                (row.state, row.reason) = (ConversationState::Active, None);
            }
        }
        Verdict::LeaveRequested { inbox } if *inbox == group.inbox() => {
            row.state = ConversationState::Leaving;
        }
        Verdict::Removed { .. } if was_leaving => row.state = ConversationState::Left,
        Verdict::Removed { by } => {
            row.state = ConversationState::Removed;
            row.reason = Some(format!("removed by {by}"));
        }
        Verdict::Ejected => {
            row.state = ConversationState::Ejected;
            row.reason = Some(EJECTED.to_owned());
        }
        _ => return Ok(()),
    }
    tx.put_conversation(&row)
}

/// Follows the topic that the group writes to now, and marks those that ended.
pub(crate) fn follow_generations(
    tx: &Tx<'_>,
    id: ConversationId,
    group: &Group,
) -> Result<(), StoreError> {
    let current = group.topic();
    if tx.view().topic(&current)?.is_some_and(|row| row.role == TopicRole::Current) {
        return Ok(());
    }
    let ended = group.past_topics();
    for mut row in tx.view().topics_of(id)? {
        let period = ended.iter().find(|(topic, _)| *topic == row.topic).map(|(_, period)| *period);
        match (row.role, period) {
            (TopicRole::Current, Some(period)) => {
                row.role = TopicRole::Ended { until: period.plus(GENERATION_GRACE_PERIODS) };
                tx.put_topic(&row)?;
            }
            (TopicRole::Current, None) => tx.remove_topic(&row.topic)?,
            _ => {}
        }
    }
    let cursor = TopicCursor { position: group.position(), ..Default::default() };
    let role = TopicRole::Current;
    tx.put_topic(&TopicRow { topic: current, conversation: Some(id), role, cursor })
}
