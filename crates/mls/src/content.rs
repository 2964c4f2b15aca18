//! What people and agents say: the content of application messages (MLS-021).

use std::fmt;

use tidings_types::constants::{ENVELOPE_PAYLOAD_BYTES_MAX, PROTOCOL_VERSION};
use tidings_types::ed25519::PublicKey;
use tidings_types::{BoundedBytes, InboxId, LengthError, TimestampSeconds, Wire, labelled_hash};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::group::GroupId;

/// The longest text or custom content: a payload less room for framing. Unit: bytes.
pub const CONTENT_BYTES_MAX: usize = 786_432;

/// One emoji with modifiers, or a short name. Unit: bytes of UTF-8.
pub const EMOJI_BYTES_MAX: usize = 64;

/// The longest content type, as in `example.org/poll@1`. Unit: bytes of UTF-8.
pub const CONTENT_TYPE_BYTES_MAX: usize = 256;

// Padding adds less than an eighth to the longest content.
const _: () = assert!(CONTENT_BYTES_MAX + CONTENT_BYTES_MAX / 4 < ENVELOPE_PAYLOAD_BYTES_MAX);

/// Names a message: a hash over group, sender, epoch and content (MLS-021).
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, TlsSize, TlsSerialize, TlsDeserializeBytes,
)]
pub struct MessageId(pub [u8; 32]);

impl fmt::Display for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MessageId({self})")
    }
}

/// Text of at most [`CONTENT_BYTES_MAX`] bytes.
pub type TextBytes = BoundedBytes<CONTENT_BYTES_MAX>;

/// What a message says; texts are UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u16)]
pub enum Content {
    /// Plain text.
    #[tls_codec(discriminant = 1)]
    Text(TextBytes),
    /// Text in Markdown.
    #[tls_codec(discriminant = 2)]
    Markdown(TextBytes),
    /// An emoji put on a message, or taken back.
    #[tls_codec(discriminant = 3)]
    Reaction {
        /// On which message.
        message: MessageId,
        /// Which emoji.
        emoji: BoundedBytes<EMOJI_BYTES_MAX>,
        /// 0 puts, 1 takes back.
        action: ReactionAction,
    },
    /// Text in answer to a message.
    #[tls_codec(discriminant = 4)]
    Reply {
        /// To which message.
        message: MessageId,
        /// The answer.
        text: TextBytes,
    },
    /// The sender has read up to a message.
    #[tls_codec(discriminant = 5)]
    ReadReceipt {
        /// Up to which message.
        message: MessageId,
    },
    /// The sender replaces the text of an own message.
    #[tls_codec(discriminant = 6)]
    Edit {
        /// Which message.
        message: MessageId,
        /// The new text.
        text: TextBytes,
    },
    /// The sender takes back an own message.
    #[tls_codec(discriminant = 7)]
    Delete {
        /// Which message.
        message: MessageId,
    },
    /// Content of an application's own.
    #[tls_codec(discriminant = 8)]
    Custom {
        /// Its type, as `authority/name@version`.
        content_type: BoundedBytes<CONTENT_TYPE_BYTES_MAX>,
        /// Its bytes.
        bytes: TextBytes,
        /// Text for those who do not know the type; may be empty.
        fallback: BoundedBytes<CONTENT_TYPE_BYTES_MAX>,
    },
}

/// Whether a reaction is put or taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum ReactionAction {
    /// It is put.
    Add = 0,
    /// It is taken back.
    Remove = 1,
}

impl Content {
    /// Plain text.
    ///
    /// # Errors
    /// [`LengthError`] when it is longer than [`CONTENT_BYTES_MAX`].
    pub fn text(text: &str) -> Result<Self, LengthError> {
        Ok(Self::Text(TextBytes::new(text.as_bytes().to_vec())?))
    }

    /// The text to show, when the content has one and it is UTF-8.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Markdown(text) => std::str::from_utf8(text).ok(),
            Self::Reply { text, .. } | Self::Edit { text, .. } => std::str::from_utf8(text).ok(),
            Self::Custom { fallback, .. } => std::str::from_utf8(fallback).ok(),
            Self::Reaction { .. } | Self::ReadReceipt { .. } | Self::Delete { .. } => None,
        }
    }

    fn is_valid(&self) -> bool {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
        match self {
            Self::Text(bytes) | Self::Markdown(bytes) => text(bytes),
            Self::Reply { text: bytes, .. } | Self::Edit { text: bytes, .. } => text(bytes),
            Self::Reaction { emoji, .. } => !emoji.is_empty() && text(emoji),
            Self::Custom { content_type, fallback, .. } => text(content_type) && text(fallback),
            Self::ReadReceipt { .. } | Self::Delete { .. } => true,
        }
    }
}

/// What an application message carries.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub(crate) struct ContentFrame {
    /// The version of this structure.
    pub(crate) version: u16,
    /// Keeps two messages of the same words apart.
    pub(crate) nonce: [u8; 16],
    /// The message that this installation sent before in this group (MLS-024).
    pub(crate) previous: Option<Predecessor>,
    /// The sender's clock, for display.
    pub(crate) sent_at: TimestampSeconds,
    /// What is said.
    pub(crate) content: Content,
}

/// A message that came before another of the same installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub(crate) struct Predecessor {
    /// Which message.
    pub(crate) id: MessageId,
    /// In which epoch it was sent; whoever joined later will never see it.
    pub(crate) epoch: u64,
}

impl ContentFrame {
    /// The frame in `bytes`, strictly; `None` for anything but a valid frame of this version.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let frame = Self::from_wire(bytes).ok()?;
        (frame.version == PROTOCOL_VERSION && frame.content.is_valid()).then_some(frame)
    }
}

/// Who sent a message, and when in the group's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) group: GroupId,
    pub(crate) inbox: InboxId,
    pub(crate) installation: PublicKey,
    pub(crate) epoch: u64,
}

impl Origin {
    /// The id of the message with this frame (MLS-021).
    pub(crate) fn message_id(&self, frame: &[u8]) -> MessageId {
        MessageId(labelled_hash(
            "message id",
            &[&self.group.0, &self.inbox.0, &self.installation.0, &self.epoch.to_be_bytes(), frame],
        ))
    }
}

/// A message that a member of the group sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// Its id; equal at every member.
    pub id: MessageId,
    /// Whose it is.
    pub sender: InboxId,
    /// On which installation it was written.
    pub installation: PublicKey,
    /// In which epoch.
    pub epoch: u64,
    /// The message that the same installation sent before, if this one can have it: it is shown
    /// first, whichever arrives first (MLS-024).
    pub after: Option<MessageId>,
    /// The sender's clock, for display.
    pub sent_at: TimestampSeconds,
    /// What it says.
    pub content: Content,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(content: Content) -> ContentFrame {
        ContentFrame {
            version: PROTOCOL_VERSION,
            nonce: [1; 16],
            previous: None,
            sent_at: TimestampSeconds(5),
            content,
        }
    }

    #[test]
    fn every_kind_of_content_round_trips() {
        // covers: MLS-021
        let message = MessageId([3; 32]);
        let text = || TextBytes::new(b"words".to_vec()).unwrap();
        let contents = [
            Content::Text(text()),
            Content::Markdown(text()),
            Content::Reaction {
                message,
                emoji: "👍".as_bytes().to_vec().try_into().unwrap(),
                action: ReactionAction::Add,
            },
            Content::Reply { message, text: text() },
            Content::ReadReceipt { message },
            Content::Edit { message, text: text() },
            Content::Delete { message },
            Content::Custom {
                content_type: b"example.org/poll@1".to_vec().try_into().unwrap(),
                bytes: TextBytes::new(vec![0xff, 0]).unwrap(),
                fallback: b"a poll".to_vec().try_into().unwrap(),
            },
        ];
        for content in contents {
            let frame = frame(content);
            assert_eq!(ContentFrame::parse(&frame.to_wire()), Some(frame));
        }
    }

    #[test]
    fn invalid_frames_are_refused() {
        // covers: MLS-021
        let not_utf8 = frame(Content::Text(TextBytes::new(vec![0xff]).unwrap()));
        assert_eq!(ContentFrame::parse(&not_utf8.to_wire()), None);
        let mut newer = frame(Content::Text(TextBytes::default()));
        newer.version = 2;
        assert_eq!(ContentFrame::parse(&newer.to_wire()), None);
        let mut trailing = frame(Content::Text(TextBytes::default())).to_wire();
        trailing.push(0);
        assert_eq!(ContentFrame::parse(&trailing), None);
    }

    #[test]
    fn ids_bind_group_sender_epoch_and_content() {
        // covers: MLS-021
        let origin = Origin {
            group: GroupId([1; 32]),
            inbox: InboxId([2; 32]),
            installation: PublicKey([3; 32]),
            epoch: 4,
        };
        let id = origin.message_id(b"frame");
        assert_ne!(id, Origin { group: GroupId([9; 32]), ..origin }.message_id(b"frame"));
        assert_ne!(id, Origin { inbox: InboxId([9; 32]), ..origin }.message_id(b"frame"));
        assert_ne!(id, Origin { epoch: 5, ..origin }.message_id(b"frame"));
        assert_ne!(id, origin.message_id(b"other"));
    }

    #[test]
    fn frames_and_ids_are_those_of_the_vectors() {
        // covers: MLS-021
        let text = include_str!("../../../spec/vectors/mls/messages.json");
        let file: serde_json::Value = serde_json::from_str(text).unwrap();
        for case in file["cases"].as_array().unwrap() {
            let bytes = |name: &str| hex::decode(case[name].as_str().unwrap()).unwrap();
            let id = |name: &str| <[u8; 32]>::try_from(bytes(name)).unwrap();
            let frame = ContentFrame {
                version: PROTOCOL_VERSION,
                nonce: bytes("nonce").try_into().unwrap(),
                previous: None,
                sent_at: TimestampSeconds(case["sent_at"].as_u64().unwrap()),
                content: Content::text(case["text"].as_str().unwrap()).unwrap(),
            };
            assert_eq!(frame.to_wire(), bytes("frame"));
            let origin = Origin {
                group: GroupId(id("group")),
                inbox: InboxId(id("inbox")),
                installation: PublicKey(id("installation")),
                epoch: case["epoch"].as_u64().unwrap(),
            };
            assert_eq!(origin.message_id(&frame.to_wire()), MessageId(id("id")));
        }
    }
}
