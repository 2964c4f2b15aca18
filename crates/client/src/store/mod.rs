//! The encrypted local store: one SQLCipher file that one process opens at a time.
//!
//! Everything that follows from one envelope is written in one transaction: the message, the
//! ratchet's delta and the cursor, so that a crash leaves all of it or none.

mod account;
mod conversations;
mod early;
mod inboxes;
mod messages;
mod outbox;
mod ratchet;
mod schema;
mod topics;
mod unlock;

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use zeroize::Zeroizing;

pub(crate) use account::AccountKey;
pub(crate) use conversations::ConversationRow;
pub use conversations::{Consent, ConversationKind, ConversationState};
pub use messages::Delivery;
pub(crate) use messages::{MessageRow, NewMessage};
pub(crate) use outbox::{OutboxItem, OutboxRow, PendingCommitRow};
pub(crate) use ratchet::Scope;
pub(crate) use topics::{TopicRole, TopicRow};
pub use unlock::Unlock;

/// The database within the home directory.
const DATABASE_FILE: &str = "tidings.db";

/// Held locked for as long as a process uses the home directory.
const LOCK_FILE: &str = "lock";

/// Why the local store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Caller: the home directory holds no store.
    #[error("there is no store in the home directory")]
    Absent,
    /// Caller: the home directory holds a store already.
    #[error("the home directory holds a store already")]
    Exists,
    /// Caller: another process uses the home directory.
    #[error("another process uses the home directory")]
    InUse,
    /// Caller: the passphrase or key does not open the store.
    #[error("the passphrase or key does not open the store")]
    WrongKey,
    /// Caller: the store opens with a passphrase.
    #[error("the store opens with a passphrase, not with a key file")]
    PassphraseNeeded,
    /// Caller: the store opens with a key file.
    #[error("the store opens with a key file, not with a passphrase")]
    KeyFileNeeded,
    /// Caller: the key file is absent, unreadable, or not 32 bytes long.
    #[error("the key file cannot be read or does not hold 32 bytes")]
    KeyFileUnreadable,
    /// Caller: the key file can be read by others than its owner.
    #[error("the key file can be read by others; set its mode to 0600")]
    KeyFileShared,
    /// Caller: a newer version of the program wrote the store.
    #[error("the store has format {found}; this program knows up to {known}")]
    NewerFormat {
        /// The format found.
        found: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// Environment: the store holds what no version of the program writes.
    #[error("the store is damaged: {0}")]
    Damaged(&'static str),
    /// Environment: the file system failed.
    #[error("file system: {0}")]
    Io(#[from] std::io::Error),
    /// Environment: the database failed.
    #[error("database: {0}")]
    Database(#[from] rusqlite::Error),
}

/// The open store of one home directory.
pub(crate) struct Store {
    connection: Connection,
    /// Unlocked when dropped, after the connection.
    _lock: File,
}

/// A transaction; nothing is written unless it is committed.
pub(crate) struct Tx<'a> {
    connection: rusqlite::Transaction<'a>,
}

/// What can be read, in a transaction or outside.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    connection: &'a Connection,
}

impl Store {
    /// Makes a store in `home`, which is created if needed.
    pub(crate) fn create(home: &Path, unlock: &Unlock) -> Result<Self, StoreError> {
        create_private_dir(home)?;
        let lock = lock(home)?;
        let database = home.join(DATABASE_FILE);
        let is_new = !unlock::has_key(home);
        let key = match is_new {
            true => unlock::create_key(home, unlock)?,
            false => unlock::load_key(home, unlock)?,
        };
        let store = Self::connect(&database, &key, lock)?;
        // An attempt that was interrupted before it wrote anything is taken up again.
        match store.view().account(AccountKey::Network)? {
            Some(_) => Err(StoreError::Exists),
            None => Ok(store),
        }
    }

    /// Opens the store in `home`.
    pub(crate) fn open(home: &Path, unlock: &Unlock) -> Result<Self, StoreError> {
        let database = home.join(DATABASE_FILE);
        if !database.exists() {
            return Err(StoreError::Absent);
        }
        let lock = lock(home)?;
        let key = unlock::load_key(home, unlock)?;
        Self::connect(&database, &key, lock)
    }

    fn connect(path: &Path, key: &[u8; 32], lock: File) -> Result<Self, StoreError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        let digits = Zeroizing::new(hex::encode(key));
        let pragma = Zeroizing::new(format!(
            // A wrong key is an answer of ours, not a line in somebody's log.
            "PRAGMA cipher_log_level = NONE; PRAGMA key = \"x'{}'\";",
            digits.as_str()
        ));
        connection.execute_batch(&pragma)?;
        // The first page is not decrypted before it is read.
        let opened = connection
            .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0));
        opened.map_err(|_| StoreError::WrongKey)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
             PRAGMA secure_delete = ON;",
        )?;
        schema::migrate(&mut connection)?;
        Ok(Self { connection, _lock: lock })
    }

    /// What is stored.
    pub(crate) fn view(&self) -> View<'_> {
        View { connection: &self.connection }
    }

    /// Runs `work` and commits what it wrote, or nothing when it fails.
    pub(crate) fn transact<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let tx = Tx { connection: begun.map_err(StoreError::from)? };
        let value = work(&tx)?;
        tx.connection.commit().map_err(StoreError::from)?;
        Ok(value)
    }
}

impl Tx<'_> {
    /// What is stored, as this transaction sees it.
    pub(crate) fn view(&self) -> View<'_> {
        View { connection: &self.connection }
    }
}

/// Reads an array of exactly `N` bytes from a column.
fn array<const N: usize>(bytes: Vec<u8>) -> Result<[u8; N], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Damaged("a column has the wrong length"))
}

/// A counter as SQLite holds it; counters here stay below 2^63.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A counter from SQLite's form.
fn counter(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

fn lock(home: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    let file = options.open(home.join(LOCK_FILE))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn create_private_dir(path: &Path) -> Result<(), StoreError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    Ok(builder.create(path)?)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn fresh() -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        let unlock = Unlock::key_file(home.path().join("key"));
        let store = Store::create(home.path(), &unlock).unwrap();
        (home, store)
    }

    fn reopen(home: &Path) -> Result<Store, StoreError> {
        Store::open(home, &Unlock::key_file(home.join("key")))
    }

    #[test]
    fn a_store_opens_again_with_its_key_only() {
        let home = tempfile::tempdir().unwrap();
        drop(Store::create(home.path(), &Unlock::passphrase("one")).unwrap());
        assert!(Store::open(home.path(), &Unlock::passphrase("one")).is_ok());
        let other = Store::open(home.path(), &Unlock::passphrase("two"));
        assert!(matches!(other, Err(StoreError::WrongKey)));
    }

    #[test]
    fn the_file_does_not_show_what_it_holds() {
        let (home, mut store) = fresh();
        let secret = b"a needle in the haystack";
        store.transact(|tx| tx.put_account(AccountKey::ApiKey, secret)).unwrap();
        drop(store);
        for file in std::fs::read_dir(home.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
            assert!(!bytes.starts_with(b"SQLite format 3"));
        }
    }

    #[test]
    fn one_process_at_a_time() {
        let (home, store) = fresh();
        assert!(matches!(reopen(home.path()), Err(StoreError::InUse)));
        drop(store);
        assert!(reopen(home.path()).is_ok());
    }

    #[test]
    fn a_second_store_is_not_made_over_the_first() {
        let (home, store) = fresh();
        drop(store);
        let again = Store::create(home.path(), &Unlock::passphrase("x"));
        assert!(matches!(again, Err(StoreError::KeyFileNeeded)));
        let create = || Store::create(home.path(), &Unlock::key_file(home.path().join("key")));
        // Nothing was written yet: the attempt is taken up again.
        let mut store = create().unwrap();
        store.transact(|tx| tx.put_account(AccountKey::Network, &[1; 32])).unwrap();
        drop(store);
        assert!(matches!(create(), Err(StoreError::Exists)));
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(reopen(empty.path()), Err(StoreError::Absent)));
    }

    #[test]
    fn what_fails_half_way_leaves_nothing() {
        let (home, mut store) = fresh();
        let failed: Result<(), StoreError> = store.transact(|tx| {
            tx.put_account(AccountKey::ApiKey, b"half")?;
            Err(StoreError::Damaged("on purpose"))
        });
        assert!(failed.is_err());
        drop(store);
        let store = reopen(home.path()).unwrap();
        assert_eq!(store.view().account(AccountKey::ApiKey).unwrap(), None);
    }

    #[test]
    fn a_newer_format_is_refused() {
        let (home, store) = fresh();
        store.connection.pragma_update(None, "user_version", 99).unwrap();
        drop(store);
        let newer = reopen(home.path());
        assert!(matches!(newer, Err(StoreError::NewerFormat { found: 99, .. })));
    }
}
