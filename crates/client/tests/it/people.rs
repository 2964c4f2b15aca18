//! People with a client each, and what tests ask of them.

use tempfile::TempDir;
use tidings_client::{
    Client, Config, ConversationId, Delivery, Event, Listener, Recipient, Unlock,
};
use tidings_types::InboxId;

use crate::ledger::wallet;
use crate::network::Network;

/// Somebody with one installation.
pub(crate) struct Person {
    pub(crate) client: Client,
    pub(crate) inbox: InboxId,
    pub(crate) home: TempDir,
}

impl Person {
    /// Person number `number` of a network, with an inbox.
    pub(crate) async fn new(network: &Network, number: u8) -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = Config::new(&network.gateway, "key");
        let unlock = Unlock::key_file(home.path().join("key"));
        let client = Client::create(home.path(), &unlock, &config).await.unwrap();
        client.keep_wallet(&wallet(number)).unwrap();
        let inbox = client.create_inbox().await.unwrap().inbox();
        Self { client, inbox, home }
    }

    /// Ends the client and starts it again from its store, as after a crash.
    pub(crate) fn restart(self) -> Self {
        let Self { client, inbox, home } = self;
        drop(client);
        let unlock = Unlock::key_file(home.path().join("key"));
        let client = Client::open(home.path(), &unlock).unwrap();
        Self { client, inbox, home }
    }

    pub(crate) fn recipient(&self) -> Recipient {
        Recipient::Inbox(self.inbox)
    }

    /// Says something and expects it to be sent.
    pub(crate) async fn say(&self, id: ConversationId, text: &str) {
        let message = self.client.send_text(id, text).await.unwrap();
        assert_eq!(message.delivery, Delivery::Sent, "{text}");
    }

    /// Catches up and expects nothing to be left.
    pub(crate) async fn sync(&self) {
        let report = self.client.sync().await.unwrap();
        assert!(report.behind.is_empty(), "{report:?}");
        assert_eq!(report.waiting, 0);
    }

    /// The texts of a conversation, oldest first.
    pub(crate) fn texts(&self, id: ConversationId) -> Vec<String> {
        let messages = self.client.messages(id, 0, 1_000).unwrap();
        messages.iter().map(|message| message.text().unwrap_or("?").to_owned()).collect()
    }

    /// The only conversation.
    pub(crate) fn only(&self) -> ConversationId {
        let listed = self.client.conversations().unwrap();
        assert_eq!(listed.len(), 1);
        listed[0].id
    }
}

/// Expects everybody to be in the same epoch with the same secrets.
pub(crate) async fn agree(people: &[&Person], id: ConversationId) {
    let mut authenticators = Vec::new();
    for person in people {
        authenticators.push(person.client.conversation(id).await.unwrap().authenticator);
    }
    authenticators.dedup();
    assert_eq!(authenticators.len(), 1);
}

/// The next text that comes in.
pub(crate) async fn next_text(listener: &mut Listener) -> String {
    loop {
        match listener.next().await.expect("the client is there") {
            Event::Message(message) => return message.text().unwrap_or("?").to_owned(),
            Event::SetAside { reason, .. } => panic!("set aside: {reason}"),
            _ => {}
        }
    }
}

/// Waits until an event is what is wanted.
pub(crate) async fn until(listener: &mut Listener, wanted: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event = listener.next().await.expect("the client is there");
        if wanted(&event) {
            return event;
        }
    }
}
