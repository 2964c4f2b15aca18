//! Making conversations, changing who is in them, and leaving.

use std::collections::BTreeSet;

use rand::rngs::OsRng;
use tidings_envelope::ClientEnvelope;
use tidings_identity::Recipient;
use tidings_mls::{Group, GroupPolicy, NewGroup};
use tidings_types::InboxId;

use crate::conversation::{Intent, row_of};
use crate::core::{Core, LASTING_DAYS};
use crate::error::{CallerError, ClientError, VerifyFailure};
use crate::event::Event;
use crate::identity::head;
use crate::store::{Consent, ConversationState, Scope};
use crate::sync::follow_generations;
use crate::verify::Proven;
use crate::{ConversationId, StoreError};

impl Core {
    /// The DM with somebody, made if there is none.
    pub(crate) async fn dm(&self, peer: &Recipient) -> Result<ConversationId, ClientError> {
        let own = self.own_inbox()?;
        let state = match self.resolve(peer).await {
            // A conversation that is there can be written to without the network.
            Err(ClientError::Unreachable { reason }) => {
                let known = self.known_dm(peer)?;
                return known.ok_or(ClientError::Unreachable { reason });
            }
            state => state?,
        };
        let peer = state.inbox();
        if peer == own {
            return Err(CallerError::Alone.into());
        }
        if let Some(row) = self.store().view().dm_with(peer)? {
            return Ok(row.id);
        }
        // Whoever has no key packages cannot be written to; better known before the group is made.
        self.invitees(&state).await?;
        let id = self.make(NewGroup::Dm { peer }).await?;
        self.fill(id, BTreeSet::from([peer])).await?;
        self.store().transact(|tx| tx.put_consent(peer, Consent::Allowed))?;
        Ok(id)
    }

    /// The DM with somebody, as far as the store knows.
    fn known_dm(&self, peer: &Recipient) -> Result<Option<ConversationId>, ClientError> {
        let store = self.store();
        let inbox = match peer {
            Recipient::Inbox(inbox) => Some(*inbox),
            Recipient::Address(address) => store.view().inbox_of(*address)?,
            Recipient::Name(_) => None,
        };
        let row = inbox.map(|inbox| store.view().dm_with(inbox)).transpose()?.flatten();
        Ok(row.map(|row| row.id))
    }

    /// A new group with a name and its first members.
    pub(crate) async fn group_create(
        &self,
        name: &str,
        description: &str,
        policy: GroupPolicy,
        members: &[Recipient],
    ) -> Result<ConversationId, ClientError> {
        let members = self.resolve_all(members).await?;
        let (name, description) = (name.to_owned(), description.to_owned());
        let id = self.make(NewGroup::Group { name, description, policy }).await?;
        if !members.is_empty() {
            self.fill(id, members).await?;
        }
        Ok(id)
    }

    /// Brings a conversation to what is wanted, then sends the welcomes that follow from it.
    pub(crate) async fn bring_about(
        &self,
        id: ConversationId,
        intent: &Intent,
    ) -> Result<(), ClientError> {
        self.check_active(id)?;
        let mut engine = self.engine.lock().await;
        let changed = self.change(&mut engine, id, intent).await;
        drop(engine);
        changed?;
        // The welcomes stay in the outbox until they are sent, so this may fail in passing.
        if let Err(error) = self.flush_outbox().await {
            tracing::debug!(%error, "welcomes wait");
        }
        Ok(())
    }

    /// Asks to be let go; whoever commits next does it.
    pub(crate) async fn group_leave(&self, id: ConversationId) -> Result<(), ClientError> {
        self.check_active(id)?;
        let mut engine = self.engine.lock().await;
        self.pull_conversation(&mut engine, id).await?;
        self.settle(&mut engine, id).await?;
        self.check_active(id)?;
        let members = engine.group(id)?.1.settings().members.len();
        if members > 1 {
            let request = self.leave_request(&mut engine, id).await?;
            match self.deliver(&request).await? {
                Proven::Applied(_) => {}
                Proven::Stored | Proven::Conflict => return Err(VerifyFailure::Misplaced.into()),
            }
        }
        let state = if members > 1 { ConversationState::Leaving } else { ConversationState::Left };
        Ok(self.store().transact(|tx| tx.set_conversation_state(id, state, None))?)
    }

    async fn leave_request(
        &self,
        engine: &mut crate::core::Engine,
        id: ConversationId,
    ) -> Result<ClientEnvelope, ClientError> {
        let context = self.seal_context(LASTING_DAYS).await?;
        let (installation, group) = engine.group(id)?;
        let request = group.leave(installation, &context)?;
        let delta = group.take_delta();
        let written: Result<(), ClientError> =
            self.store().transact(|tx| Ok(tx.apply_delta(Scope::Group(id), delta)?));
        self.reload_on_failure(engine, id, written)?;
        Ok(request)
    }

    /// The inboxes of all recipients, our own left out.
    pub(crate) async fn resolve_all(
        &self,
        recipients: &[Recipient],
    ) -> Result<BTreeSet<InboxId>, ClientError> {
        let own = self.own_inbox()?;
        let mut inboxes = BTreeSet::new();
        for recipient in recipients {
            inboxes.insert(self.resolve(recipient).await?.inbox());
        }
        inboxes.remove(&own);
        Ok(inboxes)
    }

    /// A group with nobody but this installation, stored.
    async fn make(&self, new: NewGroup) -> Result<ConversationId, ClientError> {
        let own = self.newest_inbox(self.own_inbox()?).await?;
        let mut engine = self.engine.lock().await;
        let installation = engine.installation()?;
        let mut group = Group::create(installation, &head(&own), new, &mut OsRng)?;
        let id = ConversationId(group.id().0);
        let (delta, row) = (group.take_delta(), row_of(&group, None));
        self.store().transact(|tx| -> Result<(), StoreError> {
            tx.apply_delta(Scope::Group(id), delta)?;
            tx.put_conversation(&row)?;
            follow_generations(tx, id, &group)
        })?;
        engine.groups.insert(id, group);
        self.topics_changed.notify_waiters();
        self.events.tell(&Event::Joined { conversation: id });
        Ok(id)
    }

    /// Adds the first members; without them the new group is given up.
    async fn fill(
        &self,
        id: ConversationId,
        members: BTreeSet<InboxId>,
    ) -> Result<(), ClientError> {
        let filled = self.bring_about(id, &Intent::Add(members)).await;
        if let Err(error) = &filled {
            // An undecided commit may yet be applied; then the group is there after all.
            if self.store().view().pending_commit(id)?.is_none() {
                let (left, reason) = (ConversationState::Left, error.to_string());
                self.store().transact(|tx| tx.set_conversation_state(id, left, Some(&reason)))?;
            }
        }
        filled
    }
}
