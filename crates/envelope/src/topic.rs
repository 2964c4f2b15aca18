//! Topics: what an envelope is written to, who may write, and where it is kept.

use tidings_types::ed25519::PublicKey;
use tidings_types::{InboxId, ShardId, TopicId, Wire, labelled_hash};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

/// What a topic is for, which decides who may write to it (TOP-001).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
)]
#[repr(u8)]
pub enum TopicKind {
    /// A conversation; whoever holds the topic's secret key writes.
    Group = 0,
    /// The key packages of one installation, which alone writes.
    Keys = 1,
    /// A bucket for first contact; anyone writes, with a stamp.
    Mailbox = 2,
    /// The log of one inbox; its actions carry their own signatures.
    Identity = 3,
    /// A topic of XMTP; a registered edge writes.
    Xmtp = 4,
}

/// How an envelope is ordered.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
)]
#[repr(u8)]
pub enum Lane {
    /// Per originator, by one replica alone.
    Broadcast = 0,
    /// In one total order per shard.
    Ordered = 1,
}

/// A topic: its kind and 32-byte id.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
)]
pub struct Topic {
    /// What the topic is for.
    pub kind: TopicKind,
    /// Which one it is; see the constructors for what it hashes.
    pub id: TopicId,
}

impl Topic {
    /// The topic that the holders of this key's secret write to (TOP-002).
    #[must_use]
    pub fn group(key: &PublicKey) -> Self {
        Self { kind: TopicKind::Group, id: TopicId(labelled_hash("group topic", &[&key.0])) }
    }

    /// The key package topic of the installation with this key (TOP-002).
    #[must_use]
    pub fn keys(installation: &PublicKey) -> Self {
        Self { kind: TopicKind::Keys, id: TopicId(labelled_hash("keys topic", &[&installation.0])) }
    }

    /// The mailbox bucket with this number: 28 zero bytes, then the number, big-endian (TOP-006).
    #[must_use]
    pub fn mailbox(bucket: u32) -> Self {
        let mut id = [0; 32];
        id[28..].copy_from_slice(&bucket.to_be_bytes());
        Self { kind: TopicKind::Mailbox, id: TopicId(id) }
    }

    /// The bucket among `buckets` that serves the installation with this key (TOP-003).
    #[must_use]
    pub fn mailbox_of(installation: &PublicKey, buckets: u32) -> Self {
        let hash = labelled_hash("mailbox bucket", &[&installation.0]);
        let number = u64::from_be_bytes(first_eight(&hash)) % u64::from(buckets.max(1));
        Self::mailbox(u32::try_from(number).unwrap_or_default())
    }

    /// The topic of an inbox's log.
    #[must_use]
    pub fn identity(inbox: InboxId) -> Self {
        Self { kind: TopicKind::Identity, id: TopicId(inbox.0) }
    }

    /// The topic that an edge writes what belongs to these XMTP topic bytes to (TOP-010).
    #[must_use]
    pub fn xmtp(topic: &[u8]) -> Self {
        Self { kind: TopicKind::Xmtp, id: TopicId(labelled_hash("xmtp topic", &[topic])) }
    }

    /// Whether entries on this lane may be written here (TOP-001).
    #[must_use]
    pub fn allows(&self, lane: Lane) -> bool {
        match self.kind {
            TopicKind::Group | TopicKind::Xmtp => true,
            TopicKind::Keys | TopicKind::Mailbox => lane == Lane::Broadcast,
            TopicKind::Identity => lane == Lane::Ordered,
        }
    }

    /// The topic that a write proof under `key` may write to, of this topic's kind.
    #[must_use]
    pub fn keyed_by(&self, key: &PublicKey) -> bool {
        match self.kind {
            TopicKind::Group => *self == Self::group(key),
            TopicKind::Keys => *self == Self::keys(key),
            TopicKind::Mailbox | TopicKind::Identity | TopicKind::Xmtp => false,
        }
    }

    /// The shard that keeps this topic, of `shard_count`, a power of two (TOP-004).
    ///
    /// Identity topics live on shard 0.
    #[must_use]
    pub fn shard(&self, shard_count: u16) -> ShardId {
        if self.kind == TopicKind::Identity {
            return ShardId(0);
        }
        let hash = labelled_hash("topic shard", &[&self.to_wire()]);
        let number = u64::from_be_bytes(first_eight(&hash)) % u64::from(shard_count.max(1));
        ShardId(u16::try_from(number).unwrap_or_default())
    }
}

fn first_eight(hash: &[u8; 32]) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash[..8]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_restrict_lanes() {
        // covers: TOP-001
        let key = PublicKey([1; 32]);
        assert!(Topic::group(&key).allows(Lane::Ordered));
        assert!(Topic::group(&key).allows(Lane::Broadcast));
        assert!(!Topic::keys(&key).allows(Lane::Ordered));
        assert!(!Topic::mailbox(1).allows(Lane::Ordered));
        assert!(!Topic::identity(InboxId([1; 32])).allows(Lane::Broadcast));
    }

    #[test]
    fn keys_own_their_topics_by_kind() {
        // covers: TOP-002
        let (key, other) = (PublicKey([1; 32]), PublicKey([2; 32]));
        assert!(Topic::group(&key).keyed_by(&key));
        assert!(!Topic::group(&key).keyed_by(&other));
        assert_ne!(Topic::group(&key).id, Topic::keys(&key).id);
    }

    #[test]
    fn shards_and_buckets_are_in_range() {
        // covers: TOP-003
        // covers: TOP-004
        for seed in 0..200u8 {
            let key = PublicKey([seed; 32]);
            assert!(Topic::group(&key).shard(4).0 < 4);
            assert_eq!(Topic::identity(InboxId([seed; 32])).shard(4), ShardId(0));
            let bucket = Topic::mailbox_of(&key, 8);
            assert!((0..8).any(|number| bucket == Topic::mailbox(number)));
        }
    }
}
