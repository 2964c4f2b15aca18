//! A network of the tests: nodes with keys, a payer, a member, and what they sign.

use std::sync::Arc;

use tidings_envelope::registry::{EdgeRecord, FeeSchedule, NodeRecord, PayerRecord};
use tidings_envelope::*;
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::{PublicKey, SigningKey};
use tidings_types::node_key::NodeKey;
use tidings_types::*;

pub const PAYER: EthereumAddress = EthereumAddress([7; 20]);
pub const PERIOD: Period = Period(5);

pub fn signing_key(number: u8) -> SigningKey {
    SigningKey::from_secret(&[number; 32])
}

/// The key of a group's topic.
pub fn member() -> SigningKey {
    signing_key(9)
}

/// The payer's session key.
pub fn session() -> SigningKey {
    signing_key(50)
}

pub fn node_key(node: NodeId) -> NodeKey {
    NodeKey::from_secret(&[u8::try_from(node.0).unwrap(); 32]).unwrap()
}

pub struct Network {
    pub registry: Registry,
    /// The registry, and the one of the epoch before.
    pub registries: RegistryHistory,
    pub id: NetworkId,
}

impl Network {
    /// A network of equal nodes that each keep every shard, unless `replication` is less.
    pub fn new(nodes: u32, shard_count: u16, replication_factor: u16) -> Self {
        let record = |id: u32| NodeRecord {
            id: NodeId(id),
            name: format!("node-{id}"),
            signing: node_key(NodeId(id)).address(),
            transport: PublicKey([u8::try_from(id).unwrap(); 32]),
            quic: String::new(),
            http: String::new(),
            weight: 1,
            active: true,
        };
        let registry = Registry {
            genesis: Genesis::without_chain([1; 32].into()),
            epoch: RegistryEpoch(3),
            shard_count,
            replication_factor,
            period_ms: 10_000,
            mailbox_buckets: 1,
            nodes: (1..=nodes).map(record).collect(),
            payers: vec![PayerRecord::unlimited(PAYER, vec![session().public_key()])],
            edges: Vec::new(),
            fees: FeeSchedule::default(),
        };
        assert_eq!(registry.validate(), Ok(()));
        let id = registry.network_id();
        let before = Registry { epoch: registry.epoch.minus(1), ..registry.clone() };
        let mut registries = RegistryHistory::new(Arc::new(registry.clone()));
        registries.insert(Arc::new(before)).unwrap();
        Self { registry, registries, id }
    }

    /// The same network with these edges in the current epoch, and those in the one before.
    pub fn with_edges(mut self, current: Vec<EdgeRecord>, before: Vec<EdgeRecord>) -> Self {
        self.registry.edges = current;
        let earlier = Registry {
            epoch: self.registry.epoch.minus(1),
            edges: before,
            ..self.registry.clone()
        };
        self.registries = RegistryHistory::new(Arc::new(self.registry.clone()));
        self.registries.insert(Arc::new(earlier)).unwrap();
        self
    }

    /// What `node` knows in [`PERIOD`].
    pub fn context(&self, node: NodeId) -> AdmissionContext<'_> {
        let registries = &self.registries;
        AdmissionContext { network: self.id, registries, period: PERIOD, node }
    }

    /// An envelope of [`member`] whose body was changed before it was signed.
    pub fn envelope(&self, change: impl FnOnce(&mut EnvelopeBody)) -> ClientEnvelope {
        let topic = Topic::group(&member().public_key());
        let payload = Payload::new(b"ciphertext".to_vec()).unwrap();
        let mut body = EnvelopeBody::broadcast(topic, PAYER, PERIOD.plus(1), payload);
        change(&mut body);
        body.sign(&member(), self.id)
    }

    /// A batch over `ids` whose header was changed before it was signed.
    pub fn batch(&self, ids: &[EnvelopeId], change: impl FnOnce(&mut BatchHeader)) -> PayerBatch {
        let mut header = BatchHeader {
            version: PROTOCOL_VERSION,
            payer: PAYER,
            session_key: session().public_key(),
            target: Target::Node(NodeId(1)),
            registry_epoch: self.registry.epoch,
            not_after: PERIOD.plus(1),
            max_fee: PicoDollars(1_000_000_000),
            count: u32::try_from(ids.len()).unwrap(),
            root: BatchHeader::root_of(ids),
        };
        change(&mut header);
        header.sign(&session(), self.id)
    }

    /// The envelope with a batch of its own.
    pub fn paid(&self, envelope: ClientEnvelope) -> PayerEnvelope {
        let batch = self.batch(&[envelope.body.id()], |_| {});
        PayerEnvelope { envelope, batch, index: 0, path: BoundedVec::default() }
    }

    /// The entry of an envelope at `index` of a log, the first of its topic.
    pub fn entry(&self, index: u64, envelope: &PayerEnvelope) -> LogEntry {
        let payload = envelope.to_wire();
        let body = &envelope.envelope.body;
        let header = EntryHeader {
            version: PROTOCOL_VERSION,
            envelope_id: body.id(),
            index: LogIndex(index),
            timestamp: TimestampSeconds(1_700_000_000),
            topic: body.topic,
            topic_index: TopicIndex(0),
            previous: EntryHash::default(),
            payer: body.payer,
            payload_hash: sha256(&payload),
            payload_length: u32::try_from(payload.len()).unwrap(),
            retention_days: body.retention_days,
            fee_period: PERIOD,
            fee: PicoDollars(1),
        };
        LogEntry { header, payload: Some(payload.try_into().unwrap()) }
    }
}

/// A log and the tree over its headers.
pub struct Log {
    pub id: LogId,
    pub headers: Vec<EntryHeader>,
}

impl Log {
    /// A log of node 1 with `count` entries, which `salt` tells from others.
    pub fn new(network: &Network, count: u64, salt: u8) -> Self {
        let log = LogId { node: NodeId(1), shard: ShardId(0), incarnation: Incarnation(1) };
        let header = |index: u64| {
            let payload = [salt].into_iter().chain(index.to_be_bytes()).collect::<Vec<u8>>();
            let envelope = network.envelope(|body| body.payload = Payload::new(payload).unwrap());
            network.entry(index, &network.paid(envelope)).header
        };
        Self { id: log, headers: (0..count).map(header).collect() }
    }

    fn leaves(&self, size: usize) -> Vec<Hash> {
        self.headers[..size].iter().map(|header| header.hash().0).collect()
    }

    /// The checkpoint of the first `size` entries, by the originator's key.
    pub fn checkpoint(&self, network: &Network, size: usize, period: Period) -> SignedCheckpoint {
        let root = merkle::root(&self.leaves(size));
        let size = LogSize(u64::try_from(size).unwrap());
        Checkpoint::new(self.id, size, root, period).sign(&node_key(self.id.node), network.id)
    }

    /// The path of the entry at `index` to the root of the first `size` entries.
    pub fn path(&self, index: usize, size: usize) -> MerklePath {
        merkle::path(&self.leaves(size), index).try_into().unwrap()
    }

    /// The receipt of the entry at `index` under the first `size` entries.
    pub fn receipt(&self, network: &Network, index: usize, size: usize, by: &[u32]) -> Receipt {
        let checkpoint = self.checkpoint(network, size, PERIOD);
        let digest = checkpoint.checkpoint.digest(network.id);
        let sign = |node: &u32| {
            let replica = NodeId(*node);
            SignedAcknowledgement::sign(replica, digest, &node_key(replica), network.id)
        };
        Receipt {
            header: self.headers[index],
            path: self.path(index, size),
            checkpoint,
            acknowledgements: BoundedVec::new(by.iter().map(sign).collect()).unwrap(),
        }
    }

    /// The inclusion proof of the entry at `index` under the first `size` entries.
    pub fn proof(&self, network: &Network, index: usize, size: usize) -> InclusionProof {
        InclusionProof {
            header: self.headers[index],
            path: self.path(index, size),
            checkpoint: self.checkpoint(network, size, PERIOD),
        }
    }
}
