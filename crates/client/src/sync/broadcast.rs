//! One entry of the broadcast lane: opened, stored and counted in one transaction.

use tidings_envelope::Topic;
use tidings_envelope::api::{TopicCursor, TopicEntry};
use tidings_mls::{OpenError, OpenedMessage, ReceivedMessage};
use tidings_types::{EnvelopeId, Period, Position, Wire};

use crate::core::{Core, Engine};
use crate::error::ClientError;
use crate::event::Event;
use crate::store::{Delivery, NewMessage, Scope, StoreError, Tx};
use crate::sync::branches::is_parted;
use crate::verify::{Broadcast, advance, is_behind};
use crate::{ConversationId, Message};

/// A verified entry of a conversation.
pub(super) struct Incoming<'a> {
    pub(super) id: EnvelopeId,
    pub(super) admitted: Period,
    pub(super) entry: &'a TopicEntry,
    /// Where the topic's cursor goes; none for an entry that was held.
    pub(super) cursor: Option<TopicCursor>,
}

impl Core {
    /// Deals with the next entry of a log, if it is that.
    pub(crate) async fn take_broadcast(
        &self,
        engine: &mut Engine,
        topic: &Topic,
        entry: &Broadcast,
    ) -> Result<(), ClientError> {
        let Some(row) = self.store().view().topic(topic)? else { return Ok(()) };
        let (log, header) = (entry.entry.log, &entry.entry.entry.header);
        let is_parted = is_parted(&row.cursor, log);
        if !is_parted && is_behind(&row.cursor, &entry.entry) {
            return Ok(());
        }
        let cursor = match is_parted {
            true => row.cursor.clone(),
            false => advance(&row.cursor, log, header)?,
        };
        if entry.envelope.is_none() {
            // A header alone proves nothing about its envelope, which may be in another log.
            return Ok(self.store().transact(|tx| tx.put_cursor(topic, &cursor))?);
        }
        if self.is_dealt_with(entry.id)? {
            return self.pass(topic, &cursor, entry.id);
        }
        match row.conversation {
            None => self.take_welcome(engine, topic, cursor, entry).await,
            Some(id) => {
                let incoming = Incoming {
                    id: entry.id,
                    admitted: entry.admitted,
                    entry: &entry.entry,
                    cursor: Some(cursor),
                };
                self.take_message(engine, id, topic, incoming)
            }
        }
    }

    /// Opens a message and stores it, or sets the entry aside.
    pub(super) fn take_message(
        &self,
        engine: &mut Engine,
        id: ConversationId,
        topic: &Topic,
        incoming: Incoming<'_>,
    ) -> Result<(), ClientError> {
        let Some(envelope) = incoming.entry.entry.open().map(|inner| inner.envelope) else {
            return Ok(());
        };
        let (_, group) = engine.group(id)?;
        let opened = group.open(&envelope, incoming.admitted);
        let position = group.position();
        let wanted = envelope.body.depends_on.map_or(position.plus(1), |it| it.position);
        if opened == Err(OpenError::Ahead) && (incoming.cursor.is_some() || wanted > position) {
            return self.hold(id, topic, wanted.max(position.plus(1)), &incoming);
        }
        let delta = group.take_delta();
        let written: Result<Vec<Message>, ClientError> = self.store().transact(|tx| {
            tx.apply_delta(Scope::Group(id), delta)?;
            if let Some(cursor) = &incoming.cursor {
                tx.put_cursor(topic, cursor)?;
            }
            let is_new = tx.mark_seen(incoming.id)?;
            match &opened {
                Ok(OpenedMessage::Message(message)) if is_new => {
                    Ok(put_message(tx, id, &incoming, message)?)
                }
                _ => Ok(Vec::new()),
            }
        });
        for message in self.reload_on_failure(engine, id, written)? {
            self.events.tell(&Event::Message(message));
        }
        if let Err(error) = opened {
            self.set_aside(id, &error);
        }
        Ok(())
    }

    fn hold(
        &self,
        id: ConversationId,
        topic: &Topic,
        position: Position,
        incoming: &Incoming<'_>,
    ) -> Result<(), ClientError> {
        Ok(self.store().transact(|tx| {
            if let Some(cursor) = &incoming.cursor {
                tx.put_cursor(topic, cursor)?;
            }
            tx.hold(id, topic, position, incoming.entry)
        })?)
    }

    /// Moves on past an entry that changes nothing.
    pub(super) fn pass(
        &self,
        topic: &Topic,
        cursor: &TopicCursor,
        envelope: EnvelopeId,
    ) -> Result<(), ClientError> {
        Ok(self.store().transact(|tx| {
            tx.mark_seen(envelope)?;
            tx.put_cursor(topic, cursor)
        })?)
    }

    /// Whether an envelope has been dealt with, here or by sending it.
    fn is_dealt_with(&self, envelope: EnvelopeId) -> Result<bool, ClientError> {
        let store = self.store();
        Ok(store.view().is_seen(envelope)? || store.view().is_own_envelope(envelope)?)
    }

    /// Tells about an entry that no honest member writes; late ones are nothing to tell of.
    fn set_aside(&self, conversation: ConversationId, error: &OpenError) {
        match error {
            OpenError::TooOld | OpenError::GenerationEnded | OpenError::Ahead => {
                tracing::debug!(%conversation, %error, "an entry is not readable");
            }
            _ => {
                let reason = error.to_string();
                self.events.tell(&Event::SetAside { conversation, reason });
            }
        }
    }
}

/// How many periods a message waits for the one that its author sent before it.
const EARLY_PERIODS: u64 = 3;

impl Core {
    /// Shows messages whose predecessors have not come in time: their authors never got them
    /// through.
    pub(crate) fn release_overdue(&self, now: Period) -> Result<(), ClientError> {
        let released: Vec<Message> = self.store().transact(|tx| {
            let numbers = tx.release_overdue(now.minus(EARLY_PERIODS))?;
            messages(tx, &numbers)
        })?;
        for message in released {
            self.events.tell(&Event::Message(message));
        }
        Ok(())
    }
}

/// Stores a message in its author's order; answers what can be shown now (MLS-024).
fn put_message(
    tx: &Tx<'_>,
    conversation: ConversationId,
    incoming: &Incoming<'_>,
    message: &ReceivedMessage,
) -> Result<Vec<Message>, StoreError> {
    let content = message.content.to_wire();
    let new = received(conversation, incoming.id, message, &content);
    if let Some(after) = message.after
        && !tx.view().has_message(after.0)?
    {
        tx.put_early(&new, after.0, incoming.admitted)?;
        return Ok(Vec::new());
    }
    let mut numbers = Vec::from_iter(tx.insert_message(&new)?);
    numbers.extend(tx.release_early(message.id.0)?);
    messages(tx, &numbers)
}

fn messages(tx: &Tx<'_>, numbers: &[u64]) -> Result<Vec<Message>, StoreError> {
    let rows = numbers.iter().map(|number| tx.view().message(*number));
    let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
    rows.into_iter().flatten().map(Message::from_row).collect()
}

fn received<'a>(
    conversation: ConversationId,
    envelope: EnvelopeId,
    message: &ReceivedMessage,
    content: &'a [u8],
) -> NewMessage<'a> {
    NewMessage {
        id: Some(message.id.0),
        envelope: Some(envelope),
        conversation,
        sender: message.sender,
        installation: message.installation,
        epoch: message.epoch,
        content,
        sent_at: message.sent_at,
        delivery: Delivery::Received,
    }
}
