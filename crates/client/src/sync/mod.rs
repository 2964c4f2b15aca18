//! Catching up: welcomes first, then each conversation, one envelope at a time.

mod attend;
mod branches;
mod broadcast;
mod live;
mod mailbox;
mod merge;
mod ordered;
mod pull;
mod rejoin;

pub use live::Listener;
pub(crate) use ordered::follow_generations;
pub(crate) use rejoin::Asked;

use serde::Serialize;

use crate::conversation::Intent;
use crate::core::{Core, Engine};
use crate::error::{CallerError, ClientError};
use crate::store::{TopicRole, TopicRow};
use crate::{ConversationId, ConversationState};
use tidings_envelope::Topic;
use tidings_envelope::api::TopicCursor;

/// What a catch-up did not manage; the rest is caught up.
#[derive(Debug, Default, Serialize)]
pub struct SyncReport {
    /// Conversations that could not be read to their end, and why, for people.
    pub behind: Vec<(ConversationId, String)>,
    /// Messages of ours that wait because the network refuses or does not answer.
    pub waiting: usize,
}

impl Core {
    /// Reads everything that is new, and sends everything that waits.
    pub(crate) async fn sync(&self) -> Result<SyncReport, ClientError> {
        if let Err(error) = self.refresh_registry().await {
            // The registry at hand is good for reading; sending will say if it is not.
            tracing::debug!(%error, "the registry is not refreshed");
        }
        let mut report = SyncReport::default();
        let mut engine = self.engine.lock().await;
        if engine.installation.is_some() {
            self.follow_mailbox()?;
            self.pull_mailboxes(&mut engine).await?;
            let ids: Vec<ConversationId> = engine.groups.keys().copied().collect();
            for id in ids {
                if let Err(error) = self.catch_up(&mut engine, id).await {
                    report.behind.push((id, error.to_string()));
                }
            }
            self.ensure_published(&mut engine).await?;
            self.release_overdue(self.last_period())?;
        }
        drop(engine);
        if let Err(error) = self.flush_outbox().await {
            tracing::debug!(%error, "the outbox is not empty");
        }
        let store = self.store();
        report.waiting = store.view().outbox()?.len() + store.view().queued_messages()?.len();
        Ok(report)
    }

    /// Reads one conversation, finds out about our own commit, sees to those who are to go, and to
    /// commits that are not proved.
    pub(crate) async fn catch_up(
        &self,
        engine: &mut Engine,
        id: ConversationId,
    ) -> Result<(), ClientError> {
        self.pull_conversation(engine, id).await?;
        self.settle(engine, id).await?;
        self.let_go(engine, id).await?;
        self.attend(engine, id).await?;
        self.drop_ended_topics(engine, id)
    }

    /// Commits that somebody is to go, if nobody else has.
    pub(crate) async fn let_go(
        &self,
        engine: &mut Engine,
        id: ConversationId,
    ) -> Result<(), ClientError> {
        let (_, group) = engine.group(id)?;
        match group.owes_commit() {
            true => self.change(engine, id, &Intent::LetGo).await,
            false => Ok(()),
        }
    }

    /// Refuses to go on when we do not take part any more.
    pub(crate) fn check_active(&self, id: ConversationId) -> Result<(), ClientError> {
        let row = self.store().view().conversation(id)?;
        let state = row.ok_or(CallerError::UnknownConversation(id))?.state;
        match state {
            ConversationState::Active | ConversationState::Leaving => Ok(()),
            _ => Err(CallerError::NotActive { id, state }.into()),
        }
    }

    /// Refuses what could never be sent; what is said while we are on our way back in waits.
    pub(crate) fn check_open(&self, id: ConversationId) -> Result<(), ClientError> {
        match self.check_active(id) {
            Err(ClientError::Caller(CallerError::NotActive {
                state: ConversationState::Ejected,
                ..
            })) => Ok(()),
            checked => checked,
        }
    }

    /// Follows the bucket in which this installation gets its welcomes.
    pub(crate) fn follow_mailbox(&self) -> Result<(), ClientError> {
        let topic = Topic::mailbox_of(&self.key.public_key(), self.mailbox_buckets());
        let mut store = self.store();
        if store.view().topic(&topic)?.is_some() {
            return Ok(());
        }
        let cursor = TopicCursor::default();
        let row = TopicRow { topic, conversation: None, role: TopicRole::Mailbox, cursor };
        store.transact(|tx| tx.put_topic(&row))?;
        self.topics_changed.notify_waiters();
        Ok(())
    }

    /// Drops generations that ended long enough ago that every replica has all of them.
    fn drop_ended_topics(
        &self,
        engine: &mut Engine,
        id: ConversationId,
    ) -> Result<(), ClientError> {
        /// Replicas that were away catch up within this many periods, or are not counted on.
        const SETTLING_PERIODS: u64 = 4;
        let now = self.last_period();
        let rows = self.store().view().topics_of(id)?;
        for row in rows {
            let TopicRole::Ended { until } = row.role else { continue };
            let (_, group) = engine.group(id)?;
            // What is still open about its last commit is said there.
            let is_open = group.open_topics().contains(&row.topic);
            if is_open || now <= until.plus(SETTLING_PERIODS) {
                continue;
            }
            let retired = until.minus(tidings_mls::GENERATION_GRACE_PERIODS);
            group.forget_generations_before(retired.plus(1));
            let delta = group.take_delta();
            let written: Result<(), ClientError> = self.store().transact(|tx| {
                tx.apply_delta(crate::store::Scope::Group(id), delta)?;
                Ok(tx.remove_topic(&row.topic)?)
            });
            self.reload_on_failure(engine, id, written)?;
        }
        Ok(())
    }

    /// Puts a group back to what is stored when what it did could not be stored.
    pub(crate) fn reload_on_failure<T>(
        &self,
        engine: &mut Engine,
        id: ConversationId,
        written: Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        if written.is_err() {
            engine.load_group(&self.store(), id)?;
        }
        written
    }
}
