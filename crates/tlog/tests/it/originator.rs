//! A node that signs a log of its own, honest unless told otherwise.

use tidings_envelope::{Checkpoint, EntryHeader, InclusionProof, LogId, SignedCheckpoint, Topic};
use tidings_tlog::{MemoryTree, TopicHead, consistency_proof, inclusion_proof};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::PublicKey;
use tidings_types::node_key::NodeKey;
use tidings_types::{
    EnvelopeId, EthereumAddress, Hash, Incarnation, LogIndex, LogSize, NetworkId, NodeId, Period,
    PicoDollars, ShardId, TimestampSeconds,
};

pub const NETWORK: NetworkId = NetworkId([9; 32]);

/// The log that tests write and follow.
pub const LOG: LogId = LogId { node: NodeId(1), shard: ShardId(0), incarnation: Incarnation(1) };

pub struct Originator {
    pub key: NodeKey,
    pub headers: Vec<EntryHeader>,
    head: TopicHead,
    tree: MemoryTree,
}

impl Originator {
    /// A node whose log holds `count` entries; `salt` tells histories of one node apart.
    pub fn with_entries(count: u64, salt: u8) -> Self {
        let mut originator = Self {
            key: NodeKey::from_secret(&[1; 32]).unwrap(),
            headers: Vec::new(),
            head: TopicHead::default(),
            tree: MemoryTree::new(),
        };
        (0..count).for_each(|_| originator.append(salt));
        originator
    }

    pub fn append(&mut self, salt: u8) {
        let topic = Topic::group(&PublicKey([7; 32]));
        let header = self.header(salt, topic, self.head);
        self.head = self.head.advance(&header).unwrap();
        self.push(header);
    }

    /// An entry that later ones say nothing of: the first of its topic.
    pub fn append_aside(&mut self, salt: u8) {
        let header = self.header(salt, Topic::group(&PublicKey([salt; 32])), TopicHead::default());
        self.push(header);
    }

    fn header(&self, salt: u8, topic: Topic, head: TopicHead) -> EntryHeader {
        EntryHeader {
            version: PROTOCOL_VERSION,
            envelope_id: EnvelopeId([salt; 32]),
            index: LogIndex(self.tree.size().0),
            timestamp: TimestampSeconds(1_700_000_000),
            topic,
            topic_index: head.next,
            previous: head.last,
            payer: EthereumAddress([3; 20]),
            payload_hash: [salt; 32],
            payload_length: 700,
            retention_days: 30,
            fee_period: Period(4),
            fee: PicoDollars(5),
        }
    }

    fn push(&mut self, header: EntryHeader) {
        self.tree.append(header.hash().0);
        self.headers.push(header);
    }

    pub fn address(&self) -> EthereumAddress {
        self.key.address()
    }

    pub fn checkpoint(&self, size: u64) -> SignedCheckpoint {
        let root = self.tree.root_at(LogSize(size)).unwrap();
        Checkpoint::new(LOG, LogSize(size), root, Period(4)).sign(&self.key, NETWORK)
    }

    /// That the log through `old` begins the one through `new`.
    pub fn consistency(&self, old: u64, new: u64) -> Vec<Hash> {
        consistency_proof(&self.tree, LogSize(old), LogSize(new)).unwrap()
    }

    pub fn inclusion(&self, index: u64, size: u64) -> InclusionProof {
        let path = inclusion_proof(&self.tree, LogIndex(index), LogSize(size)).unwrap();
        InclusionProof {
            header: self.headers[index as usize],
            path: path.try_into().unwrap(),
            checkpoint: self.checkpoint(size),
        }
    }
}
