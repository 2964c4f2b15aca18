//! Reading a topic to its end from any replica, and dealing with what it holds.

use std::sync::OnceLock;

use tidings_envelope::api::{LogCursor, TopicCursor, TopicPage, TopicQuery};
use tidings_envelope::{LogId, Topic};
use tidings_types::constants::PAGE_ENTRIES_MAX;
use tidings_types::{Position, Wire};

use crate::ConversationId;
use crate::core::{Core, Engine};
use crate::error::{ClientError, GroupError, VerifyFailure};
use crate::store::TopicRole;
use crate::sync::branches::{self, Branches, is_parted, part};
use crate::sync::merge;
use crate::verify::{Broadcast, Ordered, VerifiedPage};

/// How many logs of a topic turn out in one go to be others for some replicas than for others.
const PARTED_MAX: u32 = 16;

/// What a topic holds after a cursor.
#[derive(Default)]
struct Catch {
    ordered: Vec<Ordered>,
    broadcast: Vec<Broadcast>,
    /// Logs that replicas agree about again, and where they are read on.
    healed: Vec<LogCursor>,
}

/// What came of reading a topic.
enum Fetched {
    /// All there is.
    All(Catch),
    /// A log that one replica has otherwise than another.
    Parted(LogId),
}

impl Core {
    /// Reads every mailbox that is followed, or as much as the budget for bogus welcomes allows.
    pub(crate) async fn pull_mailboxes(&self, engine: &mut Engine) -> Result<(), ClientError> {
        engine.bogus_welcomes = 0;
        let topics = self.store().view().topics()?;
        for row in topics.iter().filter(|row| row.role == TopicRole::Mailbox) {
            match self.pull_topic(engine, &row.topic).await {
                Err(ClientError::Group(GroupError::BogusWelcomes)) => self.note_behind(row.topic),
                pulled => pulled?,
            }
        }
        Ok(())
    }

    /// Reads a conversation: ended generations, then the current one and those that follow it.
    pub(crate) async fn pull_conversation(
        &self,
        engine: &mut Engine,
        id: ConversationId,
    ) -> Result<(), ClientError> {
        let topics = self.store().view().topics_of(id)?;
        for row in topics.iter().filter(|row| row.role != TopicRole::Current) {
            self.pull_topic(engine, &row.topic).await?;
        }
        loop {
            let (_, group) = engine.group(id)?;
            let topic = group.topic();
            self.pull_topic(engine, &topic).await?;
            let (_, group) = engine.group(id)?;
            if group.topic() == topic {
                return Ok(());
            }
        }
    }

    /// Reads a topic to its end.
    ///
    /// Broadcast entries come first: those that presuppose later ordered entries are put aside
    /// and taken up right after them, so that each is read in its own epoch.
    pub(crate) async fn pull_topic(
        &self,
        engine: &mut Engine,
        topic: &Topic,
    ) -> Result<(), ClientError> {
        let catch = self.fetch(topic).await?;
        for entry in &merge::in_time(catch.broadcast) {
            self.take_broadcast(engine, topic, entry).await?;
        }
        for entry in &catch.ordered {
            self.take_ordered(engine, topic, entry).await?;
        }
        for healed in catch.healed {
            let Some(row) = self.store().view().topic(topic)? else { return Ok(()) };
            let cursor = branches::at(&row.cursor, healed)?;
            self.store().transact(|tx| tx.put_cursor(topic, &cursor))?;
        }
        Ok(())
    }

    /// All that f+1 replicas know of: what is left out of the middle shows, and what is left out
    /// at the end is known to another one.
    async fn fetch(&self, topic: &Topic) -> Result<Catch, ClientError> {
        let mut parted = 0;
        loop {
            let Some(row) = self.store().view().topic(topic)? else { return Ok(Catch::default()) };
            let log = match self.fetch_after(topic, row.cursor.clone()).await? {
                Fetched::All(catch) => return Ok(catch),
                Fetched::Parted(log) if parted < PARTED_MAX => log,
                Fetched::Parted(log) => return Err(VerifyFailure::Chain { log }.into()),
            };
            // A replica leaves entries out, or makes some up, or the log has two histories: each
            // replica is asked for its own.
            tracing::warn!(%log, "replicas do not agree about a log; all of them are asked");
            parted += 1;
            let cursor = part(&row.cursor, log)?;
            self.store().transact(|tx| tx.put_cursor(topic, &cursor))?;
        }
    }

    async fn fetch_after(
        &self,
        topic: &Topic,
        mut cursor: TopicCursor,
    ) -> Result<Fetched, ClientError> {
        let mut catch = Catch::default();
        let registry = self.nodes.registry();
        let quorum = registry.durability_quorum(topic.shard(registry.shard_count));
        // How many replicas in a row had nothing more.
        let mut agreed = 0;
        while agreed < quorum {
            let contradicted = OnceLock::new();
            let page = match self.page(topic, &cursor, agreed, &contradicted).await {
                Ok(page) => page,
                Err(ClientError::Unverified(VerifyFailure::Chain { log }))
                    if !is_parted(&cursor, log) =>
                {
                    return Ok(Fetched::Parted(log));
                }
                Err(error) => return Err(error),
            };
            if let Some(log) = contradicted.get() {
                return Ok(Fetched::Parted(*log));
            }
            let is_empty = page.ordered.is_empty() && page.broadcast.is_empty();
            catch.ordered.extend(page.ordered);
            catch.broadcast.extend(page.broadcast);
            cursor = page.cursor;
            agreed = if is_empty || !page.more { agreed + 1 } else { 0 };
        }
        for log in branches::parted(&cursor) {
            let Branches { entries, healed } = self.branches(topic, &cursor, log).await?;
            catch.broadcast.extend(entries);
            catch.healed.extend(healed);
        }
        Ok(Fetched::All(catch))
    }

    /// The ordered entries of a topic after a position, as f+1 replicas know them.
    pub(super) async fn ordered_lane(
        &self,
        topic: &Topic,
        after: Position,
    ) -> Result<Vec<Ordered>, ClientError> {
        let registry = self.nodes.registry();
        let quorum = registry.durability_quorum(topic.shard(registry.shard_count));
        let mut cursor = TopicCursor { position: after, ..Default::default() };
        let (mut entries, mut agreed) = (Vec::new(), 0);
        while agreed < quorum {
            let page = self.page(topic, &cursor, agreed, &OnceLock::new()).await?;
            let has_more = page.more && !(page.ordered.is_empty() && page.broadcast.is_empty());
            let is_news = !page.ordered.is_empty();
            entries.extend(page.ordered);
            cursor = page.cursor;
            agreed = if has_more || is_news { 0 } else { agreed + 1 };
        }
        Ok(entries)
    }

    /// One page of a topic, from the first replica whose answer verifies; the first `skip` of
    /// them are asked last.
    ///
    /// `contradicted` is set to a log that a replica has otherwise than it was read so far.
    async fn page(
        &self,
        topic: &Topic,
        cursor: &TopicCursor,
        skip: usize,
        contradicted: &OnceLock<LogId>,
    ) -> Result<VerifiedPage, ClientError> {
        let registries = self.nodes.registries();
        let (registry, verifier) = (registries.latest(), self.verifier(&registries));
        let limit = u16::try_from(PAGE_ENTRIES_MAX).unwrap_or(u16::MAX);
        let query = TopicQuery::new(*topic, cursor.clone(), limit).to_wire();
        let accept = |page: TopicPage| {
            let verified = verifier.page(topic, cursor, page);
            if let Err(VerifyFailure::Chain { log }) = &verified
                && !is_parted(cursor, *log)
            {
                contradicted.get_or_init(|| *log);
            }
            verified
        };
        let shard = topic.shard(registry.shard_count);
        self.nodes.ask(shard, skip, "v1/query", &query, accept).await
    }
}
