//! The topics that are followed, how far each is read, and entries that wait their turn.

use rusqlite::{OptionalExtension, Row};
use tidings_envelope::Topic;
use tidings_envelope::api::{TopicCursor, TopicEntry};
use tidings_types::{EnvelopeId, Period, Position, Wire};

use crate::ConversationId;
use crate::store::{StoreError, Tx, View, array, counter, integer};

/// Why a topic is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TopicRole {
    /// The bucket in which this installation gets its welcomes.
    Mailbox,
    /// A conversation's current generation.
    Current,
    /// A generation that ended; its broadcast entries are read up to this period.
    Ended {
        /// The last period.
        until: Period,
    },
}

/// A topic that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicRow {
    pub(crate) topic: Topic,
    /// Which conversation; none for a mailbox.
    pub(crate) conversation: Option<ConversationId>,
    pub(crate) role: TopicRole,
    pub(crate) cursor: TopicCursor,
}

const COLUMNS: &str = "topic, conversation, role, until_period, cursor";

struct RawTopic {
    topic: Vec<u8>,
    conversation: Option<Vec<u8>>,
    role: i64,
    until: Option<i64>,
    cursor: Vec<u8>,
}

impl RawTopic {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            topic: row.get(0)?,
            conversation: row.get(1)?,
            role: row.get(2)?,
            until: row.get(3)?,
            cursor: row.get(4)?,
        })
    }

    fn parse(self) -> Result<TopicRow, StoreError> {
        let damaged = StoreError::Damaged("a followed topic is not readable");
        let role = match (self.role, self.until) {
            (0, _) => TopicRole::Mailbox,
            (1, _) => TopicRole::Current,
            (2, Some(until)) => TopicRole::Ended { until: Period(counter(until)) },
            _ => return Err(damaged),
        };
        let conversation = self.conversation.map(array).transpose()?.map(ConversationId);
        let (Ok(topic), Ok(cursor)) =
            (Topic::from_wire(&self.topic), TopicCursor::from_wire(&self.cursor))
        else {
            return Err(damaged);
        };
        Ok(TopicRow { topic, conversation, role, cursor })
    }
}

impl View<'_> {
    /// Every topic that is followed, mailboxes first.
    pub(crate) fn topics(&self) -> Result<Vec<TopicRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM topics ORDER BY role, topic");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map([], RawTopic::read)?;
        rows.map(|row| row?.parse()).collect()
    }

    /// The topics of one conversation: ended generations last.
    pub(crate) fn topics_of(&self, id: ConversationId) -> Result<Vec<TopicRow>, StoreError> {
        let sql =
            format!("SELECT {COLUMNS} FROM topics WHERE conversation = ?1 ORDER BY role, topic");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map([id.0], RawTopic::read)?;
        rows.map(|row| row?.parse()).collect()
    }

    /// One topic, if it is followed.
    pub(crate) fn topic(&self, topic: &Topic) -> Result<Option<TopicRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM topics WHERE topic = ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let row = statement.query_row([topic.to_wire()], RawTopic::read).optional()?;
        row.map(RawTopic::parse).transpose()
    }

    /// Whether the envelope has been dealt with.
    pub(crate) fn is_seen(&self, envelope: EnvelopeId) -> Result<bool, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT 1 FROM seen WHERE envelope = ?1")?;
        Ok(statement.exists([envelope.0])?)
    }
}

impl Tx<'_> {
    /// Follows a topic, or changes why or how far.
    pub(crate) fn put_topic(&self, row: &TopicRow) -> Result<(), StoreError> {
        let (role, until) = match row.role {
            TopicRole::Mailbox => (0, None),
            TopicRole::Current => (1, None),
            TopicRole::Ended { until } => (2, Some(integer(until.0))),
        };
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO topics (topic, conversation, role, until_period, cursor) \
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (topic) DO UPDATE SET \
             conversation = ?2, role = ?3, until_period = ?4, cursor = ?5",
        )?;
        let conversation = row.conversation.map(|id| id.0);
        let (topic, cursor) = (row.topic.to_wire(), row.cursor.to_wire());
        statement.execute((topic, conversation, role, until, cursor))?;
        Ok(())
    }

    /// Moves the cursor of a topic that is followed.
    pub(crate) fn put_cursor(&self, topic: &Topic, cursor: &TopicCursor) -> Result<(), StoreError> {
        let mut statement =
            self.connection.prepare_cached("UPDATE topics SET cursor = ?2 WHERE topic = ?1")?;
        statement.execute((topic.to_wire(), cursor.to_wire()))?;
        Ok(())
    }

    /// Follows a topic no longer, and drops what waited for its lane.
    pub(crate) fn remove_topic(&self, topic: &Topic) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM topics WHERE topic = ?1", [topic.to_wire()])?;
        self.connection.execute("DELETE FROM held WHERE topic = ?1", [topic.to_wire()])?;
        Ok(())
    }

    /// Remembers that an envelope has been dealt with; false when that was known.
    pub(crate) fn mark_seen(&self, envelope: EnvelopeId) -> Result<bool, StoreError> {
        let mut statement =
            self.connection.prepare_cached("INSERT OR IGNORE INTO seen (envelope) VALUES (?1)")?;
        Ok(statement.execute([envelope.0])? == 1)
    }

    /// Puts an entry aside until its topic has reached `position`.
    pub(crate) fn hold(
        &self,
        conversation: ConversationId,
        topic: &Topic,
        position: Position,
        entry: &TopicEntry,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO held (conversation, topic, position, entry) VALUES (?1, ?2, ?3, ?4)",
        )?;
        let position = integer(position.0);
        statement.execute((conversation.0, topic.to_wire(), position, entry.to_wire()))?;
        Ok(())
    }

    /// Takes the entries that waited for no more than `position` of `topic`, oldest first.
    pub(crate) fn release(
        &self,
        conversation: ConversationId,
        topic: &Topic,
        position: Position,
    ) -> Result<Vec<TopicEntry>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "DELETE FROM held WHERE conversation = ?1 AND topic = ?2 AND position <= ?3 \
             RETURNING sequence, entry",
        )?;
        let parameters = (conversation.0, topic.to_wire(), integer(position.0));
        let rows = statement
            .query_map(parameters, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let mut entries = rows.collect::<Result<Vec<_>, _>>()?;
        entries.sort_unstable_by_key(|(sequence, _)| *sequence);
        let damaged = |_| StoreError::Damaged("a held entry is not readable");
        let entries = entries.iter();
        entries.map(|(_, bytes)| TopicEntry::from_wire(bytes).map_err(damaged)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::fresh;

    fn row(bucket: u32, role: TopicRole) -> TopicRow {
        let conversation = (role != TopicRole::Mailbox).then_some(ConversationId([1; 32]));
        TopicRow {
            topic: Topic::mailbox(bucket),
            conversation,
            role,
            cursor: TopicCursor::default(),
        }
    }

    #[test]
    fn topics_are_listed_by_role() {
        let (_home, mut store) = fresh();
        let ended = row(0, TopicRole::Ended { until: Period(7) });
        let write = store.transact(|tx| {
            tx.put_topic(&ended)?;
            tx.put_topic(&row(1, TopicRole::Current))?;
            tx.put_topic(&row(2, TopicRole::Mailbox))
        });
        write.unwrap();
        let view = store.view();
        let topics = view.topics().unwrap();
        assert_eq!(topics, [row(2, TopicRole::Mailbox), row(1, TopicRole::Current), ended.clone()]);
        assert_eq!(view.topics_of(ConversationId([1; 32])).unwrap().len(), 2);
        let cursor = TopicCursor { position: Position(4), ..Default::default() };
        store.transact(|tx| tx.put_cursor(&ended.topic, &cursor)).unwrap();
        assert_eq!(store.view().topic(&ended.topic).unwrap().unwrap().cursor, cursor);
        store.transact(|tx| tx.remove_topic(&ended.topic)).unwrap();
        assert_eq!(store.view().topic(&ended.topic).unwrap(), None);
    }

    #[test]
    fn an_envelope_is_seen_once() {
        let (_home, mut store) = fresh();
        let id = EnvelopeId([1; 32]);
        assert!(!store.view().is_seen(id).unwrap());
        assert!(store.transact(|tx| tx.mark_seen(id)).unwrap());
        assert!(!store.transact(|tx| tx.mark_seen(id)).unwrap());
        assert!(store.view().is_seen(id).unwrap());
    }
}
