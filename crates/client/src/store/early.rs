//! Messages that overtook the one that their author sent before them.

use rusqlite::Row;
use tidings_types::ed25519::PublicKey;
use tidings_types::{EnvelopeId, InboxId, Period, TimestampSeconds};

use super::messages::{Delivery, NewMessage};
use super::{StoreError, Tx, View, array, counter, integer};
use crate::ConversationId;

const COLUMNS: &str = "id, envelope, conversation, sender, installation, epoch, content, sent_at";

/// An early message as it is stored.
struct Early {
    id: Vec<u8>,
    envelope: Vec<u8>,
    conversation: Vec<u8>,
    sender: Vec<u8>,
    installation: Vec<u8>,
    epoch: i64,
    content: Vec<u8>,
    sent_at: i64,
}

impl Early {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            envelope: row.get(1)?,
            conversation: row.get(2)?,
            sender: row.get(3)?,
            installation: row.get(4)?,
            epoch: row.get(5)?,
            content: row.get(6)?,
            sent_at: row.get(7)?,
        })
    }
}

impl View<'_> {
    /// Whether a message with this id is in its conversation.
    pub(crate) fn has_message(&self, id: [u8; 32]) -> Result<bool, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT 1 FROM messages WHERE id = ?1")?;
        Ok(statement.exists([id])?)
    }
}

impl Tx<'_> {
    /// Keeps a message back until the one with the id `after` is there.
    pub(crate) fn put_early(
        &self,
        new: &NewMessage<'_>,
        after: [u8; 32],
        admitted: Period,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO early (after, admitted, id, envelope, conversation, sender, \
             installation, epoch, content, sent_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, \
             ?10) ON CONFLICT (id) DO NOTHING",
        )?;
        statement.execute((
            after,
            integer(admitted.0),
            new.id,
            new.envelope.map(|id| id.0),
            new.conversation.0,
            new.sender.0,
            new.installation.0,
            integer(new.epoch),
            new.content,
            integer(new.sent_at.0),
        ))?;
        Ok(())
    }

    /// Puts in their conversations the messages that waited for `id`, and those that waited for
    /// them; answers their numbers in order.
    pub(crate) fn release_early(&self, id: [u8; 32]) -> Result<Vec<u64>, StoreError> {
        let mut numbers = Vec::new();
        let mut arrived = vec![id];
        while let Some(after) = arrived.pop() {
            let sql = format!("DELETE FROM early WHERE after = ?1 RETURNING {COLUMNS}");
            let mut statement = self.connection.prepare_cached(&sql)?;
            let rows = statement.query_map([after], Early::read)?;
            for early in rows.collect::<rusqlite::Result<Vec<_>>>()? {
                arrived.push(array(early.id.clone())?);
                numbers.extend(self.insert_early(early)?);
            }
        }
        Ok(numbers)
    }

    /// Gives up waiting for what messages admitted before `period` wait for; answers the
    /// numbers of what is released.
    pub(crate) fn release_overdue(&self, period: Period) -> Result<Vec<u64>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM early WHERE admitted < ?1 ORDER BY sequence");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map([integer(period.0)], Early::read)?;
        let overdue = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let mut numbers = Vec::new();
        for early in overdue {
            let id = array(early.id.clone())?;
            // One that was released on the way is no longer there.
            let removed = self.connection.execute("DELETE FROM early WHERE id = ?1", [id])?;
            if removed == 1 {
                numbers.extend(self.insert_early(early)?);
                numbers.extend(self.release_early(id)?);
            }
        }
        Ok(numbers)
    }

    fn insert_early(&self, early: Early) -> Result<Option<u64>, StoreError> {
        self.insert_message(&NewMessage {
            id: Some(array(early.id)?),
            envelope: Some(EnvelopeId(array(early.envelope)?)),
            conversation: ConversationId(array(early.conversation)?),
            sender: InboxId(array(early.sender)?),
            installation: PublicKey(array(early.installation)?),
            epoch: counter(early.epoch),
            content: &early.content,
            sent_at: TimestampSeconds(counter(early.sent_at)),
            delivery: Delivery::Received,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::fresh;

    fn message(id: u8) -> NewMessage<'static> {
        NewMessage {
            id: Some([id; 32]),
            envelope: Some(EnvelopeId([id; 32])),
            conversation: ConversationId([1; 32]),
            sender: InboxId([2; 32]),
            installation: PublicKey([3; 32]),
            epoch: 4,
            content: b"hi",
            sent_at: TimestampSeconds(5),
            delivery: Delivery::Received,
        }
    }

    #[test]
    fn early_messages_follow_their_predecessors() {
        // covers: MLS-024
        let (_home, mut store) = fresh();
        let put = |tx: &Tx<'_>, id: u8| tx.put_early(&message(id), [id - 1; 32], Period(9));
        store
            .transact(|tx| put(tx, 4).and_then(|()| put(tx, 3)).and_then(|()| put(tx, 6)))
            .unwrap();
        let arrived = store.transact(|tx| {
            tx.insert_message(&message(2))?;
            tx.release_early([2; 32])
        });
        assert_eq!(arrived.unwrap().len(), 2);
        let shown = store.view().messages(ConversationId([1; 32]), 0, 10).unwrap();
        let shown: Vec<_> = shown.into_iter().filter_map(|message| message.id).collect();
        assert_eq!(shown, [[2; 32], [3; 32], [4; 32]]);
        assert!(!store.view().has_message([6; 32]).unwrap());
    }

    #[test]
    fn a_predecessor_that_never_comes_holds_nothing_up_for_ever() {
        // covers: MLS-024
        let (_home, mut store) = fresh();
        store.transact(|tx| tx.put_early(&message(7), [6; 32], Period(9))).unwrap();
        store.transact(|tx| tx.put_early(&message(8), [7; 32], Period(10))).unwrap();
        assert_eq!(store.transact(|tx| tx.release_overdue(Period(9))).unwrap().len(), 0);
        assert_eq!(store.transact(|tx| tx.release_overdue(Period(10))).unwrap().len(), 2);
        assert_eq!(store.transact(|tx| tx.release_overdue(Period(99))).unwrap().len(), 0);
    }
}
