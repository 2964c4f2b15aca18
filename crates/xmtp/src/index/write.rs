//! The writing side of the index: one stretch of a log or lane after another.

use std::collections::BTreeMap;

use sqlx::sqlite::{SqliteConnection, SqliteTransaction};
use sqlx::{Connection, Row};
use tidings_envelope::LogId;
use tidings_types::{Hash, Height, Incarnation, LogIndex, NodeId, ShardId};

use super::{IndexError, Stored, signed, unsigned};
use crate::place::Mark;
use crate::progress::Progress;
use crate::topic::{Kind, XmtpTopic};

/// Orders what came in while the edge was away by when edges took it, and within a topic and
/// originator by sequence.
///
/// Logs are caught up one after the other, so that the order of arrival means nothing then.
const SETTLE: [&str; 4] = [
    "CREATE TEMP TABLE settled AS
        SELECT topic, originator, sequence,
            ROW_NUMBER() OVER (ORDER BY moment, originator, sequence) AS place
        FROM (SELECT topic, originator, sequence, MAX(sent_ns) OVER (
                PARTITION BY topic, originator ORDER BY sequence) AS moment
            FROM envelopes WHERE arrival > ?1)",
    "UPDATE envelopes SET arrival = ?1 + settled.place FROM settled
        WHERE envelopes.topic = settled.topic AND envelopes.originator = settled.originator
            AND envelopes.sequence = settled.sequence",
    "INSERT OR REPLACE INTO newest (topic, rank, originator, sequence)
        SELECT topic, MAX(arrival), originator, sequence FROM envelopes
        WHERE arrival > ?1 AND SUBSTR(topic, 1, 1) <> X'03' GROUP BY topic",
    "DROP TABLE settled",
];

/// An envelope that is to be entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The topic.
    pub topic: XmtpTopic,
    /// How clients know it.
    pub mark: Mark,
    /// When an edge took it.
    pub received_ns: u64,
    /// When nodes may forget it, in seconds since 1970.
    pub expires_s: u64,
    /// A hash of the envelope.
    pub digest: Hash,
    /// The encoded `ClientEnvelope`.
    pub envelope: Vec<u8>,
    /// What it changes about who has which identifier.
    pub identifiers: Vec<IdentifierChange>,
}

/// An identifier joins or leaves an inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentifierChange {
    /// XMTP's number for the kind of identifier.
    pub kind: i32,
    /// The identifier, in lower case.
    pub identifier: String,
    /// The inbox.
    pub inbox: Vec<u8>,
    /// Whether it belongs to the inbox from now on.
    pub belongs: bool,
}

/// A stretch's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// Everything in the log before the index is entered.
    Log(LogId, LogIndex),
    /// Everything in the lane before the height is entered.
    Lane(ShardId, Height),
}

/// The only writer of an index.
#[derive(Debug)]
pub struct Writer {
    connection: SqliteConnection,
    last_arrival: u64,
    progress: Progress,
}

impl Writer {
    pub(super) async fn new(mut connection: SqliteConnection) -> Result<Self, IndexError> {
        let newest = sqlx::query("SELECT COALESCE(MAX(arrival), 0) FROM envelopes");
        let last_arrival = unsigned(newest.fetch_one(&mut connection).await?.get(0));
        let progress = progress(&mut connection).await?;
        Ok(Self { connection, last_arrival, progress })
    }

    /// How far the index has come.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The arrival of the newest envelope.
    #[must_use]
    pub fn last_arrival(&self) -> u64 {
        self.last_arrival
    }

    /// Enters a stretch as a whole: envelopes in their order, and how far it reaches.
    ///
    /// # Errors
    /// [`IndexError`], and then nothing has changed.
    pub async fn enter(
        &mut self,
        entries: Vec<Entry>,
        reached: Reached,
    ) -> Result<Vec<Stored>, IndexError> {
        let mut transaction = self.connection.begin().await?;
        let mut stored = Vec::with_capacity(entries.len());
        let mut last_arrival = self.last_arrival;
        for entry in entries {
            last_arrival += 1;
            stored.push(insert(&mut transaction, entry, last_arrival).await?);
        }
        note(&mut transaction, reached).await?;
        transaction.commit().await?;
        self.last_arrival = last_arrival;
        self.progress.reach(reached);
        Ok(stored)
    }

    /// Puts everything that arrived after `since` into the order in which edges took it.
    ///
    /// # Errors
    /// [`IndexError`], and then nothing has changed.
    pub async fn settle(&mut self, since: u64) -> Result<(), IndexError> {
        let mut transaction = self.connection.begin().await?;
        for sql in SETTLE {
            let mut query = sqlx::query(sql);
            if sql.contains("?1") {
                query = query.bind(signed(since));
            }
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Forgets what nodes may have forgotten, but never commits, updates or key packages that
    /// others build on; at most `max` envelopes at once. Returns how many went.
    ///
    /// # Errors
    /// [`IndexError`], and then nothing has changed.
    pub async fn prune(&mut self, now_s: u64, max: u32) -> Result<u64, IndexError> {
        let sql = "DELETE FROM envelopes WHERE (topic, originator, sequence) IN (
                SELECT topic, originator, sequence FROM envelopes
                WHERE expires_s < ?1 AND originator > 1 AND SUBSTR(topic, 1, 1) IN (X'00', X'01')
                LIMIT ?2)";
        let query = sqlx::query(sql).bind(signed(now_s)).bind(max);
        Ok(query.execute(&mut self.connection).await?.rows_affected())
    }
}

async fn insert(
    transaction: &mut SqliteTransaction<'_>,
    entry: Entry,
    arrival: u64,
) -> Result<Stored, IndexError> {
    let Entry { topic, mark, received_ns, expires_s, digest, envelope, identifiers } = entry;
    let sent_ns = received_ns.max(last_sent_ns(transaction, &topic, mark).await?.saturating_add(1));
    let sql = "INSERT OR IGNORE INTO envelopes
        (topic, originator, sequence, arrival, sent_ns, expires_s, digest, envelope)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let query = sqlx::query(sql)
        .bind(topic.as_bytes())
        .bind(mark.originator)
        .bind(signed(mark.sequence))
        .bind(signed(arrival))
        .bind(signed(sent_ns))
        .bind(signed(expires_s))
        .bind(&digest[..])
        .bind(&envelope[..]);
    if query.execute(&mut **transaction).await?.rows_affected() == 0 {
        // Progress never goes back, so this is a damaged file.
        tracing::error!(?mark, "an envelope was entered already");
    }
    // Key packages of one installation may be in several logs, which are caught up one by one.
    let rank = match topic.kind() {
        Kind::KeyPackage => sent_ns,
        Kind::Group | Kind::Welcome | Kind::Identity => arrival,
    };
    let sql = "INSERT INTO newest (topic, rank, originator, sequence) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (topic) DO UPDATE SET
            rank = excluded.rank, originator = excluded.originator, sequence = excluded.sequence
        WHERE excluded.rank >= rank";
    let query = sqlx::query(sql)
        .bind(topic.as_bytes())
        .bind(signed(rank))
        .bind(mark.originator)
        .bind(signed(mark.sequence));
    query.execute(&mut **transaction).await?;
    for change in &identifiers {
        change_identifier(transaction, change, arrival).await?;
    }
    let topic = topic.as_bytes().to_vec();
    Ok(Stored { topic, mark, arrival, sent_ns, expires_s, envelope })
}

/// The time of what the originator put on the topic before.
///
/// Clients sort what they get by time before they sort it by cause, so commits whose times do not
/// follow their order would fork a group (XMTP-008).
async fn last_sent_ns(
    transaction: &mut SqliteTransaction<'_>,
    topic: &XmtpTopic,
    mark: Mark,
) -> Result<u64, IndexError> {
    let sql = "SELECT sent_ns FROM envelopes
        WHERE topic = ?1 AND originator = ?2 AND sequence < ?3 ORDER BY sequence DESC LIMIT 1";
    let query =
        sqlx::query(sql).bind(topic.as_bytes()).bind(mark.originator).bind(signed(mark.sequence));
    let row = query.fetch_optional(&mut **transaction).await?;
    Ok(row.map_or(0, |row| unsigned(row.get(0))))
}

async fn change_identifier(
    transaction: &mut SqliteTransaction<'_>,
    change: &IdentifierChange,
    arrival: u64,
) -> Result<(), IndexError> {
    let sql = match change.belongs {
        true => {
            "INSERT OR REPLACE INTO identifiers (kind, identifier, inbox, arrival)
            VALUES (?1, ?2, ?3, ?4)"
        }
        false => "DELETE FROM identifiers WHERE kind = ?1 AND identifier = ?2 AND inbox = ?3",
    };
    let mut query =
        sqlx::query(sql).bind(change.kind).bind(&change.identifier[..]).bind(&change.inbox[..]);
    if change.belongs {
        query = query.bind(signed(arrival));
    }
    query.execute(&mut **transaction).await?;
    Ok(())
}

async fn note(transaction: &mut SqliteTransaction<'_>, reached: Reached) -> Result<(), IndexError> {
    let query = match reached {
        Reached::Log(log, next) => sqlx::query(
            "INSERT OR REPLACE INTO followed_logs (node, shard, incarnation, next)
            VALUES (?1, ?2, ?3, ?4)",
        )
        .bind(log.node.0)
        .bind(log.shard.0)
        .bind(log.incarnation.0)
        .bind(signed(next.0)),
        Reached::Lane(shard, next) => {
            sqlx::query("INSERT OR REPLACE INTO followed_lanes (shard, next) VALUES (?1, ?2)")
                .bind(shard.0)
                .bind(signed(next.0))
        }
    };
    query.execute(&mut **transaction).await?;
    Ok(())
}

async fn progress(connection: &mut SqliteConnection) -> Result<Progress, IndexError> {
    let rows = sqlx::query("SELECT node, shard, incarnation, next FROM followed_logs");
    let mut logs = BTreeMap::new();
    for row in rows.fetch_all(&mut *connection).await? {
        let log = LogId {
            node: NodeId(row.get(0)),
            shard: ShardId(row.get(1)),
            incarnation: Incarnation(row.get(2)),
        };
        logs.insert(log, LogIndex(unsigned(row.get(3))));
    }
    let rows = sqlx::query("SELECT shard, next FROM followed_lanes").fetch_all(connection).await?;
    let lanes = rows.iter().map(|row| (ShardId(row.get(0)), Height(unsigned(row.get(1)))));
    Ok(Progress { logs, lanes: lanes.collect() })
}
