//! Messages, each stored once.

use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use tidings_types::ed25519::PublicKey;
use tidings_types::{EnvelopeId, InboxId, TimestampSeconds};

use crate::ConversationId;
use crate::store::{StoreError, Tx, View, array, counter, integer};

/// How far a message has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Somebody else wrote it.
    Received,
    /// Ours, to be sent when the network is there.
    Queued,
    /// Ours, encrypted and given to the network, which has not proved yet that it holds it.
    Sending,
    /// Ours, and enough replicas have signed that they hold it.
    Sent,
    /// Ours, and it will not be sent.
    Failed {
        /// Why, for people.
        reason: String,
    },
}

/// A message as the store keeps it; the content is in its wire form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MessageRow {
    /// Counts the messages of this store, from 1.
    pub(crate) number: u64,
    /// Absent until it is encrypted.
    pub(crate) id: Option<[u8; 32]>,
    pub(crate) conversation: ConversationId,
    pub(crate) sender: InboxId,
    pub(crate) installation: PublicKey,
    pub(crate) epoch: u64,
    pub(crate) content: Vec<u8>,
    pub(crate) sent_at: TimestampSeconds,
    pub(crate) delivery: Delivery,
}

/// A message to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewMessage<'a> {
    pub(crate) id: Option<[u8; 32]>,
    pub(crate) envelope: Option<EnvelopeId>,
    pub(crate) conversation: ConversationId,
    pub(crate) sender: InboxId,
    pub(crate) installation: PublicKey,
    pub(crate) epoch: u64,
    pub(crate) content: &'a [u8],
    pub(crate) sent_at: TimestampSeconds,
    pub(crate) delivery: Delivery,
}

const COLUMNS: &str = "sequence, id, conversation, sender, installation, epoch, content, \
                       sent_at, delivery, failure";

struct RawMessage {
    sequence: i64,
    id: Option<Vec<u8>>,
    conversation: Vec<u8>,
    sender: Vec<u8>,
    installation: Vec<u8>,
    epoch: i64,
    content: Vec<u8>,
    sent_at: i64,
    delivery: i64,
    failure: Option<String>,
}

impl RawMessage {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            sequence: row.get(0)?,
            id: row.get(1)?,
            conversation: row.get(2)?,
            sender: row.get(3)?,
            installation: row.get(4)?,
            epoch: row.get(5)?,
            content: row.get(6)?,
            sent_at: row.get(7)?,
            delivery: row.get(8)?,
            failure: row.get(9)?,
        })
    }

    fn parse(self) -> Result<MessageRow, StoreError> {
        Ok(MessageRow {
            number: counter(self.sequence),
            id: self.id.map(array).transpose()?,
            conversation: ConversationId(array(self.conversation)?),
            sender: InboxId(array(self.sender)?),
            installation: PublicKey(array(self.installation)?),
            epoch: counter(self.epoch),
            content: self.content,
            sent_at: TimestampSeconds(counter(self.sent_at)),
            delivery: match self.delivery {
                0 => Delivery::Received,
                1 => Delivery::Queued,
                2 => Delivery::Sending,
                3 => Delivery::Sent,
                4 => Delivery::Failed { reason: self.failure.unwrap_or_default() },
                _ => return Err(StoreError::Damaged("unknown delivery state")),
            },
        })
    }
}

fn delivery_columns(delivery: &Delivery) -> (i64, Option<&str>) {
    match delivery {
        Delivery::Received => (0, None),
        Delivery::Queued => (1, None),
        Delivery::Sending => (2, None),
        Delivery::Sent => (3, None),
        Delivery::Failed { reason } => (4, Some(reason)),
    }
}

impl View<'_> {
    /// Messages of a conversation after the one numbered `after`, oldest first.
    pub(crate) fn messages(
        &self,
        conversation: ConversationId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM messages WHERE conversation = ?1 AND sequence > ?2 \
             ORDER BY sequence LIMIT ?3"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let parameters = (conversation.0, integer(after), limit);
        let rows = statement.query_map(parameters, RawMessage::read)?;
        rows.map(|row| row?.parse()).collect()
    }

    /// Messages of every conversation after the one numbered `after`, oldest first.
    pub(crate) fn messages_since(
        &self,
        after: u64,
        limit: u32,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM messages WHERE sequence > ?1 ORDER BY sequence LIMIT ?2"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map((integer(after), limit), RawMessage::read)?;
        rows.map(|row| row?.parse()).collect()
    }

    /// The last messages of a conversation, oldest first.
    pub(crate) fn latest_messages(
        &self,
        conversation: ConversationId,
        limit: u32,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM messages WHERE conversation = ?1 \
             ORDER BY sequence DESC LIMIT ?2"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map((conversation.0, limit), RawMessage::read)?;
        let mut messages: Vec<MessageRow> =
            rows.map(|row| row?.parse()).collect::<Result<_, StoreError>>()?;
        messages.reverse();
        Ok(messages)
    }

    /// One message by its number.
    pub(crate) fn message(&self, number: u64) -> Result<Option<MessageRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM messages WHERE sequence = ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let row = statement.query_row([integer(number)], RawMessage::read).optional()?;
        row.map(RawMessage::parse).transpose()
    }

    /// The messages that wait to be encrypted, oldest first; those of conversations that we are
    /// on our way back into wait until we are there.
    pub(crate) fn queued_messages(&self) -> Result<Vec<MessageRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM messages WHERE delivery = 1 AND conversation NOT IN \
             (SELECT id FROM conversations WHERE state = 4) ORDER BY sequence"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map([], RawMessage::read)?;
        rows.map(|row| row?.parse()).collect()
    }

    /// Whether one of our own messages travels in this envelope.
    pub(crate) fn is_own_envelope(&self, envelope: EnvelopeId) -> Result<bool, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT 1 FROM messages WHERE envelope = ?1")?;
        Ok(statement.exists([envelope.0])?)
    }
}

impl Tx<'_> {
    /// Stores a message and returns its number; none when its id is known already.
    pub(crate) fn insert_message(&self, new: &NewMessage<'_>) -> Result<Option<u64>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO messages (id, envelope, conversation, sender, installation, epoch, \
             content, sent_at, delivery, failure) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, \
             ?10) ON CONFLICT (id) DO NOTHING",
        )?;
        let (delivery, failure) = delivery_columns(&new.delivery);
        let inserted = statement.execute((
            new.id,
            new.envelope.map(|id| id.0),
            new.conversation.0,
            new.sender.0,
            new.installation.0,
            integer(new.epoch),
            new.content,
            integer(new.sent_at.0),
            delivery,
            failure,
        ))?;
        Ok((inserted == 1).then(|| counter(self.connection.last_insert_rowid())))
    }

    /// Notes that one of our messages is encrypted now.
    pub(crate) fn set_message_sealed(
        &self,
        number: u64,
        id: [u8; 32],
        envelope: EnvelopeId,
        epoch: u64,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "UPDATE messages SET id = ?2, envelope = ?3, epoch = ?4, delivery = 2, failure = NULL \
             WHERE sequence = ?1",
        )?;
        statement.execute((integer(number), id, envelope.0, integer(epoch)))?;
        Ok(())
    }

    /// Says how far one of our messages has come.
    pub(crate) fn set_delivery(&self, number: u64, delivery: &Delivery) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "UPDATE messages SET delivery = ?2, failure = ?3 WHERE sequence = ?1",
        )?;
        let (delivery, failure) = delivery_columns(delivery);
        statement.execute((integer(number), delivery, failure))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::fresh;

    fn message(id: Option<u8>) -> NewMessage<'static> {
        NewMessage {
            id: id.map(|byte| [byte; 32]),
            envelope: id.map(|byte| EnvelopeId([byte; 32])),
            conversation: ConversationId([1; 32]),
            sender: InboxId([2; 32]),
            installation: PublicKey([3; 32]),
            epoch: 4,
            content: b"hi",
            sent_at: TimestampSeconds(5),
            delivery: if id.is_some() { Delivery::Received } else { Delivery::Queued },
        }
    }

    #[test]
    fn a_message_is_stored_once() {
        let (_home, mut store) = fresh();
        assert_eq!(store.transact(|tx| tx.insert_message(&message(Some(7)))).unwrap(), Some(1));
        assert_eq!(store.transact(|tx| tx.insert_message(&message(Some(7)))).unwrap(), None);
        let messages = store.view().messages(ConversationId([1; 32]), 0, 10).unwrap();
        assert_eq!(messages.len(), 1);
        assert!(store.view().is_own_envelope(EnvelopeId([7; 32])).unwrap());
    }

    #[test]
    fn a_queued_message_gets_its_id_when_it_is_sealed() {
        let (_home, mut store) = fresh();
        let number = store.transact(|tx| tx.insert_message(&message(None))).unwrap().unwrap();
        store.transact(|tx| tx.insert_message(&message(None))).unwrap().unwrap();
        assert_eq!(store.view().queued_messages().unwrap().len(), 2);
        let envelope = EnvelopeId([8; 32]);
        store.transact(|tx| tx.set_message_sealed(number, [9; 32], envelope, 6)).unwrap();
        let row = store.view().message(number).unwrap().unwrap();
        assert_eq!((row.id, row.epoch, row.delivery), (Some([9; 32]), 6, Delivery::Sending));
        let failed = Delivery::Failed { reason: "no".into() };
        store.transact(|tx| tx.set_delivery(number, &failed)).unwrap();
        assert_eq!(store.view().message(number).unwrap().unwrap().delivery, failed);
    }

    #[test]
    fn pages_have_no_gap() {
        let (_home, mut store) = fresh();
        for id in 1..=5 {
            store.transact(|tx| tx.insert_message(&message(Some(id)))).unwrap();
        }
        let id = ConversationId([1; 32]);
        let numbers = |rows: Vec<MessageRow>| rows.iter().map(|row| row.number).collect::<Vec<_>>();
        assert_eq!(numbers(store.view().messages(id, 2, 2).unwrap()), [3, 4]);
        assert_eq!(numbers(store.view().latest_messages(id, 2).unwrap()), [4, 5]);
    }
}
