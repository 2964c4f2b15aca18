//! XMTP topics: a kind byte and an id, and the Tidings topic that carries each.

use tidings_envelope::Topic;

/// How long ids are, by kind byte (XMTP-001).
const GROUP_ID_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// What an XMTP topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The messages of a group, commits among them; the id is the group's.
    Group,
    /// Welcomes to an installation; the id is its key.
    Welcome,
    /// The identity updates of an inbox; the id is the inbox's.
    Identity,
    /// The key packages of an installation; the id is its key.
    KeyPackage,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Group, Self::Welcome, Self::Identity, Self::KeyPackage];

    /// The byte that a topic of the kind begins with.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Group => 0,
            Self::Welcome => 1,
            Self::Identity => 2,
            Self::KeyPackage => 3,
        }
    }

    fn id_bytes(self) -> usize {
        match self {
            Self::Group => GROUP_ID_BYTES,
            Self::Welcome | Self::Identity | Self::KeyPackage => KEY_BYTES,
        }
    }
}

/// A well-formed XMTP topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct XmtpTopic(Vec<u8>);

/// The bytes are no topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a topic: a kind byte of 0 to 3, then 16 bytes for a group or 32 for all else")]
pub struct TopicInvalid;

impl XmtpTopic {
    /// The topic of a kind with this id.
    ///
    /// # Errors
    /// [`TopicInvalid`] when the kind's ids have another length.
    pub fn new(kind: Kind, id: &[u8]) -> Result<Self, TopicInvalid> {
        if id.len() != kind.id_bytes() {
            return Err(TopicInvalid);
        }
        let mut bytes = vec![kind.byte()];
        bytes.extend_from_slice(id);
        Ok(Self(bytes))
    }

    /// Reads a topic (XMTP-001).
    ///
    /// # Errors
    /// [`TopicInvalid`] for an unknown kind or an id of the wrong length.
    pub fn parse(bytes: &[u8]) -> Result<Self, TopicInvalid> {
        let (byte, id) = bytes.split_first().ok_or(TopicInvalid)?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.byte() == *byte).ok_or(TopicInvalid)?;
        Self::new(kind, id)
    }

    /// What the topic is for.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let byte = self.0.first().copied().unwrap_or_default();
        Kind::ALL.into_iter().find(|kind| kind.byte() == byte).unwrap_or(Kind::Group)
    }

    /// The id after the kind byte.
    #[must_use]
    pub fn id(&self) -> &[u8] {
        self.0.get(1..).unwrap_or_default()
    }

    /// The topic's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The Tidings topic that carries it (TOP-010).
    #[must_use]
    pub fn carrier(&self) -> Topic {
        Topic::xmtp(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_length_of_their_kind() {
        // covers: XMTP-001
        for (kind, byte, length) in [
            (Kind::Group, 0, 16),
            (Kind::Welcome, 1, 32),
            (Kind::Identity, 2, 32),
            (Kind::KeyPackage, 3, 32),
        ] {
            for wrong in [0, length - 1, length + 1] {
                let bytes = [vec![byte], vec![7; wrong]].concat();
                assert_eq!(XmtpTopic::parse(&bytes), Err(TopicInvalid), "{kind:?} {wrong}");
            }
            let bytes = [vec![byte], vec![7; length]].concat();
            let topic = XmtpTopic::parse(&bytes).unwrap();
            assert_eq!((topic.kind(), topic.as_bytes()), (kind, &bytes[..]));
            assert_eq!(XmtpTopic::new(kind, topic.id()), Ok(topic));
        }
        assert_eq!(XmtpTopic::parse(&[]), Err(TopicInvalid));
        assert_eq!(XmtpTopic::parse(&[4; 33]), Err(TopicInvalid));
    }
}
