//! Reading a topic to its end from any replica, and dealing with what it holds.

use tidings_envelope::Topic;
use tidings_envelope::api::{TopicCursor, TopicPage, TopicQuery};
use tidings_types::constants::PAGE_ENTRIES_MAX;
use tidings_types::{Position, Wire};

use crate::ConversationId;
use crate::core::{Core, Engine};
use crate::error::{ClientError, GroupError, VerifyFailure};
use crate::store::TopicRole;
use crate::verify::{Broadcast, Ordered, VerifiedPage, without_log};

/// How many logs of a topic are read anew in one go because nobody's copy follows ours.
const RESETS_MAX: u32 = 16;

/// What a topic holds after a cursor.
#[derive(Default)]
struct Catch {
    ordered: Vec<Ordered>,
    broadcast: Vec<Broadcast>,
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
        for entry in &catch.broadcast {
            self.take_broadcast(engine, topic, entry).await?;
        }
        for entry in &catch.ordered {
            self.take_ordered(engine, topic, entry).await?;
        }
        Ok(())
    }

    /// All that f+1 replicas know of: what is left out of the middle shows, and what is left out
    /// at the end is known to another one.
    async fn fetch(&self, topic: &Topic) -> Result<Catch, ClientError> {
        let mut resets = 0;
        let mut catch = Catch::default();
        let Some(row) = self.store().view().topic(topic)? else { return Ok(catch) };
        let mut cursor = row.cursor;
        let registry = self.nodes.registry();
        let quorum = registry.durability_quorum(topic.shard(registry.shard_count));
        // How many replicas in a row had nothing more.
        let mut agreed = 0;
        while agreed < quorum {
            match self.page(topic, &cursor, agreed).await {
                Ok(page) => {
                    let is_empty = page.ordered.is_empty() && page.broadcast.is_empty();
                    catch.ordered.extend(page.ordered);
                    catch.broadcast.extend(page.broadcast);
                    cursor = page.cursor;
                    match is_empty || !page.more {
                        true => agreed += 1,
                        false => agreed = 0,
                    }
                }
                Err(ClientError::Unverified(VerifyFailure::Chain { log }))
                    if resets < RESETS_MAX =>
                {
                    // A node may have served us a log that no other node knows. From its start
                    // the true one can be told, and ids keep its entries from counting twice.
                    tracing::warn!(%log, "a log does not continue what was read; reading it anew");
                    resets += 1;
                    let Some(row) = self.store().view().topic(topic)? else { return Ok(catch) };
                    cursor = without_log(&row.cursor, log);
                    self.store().transact(|tx| tx.put_cursor(topic, &cursor))?;
                    catch = Catch::default();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(catch)
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
            let page = self.page(topic, &cursor, agreed).await?;
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
    async fn page(
        &self,
        topic: &Topic,
        cursor: &TopicCursor,
        skip: usize,
    ) -> Result<VerifiedPage, ClientError> {
        let registries = self.nodes.registries();
        let (registry, verifier) = (registries.latest(), self.verifier(&registries));
        let limit = u16::try_from(PAGE_ENTRIES_MAX).unwrap_or(u16::MAX);
        let query = TopicQuery::new(*topic, cursor.clone(), limit).to_wire();
        let accept = |page: TopicPage| verifier.page(topic, cursor, page);
        let shard = topic.shard(registry.shard_count);
        self.nodes.ask(shard, skip, "v1/query", &query, accept).await
    }
}
