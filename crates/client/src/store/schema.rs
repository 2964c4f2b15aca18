//! The tables, and how an older format becomes the current one.

use rusqlite::Connection;

use crate::store::StoreError;

/// Each format as a step from the one before; a step is never changed once released.
const STEPS: &[&str] = &[FORMAT_1];

const FORMAT_1: &str = "
-- What there is one of: keys, the network, the gateway.
CREATE TABLE account (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

-- MLS state as key and value; a scope is the installation or one group.
CREATE TABLE ratchet (
    scope BLOB NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (scope, key)
) WITHOUT ROWID;

CREATE TABLE conversations (
    id BLOB PRIMARY KEY, kind INTEGER NOT NULL, name TEXT NOT NULL, peer BLOB,
    state INTEGER NOT NULL, reason TEXT
) WITHOUT ROWID;

-- Every topic that is followed, and how far it has been read.
CREATE TABLE topics (
    topic BLOB PRIMARY KEY, conversation BLOB, role INTEGER NOT NULL, until_period INTEGER,
    cursor BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE messages (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB UNIQUE, envelope BLOB UNIQUE,
    conversation BLOB NOT NULL, sender BLOB NOT NULL, installation BLOB NOT NULL,
    epoch INTEGER NOT NULL, content BLOB NOT NULL, sent_at INTEGER NOT NULL,
    delivery INTEGER NOT NULL, failure TEXT
);
CREATE INDEX messages_by_conversation ON messages (conversation, sequence);

-- Envelopes that have been dealt with, so that one in two logs counts once.
CREATE TABLE seen (envelope BLOB PRIMARY KEY) WITHOUT ROWID;

-- Broadcast entries that presuppose ordered ones not read yet.
CREATE TABLE held (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, conversation BLOB NOT NULL,
    topic BLOB NOT NULL, position INTEGER NOT NULL, entry BLOB NOT NULL
);
CREATE INDEX held_by_conversation ON held (conversation, position);

-- Messages that came before the one that their author sent before them.
CREATE TABLE early (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, after BLOB NOT NULL, admitted INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE, envelope BLOB NOT NULL, conversation BLOB NOT NULL,
    sender BLOB NOT NULL, installation BLOB NOT NULL, epoch INTEGER NOT NULL,
    content BLOB NOT NULL, sent_at INTEGER NOT NULL
);
CREATE INDEX early_by_predecessor ON early (after);

-- What is signed, or to be stamped, and not acknowledged.
CREATE TABLE outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, message INTEGER, topic BLOB NOT NULL,
    bytes BLOB NOT NULL
);

-- The commit of a conversation that is submitted and not decided.
CREATE TABLE commits (
    conversation BLOB PRIMARY KEY, envelope BLOB NOT NULL, bytes BLOB NOT NULL,
    pointers BLOB NOT NULL
) WITHOUT ROWID;

-- Verified states of inboxes, ours included.
CREATE TABLE inboxes (
    inbox BLOB PRIMARY KEY, position INTEGER NOT NULL, state BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE accounts_of (
    address BLOB PRIMARY KEY, inbox BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE consent (inbox BLOB PRIMARY KEY, consent INTEGER NOT NULL) WITHOUT ROWID;
";

/// Brings the database to the current format.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::NewerFormat { found, known });
    }
    let done = usize::try_from(found).map_err(|_| StoreError::Damaged("user_version"))?;
    let tx = connection.transaction()?;
    for step in STEPS.iter().skip(done) {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "user_version", known)?;
    Ok(tx.commit()?)
}
