//! Getting back into a group after an ejection, without anybody's help but an answer (MLS-022,
//! MLS-033 to MLS-036).

use std::collections::BTreeSet;

use rand::rngs::OsRng;
use tidings_envelope::ClientEnvelope;
use tidings_mls::{
    GrantError, Group, GroupStatus, InboxFacts, JoinError, OrderedEntry, ProcessError,
    RejoinRequest, StagedRejoin, Verdict, WelcomePointer,
};
use tidings_types::constants::REJOIN_PERIODS;
use tidings_types::ed25519::PublicKey;
use tidings_types::{InboxId, Period, Position};

use crate::ConversationId;
use crate::core::{Core, Engine, LASTING_DAYS, MESSAGE_DAYS};
use crate::error::ClientError;
use crate::event::Event;
use crate::store::{ConversationState, PendingCommitRow, Scope, StoreError, TopicRole, TopicRow};
use crate::sync::ordered::follow_generations;
use crate::verify::Ordered;

/// How many members are asked at once.
const ASKED_AT_ONCE: usize = 4;

/// Whom an ejected installation asked, and when.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// How often.
    turns: usize,
    /// In which period last.
    at: Option<Period>,
    /// Whose answers led nowhere.
    distrusted: BTreeSet<InboxId>,
    /// When this installation got back in, while that is not sure.
    back_since: Option<Period>,
}

impl Core {
    /// Asks a few members to let us back in, others each time, once per period.
    pub(super) async fn ask_back(
        &self,
        engine: &mut Engine,
        id: ConversationId,
    ) -> Result<(), ClientError> {
        if engine.rejoins.contains_key(&id) {
            return Ok(());
        }
        let now = self.nodes.period().await?;
        let asked = engine.asked.entry(id).or_default();
        if asked.at.is_some_and(|at| now <= at) {
            return Ok(());
        }
        asked.at = Some(now);
        let turn = asked.turns;
        asked.turns += 1;
        let distrusted = asked.distrusted.clone();
        let context = self.seal_context(MESSAGE_DAYS).await?;
        let mut requests = Vec::new();
        for member in members_to_ask(engine.group(id)?.1, &distrusted, turn) {
            let manifest = self.newest_manifest(&member).await?;
            let usable =
                manifest.and_then(|manifest| manifest.verify(&member, self.network, now).ok());
            let Some(member) = usable else { continue };
            let (installation, group) = engine.group(id)?;
            requests.push(group.ask(
                installation,
                &member,
                self.mailbox_buckets(),
                now,
                &context,
            )?);
        }
        if !requests.is_empty() {
            self.deliver_all(&requests).await?;
        }
        Ok(())
    }

    /// Asks again at once, because an answer came too late.
    pub(super) async fn ask_again(
        &self,
        engine: &mut Engine,
        id: ConversationId,
    ) -> Result<(), ClientError> {
        Box::pin(self.pull_conversation(engine, id)).await?;
        engine.asked.entry(id).or_default().at = None;
        match engine.group(id)?.1.status() {
            GroupStatus::Ejected => self.ask_back(engine, id).await,
            _ => Ok(()),
        }
    }

    /// Answers a member that was ejected.
    pub(super) async fn answer(
        &self,
        engine: &mut Engine,
        request: &RejoinRequest,
    ) -> Result<(), ClientError> {
        let id = ConversationId(request.group.0);
        let now = self.nodes.period().await?;
        let is_live = |group: &Group| group.status() == GroupStatus::Active;
        if !engine.groups.get(&id).is_some_and(is_live) || !request.is_good(self.network, now) {
            return Ok(());
        }
        Box::pin(self.pull_conversation(engine, id)).await?;
        let mut grant = self.grant(engine, id, request, now).await?;
        if grant == Err(GrantError::CommitFirst) {
            Box::pin(self.let_go(engine, id)).await?;
            grant = self.grant(engine, id, request, now).await?;
        }
        if let Err(error) = grant {
            tracing::debug!(%id, %error, "a request to be let back in is not answered");
        }
        Ok(())
    }

    async fn grant(
        &self,
        engine: &mut Engine,
        id: ConversationId,
        request: &RejoinRequest,
        now: Period,
    ) -> Result<Result<(), GrantError>, ClientError> {
        let context = self.seal_context(MESSAGE_DAYS).await?;
        let (installation, group) = engine.group(id)?;
        let epoch = group.epoch();
        let grant = match group.grant_rejoin(installation, request, now, &context, &mut OsRng) {
            Ok(grant) => grant,
            Err(error) => return Ok(Err(error)),
        };
        // One answer per epoch is all that one asker can use.
        let asker = (id, request.installation);
        if engine
            .answered
            .get(&asker)
            .is_some_and(|(for_epoch, at)| *for_epoch == epoch && now <= *at)
        {
            return Ok(Ok(()));
        }
        let manifest = self.newest_manifest(&request.installation).await?;
        let usable =
            manifest.and_then(|it| it.verify(&request.installation, self.network, now).ok());
        let Some(invitee) = usable else { return Ok(Err(GrantError::RequestInvalid)) };
        let group = tidings_mls::GroupId(id.0);
        let buckets = self.mailbox_buckets();
        let pointer = grant.reference.point(group, &invitee, buckets, &context, self.network)?;
        self.deliver(&grant.blob).await?;
        self.deliver(&pointer).await?;
        engine.answered.insert(asker, (epoch, now));
        Ok(Ok(()))
    }

    /// Takes an answer to our request, checks it against the lane and the members' inboxes, and
    /// commits our way back in.
    ///
    /// # Errors
    /// [`JoinError`] inside, when the answer is of no use.
    pub(super) async fn take_grant(
        &self,
        engine: &mut Engine,
        id: ConversationId,
        pointer: &WelcomePointer,
        blob: &ClientEnvelope,
    ) -> Result<Result<(), JoinError>, ClientError> {
        if engine.rejoins.contains_key(&id) {
            return Ok(Ok(()));
        }
        Box::pin(self.pull_conversation(engine, id)).await?;
        let (installation, group) = engine.group(id)?;
        let staged = match StagedRejoin::open(installation, group, pointer, blob) {
            Ok(staged) => staged,
            Err(error) => return Ok(Err(error)),
        };
        let distrusted = engine.asked.get(&id).map(|asked| &asked.distrusted);
        if distrusted.is_some_and(|distrusted| distrusted.contains(&staged.granted_by())) {
            return Ok(Err(JoinError::NotInLane));
        }
        let entries = self.ordered_lane(&staged.topic(), Position(0)).await?;
        let envelopes: Vec<ClientEnvelope> =
            entries.into_iter().map(|entry| entry.envelope).collect();
        if let Err(error) = staged.check_lane(engine.group(id)?.1, &envelopes) {
            return Ok(Err(error));
        }
        let mut facts = InboxFacts::none();
        for (inbox, sequence) in staged.needed() {
            facts = self.facts([(inbox, sequence)].into(), facts).await?;
            if let Err(error) = staged.check(inbox, &facts) {
                return Ok(Err(error));
            }
        }
        let now = self.nodes.period().await?;
        let context = self.seal_context(LASTING_DAYS).await?;
        let (installation, group) = engine.group(id)?;
        let made = staged.rejoin(installation, group, &facts, now, &context, &mut OsRng);
        let (mut back, pending) = match made {
            Ok(made) => made,
            Err(error) => return Ok(Err(error)),
        };
        let delta = back.take_delta();
        let envelope = pending.envelope;
        let row = PendingCommitRow { conversation: id, envelope, pointers: Vec::new() };
        self.store().transact(|tx| -> Result<(), StoreError> {
            tx.drop_ratchet(Scope::Rejoin(id))?;
            tx.apply_delta(Scope::Rejoin(id), delta)?;
            tx.put_pending_commit(&row)
        })?;
        engine.rejoins.insert(id, back);
        Box::pin(self.settle(engine, id)).await?;
        Ok(Ok(()))
    }

    /// Our way back in is decided: at this position, or not at all.
    pub(crate) async fn settle_rejoin(
        &self,
        engine: &mut Engine,
        id: ConversationId,
        decided: Option<Position>,
    ) -> Result<(), ClientError> {
        let Some(position) = decided else { return self.give_up_rejoin(engine, id).await };
        let Some(topic) = engine.rejoins.get(&id).map(Group::topic) else { return Ok(()) };
        let lane = self.ordered_lane(&topic, position.minus(1)).await?;
        let Some(entry) = lane.into_iter().next() else {
            return Err(ClientError::Refused {
                code: tidings_types::ErrorCode::ReplicationPending,
            });
        };
        let ordered = OrderedEntry {
            position: entry.position,
            period: entry.period,
            envelope: &entry.envelope,
        };
        let Some(back) = engine.rejoins.get_mut(&id) else { return Ok(()) };
        match back.process_ordered(&ordered, &InboxFacts::none()) {
            Ok(Verdict::Applied(_)) => self.come_back(engine, id, &entry),
            Ok(_) | Err(ProcessError::RejoinLost) => self.give_up_rejoin(engine, id).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Takes part again; the state before is kept until somebody else has been heard.
    fn come_back(
        &self,
        engine: &mut Engine,
        id: ConversationId,
        entry: &Ordered,
    ) -> Result<(), ClientError> {
        let Some(mut back) = engine.rejoins.remove(&id) else { return Ok(()) };
        let delta = back.take_delta();
        let written = self.store().transact(|tx| -> Result<(), StoreError> {
            tx.move_ratchet(Scope::Group(id), Scope::Ejected(id))?;
            tx.move_ratchet(Scope::Rejoin(id), Scope::Group(id))?;
            tx.apply_delta(Scope::Group(id), delta)?;
            tx.remove_pending_commit(id)?;
            tx.mark_seen(entry.id)?;
            tx.set_conversation_state(id, ConversationState::Active, None)?;
            follow_generations(tx, id, &back)?;
            if let Some(row) = tx.view().topic(&back.topic())? {
                let position = back.position();
                let cursor = tidings_envelope::api::TopicCursor { position, ..row.cursor };
                tx.put_cursor(&row.topic, &cursor)?;
            }
            Ok(())
        });
        if let Err(error) = written {
            engine.load_way_back(&self.store(), id)?;
            return Err(error.into());
        }
        if let Some(before) = engine.groups.insert(id, back) {
            engine.ejected.insert(id, before);
        }
        let asked = engine.asked.entry(id).or_default();
        (asked.back_since, asked.at) = (Some(entry.period), None);
        self.topics_changed.notify_waiters();
        self.events.tell(&Event::Returned { conversation: id });
        Ok(())
    }

    /// Another entry was first: the same way is tried again with what is newer.
    async fn give_up_rejoin(
        &self,
        engine: &mut Engine,
        id: ConversationId,
    ) -> Result<(), ClientError> {
        self.store().transact(|tx| -> Result<(), StoreError> {
            tx.drop_ratchet(Scope::Rejoin(id))?;
            tx.remove_pending_commit(id)
        })?;
        engine.rejoins.remove(&id);
        self.ask_again(engine, id).await
    }

    /// Forgets the state that we were ejected with once somebody else of the group was heard, and
    /// takes it up again if nobody was (MLS-036).
    pub(super) async fn make_sure(
        &self,
        engine: &mut Engine,
        id: ConversationId,
    ) -> Result<(), ClientError> {
        if !engine.ejected.contains_key(&id) {
            return Ok(());
        }
        let voucher = engine.group(id)?.1.voucher();
        let Some(voucher) = voucher else {
            self.store().transact(|tx| tx.drop_ratchet(Scope::Ejected(id)))?;
            engine.ejected.remove(&id);
            engine.asked.remove(&id);
            return Ok(());
        };
        let now = self.nodes.period().await?;
        let since = *engine.asked.entry(id).or_default().back_since.get_or_insert(now);
        match now > since.plus(REJOIN_PERIODS) {
            true => self.go_out_again(engine, id, voucher).await,
            false => Ok(()),
        }
    }

    /// Nobody but who let us in knows of it: that was not the group.
    async fn go_out_again(
        &self,
        engine: &mut Engine,
        id: ConversationId,
        voucher: InboxId,
    ) -> Result<(), ClientError> {
        tracing::warn!(%id, %voucher, "an answer led nowhere; others are asked");
        let Some(before) = engine.ejected.remove(&id) else { return Ok(()) };
        let topic = before.topic();
        let cursor = tidings_envelope::api::TopicCursor {
            position: before.position(),
            ..Default::default()
        };
        let written = self.store().transact(|tx| -> Result<(), StoreError> {
            tx.move_ratchet(Scope::Ejected(id), Scope::Group(id))?;
            for row in tx.view().topics_of(id)? {
                if row.role == TopicRole::Current && row.topic != topic {
                    tx.remove_topic(&row.topic)?;
                }
            }
            let known = tx.view().topic(&topic)?.map(|row| row.cursor);
            let cursor = match known {
                Some(known) => {
                    tidings_envelope::api::TopicCursor { position: before.position(), ..known }
                }
                None => cursor,
            };
            let role = TopicRole::Current;
            tx.put_topic(&TopicRow { topic, conversation: Some(id), role, cursor })?;
            tx.remove_pending_commit(id)?;
            let reason = super::ordered::EJECTED;
            tx.set_conversation_state(id, ConversationState::Ejected, Some(reason))
        });
        if let Err(error) = written {
            engine.load_way_back(&self.store(), id)?;
            return Err(error.into());
        }
        engine.groups.insert(id, before);
        let own = engine.group(id)?.1.inbox();
        let asked = engine.asked.entry(id).or_default();
        (asked.at, asked.back_since) = (None, None);
        if voucher != own {
            asked.distrusted.insert(voucher);
        }
        self.topics_changed.notify_waiters();
        self.events.tell(&Event::Ejected { conversation: id });
        self.ask_again(engine, id).await
    }
}

/// Installations of other members: those of trusted inboxes first, another few each turn.
fn members_to_ask(group: &Group, distrusted: &BTreeSet<InboxId>, turn: usize) -> Vec<PublicKey> {
    let own = group.inbox();
    let doubtful = |inbox: &InboxId| {
        distrusted.contains(inbox) || group.ejected_by() == Some(*inbox) || *inbox == own
    };
    let mut members: Vec<(bool, PublicKey)> = Vec::new();
    for (inbox, installations) in group.installations() {
        let others = installations.into_iter().filter(|key| *key != group.installation());
        members.extend(others.map(|key| (doubtful(&inbox), key)));
    }
    members.sort_unstable();
    let members: Vec<PublicKey> = members.into_iter().map(|(_, key)| key).collect();
    if members.is_empty() {
        return members;
    }
    let start = turn.wrapping_mul(ASKED_AT_ONCE) % members.len();
    members.iter().cycle().skip(start).take(ASKED_AT_ONCE.min(members.len())).copied().collect()
}
