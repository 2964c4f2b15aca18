//! The reading side of the index.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use tidings_types::Hash;

use super::{IndexError, Stored, signed, unsigned};
use crate::place::Mark;
use crate::topic::XmtpTopic;

const COLUMNS: &str = "topic, originator, sequence, arrival, sent_ns, expires_s, envelope";

/// The originators of a topic, each found by one step in the table's order.
const ORIGINATORS: &str = "WITH RECURSIVE found(originator) AS (
        SELECT MIN(originator) FROM envelopes WHERE topic = ?1
        UNION ALL
        SELECT (SELECT MIN(originator) FROM envelopes
            WHERE topic = ?1 AND originator > found.originator)
        FROM found WHERE originator IS NOT NULL)
    SELECT originator FROM found WHERE originator IS NOT NULL";

/// The last sequence number seen of each originator.
pub type Cursor = BTreeMap<u32, u64>;

/// Answers clients.
#[derive(Debug, Clone)]
pub struct Reader {
    pool: SqlitePool,
}

impl Reader {
    pub(super) fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    /// What the topics hold after the cursor, in the order of arrival: at most `limit` envelopes,
    /// and of `bytes_max` together unless the first alone is longer.
    ///
    /// # Errors
    /// [`IndexError`]
    pub async fn after(
        &self,
        topics: &[XmtpTopic],
        cursor: &Cursor,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<Stored>, IndexError> {
        // Places and lengths first, so that no more is loaded than goes out.
        let mut places = Vec::new();
        for topic in topics {
            for originator in self.originators(topic).await? {
                let seen = cursor.get(&originator).copied().unwrap_or_default();
                places.extend(self.places(topic, originator, seen, limit).await?);
            }
            fit(&mut places, limit, bytes_max);
        }
        let mut found = Vec::with_capacity(places.len());
        for place in places {
            // What was forgotten in between is no loss.
            found.extend(self.at(place.topic, place.mark).await?);
        }
        Ok(found)
    }

    /// The newest envelope of a topic.
    ///
    /// # Errors
    /// [`IndexError`]
    pub async fn newest(&self, topic: &XmtpTopic) -> Result<Option<Stored>, IndexError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM newest JOIN envelopes USING (topic, originator, sequence)
            WHERE topic = ?1"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(topic.as_bytes());
        let row = query.fetch_optional(&self.pool).await?;
        Ok(row.as_ref().map(stored))
    }

    /// The first envelope of a topic with this digest.
    ///
    /// # Errors
    /// [`IndexError`]
    pub async fn repeated(
        &self,
        topic: &XmtpTopic,
        digest: &Hash,
    ) -> Result<Option<Stored>, IndexError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM envelopes WHERE digest = ?1 AND topic = ?2
            ORDER BY arrival LIMIT 1"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(&digest[..]).bind(topic.as_bytes());
        let row = query.fetch_optional(&self.pool).await?;
        Ok(row.as_ref().map(stored))
    }

    /// The envelope that clients know by this mark, if the topic has it.
    ///
    /// # Errors
    /// [`IndexError`]
    pub async fn at(&self, topic: &XmtpTopic, mark: Mark) -> Result<Option<Stored>, IndexError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM envelopes
            WHERE topic = ?1 AND originator = ?2 AND sequence = ?3"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(topic.as_bytes())
            .bind(mark.originator)
            .bind(signed(mark.sequence));
        let row = query.fetch_optional(&self.pool).await?;
        Ok(row.as_ref().map(stored))
    }

    /// The inbox that an identifier joined last and has not left.
    ///
    /// # Errors
    /// [`IndexError`]
    pub async fn inbox_of(
        &self,
        kind: i32,
        identifier: &str,
    ) -> Result<Option<Vec<u8>>, IndexError> {
        let sql = "SELECT inbox FROM identifiers WHERE kind = ?1 AND identifier = ?2
            ORDER BY arrival DESC LIMIT 1";
        let query = sqlx::query(sql).bind(kind).bind(identifier);
        Ok(query.fetch_optional(&self.pool).await?.map(|row| row.get(0)))
    }

    async fn originators(&self, topic: &XmtpTopic) -> Result<Vec<u32>, IndexError> {
        let query = sqlx::query(ORIGINATORS).bind(topic.as_bytes());
        let rows = query.fetch_all(&self.pool).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn places<'a>(
        &self,
        topic: &'a XmtpTopic,
        originator: u32,
        seen: u64,
        limit: usize,
    ) -> Result<Vec<Place<'a>>, IndexError> {
        let sql = "SELECT sequence, arrival, LENGTH(envelope) FROM envelopes
            WHERE topic = ?1 AND originator = ?2 AND sequence > ?3 ORDER BY sequence LIMIT ?4";
        let query = sqlx::query(sql)
            .bind(topic.as_bytes())
            .bind(originator)
            .bind(signed(seen))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = query.fetch_all(&self.pool).await?;
        let place = |row: &SqliteRow| Place {
            topic,
            mark: Mark { originator, sequence: unsigned(row.get(0)) },
            arrival: unsigned(row.get(1)),
            length: usize::try_from(unsigned(row.get(2))).unwrap_or(usize::MAX),
        };
        Ok(rows.iter().map(place).collect())
    }
}

/// An envelope that may go onto a page.
struct Place<'a> {
    topic: &'a XmtpTopic,
    mark: Mark,
    arrival: u64,
    length: usize,
}

/// Keeps the first by arrival, as far as they fit.
fn fit(places: &mut Vec<Place<'_>>, limit: usize, bytes_max: usize) {
    places.sort_by_key(|place| place.arrival);
    let mut bytes = 0usize;
    let fitting = places.iter().take(limit).take_while(|place| {
        let is_first = bytes == 0;
        bytes = bytes.saturating_add(place.length);
        is_first || bytes <= bytes_max
    });
    let count = fitting.count();
    places.truncate(count);
}

/// In the order of [`COLUMNS`].
fn stored(row: &SqliteRow) -> Stored {
    Stored {
        topic: row.get(0),
        mark: Mark { originator: row.get(1), sequence: unsigned(row.get(2)) },
        arrival: unsigned(row.get(3)),
        sent_ns: unsigned(row.get(4)),
        expires_s: unsigned(row.get(5)),
        envelope: row.get(6),
    }
}
