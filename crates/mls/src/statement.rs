//! What members say in the ordered lane outside MLS, and the frame around all that they order
//! (MLS-026, MLS-027).
//!
//! A statement is signed by an installation alone, so whoever knows the leaves of an epoch can
//! judge it, those included who could not follow the group any further.

use tidings_envelope::Topic;
use tidings_types::constants::{
    ENVELOPE_PAYLOAD_BYTES_MAX, PROTOCOL_VERSION, STATEMENTS_PER_ENTRY_MAX,
};
use tidings_types::ed25519::{PublicKey, Signature, SigningKey};
use tidings_types::{BoundedBytes, BoundedVec, NetworkId, Position, Wire};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::group::GroupId;
use crate::seal::TranscriptTag;
use crate::wish::Wish;

/// The label under which installations sign statements (ENC-003).
const STATEMENT_LABEL: &str = "group statement";

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub(crate) enum Said {
    /// The commit at this position of the topic ejected the speaker.
    #[tls_codec(discriminant = 1)]
    Ejected {
        /// Of the commit.
        position: Position,
    },
    /// The speaker has followed every commit of the topic up to this position.
    #[tls_codec(discriminant = 2)]
    Entered {
        /// Up to which position.
        position: Position,
        /// Of the epoch that the speaker is in.
        tag: TranscriptTag,
    },
    /// The speaker wants something changed and asks whoever commits next to see to it.
    #[tls_codec(discriminant = 3)]
    Wish {
        /// How far the speaker has read the topic.
        position: Position,
        /// What is wanted.
        wish: Wish,
    },
}

/// What one installation says on one topic.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub(crate) struct Statement {
    pub(crate) installation: PublicKey,
    pub(crate) said: Said,
    signature: Signature,
}

/// Where a statement is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forum {
    pub(crate) network: NetworkId,
    pub(crate) group: GroupId,
    pub(crate) topic: Topic,
}

impl Forum {
    fn body(&self, said: &Said) -> Vec<u8> {
        [&self.group.0[..], &self.topic.to_wire(), &said.to_wire()].concat()
    }

    /// What the owner of `key` says here.
    pub(crate) fn state(&self, said: Said, key: &SigningKey) -> Statement {
        let signature = key.sign(STATEMENT_LABEL, self.network, &self.body(&said));
        Statement { installation: key.public_key(), said, signature }
    }

    /// Whether the installation that the statement names made it, here.
    pub(crate) fn verifies(&self, statement: &Statement) -> bool {
        let Statement { installation, said, signature } = statement;
        installation.verify(STATEMENT_LABEL, self.network, &self.body(said), signature).is_ok()
    }
}

/// What the seal of an ordered entry holds.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub(crate) struct OrderedFrame {
    version: u16,
    /// What is said in passing, or alone.
    pub(crate) statements: BoundedVec<Statement, STATEMENTS_PER_ENTRY_MAX>,
    /// An MLS message, or nothing.
    pub(crate) message: BoundedBytes<ENVELOPE_PAYLOAD_BYTES_MAX>,
}

impl OrderedFrame {
    /// A frame around a handshake message; none when there is more than an envelope holds.
    pub(crate) fn new(statements: Vec<Statement>, message: Vec<u8>) -> Option<Self> {
        Some(Self {
            version: PROTOCOL_VERSION,
            statements: BoundedVec::new(statements).ok()?,
            message: BoundedBytes::new(message).ok()?,
        })
    }

    /// The frame in `bytes`, strictly; a frame of nothing is none (MLS-026).
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let frame = Self::from_wire(bytes).ok()?;
        let is_empty = frame.statements.is_empty() && frame.message.is_empty();
        (frame.version == PROTOCOL_VERSION && !is_empty).then_some(frame)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn forum(topic: u32) -> Forum {
        let (network, group) = (NetworkId([7; 32]), GroupId([8; 32]));
        Forum { network, group, topic: Topic::mailbox(topic) }
    }

    #[test]
    fn a_statement_is_good_where_it_was_made_and_for_what_it_says() {
        // covers: MLS-027
        let key = SigningKey::from_secret(&[1; 32]);
        let statement = forum(1).state(Said::Ejected { position: Position(4) }, &key);
        assert!(forum(1).verifies(&statement));
        assert!(!forum(2).verifies(&statement));
        let elsewhere = Forum { group: GroupId([9; 32]), ..forum(1) };
        assert!(!elsewhere.verifies(&statement));
        let other =
            Statement { said: Said::Ejected { position: Position(5) }, ..statement.clone() };
        assert!(!forum(1).verifies(&other));
        let other = Said::Entered { position: Position(4), tag: [0; 8] };
        assert!(!forum(1).verifies(&Statement { said: other, ..statement.clone() }));
        let stranger = SigningKey::from_secret(&[2; 32]).public_key();
        assert!(!forum(1).verifies(&Statement { installation: stranger, ..statement }));
    }

    #[test]
    fn frames_hold_something_and_nothing_more() {
        // covers: MLS-026
        let key = SigningKey::from_secret(&[1; 32]);
        let statement = forum(1).state(Said::Ejected { position: Position(4) }, &key);
        let frame = OrderedFrame::new(vec![statement.clone()], vec![1, 2]).unwrap();
        assert_eq!(OrderedFrame::parse(&frame.to_wire()), Some(frame.clone()));
        let nothing = OrderedFrame::new(Vec::new(), Vec::new()).unwrap();
        assert_eq!(OrderedFrame::parse(&nothing.to_wire()), None);
        let mut longer = frame.to_wire();
        longer.push(0);
        assert_eq!(OrderedFrame::parse(&longer), None);
        let newer = OrderedFrame { version: PROTOCOL_VERSION + 1, ..frame };
        assert_eq!(OrderedFrame::parse(&newer.to_wire()), None);
        let many = vec![statement; STATEMENTS_PER_ENTRY_MAX + 1];
        assert_eq!(OrderedFrame::new(many, Vec::new()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_one_frame_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            // covers: MLS-026
            if let Some(frame) = OrderedFrame::parse(&bytes) {
                prop_assert_eq!(frame.to_wire(), bytes);
            }
        }
    }
}
