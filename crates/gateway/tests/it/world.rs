//! A network of scripted nodes: keys, registry, period, envelopes.

use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tidings_envelope::registry::{FeeSchedule, NodeRecord, PayerRecord};
use tidings_envelope::{ClientEnvelope, EnvelopeBody, Lane, Registry, Topic};
use tidings_types::ed25519::{PublicKey, SigningKey};
use tidings_types::node_key::NodeKey;
use tidings_types::{
    EthereumAddress, Genesis, NetworkId, NodeId, Period, Position, RegistryEpoch, ShardId,
};

pub const PAYER: EthereumAddress = EthereumAddress([3; 20]);

/// Another payer of the registry.
pub const OTHER_PAYER: EthereumAddress = EthereumAddress([4; 20]);

/// The period at the start of every test.
pub const PERIOD: Period = Period(50);

pub fn session_key() -> SigningKey {
    SigningKey::from_secret(&[5; 32])
}

pub fn other_session_key() -> SigningKey {
    SigningKey::from_secret(&[15; 32])
}

pub fn node_key(node: NodeId) -> NodeKey {
    let mut secret = [1; 32];
    secret[28..].copy_from_slice(&node.0.to_be_bytes());
    NodeKey::from_secret(&secret).unwrap()
}

/// What all nodes agree on.
#[derive(Debug)]
pub struct World {
    pub registry: Mutex<Registry>,
    period: AtomicU64,
    /// The factor of every shard, in thousandths.
    congestion_permille: AtomicU32,
}

impl World {
    /// A world of one node per listener, on `shard_count` shards that every node keeps.
    pub fn new(listeners: &[TcpListener], shard_count: u16) -> Self {
        let nodes = (1u32..).zip(listeners).map(|(id, listener)| NodeRecord {
            id: NodeId(id),
            name: format!("node-{id}"),
            signing: node_key(NodeId(id)).address(),
            transport: PublicKey([u8::try_from(id).unwrap(); 32]),
            quic: String::new(),
            http: format!("http://{}", listener.local_addr().unwrap()),
            weight: 1,
            active: true,
        });
        let registry = Registry {
            genesis: Genesis::without_chain([1; 32].into()),
            epoch: RegistryEpoch(1),
            shard_count,
            replication_factor: 31,
            period_ms: 10_000,
            mailbox_buckets: 1,
            nodes: nodes.collect(),
            payers: [(PAYER, session_key()), (OTHER_PAYER, other_session_key())]
                .map(|(address, key)| {
                    let session_keys = vec![key.public_key()];
                    PayerRecord::unlimited(address, session_keys)
                })
                .into(),
            edges: Vec::new(),
            fees: FeeSchedule::default(),
        };
        registry.validate().unwrap();
        Self {
            registry: Mutex::new(registry),
            period: AtomicU64::new(PERIOD.0),
            congestion_permille: AtomicU32::new(1_000),
        }
    }

    pub fn registry(&self) -> Registry {
        self.registry.lock().unwrap().clone()
    }

    pub fn period(&self) -> Period {
        Period(self.period.load(Ordering::SeqCst))
    }

    pub fn congestion_permille(&self) -> u32 {
        self.congestion_permille.load(Ordering::SeqCst)
    }

    pub fn set_congestion(&self, permille: u32) {
        self.congestion_permille.store(permille, Ordering::SeqCst);
    }

    pub fn set_period(&self, period: Period) {
        self.period.store(period.0, Ordering::SeqCst);
    }
}

pub fn network() -> NetworkId {
    Genesis::without_chain([1; 32].into()).network_id()
}

fn topic_key(number: u8) -> SigningKey {
    SigningKey::from_secret(&[number; 32])
}

/// A group topic that lives on `shard` of `shard_count`, and its key.
fn topic_on(shard: ShardId, shard_count: u16) -> SigningKey {
    let keys = (1..=u8::MAX).map(topic_key);
    let mut keys = keys.filter(|key| Topic::group(&key.public_key()).shard(shard_count) == shard);
    keys.next().unwrap()
}

fn body(key: &SigningKey, text: &str) -> EnvelopeBody {
    let payload = text.as_bytes().to_vec().try_into().unwrap();
    EnvelopeBody::broadcast(Topic::group(&key.public_key()), PAYER, PERIOD.plus(1), payload)
}

/// A broadcast envelope that holds `text`.
pub fn message(text: &str) -> ClientEnvelope {
    message_until(text, PERIOD.plus(1))
}

/// A broadcast envelope that `payer` is to pay for.
pub fn message_of(payer: EthereumAddress, text: &str) -> ClientEnvelope {
    let key = topic_key(6);
    EnvelopeBody { payer, ..body(&key, text) }.sign(&key, network())
}

pub fn message_until(text: &str, not_after: Period) -> ClientEnvelope {
    let key = topic_key(6);
    EnvelopeBody { not_after, ..body(&key, text) }.sign(&key, network())
}

/// A broadcast envelope for one of `shard_count` shards.
pub fn message_on(shard: ShardId, shard_count: u16, text: &str) -> ClientEnvelope {
    let key = topic_on(shard, shard_count);
    body(&key, text).sign(&key, network())
}

/// An ordered commit at `position`.
pub fn commit(text: &str, position: u64) -> ClientEnvelope {
    let (key, expected) = (topic_key(6), Position(position));
    let body =
        EnvelopeBody { lane: Lane::Ordered, expected_position: Some(expected), ..body(&key, text) };
    body.sign(&key, network())
}
