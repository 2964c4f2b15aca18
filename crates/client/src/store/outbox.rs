//! What is to be sent and has not been acknowledged; sent again after a crash.

use rusqlite::OptionalExtension;
use tidings_envelope::{ClientEnvelope, Topic};
use tidings_types::{EnvelopeId, Wire};

use crate::ConversationId;
use crate::store::{StoreError, Tx, View, array, counter, integer};

/// One thing to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutboxRow {
    /// Counts what this store has sent, from 1.
    pub(crate) number: u64,
    /// What it is.
    pub(crate) item: OutboxItem,
}

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutboxItem {
    /// A message, signed; sent again it keeps its id, so that it is stored once.
    Message {
        /// The message's number.
        message: u64,
        /// The envelope.
        envelope: Box<ClientEnvelope>,
    },
    /// A payload that anybody may write, to be put into an envelope when it is sent.
    Stamped {
        /// The mailbox.
        topic: Topic,
        /// The sealed pointer.
        payload: Vec<u8>,
    },
}

/// A commit that is submitted and not decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PendingCommitRow {
    pub(crate) conversation: ConversationId,
    /// The envelope in the ordered lane.
    pub(crate) envelope: ClientEnvelope,
    /// What becomes part of the outbox once the commit is applied.
    pub(crate) pointers: Vec<(Topic, Vec<u8>)>,
}

impl View<'_> {
    /// All that is to be sent, oldest first.
    pub(crate) fn outbox(&self) -> Result<Vec<OutboxRow>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT sequence, message, topic, bytes FROM outbox ORDER BY sequence",
        )?;
        let rows = statement.query_map([], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, Option<i64>>(1)?,
                row.get::<_, Vec<u8>>(2)?,
                row.get::<_, Vec<u8>>(3)?,
            ))
        })?;
        let damaged = |_| StoreError::Damaged("an outgoing envelope is not readable");
        let parse = |row: rusqlite::Result<_>| {
            let (number, message, topic, bytes): (i64, Option<i64>, Vec<u8>, Vec<u8>) = row?;
            let item = match message {
                Some(message) => OutboxItem::Message {
                    message: counter(message),
                    envelope: Box::new(ClientEnvelope::from_wire(&bytes).map_err(damaged)?),
                },
                None => OutboxItem::Stamped {
                    topic: Topic::from_wire(&topic).map_err(damaged)?,
                    payload: bytes,
                },
            };
            Ok(OutboxRow { number: counter(number), item })
        };
        rows.map(parse).collect()
    }

    /// The commit of a conversation that is not decided.
    pub(crate) fn pending_commit(
        &self,
        conversation: ConversationId,
    ) -> Result<Option<PendingCommitRow>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT bytes, pointers FROM commits WHERE conversation = ?1")?;
        let row = statement
            .query_row([conversation.0], |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))
            })
            .optional()?;
        let Some((bytes, pointers)) = row else { return Ok(None) };
        let damaged = || StoreError::Damaged("a pending commit is not readable");
        let envelope = ClientEnvelope::from_wire(&bytes).map_err(|_| damaged())?;
        let pointers = decode_pointers(&pointers).ok_or_else(damaged)?;
        Ok(Some(PendingCommitRow { conversation, envelope, pointers }))
    }

    /// The conversations that have a commit which is not decided.
    pub(crate) fn undecided(&self) -> Result<Vec<ConversationId>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT conversation FROM commits ORDER BY 1")?;
        let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        rows.map(|row| Ok(ConversationId(array(row?)?))).collect()
    }
}

impl Tx<'_> {
    /// Adds something to be sent and returns its number.
    pub(crate) fn push_outbox(&self, item: &OutboxItem) -> Result<u64, StoreError> {
        let (message, topic, bytes) = match item {
            OutboxItem::Message { message, envelope } => {
                (Some(integer(*message)), envelope.body.topic, envelope.to_wire())
            }
            OutboxItem::Stamped { topic, payload } => (None, *topic, payload.clone()),
        };
        let mut statement = self
            .connection
            .prepare_cached("INSERT INTO outbox (message, topic, bytes) VALUES (?1, ?2, ?3)")?;
        statement.execute((message, topic.to_wire(), bytes))?;
        Ok(counter(self.connection.last_insert_rowid()))
    }

    /// Takes something off the outbox, because it is acknowledged or given up.
    pub(crate) fn remove_outbox(&self, number: u64) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM outbox WHERE sequence = ?1", [integer(number)])?;
        Ok(())
    }

    /// Notes a commit that is about to be submitted.
    pub(crate) fn put_pending_commit(&self, row: &PendingCommitRow) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT INTO commits (conversation, envelope, bytes, pointers) \
             VALUES (?1, ?2, ?3, ?4) ON CONFLICT (conversation) DO UPDATE SET \
             envelope = ?2, bytes = ?3, pointers = ?4",
            (
                row.conversation.0,
                row.envelope.body.id().0,
                row.envelope.to_wire(),
                encode_pointers(&row.pointers),
            ),
        )?;
        Ok(())
    }

    /// Forgets the commit, because it is decided.
    pub(crate) fn remove_pending_commit(&self, id: ConversationId) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM commits WHERE conversation = ?1", [id.0])?;
        Ok(())
    }

    /// Forgets the commit because it is applied, and puts its pointers into the outbox.
    pub(crate) fn settle_pending_commit(&self, id: ConversationId) -> Result<(), StoreError> {
        if let Some(row) = self.view().pending_commit(id)? {
            for (topic, payload) in row.pointers {
                self.push_outbox(&OutboxItem::Stamped { topic, payload })?;
            }
        }
        self.remove_pending_commit(id)
    }

    /// Whether this envelope is the conversation's undecided commit.
    pub(crate) fn is_pending_commit(
        &self,
        id: ConversationId,
        envelope: EnvelopeId,
    ) -> Result<bool, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT 1 FROM commits WHERE conversation = ?1 AND envelope = ?2")?;
        Ok(statement.exists((id.0, envelope.0))?)
    }
}

fn encode_pointers(pointers: &[(Topic, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (topic, payload) in pointers {
        let length = u32::try_from(payload.len()).expect("a payload is at most 1 MiB");
        bytes.extend(topic.to_wire());
        bytes.extend(length.to_be_bytes());
        bytes.extend(payload);
    }
    bytes
}

fn decode_pointers(mut bytes: &[u8]) -> Option<Vec<(Topic, Vec<u8>)>> {
    /// One byte of kind and 32 of id.
    const TOPIC_BYTES: usize = 33;
    let mut pointers = Vec::new();
    while !bytes.is_empty() {
        let (topic, rest) = bytes.split_at_checked(TOPIC_BYTES)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (payload, rest) = rest.split_at_checked(length)?;
        pointers.push((Topic::from_wire(topic).ok()?, payload.to_vec()));
        bytes = rest;
    }
    Some(pointers)
}

#[cfg(test)]
mod tests {
    use tidings_envelope::{EnvelopeBody, Payload};
    use tidings_types::ed25519::SigningKey;
    use tidings_types::{EthereumAddress, NetworkId, Period};

    use super::*;
    use crate::store::tests::fresh;

    fn envelope() -> ClientEnvelope {
        let key = SigningKey::from_secret(&[1; 32]);
        let topic = Topic::group(&key.public_key());
        let payload = Payload::new(vec![7; 300]).unwrap();
        EnvelopeBody::broadcast(topic, EthereumAddress([2; 20]), Period(3), payload)
            .sign(&key, NetworkId([4; 32]))
    }

    #[test]
    fn what_is_not_acknowledged_survives_a_restart() {
        let (home, mut store) = fresh();
        let items = [
            OutboxItem::Message { message: 5, envelope: Box::new(envelope()) },
            OutboxItem::Stamped { topic: Topic::mailbox(3), payload: vec![1, 2] },
        ];
        for item in &items {
            store.transact(|tx| tx.push_outbox(item)).unwrap();
        }
        drop(store);
        let unlock = crate::Unlock::key_file(home.path().join("key"));
        let mut store = crate::store::Store::open(home.path(), &unlock).unwrap();
        let rows = store.view().outbox().unwrap();
        assert_eq!(rows.iter().map(|row| row.item.clone()).collect::<Vec<_>>(), items);
        store.transact(|tx| tx.remove_outbox(rows[0].number)).unwrap();
        assert_eq!(store.view().outbox().unwrap().len(), 1);
    }

    #[test]
    fn pointers_wait_until_their_commit_is_applied() {
        let (_home, mut store) = fresh();
        let conversation = ConversationId([1; 32]);
        let pointers = vec![(Topic::mailbox(1), vec![1]), (Topic::mailbox(2), vec![])];
        let row = PendingCommitRow { conversation, envelope: envelope(), pointers };
        store.transact(|tx| tx.put_pending_commit(&row)).unwrap();
        assert_eq!(store.view().pending_commit(conversation).unwrap(), Some(row));
        assert_eq!(store.view().undecided().unwrap(), [conversation]);
        assert!(store.view().outbox().unwrap().is_empty());
        let id = envelope().body.id();
        assert!(store.transact(|tx| tx.is_pending_commit(conversation, id)).unwrap());
        store.transact(|tx| tx.settle_pending_commit(conversation)).unwrap();
        assert_eq!(store.view().outbox().unwrap().len(), 2);
        assert_eq!(store.view().pending_commit(conversation).unwrap(), None);
    }
}
