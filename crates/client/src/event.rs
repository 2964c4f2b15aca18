//! What happens in conversations, for those who listen.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use tidings_types::{Height, InboxId, NodeId, ShardId};
use tokio::sync::mpsc;

use crate::{ConversationId, Delivery, Message};

/// Something happened.
///
/// Everything that an event tells about messages and conversations is in the store before the
/// event is sent, so a listener that was away reads there what it missed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A message came in; each message once.
    Message(Message),
    /// One of our own messages has come further.
    Delivery {
        /// In which conversation.
        conversation: ConversationId,
        /// The message's number in this store.
        number: u64,
        /// How far it has come.
        delivery: Delivery,
    },
    /// Somebody added us to a conversation, or we made one.
    Joined {
        /// Which conversation.
        conversation: ConversationId,
    },
    /// The membership or the settings of a conversation changed.
    Changed {
        /// Which conversation.
        conversation: ConversationId,
        /// Who made the change.
        by: InboxId,
        /// Inboxes that came in.
        added: Vec<InboxId>,
        /// Inboxes that were put out.
        removed: Vec<InboxId>,
        /// Inboxes that left.
        left: Vec<InboxId>,
        /// Whether name, description or policy changed.
        settings: bool,
    },
    /// A member's commit could not be followed here; this installation is on its way back in.
    Ejected {
        /// From which conversation.
        conversation: ConversationId,
    },
    /// This installation takes part again, after an ejection or a commit that was undone.
    Returned {
        /// In which conversation.
        conversation: ConversationId,
    },
    /// We are no longer part of a conversation.
    Gone {
        /// Which conversation.
        conversation: ConversationId,
        /// Why, for people.
        reason: String,
    },
    /// An entry was set aside: nobody who follows the rules wrote it.
    SetAside {
        /// In which conversation.
        conversation: ConversationId,
        /// What is wrong with it, for people.
        reason: String,
    },
    /// Two blocks of one height are certified: more nodes cheat than the network tolerates, and
    /// nothing that a shard orders is believed any more.
    Forked {
        /// Which shard.
        shard: ShardId,
        /// Which height.
        height: Height,
    },
    /// A node is connected and all that it held has come, for the topics of one shard.
    Connected {
        /// Which node.
        node: NodeId,
    },
    /// The connection to a node is lost; another one is tried.
    Disconnected {
        /// Which node.
        node: NodeId,
        /// Why, for people.
        reason: String,
    },
}

/// Hands every event to everybody who listens.
#[derive(Default)]
pub(crate) struct EventHub {
    listeners: Mutex<Vec<mpsc::UnboundedSender<Event>>>,
}

impl EventHub {
    /// The events from now on.
    pub(crate) fn listen(&self) -> mpsc::UnboundedReceiver<Event> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    /// Tells everybody, and forgets those who are gone.
    pub(crate) fn tell(&self, event: &Event) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.send(event.clone()).is_ok());
    }
}
