//! The client as applications use it.

use std::path::Path;
use std::sync::Arc;

use tidings_identity::{AssociationState, EthereumSigner, LocalWallet, Member, Recipient};
use tidings_mls::{Content, GroupPolicy};
use tidings_types::ed25519::PublicKey;
use tidings_types::{EthereumAddress, InboxId, NetworkId, NodeId, Period};

use crate::conversation::Intent;
use crate::core::Core;
use crate::error::{CallerError, ClientError};
use crate::identity::IdentityDraft;
use crate::look_up::Proved;
use crate::store::{AccountKey, Consent, ConversationRow};
use crate::sync::{Listener, SyncReport};
use crate::{Config, Conversation, ConversationId, ConversationInfo, Message, Unlock};

/// One installation of one person or agent.
///
/// Clones share everything; one process at a time can have a home directory open.
/// Every call that talks to the network is `async` and runs on tokio; the others read the local
/// store.
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Client({:?})", self.core.key.public_key())
    }
}

/// Starting and looking around.
impl Client {
    /// Meets the network through a gateway, pins it, and makes an encrypted store in `home`.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] without a gateway, [`ClientError::Unverified`] when it is of
    /// another network than wanted, [`ClientError::Store`] when `home` cannot be used.
    pub async fn create(
        home: &Path,
        unlock: &Unlock,
        config: &Config,
    ) -> Result<Self, ClientError> {
        Ok(Self { core: Arc::new(Core::create(home, unlock, config).await?) })
    }

    /// Opens the store in `home`; works without the network.
    ///
    /// # Errors
    /// [`ClientError::Store`] when there is none, it is in use, or the key is wrong.
    pub fn open(home: &Path, unlock: &Unlock) -> Result<Self, ClientError> {
        Ok(Self { core: Arc::new(Core::open(home, unlock)?) })
    }

    /// The network that was met first; no other is ever talked to.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.core.network
    }

    /// This installation's public key.
    #[must_use]
    pub fn installation(&self) -> PublicKey {
        self.core.key.public_key()
    }

    /// The current protocol period, as a node says.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when no node answers.
    pub async fn period(&self) -> Result<Period, ClientError> {
        self.core.nodes.period().await
    }

    /// The nodes that a client can talk to: number, name, base URL.
    #[must_use]
    pub fn nodes(&self) -> Vec<(NodeId, String, String)> {
        let registry = self.core.nodes.registry();
        let nodes = registry.nodes.iter();
        nodes.map(|node| (node.id, node.name.clone(), node.http.clone())).collect()
    }

    /// Asks and listens to this node first, now and after a restart; to any if there is none.
    ///
    /// # Errors
    /// [`CallerError::UnknownNode`] when it is not in the registry.
    pub fn prefer_node(&self, node: Option<NodeId>) -> Result<(), ClientError> {
        self.core.prefer_node(node)
    }
}

/// Inboxes.
impl Client {
    /// Our inbox, once it is made.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn inbox_id(&self) -> Result<Option<InboxId>, ClientError> {
        Ok(self.core.store().view().own_inbox()?)
    }

    /// The account of the wallet that is kept here, if there is one.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn wallet_address(&self) -> Result<Option<EthereumAddress>, ClientError> {
        Ok(self.core.store().view().wallet()?.map(|wallet| wallet.address()))
    }

    /// Keeps a wallet's key in the encrypted store; it signs from now on where it is asked for.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn keep_wallet(&self, wallet: &LocalWallet) -> Result<(), ClientError> {
        self.core.keep_wallet(wallet)
    }

    /// Makes an inbox with the wallet kept here, or with a fresh one that is kept.
    ///
    /// # Errors
    /// [`CallerError::HasInbox`], or what [`Client::submit`] fails with.
    pub async fn create_inbox(&self) -> Result<AssociationState, ClientError> {
        let wallet = self.core.own_wallet()?;
        let mut draft = self.core.draft_create(wallet.address(), 0)?;
        draft.sign_with(&wallet)?;
        self.submit(draft).await
    }

    /// Drafts an inbox for an account whose wallet is elsewhere.
    ///
    /// `nonce` tells apart the inboxes that one account opens; 0 for the first.
    ///
    /// # Errors
    /// [`CallerError::HasInbox`].
    pub fn draft_inbox(
        &self,
        account: EthereumAddress,
        nonce: u64,
    ) -> Result<IdentityDraft, ClientError> {
        self.core.draft_create(account, nonce)
    }

    /// Drafts to add an account to our inbox; its wallet has to sign.
    ///
    /// # Errors
    /// [`ClientError::Identity`] when the inbox does not allow it.
    pub async fn draft_add_account(
        &self,
        account: EthereumAddress,
    ) -> Result<IdentityDraft, ClientError> {
        self.core.draft_add(Member::EthereumAccount(account)).await
    }

    /// Drafts to revoke a member of our inbox and all that it added; recovery has to sign.
    ///
    /// # Errors
    /// [`ClientError::Identity`] when the member is none.
    pub async fn draft_revoke(&self, member: Member) -> Result<IdentityDraft, ClientError> {
        self.core.draft_revoke(member).await
    }

    /// Signs a draft with the wallet that is kept here, if it is asked for.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn sign_draft(&self, draft: &mut IdentityDraft) -> Result<(), ClientError> {
        self.core.sign_locally(draft)
    }

    /// Keeps a draft in the store until its signatures come, in this process or a later one.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn keep_draft(&self, draft: &IdentityDraft) -> Result<(), ClientError> {
        let record = draft.to_record();
        Ok(self.core.store().transact(|tx| tx.put_account(AccountKey::Draft, &record))?)
    }

    /// The draft that waits for signatures.
    ///
    /// # Errors
    /// [`CallerError::NoDraft`], or [`ClientError::Identity`] when the inbox has moved on since.
    pub async fn kept_draft(&self) -> Result<IdentityDraft, ClientError> {
        let record = self.core.store().view().account(AccountKey::Draft)?;
        let record = record.ok_or(CallerError::NoDraft)?;
        let current = match self.inbox_id()? {
            Some(inbox) => Some(self.core.newest_inbox(inbox).await?),
            None => None,
        };
        IdentityDraft::from_record(&record, current.as_ref(), self.core.network, &self.core.key)
    }

    /// Publishes a finished draft; returns the inbox as certified afterwards.
    ///
    /// # Errors
    /// [`ClientError::Identity`] when signatures are missing, [`ClientError::Refused`] when the
    /// ordered lane refuses it.
    pub async fn submit(&self, draft: IdentityDraft) -> Result<AssociationState, ClientError> {
        let state = self.core.submit(draft).await?;
        self.core.enter_inbox(state.inbox()).await?;
        Ok(state)
    }

    /// Whom a recipient means, with the verified state of the inbox.
    ///
    /// # Errors
    /// [`CallerError::UnknownRecipient`] when there is nobody.
    pub async fn resolve(&self, recipient: &Recipient) -> Result<AssociationState, ClientError> {
        self.core.resolve(recipient).await
    }

    /// What is proved about a recipient: to which inbox an account leads, if it is one, and the
    /// inbox's state; or that there is none.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when too few nodes answer, [`ClientError::Unverified`] when
    /// nobody's proof is to be believed.
    pub async fn prove(&self, recipient: &Recipient) -> Result<Vec<Proved>, ClientError> {
        self.core.prove(recipient).await
    }

    /// What we decided about an inbox.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn consent(&self, inbox: InboxId) -> Result<Consent, ClientError> {
        Ok(self.core.store().view().consent(inbox)?)
    }

    /// Decides about an inbox.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn set_consent(&self, inbox: InboxId, consent: Consent) -> Result<(), ClientError> {
        Ok(self.core.store().transact(|tx| tx.put_consent(inbox, consent))?)
    }
}

/// Conversations.
impl Client {
    /// The DM with somebody, made if there is none.
    ///
    /// # Errors
    /// [`CallerError::UnknownRecipient`], [`CallerError::NotReachable`], or a failure of the
    /// network.
    pub async fn dm(&self, peer: &Recipient) -> Result<ConversationId, ClientError> {
        self.core.dm(peer).await
    }

    /// A new group; we are its first admin.
    ///
    /// # Errors
    /// As for [`Client::dm`].
    pub async fn group_create(
        &self,
        name: &str,
        description: &str,
        policy: GroupPolicy,
        members: &[Recipient],
    ) -> Result<ConversationId, ClientError> {
        self.core.group_create(name, description, policy, members).await
    }

    /// Adds people with all their installations; those who are members already stay.
    ///
    /// # Errors
    /// As for [`Client::dm`], and [`ClientError::Group`] when we may not.
    pub async fn group_add(
        &self,
        id: ConversationId,
        members: &[Recipient],
    ) -> Result<(), ClientError> {
        let members = self.core.resolve_all(members).await?;
        self.core.bring_about(id, &Intent::Add(members)).await
    }

    /// Removes people with all their installations; those who are no members stay out.
    ///
    /// # Errors
    /// [`ClientError::Group`] when we may not, or a failure of the network.
    pub async fn group_remove(
        &self,
        id: ConversationId,
        members: &[Recipient],
    ) -> Result<(), ClientError> {
        let members = self.core.resolve_all(members).await?;
        self.core.bring_about(id, &Intent::Remove(members)).await
    }

    /// Changes a group's name and description, where given.
    ///
    /// # Errors
    /// [`ClientError::Group`] when we may not, or a failure of the network.
    pub async fn group_describe(
        &self,
        id: ConversationId,
        name: Option<String>,
        description: Option<String>,
    ) -> Result<(), ClientError> {
        self.core.bring_about(id, &Intent::Describe { name, description }).await
    }

    /// Asks to leave a group; the next commit of another member lets us go.
    ///
    /// # Errors
    /// [`ClientError::Group`] for a DM, or a failure of the network.
    pub async fn group_leave(&self, id: ConversationId) -> Result<(), ClientError> {
        self.core.group_leave(id).await
    }

    /// Every conversation, the one with the newest message first.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn conversations(&self) -> Result<Vec<Conversation>, ClientError> {
        let rows = self.core.store().view().conversations()?;
        let listed: Result<Vec<_>, ClientError> =
            rows.into_iter().map(|row| self.listed(row)).collect();
        let mut listed = listed?;
        let newest = |it: &Conversation| it.latest.as_ref().map_or(0, |message| message.number);
        listed.sort_by_key(|conversation| std::cmp::Reverse(newest(conversation)));
        Ok(listed)
    }

    /// One conversation in full; waits for the envelope that is being processed.
    ///
    /// # Errors
    /// [`CallerError::UnknownConversation`].
    pub async fn conversation(&self, id: ConversationId) -> Result<ConversationInfo, ClientError> {
        let row = self.core.store().view().conversation(id)?;
        let listed = self.listed(row.ok_or(CallerError::UnknownConversation(id))?)?;
        let mut engine = self.core.engine.lock().await;
        let (_, group) = engine.group(id)?;
        Ok(ConversationInfo::new(listed, group))
    }

    fn listed(&self, row: ConversationRow) -> Result<Conversation, ClientError> {
        let store = self.core.store();
        let view = store.view();
        let latest = view.latest_messages(row.id, 1)?.pop();
        let consent = match row.peer {
            Some(peer) => view.consent(peer)?,
            None => Consent::Allowed,
        };
        Ok(Conversation {
            id: row.id,
            kind: row.kind,
            name: row.name,
            peer: row.peer,
            state: row.state,
            reason: row.reason,
            consent,
            latest: latest.map(Message::from_row).transpose()?,
        })
    }
}

/// Messages.
impl Client {
    /// Sends a message.
    ///
    /// It returns once f+1 replicas have signed that they hold it; without the network it
    /// returns a message that is queued, which [`Client::sync`] and a [`Listener`] send later.
    ///
    /// # Errors
    /// [`CallerError::UnknownConversation`], [`CallerError::NotActive`].
    pub async fn send(
        &self,
        id: ConversationId,
        content: &Content,
    ) -> Result<Message, ClientError> {
        self.core.send(id, content).await
    }

    /// Sends plain text.
    ///
    /// # Errors
    /// [`CallerError::TooLong`], or as for [`Client::send`].
    pub async fn send_text(&self, id: ConversationId, text: &str) -> Result<Message, ClientError> {
        let too_long = |_| CallerError::TooLong { length_bytes: text.len() };
        self.send(id, &Content::text(text).map_err(too_long)?).await
    }

    /// The last messages of a conversation, oldest first.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn latest_messages(
        &self,
        id: ConversationId,
        limit: u32,
    ) -> Result<Vec<Message>, ClientError> {
        let rows = self.core.store().view().latest_messages(id, limit)?;
        Ok(rows.into_iter().map(Message::from_row).collect::<Result<_, _>>()?)
    }

    /// The messages of a conversation after the one numbered `after`, oldest first.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn messages(
        &self,
        id: ConversationId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Message>, ClientError> {
        let rows = self.core.store().view().messages(id, after, limit)?;
        Ok(rows.into_iter().map(Message::from_row).collect::<Result<_, _>>()?)
    }

    /// The messages of all conversations after the one numbered `after`, oldest first.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn messages_since(&self, after: u64, limit: u32) -> Result<Vec<Message>, ClientError> {
        let rows = self.core.store().view().messages_since(after, limit)?;
        Ok(rows.into_iter().map(Message::from_row).collect::<Result<_, _>>()?)
    }

    /// Reads everything that is new, and sends everything that waits.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when no node answers at all.
    pub async fn sync(&self) -> Result<SyncReport, ClientError> {
        self.core.sync().await
    }

    /// Follows all conversations live, reconnecting for ever; what was missed comes first.
    #[must_use]
    pub fn listen(&self) -> Listener {
        Listener::start(Arc::clone(&self.core))
    }
}
