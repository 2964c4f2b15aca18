//! MLS state as keys and values, written by delta.

use tidings_mls::{Change, Delta};
use tidings_types::constants::PROTOCOL_VERSION;

use crate::ConversationId;
use crate::store::{StoreError, Tx, View};

/// Whose state a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The installation: key packages and the keys that open welcomes.
    Installation,
    /// One group.
    Group(ConversationId),
    /// A group into which this installation is on its way back.
    Rejoin(ConversationId),
    /// A group as it was when it ejected this installation, kept until the way back is sure.
    Ejected(ConversationId),
}

impl Scope {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = PROTOCOL_VERSION.to_be_bytes().to_vec();
        let (id, kind) = match self {
            Self::Installation => return bytes,
            Self::Group(id) => (id, None),
            Self::Rejoin(id) => (id, Some(1)),
            Self::Ejected(id) => (id, Some(2)),
        };
        bytes.extend_from_slice(&id.0);
        bytes.extend(kind);
        bytes
    }
}

/// A key and its value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

impl View<'_> {
    /// All pairs of a scope, by key.
    pub(crate) fn ratchet(&self, scope: Scope) -> Result<Vec<Pair>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT key, value FROM ratchet WHERE scope = ?1 ORDER BY key")?;
        let rows = statement.query_map([scope.bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl Tx<'_> {
    /// Applies a delta to a scope.
    pub(crate) fn apply_delta(&self, scope: Scope, delta: Delta) -> Result<(), StoreError> {
        let scope = scope.bytes();
        let mut put = self.connection.prepare_cached(
            "INSERT INTO ratchet (scope, key, value) VALUES (?1, ?2, ?3) \
             ON CONFLICT (scope, key) DO UPDATE SET value = excluded.value",
        )?;
        let mut remove =
            self.connection.prepare_cached("DELETE FROM ratchet WHERE scope = ?1 AND key = ?2")?;
        for Change { key, value } in delta.0 {
            match value {
                Some(value) => put.execute((&scope, &key, value.as_slice()))?,
                None => remove.execute((&scope, &key))?,
            };
        }
        Ok(())
    }

    /// Moves all state of a scope to another, whose own is dropped.
    pub(crate) fn move_ratchet(&self, from: Scope, to: Scope) -> Result<(), StoreError> {
        self.drop_ratchet(to)?;
        self.connection.execute(
            "UPDATE ratchet SET scope = ?2 WHERE scope = ?1",
            [from.bytes(), to.bytes()],
        )?;
        Ok(())
    }

    /// Drops all state of a scope.
    pub(crate) fn drop_ratchet(&self, scope: Scope) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM ratchet WHERE scope = ?1", [scope.bytes()])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::store::tests::fresh;

    fn change(key: u8, value: Option<u8>) -> Change {
        Change { key: vec![key], value: value.map(|byte| Zeroizing::new(vec![byte])) }
    }

    #[test]
    fn scopes_do_not_mix() {
        let (_home, mut store) = fresh();
        let group = Scope::Group(ConversationId([1; 32]));
        let put = |value: u8| Delta(vec![change(1, Some(value)), change(2, Some(value))]);
        let write = store.transact(|tx| {
            tx.apply_delta(Scope::Installation, put(7))?;
            tx.apply_delta(group, put(8))?;
            tx.apply_delta(group, Delta(vec![change(1, None)]))
        });
        write.unwrap();
        assert_eq!(store.view().ratchet(group).unwrap(), vec![(vec![2], vec![8])]);
        assert_eq!(store.view().ratchet(Scope::Installation).unwrap().len(), 2);
        let id = ConversationId([1; 32]);
        let (back, before) = (Scope::Rejoin(id), Scope::Ejected(id));
        store.transact(|tx| tx.apply_delta(back, put(9))).unwrap();
        store.transact(|tx| tx.move_ratchet(group, before)).unwrap();
        store.transact(|tx| tx.move_ratchet(back, group)).unwrap();
        assert!(store.view().ratchet(back).unwrap().is_empty());
        assert_eq!(store.view().ratchet(before).unwrap(), vec![(vec![2], vec![8])]);
        assert_eq!(store.view().ratchet(group).unwrap().len(), 2);
        store.transact(|tx| tx.drop_ratchet(group)).unwrap();
        assert!(store.view().ratchet(group).unwrap().is_empty());
    }
}
