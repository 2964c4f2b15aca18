//! The people of the demo: each a client with a wallet, a store and a node of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tidings_client::{
    Client, Config, ConversationId, ConversationState, Delivery, Message, MessageId, Recipient,
    Unlock,
};
use tidings_types::NodeId;

use crate::stage::{Node, Stage};

const PATIENCE: Duration = Duration::from_secs(60);

/// How many messages of a conversation the demo can look at.
const TRANSCRIPT_MAX: u32 = 10_000;

/// Somebody who talks.
pub struct Person {
    /// What we call them.
    pub name: &'static str,
    /// Their client.
    pub client: Client,
    /// The messages of theirs that the network acknowledged, in order.
    pub acknowledged: Vec<MessageId>,
}

impl Person {
    /// Makes a client with a fresh wallet that reads from `node`, and its inbox.
    ///
    /// # Errors
    /// When the network refuses.
    pub async fn enter(
        name: &'static str,
        home: &std::path::Path,
        stage: &Stage,
        node: &Node,
    ) -> Result<Self> {
        let (gateway, key) = stage.gateway()?;
        let mut config = Config::new(gateway, key);
        config.node = Some(NodeId(node.id));
        let unlock = Unlock::passphrase(name);
        let client = Client::create(&home.join(name), &unlock, &config).await?;
        client.create_inbox().await?;
        Ok(Self { name, client, acknowledged: Vec::new() })
    }

    /// How others address this person.
    ///
    /// # Errors
    /// When there is no wallet.
    pub fn address(&self) -> Result<Recipient> {
        let address = self.client.wallet_address()?.context("a person has a wallet")?;
        Ok(Recipient::Address(address))
    }

    /// Says something and waits until f+1 replicas have signed that they hold it.
    ///
    /// # Errors
    /// When it is not acknowledged in time.
    pub async fn say(&mut self, conversation: ConversationId, text: &str) -> Result<()> {
        let message = self.client.send_text(conversation, text).await?;
        let deadline = Instant::now() + PATIENCE;
        let mut message = self.latest_of(conversation, message.number)?;
        while message.delivery != Delivery::Sent {
            if let Delivery::Failed { reason } = &message.delivery {
                bail!("{} could not say {text:?}: {reason}", self.name);
            }
            if Instant::now() > deadline {
                bail!("{} waits in vain for an acknowledgement of {text:?}", self.name);
            }
            self.client.sync().await?;
            message = self.latest_of(conversation, message.number)?;
        }
        self.acknowledged.push(message.id.context("a sent message has an id")?);
        Ok(())
    }

    fn latest_of(&self, conversation: ConversationId, number: u64) -> Result<Message> {
        let found = self.transcript(conversation)?.into_iter().find(|it| it.number == number);
        found.context("a message that was sent is in the store")
    }

    /// Everything in the conversation, in the order in which it came.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn transcript(&self, conversation: ConversationId) -> Result<Vec<Message>> {
        Ok(self.client.messages(conversation, 0, TRANSCRIPT_MAX)?)
    }

    /// Syncs until `is_so` holds.
    ///
    /// # Errors
    /// When it does not hold in time.
    pub async fn until(&self, what: &str, is_so: impl Fn(&Client) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = self.client.sync().await?;
            if is_so(&self.client)? {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} waits in vain: {what}; {report:?}", self.name);
            }
        }
    }

    /// Waits until the conversation is there.
    ///
    /// # Errors
    /// When nobody lets this person in.
    pub async fn joins(&self, conversation: ConversationId) -> Result<()> {
        self.until("for the invitation", |client| {
            Ok(client.conversations()?.iter().any(|it| it.id == conversation))
        })
        .await
    }

    /// Waits until this person has learned that they are out.
    ///
    /// # Errors
    /// When they never learn it.
    pub async fn is_out(&self, conversation: ConversationId) -> Result<()> {
        self.until("to learn of the removal", |client| {
            let listed = client.conversations()?;
            Ok(listed
                .iter()
                .any(|it| it.id == conversation && it.state == ConversationState::Removed))
        })
        .await
    }

    /// Waits until every one of `messages` is in the store.
    ///
    /// # Errors
    /// When some do not come.
    pub async fn has_heard(
        &self,
        conversation: ConversationId,
        messages: &[MessageId],
    ) -> Result<()> {
        self.until("for messages of others", |_| {
            let transcript = self.transcript(conversation)?;
            let heard = |id: &MessageId| transcript.iter().any(|it| it.id == Some(*id));
            Ok(messages.iter().all(heard))
        })
        .await
    }
}
