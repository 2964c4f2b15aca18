//! Verified states of inboxes, so that a log is replayed once.

use rusqlite::OptionalExtension;
use tidings_identity::AssociationState;
use tidings_types::{EthereumAddress, InboxId, Position};

use crate::store::{StoreError, Tx, View, array, counter, integer};

impl View<'_> {
    /// The state of an inbox and the position in its topic that it is the state of.
    pub(crate) fn inbox(
        &self,
        inbox: InboxId,
    ) -> Result<Option<(Position, AssociationState)>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT position, state FROM inboxes WHERE inbox = ?1")?;
        let row = statement
            .query_row([inbox.0], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))
            .optional()?;
        let Some((position, state)) = row else { return Ok(None) };
        let state = AssociationState::from_wire(&state)
            .map_err(|_| StoreError::Damaged("the state of an inbox is not readable"))?;
        Ok(Some((Position(counter(position)), state)))
    }

    /// The inbox that an account was found in last.
    pub(crate) fn inbox_of(&self, address: EthereumAddress) -> Result<Option<InboxId>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT inbox FROM accounts_of WHERE address = ?1")?;
        let row = statement.query_row([address.0], |row| row.get::<_, Vec<u8>>(0)).optional()?;
        row.map(|bytes| array(bytes).map(InboxId)).transpose()
    }
}

impl Tx<'_> {
    /// Remembers a state that has been verified up to `position`.
    pub(crate) fn put_inbox(
        &self,
        position: Position,
        state: &AssociationState,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO inboxes (inbox, position, state) VALUES (?1, ?2, ?3) \
             ON CONFLICT (inbox) DO UPDATE SET position = ?2, state = ?3",
        )?;
        statement.execute((state.inbox().0, integer(position.0), state.to_wire()))?;
        Ok(())
    }

    /// Remembers where an account was found.
    pub(crate) fn put_inbox_of(
        &self,
        address: EthereumAddress,
        inbox: InboxId,
    ) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT INTO accounts_of (address, inbox) VALUES (?1, ?2) \
             ON CONFLICT (address) DO UPDATE SET inbox = ?2",
            (address.0, inbox.0),
        )?;
        Ok(())
    }
}
