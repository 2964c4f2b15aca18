//! Welcomes: every entry of our bucket is tried; those for us lead to a group.

use std::collections::BTreeSet;

use rand::rngs::OsRng;
use tidings_envelope::api::{TopicCursor, TopicPage, TopicQuery};
use tidings_envelope::{ClientEnvelope, Topic};
use tidings_mls::{
    Group, GroupId, GroupStatus, InboxFacts, JoinError, Note, StagedJoin, WelcomePointer,
};
use tidings_types::{InboxId, Wire};

use crate::ConversationId;
use crate::conversation::row_of;
use crate::core::{Core, Engine};
use crate::error::{ClientError, GroupError};
use crate::event::Event;
use crate::store::{AccountKey, Scope};
use crate::sync::ordered::follow_generations;
use crate::verify::Broadcast;

/// A blob's topic has one entry; a few more are looked at in case its writer wrote it twice.
const BLOB_ENTRIES_MAX: u16 = 4;

/// How many welcomes may turn out to be bogus before a mailbox is left for the next turn.
///
/// Each costs its sender a stamp, and us the wait for one inbox that is not there.
const BOGUS_WELCOMES_MAX: u32 = 8;

impl Core {
    /// Deals with an entry of our mailbox.
    pub(super) async fn take_welcome(
        &self,
        engine: &mut Engine,
        mailbox: &Topic,
        cursor: TopicCursor,
        entry: &Broadcast,
    ) -> Result<(), ClientError> {
        if engine.bogus_welcomes >= BOGUS_WELCOMES_MAX {
            return Err(GroupError::BogusWelcomes.into());
        }
        let payload = entry.envelope.as_ref().map(|envelope| &envelope.body.payload);
        let note = match payload {
            Some(payload) => engine.installation()?.open_note(payload),
            None => None,
        };
        let joined = match &note {
            Some(Note::Pointer(pointer)) => self.follow_pointer(engine, pointer).await?,
            Some(Note::Rejoin(request)) => {
                // Whoever asks asks again, and others too; it holds nothing up.
                if let Err(error) = self.answer(engine, request).await {
                    tracing::debug!(%error, "a request to be let back in is not answered");
                }
                None
            }
            None => None,
        };
        let Some((mut group, added_by)) = joined else {
            return self.pass(mailbox, &cursor, entry.id);
        };
        let id = ConversationId(group.id().0);
        if let Some(earlier) = engine.groups.get(&id) {
            group.continue_after(earlier);
        }
        let (delta, kept) = (group.take_delta(), engine.installation()?.take_delta());
        let row = row_of(&group, Some(added_by));
        let written: Result<(), ClientError> = self.store().transact(|tx| {
            // What an earlier membership left behind gives way.
            for scope in [Scope::Group(id), Scope::Rejoin(id), Scope::Ejected(id)] {
                tx.drop_ratchet(scope)?;
            }
            for old in tx.view().topics_of(id)? {
                tx.remove_topic(&old.topic)?;
            }
            tx.remove_pending_commit(id)?;
            tx.apply_delta(Scope::Group(id), delta)?;
            tx.apply_delta(Scope::Installation, kept)?;
            tx.put_conversation(&row)?;
            follow_generations(tx, id, &group)?;
            // The key package is used; the next catch-up publishes another one.
            tx.remove_account(AccountKey::KeysPublished)?;
            tx.mark_seen(entry.id)?;
            Ok(tx.put_cursor(mailbox, &cursor)?)
        });
        written?;
        engine.rejoins.remove(&id);
        engine.ejected.remove(&id);
        engine.asked.remove(&id);
        engine.groups.insert(id, group);
        self.topics_changed.notify_waiters();
        self.events.tell(&Event::Joined { conversation: id });
        Ok(())
    }

    /// The group that a pointer leads to and who added us; none when it leads nowhere, or back
    /// into a group that ejected us.
    async fn follow_pointer(
        &self,
        engine: &mut Engine,
        pointer: &WelcomePointer,
    ) -> Result<Option<(Group, InboxId)>, ClientError> {
        let Some(blob) = self.blob(&pointer.reference.blob_topic()).await? else {
            return Ok(None);
        };
        let id = ConversationId(pointer.group.0);
        // We may have been removed and added again since the group was read last; whether a
        // welcome is for who is in it already, the lane tells (MLS-017).
        if engine.groups.get(&id).is_some_and(|group| group.status() == GroupStatus::Active) {
            Box::pin(self.pull_conversation(engine, id)).await?;
        }
        let is_out = |group: &Group| group.status() == GroupStatus::Ejected;
        if engine.groups.get(&id).is_some_and(is_out) {
            match self.take_grant(engine, id, pointer, &blob).await {
                // A welcome after all: somebody adds us anew.
                Ok(Err(JoinError::BlobInvalid)) => {}
                Ok(Ok(())) => return Ok(None),
                Ok(Err(JoinError::OtherPosition)) => {
                    // The group has moved on since; what is newer is asked for at once.
                    self.ask_again(engine, id).await?;
                    return Ok(None);
                }
                Ok(Err(error)) => return Ok(refuse(pointer, &error)),
                Err(error) => {
                    // Another answer will do as well.
                    tracing::debug!(%id, %error, "an answer could not be followed");
                    return Ok(None);
                }
            }
        }
        self.join(engine, pointer, &blob).await
    }

    async fn join(
        &self,
        engine: &mut Engine,
        pointer: &WelcomePointer,
        blob: &ClientEnvelope,
    ) -> Result<Option<(Group, InboxId)>, ClientError> {
        let live = |group: &&Group| {
            let is_in = matches!(group.status(), GroupStatus::Active | GroupStatus::Rejoining);
            is_in && group.voucher().is_none()
        };
        let known: BTreeSet<GroupId> = engine.groups.values().filter(live).map(Group::id).collect();
        let id = ConversationId(pointer.group.0);
        let hearsay = engine.groups.get(&id).filter(|group| group.voucher().is_some());
        let hearsay = hearsay.map(|group| (group.voucher(), group.settings()));
        let installation = engine.installation()?;
        let staged = StagedJoin::open(installation, pointer, blob, &known, &mut OsRng);
        let staged = match staged {
            Ok(staged) => staged,
            Err(error) => return Ok(refuse(pointer, &error)),
        };
        // What rests on one member's word gives way to the word of another member (MLS-017).
        if let Some((voucher, settings)) = hearsay
            && (voucher == Some(staged.added_by()) || !settings.is_member(staged.added_by()))
        {
            return Ok(refuse(pointer, &JoinError::AlreadyMember));
        }
        let added_by = staged.added_by();
        match self.check_members(staged).await? {
            Ok(group) => Ok(Some((group, added_by))),
            Err(error) => {
                engine.bogus_welcomes += 1;
                Ok(refuse(pointer, &error))
            }
        }
    }

    /// Looks up the members one after another, who added us first, and joins if all are real.
    ///
    /// A stranger can invent a group with thousands of members; the first that is not what it
    /// should be ends the search (MLS-025).
    async fn check_members(
        &self,
        staged: StagedJoin,
    ) -> Result<Result<Group, JoinError>, ClientError> {
        let mut facts = InboxFacts::none();
        for (inbox, sequence) in staged.needed() {
            facts = self.facts([(inbox, sequence)].into(), facts).await?;
            if let Err(error) = staged.check(inbox, &facts) {
                return Ok(Err(error));
            }
        }
        Ok(staged.join(&facts))
    }

    /// The envelope on a blob's topic; none when there is none.
    ///
    /// The blob is on f+1 disks before anybody is pointed to it, so when all replicas but f have
    /// nothing, the pointer is junk.
    async fn blob(&self, topic: &Topic) -> Result<Option<ClientEnvelope>, ClientError> {
        let registries = self.nodes.registries();
        let (registry, verifier) = (registries.latest(), self.verifier(&registries));
        let start = TopicCursor::default();
        let query = TopicQuery::new(*topic, start.clone(), BLOB_ENTRIES_MAX).to_wire();
        let accept = |page: TopicPage| {
            let page = verifier.page(topic, &start, page)?;
            Ok(page.broadcast.into_iter().find_map(|entry| entry.envelope))
        };
        let shard = topic.shard(registry.shard_count);
        let replicas = registry.committee(shard).len();
        let enough = replicas - registry.faults_tolerated(shard);
        for wanted in [1, replicas] {
            let answers = self.nodes.ask_several(shard, "v1/query", &query, wanted, accept).await?;
            let answered = answers.len();
            match answers.into_iter().flatten().next() {
                Some(blob) => return Ok(Some(blob)),
                None if answered >= enough => return Ok(None),
                None => {}
            }
        }
        let reason = "too few replicas answered to know whether a welcome is there".to_owned();
        Err(ClientError::Unreachable { reason })
    }
}

fn refuse<T>(pointer: &WelcomePointer, error: &JoinError) -> Option<T> {
    tracing::info!(group = %pointer.group, %error, "a welcome is not accepted");
    None
}
