//! Conversations as they are listed, and what we think of people.

use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use tidings_types::InboxId;

use crate::ConversationId;
use crate::store::{StoreError, Tx, View, array};

/// What kind of conversation it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversationKind {
    /// Any number of inboxes, with a name and a policy.
    Group,
    /// Two inboxes, for good.
    Dm,
}

/// Whether we take part in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversationState {
    /// We read and write.
    Active,
    /// We asked to leave; somebody else commits it.
    Leaving,
    /// We left.
    Left,
    /// Somebody removed us.
    Removed,
    /// This installation could not follow a commit; it is on its way back in by itself.
    Ejected,
}

/// What we decided about an inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// Nothing yet: its conversations are requests.
    #[default]
    Unknown,
    /// Its conversations are welcome.
    Allowed,
    /// Its conversations are not shown.
    Denied,
}

/// A conversation as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConversationRow {
    pub(crate) id: ConversationId,
    pub(crate) kind: ConversationKind,
    /// The group's name as last seen; empty for a DM.
    pub(crate) name: String,
    /// The other inbox of a DM; who added us, in a group.
    pub(crate) peer: Option<InboxId>,
    pub(crate) state: ConversationState,
    /// Why we do not take part, for people.
    pub(crate) reason: Option<String>,
}

const COLUMNS: &str = "id, kind, name, peer, state, reason";

struct RawConversation {
    id: Vec<u8>,
    kind: i64,
    name: String,
    peer: Option<Vec<u8>>,
    state: i64,
    reason: Option<String>,
}

impl RawConversation {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            kind: row.get(1)?,
            name: row.get(2)?,
            peer: row.get(3)?,
            state: row.get(4)?,
            reason: row.get(5)?,
        })
    }

    fn parse(self) -> Result<ConversationRow, StoreError> {
        Ok(ConversationRow {
            id: ConversationId(array(self.id)?),
            kind: match self.kind {
                0 => ConversationKind::Group,
                1 => ConversationKind::Dm,
                _ => return Err(StoreError::Damaged("unknown kind of conversation")),
            },
            name: self.name,
            peer: self.peer.map(array).transpose()?.map(InboxId),
            state: parse_state(self.state)?,
            reason: self.reason,
        })
    }
}

fn parse_state(state: i64) -> Result<ConversationState, StoreError> {
    match state {
        0 => Ok(ConversationState::Active),
        1 => Ok(ConversationState::Leaving),
        2 => Ok(ConversationState::Left),
        3 => Ok(ConversationState::Removed),
        4 => Ok(ConversationState::Ejected),
        _ => Err(StoreError::Damaged("unknown state of a conversation")),
    }
}

const fn state_number(state: ConversationState) -> i64 {
    match state {
        ConversationState::Active => 0,
        ConversationState::Leaving => 1,
        ConversationState::Left => 2,
        ConversationState::Removed => 3,
        ConversationState::Ejected => 4,
    }
}

impl View<'_> {
    /// All conversations, by id.
    pub(crate) fn conversations(&self) -> Result<Vec<ConversationRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM conversations ORDER BY id");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map([], RawConversation::read)?;
        rows.map(|row| row?.parse()).collect()
    }

    /// One conversation.
    pub(crate) fn conversation(
        &self,
        id: ConversationId,
    ) -> Result<Option<ConversationRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM conversations WHERE id = ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let row = statement.query_row([id.0], RawConversation::read).optional()?;
        row.map(RawConversation::parse).transpose()
    }

    /// The DM with an inbox in which we can write: of several, the one with the lowest id, which
    /// both sides pick alike.
    pub(crate) fn dm_with(&self, peer: InboxId) -> Result<Option<ConversationRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM conversations WHERE kind = 1 AND peer = ?1 AND state = 0 \
             ORDER BY id LIMIT 1"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let row = statement.query_row([peer.0], RawConversation::read).optional()?;
        row.map(RawConversation::parse).transpose()
    }

    /// What we decided about an inbox.
    pub(crate) fn consent(&self, inbox: InboxId) -> Result<Consent, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT consent FROM consent WHERE inbox = ?1")?;
        match statement.query_row([inbox.0], |row| row.get::<_, i64>(0)).optional()? {
            Some(1) => Ok(Consent::Allowed),
            Some(2) => Ok(Consent::Denied),
            _ => Ok(Consent::Unknown),
        }
    }
}

impl Tx<'_> {
    /// Writes a conversation, new or known.
    pub(crate) fn put_conversation(&self, row: &ConversationRow) -> Result<(), StoreError> {
        let kind = match row.kind {
            ConversationKind::Group => 0,
            ConversationKind::Dm => 1,
        };
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO conversations (id, kind, name, peer, state, reason) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO UPDATE SET kind = ?2, \
             name = ?3, peer = ?4, state = ?5, reason = ?6",
        )?;
        let peer = row.peer.map(|peer| peer.0);
        let state = state_number(row.state);
        statement.execute((row.id.0, kind, &row.name, peer, state, &row.reason))?;
        Ok(())
    }

    /// Says whether we take part.
    pub(crate) fn set_conversation_state(
        &self,
        id: ConversationId,
        state: ConversationState,
        reason: Option<&str>,
    ) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE conversations SET state = ?2, reason = ?3 WHERE id = ?1",
            (id.0, state_number(state), reason),
        )?;
        Ok(())
    }

    /// Remembers what we decided about an inbox.
    pub(crate) fn put_consent(&self, inbox: InboxId, consent: Consent) -> Result<(), StoreError> {
        let number = match consent {
            Consent::Unknown => 0,
            Consent::Allowed => 1,
            Consent::Denied => 2,
        };
        self.connection.execute(
            "INSERT INTO consent (inbox, consent) VALUES (?1, ?2) \
             ON CONFLICT (inbox) DO UPDATE SET consent = ?2",
            (inbox.0, number),
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::fresh;

    fn dm(id: u8, state: ConversationState) -> ConversationRow {
        ConversationRow {
            id: ConversationId([id; 32]),
            kind: ConversationKind::Dm,
            name: String::new(),
            peer: Some(InboxId([9; 32])),
            state,
            reason: None,
        }
    }

    #[test]
    fn both_sides_pick_the_same_dm() {
        let (_home, mut store) = fresh();
        let write = store.transact(|tx| {
            tx.put_conversation(&dm(1, ConversationState::Ejected))?;
            tx.put_conversation(&dm(3, ConversationState::Active))?;
            tx.put_conversation(&dm(2, ConversationState::Active))
        });
        write.unwrap();
        let picked = store.view().dm_with(InboxId([9; 32])).unwrap().unwrap();
        assert_eq!(picked, dm(2, ConversationState::Active));
        assert_eq!(store.view().conversations().unwrap().len(), 3);
    }

    #[test]
    fn states_and_consent_are_read_back() {
        let (_home, mut store) = fresh();
        store.transact(|tx| tx.put_conversation(&dm(1, ConversationState::Active))).unwrap();
        for state in [
            ConversationState::Leaving,
            ConversationState::Left,
            ConversationState::Removed,
            ConversationState::Ejected,
        ] {
            let id = ConversationId([1; 32]);
            store.transact(|tx| tx.set_conversation_state(id, state, Some("why"))).unwrap();
            let row = store.view().conversation(id).unwrap().unwrap();
            assert_eq!((row.state, row.reason.as_deref()), (state, Some("why")));
        }
        let inbox = InboxId([9; 32]);
        assert_eq!(store.view().consent(inbox).unwrap(), Consent::Unknown);
        store.transact(|tx| tx.put_consent(inbox, Consent::Denied)).unwrap();
        assert_eq!(store.view().consent(inbox).unwrap(), Consent::Denied);
    }
}
