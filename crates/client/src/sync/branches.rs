//! Logs that replicas do not agree about: every history is read, from every replica.
//!
//! An originator that signs two histories of its log is proved guilty by the nodes, but what it had
//! acknowledged in either is acknowledged all the same, and each replica holds one of them alone.
//! Entries are told by their envelopes' ids, so nothing counts twice.

use tidings_envelope::api::{LogCursor, TopicCursor, TopicPage, TopicQuery};
use tidings_envelope::{LogId, Topic};
use tidings_types::constants::{CURSOR_LOGS_MAX, PAGE_ENTRIES_MAX};
use tidings_types::{BoundedVec, EntryHash, Position, TopicIndex, Wire};

use crate::core::Core;
use crate::error::{ClientError, VerifyFailure};
use crate::transport::NodeAddress;
use crate::verify::Broadcast;

/// Where no log ever comes to: a cursor that stands there is given nothing of the log.
const NOWHERE: u64 = u64::MAX >> 1;

/// How many pages of one log are read from one replica at once.
const PAGES_MAX: usize = 256;

/// Whether a log is one that is read from every replica.
pub(crate) fn is_parted(cursor: &TopicCursor, log: LogId) -> bool {
    cursor.logs.iter().any(|known| known.log == log && known.next.0 == NOWHERE)
}

/// The cursor that passes over a log, because every replica is asked for it by itself.
///
/// # Errors
/// [`VerifyFailure::Misplaced`] when there are more logs than there can be.
pub(super) fn part(cursor: &TopicCursor, log: LogId) -> Result<TopicCursor, VerifyFailure> {
    let nowhere = LogCursor { log, next: TopicIndex(NOWHERE), previous: EntryHash::default() };
    at(cursor, nowhere)
}

/// The cursor with one log somewhere else.
///
/// # Errors
/// As [`part`].
pub(super) fn at(cursor: &TopicCursor, there: LogCursor) -> Result<TopicCursor, VerifyFailure> {
    let others = cursor.logs.iter().filter(|known| known.log != there.log).copied();
    let logs: Vec<LogCursor> = others.chain([there]).collect();
    let logs = BoundedVec::<_, CURSOR_LOGS_MAX>::new(logs);
    let logs = logs.map_err(|_| VerifyFailure::Misplaced)?;
    Ok(TopicCursor { logs, position: cursor.position })
}

/// The logs that a cursor passes over.
pub(super) fn parted(cursor: &TopicCursor) -> Vec<LogId> {
    let parted = cursor.logs.iter().filter(|known| known.next.0 == NOWHERE);
    parted.map(|known| known.log).collect()
}

/// What replicas have of a log.
pub(super) struct Branches {
    /// The entries of every history, those of one replica after those of another.
    pub(super) entries: Vec<Broadcast>,
    /// Where the log is read on, if all have the same.
    pub(super) healed: Option<LogCursor>,
}

impl Core {
    /// Reads a log of a topic from its start, from every replica whose answers verify (API-034).
    pub(super) async fn branches(
        &self,
        topic: &Topic,
        cursor: &TopicCursor,
        log: LogId,
    ) -> Result<Branches, ClientError> {
        let registry = self.nodes.registry();
        let shard = topic.shard(registry.shard_count);
        let mut branches = Vec::new();
        for node in self.nodes.candidates(shard) {
            match self.branch(topic, cursor, log, &node).await {
                Ok(branch) => branches.push(branch),
                Err(error @ ClientError::Store(_)) => return Err(error),
                Err(error) => tracing::debug!(node = %node.id, %log, %error, "no branch"),
            }
        }
        let is_enough = branches.len() >= registry.durability_quorum(shard);
        let healed = one_history(log, &branches).filter(|_| is_enough);
        Ok(Branches { entries: branches.into_iter().flatten().collect(), healed })
    }

    /// What one replica has of the log.
    async fn branch(
        &self,
        topic: &Topic,
        cursor: &TopicCursor,
        log: LogId,
        node: &NodeAddress,
    ) -> Result<Vec<Broadcast>, ClientError> {
        let registries = self.nodes.registries();
        let verifier = self.verifier(&registries);
        let limit = u16::try_from(PAGE_ENTRIES_MAX).unwrap_or(u16::MAX);
        let mut place = only(cursor, log)?;
        let mut entries = Vec::new();
        for _ in 0..PAGES_MAX {
            let query = TopicQuery::new(*topic, place.clone(), limit).to_wire();
            let mut page: TopicPage = self.nodes.post(node, "v1/query", query).await?;
            // Logs that were not known here are passed over as well.
            for entry in page.broadcast.iter().filter(|entry| entry.log != log) {
                place = part(&place, entry.log)?;
            }
            let all = page.broadcast.into_vec().into_iter();
            let wanted = all.filter(|entry| entry.log == log).collect();
            page.broadcast = BoundedVec::new(wanted).unwrap_or_default();
            page.ordered = BoundedVec::default();
            let page = verifier.page(topic, &place, page)?;
            entries.extend(page.broadcast);
            place = page.cursor;
            if !page.more {
                break;
            }
        }
        Ok(entries)
    }
}

/// The cursor that is given one log from its start and nothing else that is known.
fn only(cursor: &TopicCursor, log: LogId) -> Result<TopicCursor, VerifyFailure> {
    let start = LogCursor { log, next: TopicIndex(0), previous: EntryHash::default() };
    let mut place = at(cursor, start)?;
    for known in cursor.logs.iter().filter(|known| known.log != log) {
        place = part(&place, known.log)?;
    }
    Ok(TopicCursor { position: Position(NOWHERE), ..place })
}

/// The end of the longest history, if every other one is its beginning: each entry names the one
/// before it, so that the last ones tell.
fn one_history(log: LogId, branches: &[Vec<Broadcast>]) -> Option<LogCursor> {
    let hash = |entry: &Broadcast| entry.entry.entry.header.hash();
    let longest = branches.iter().max_by_key(|branch| branch.len())?;
    let begins = |branch: &Vec<Broadcast>| match (branch.last(), branch.len().checked_sub(1)) {
        (Some(last), Some(place)) => {
            longest.get(place).is_some_and(|entry| hash(entry) == hash(last))
        }
        _ => true,
    };
    let end = longest.last()?;
    let next = end.entry.entry.header.topic_index.plus(1);
    branches.iter().all(begins).then(|| LogCursor { log, next, previous: hash(end) })
}
