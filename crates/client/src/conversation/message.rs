//! Messages as they are shown.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tidings_mls::{Content, MessageId, ReactionAction};
use tidings_types::ed25519::PublicKey;
use tidings_types::{InboxId, TimestampSeconds, Wire};

use crate::store::{MessageRow, StoreError};
use crate::{ConversationId, Delivery};

/// A message of a conversation, ours or another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Counts the messages of this store, from 1, in the order in which they came.
    ///
    /// A consumer that keeps the last number it has dealt with and asks for later ones sees
    /// each message exactly once.
    pub number: u64,
    /// Equal at every member; absent while the message waits to be encrypted.
    #[serde(serialize_with = "as_text")]
    pub id: Option<MessageId>,
    /// In which conversation.
    pub conversation: ConversationId,
    /// Who wrote it.
    pub sender: InboxId,
    /// On which installation.
    pub installation: PublicKey,
    /// What it says.
    #[serde(serialize_with = "content")]
    pub content: Content,
    /// By the sender's clock; for display.
    pub sent_at: TimestampSeconds,
    /// How far it has come.
    pub delivery: Delivery,
}

impl Message {
    /// The text to show, if there is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.content.as_text()
    }

    /// Whether we wrote it.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.delivery != Delivery::Received
    }

    pub(crate) fn from_row(row: MessageRow) -> Result<Self, StoreError> {
        let content = Content::from_wire(&row.content)
            .map_err(|_| StoreError::Damaged("a message is not readable"))?;
        Ok(Self {
            number: row.number,
            id: row.id.map(MessageId),
            conversation: row.conversation,
            sender: row.sender,
            installation: row.installation,
            content,
            sent_at: row.sent_at,
            delivery: row.delivery,
        })
    }
}

fn as_text<S: Serializer>(id: &Option<MessageId>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => serializer.collect_str(id),
        None => serializer.serialize_none(),
    }
}

/// Content as JSON: its type, then what that type has.
fn content<S: Serializer>(content: &Content, serializer: S) -> Result<S::Ok, S::Error> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut map = serializer.serialize_map(None)?;
    let kind = match content {
        Content::Text(_) => "text",
        Content::Markdown(_) => "markdown",
        Content::Reaction { .. } => "reaction",
        Content::Reply { .. } => "reply",
        Content::ReadReceipt { .. } => "read_receipt",
        Content::Edit { .. } => "edit",
        Content::Delete { .. } => "delete",
        Content::Custom { .. } => "custom",
    };
    map.serialize_entry("type", kind)?;
    match content {
        Content::Text(bytes) | Content::Markdown(bytes) => {
            map.serialize_entry("text", &text(bytes))?;
        }
        Content::Reaction { message, emoji, action } => {
            map.serialize_entry("message", &message.to_string())?;
            map.serialize_entry("emoji", &text(emoji))?;
            map.serialize_entry("remove", &(*action == ReactionAction::Remove))?;
        }
        Content::Reply { message, text: bytes } | Content::Edit { message, text: bytes } => {
            map.serialize_entry("message", &message.to_string())?;
            map.serialize_entry("text", &text(bytes))?;
        }
        Content::ReadReceipt { message } | Content::Delete { message } => {
            map.serialize_entry("message", &message.to_string())?;
        }
        Content::Custom { content_type, bytes, fallback } => {
            map.serialize_entry("content_type", &text(content_type))?;
            map.serialize_entry("bytes", &hex::encode(&**bytes))?;
            map.serialize_entry("fallback", &text(fallback))?;
        }
    }
    map.end()
}
