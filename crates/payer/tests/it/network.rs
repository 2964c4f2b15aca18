//! A network of one node and one payer, and valid entries of its log.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use tidings_envelope::registry::{FeeSchedule, NodeRecord, PayerRecord};
use tidings_envelope::{
    BatchHeader, ClientEnvelope, CongestionHistory, EntryHeader, EnvelopeBody, LogEntry, LogId,
    PayerBatch, PayerEnvelope, Registry, RegistryHistory, Target, Tariff, Topic, WriteProof,
};
use tidings_payer::{Verdict, VerdictContext, judge};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::{PublicKey, SigningKey};
use tidings_types::{
    EntryHash, EthereumAddress, Genesis, Incarnation, LogIndex, NetworkId, NodeId, Period,
    PicoDollars, RegistryEpoch, ShardId, TimestampSeconds, TopicIndex, Wire, merkle, sha256,
};

pub const PAYER: EthereumAddress = EthereumAddress([3; 20]);

pub const LOG: LogId = LogId { node: NodeId(1), shard: ShardId(0), incarnation: Incarnation(1) };

pub const PERIOD: Period = Period(50);

pub fn session_key() -> SigningKey {
    SigningKey::from_secret(&[5; 32])
}

pub fn topic_key() -> SigningKey {
    SigningKey::from_secret(&[6; 32])
}

pub fn registry() -> Registry {
    let node = NodeRecord {
        id: NodeId(1),
        name: "node-1".into(),
        signing: EthereumAddress([1; 20]),
        transport: PublicKey([1; 32]),
        quic: String::new(),
        http: String::new(),
        weight: 1,
        active: true,
    };
    Registry {
        genesis: Genesis::without_chain([1; 32].into()),
        epoch: RegistryEpoch(1),
        shard_count: 1,
        replication_factor: 1,
        period_ms: 10_000,
        mailbox_buckets: 1,
        nodes: vec![node],
        payers: vec![PayerRecord::unlimited(PAYER, vec![session_key().public_key()])],
        edges: Vec::new(),
        fees: FeeSchedule::default(),
    }
}

pub fn network() -> NetworkId {
    registry().network_id()
}

/// An envelope to the topic of [`topic_key`], with `text` in place of a ciphertext.
pub fn message(text: &str) -> ClientEnvelope {
    let payload = text.as_bytes().to_vec().try_into().unwrap();
    let topic = Topic::group(&topic_key().public_key());
    EnvelopeBody::broadcast(topic, PAYER, PERIOD.plus(1), payload).sign(&topic_key(), network())
}

/// A first contact to mailbox bucket 0.
pub fn stamped(text: &str) -> ClientEnvelope {
    let payload = text.as_bytes().to_vec().try_into().unwrap();
    let body = EnvelopeBody::broadcast(Topic::mailbox(0), PAYER, PERIOD.plus(1), payload);
    ClientEnvelope { body, proof: WriteProof::FeeStamp }
}

/// The envelopes under one payer signature for node 1.
pub fn batch(envelopes: &[ClientEnvelope], max_fee: PicoDollars) -> Vec<PayerEnvelope> {
    let ids: Vec<_> = envelopes.iter().map(|envelope| envelope.body.id()).collect();
    let header = BatchHeader {
        version: PROTOCOL_VERSION,
        payer: PAYER,
        session_key: session_key().public_key(),
        target: Target::Node(NodeId(1)),
        registry_epoch: RegistryEpoch(1),
        not_after: PERIOD.plus(1),
        max_fee,
        count: ids.len() as u32,
        root: BatchHeader::root_of(&ids),
    };
    let batch: PayerBatch = header.sign(&session_key(), network());
    let leaves: Vec<_> = ids.iter().map(|id| merkle::leaf_hash(id.as_bytes())).collect();
    let covered = envelopes.iter().enumerate().map(|(index, envelope)| PayerEnvelope {
        envelope: envelope.clone(),
        batch,
        index: index as u32,
        path: merkle::path(&leaves, index).try_into().unwrap(),
    });
    covered.collect()
}

/// The entry that an honest originator makes of an envelope.
pub fn entry(envelope: &PayerEnvelope, index: u64) -> LogEntry {
    let payload = envelope.to_wire();
    let body = &envelope.envelope.body;
    let mut header = EntryHeader {
        version: PROTOCOL_VERSION,
        envelope_id: body.id(),
        index: LogIndex(index),
        timestamp: TimestampSeconds(1_700_000_000),
        topic: body.topic,
        topic_index: TopicIndex(index),
        previous: EntryHash([0; 32]),
        payer: body.payer,
        payload_hash: sha256(&payload),
        payload_length: payload.len() as u32,
        retention_days: body.retention_days,
        fee_period: PERIOD,
        fee: PicoDollars(0),
    };
    header.fee = Tariff::uncongested(&registry().fees).entry_fee(&header).unwrap();
    LogEntry { header, payload: Some(payload.try_into().unwrap()) }
}

/// Valid entries, all under one batch.
pub fn entries(count: usize) -> Vec<LogEntry> {
    let envelopes: Vec<_> = (0..count).map(|number| message(&format!("text {number}"))).collect();
    let covered = batch(&envelopes, PicoDollars(u64::MAX));
    covered.iter().zip(0..).map(|(envelope, index)| entry(envelope, index)).collect()
}

pub fn verdicts(entries: &[LogEntry], registry: &Registry) -> Vec<Verdict> {
    verdicts_by(entries, &RegistryHistory::new(Arc::new(registry.clone())))
}

pub fn verdicts_by(entries: &[LogEntry], registries: &RegistryHistory) -> Vec<Verdict> {
    verdicts_at(entries, registries, &quiet())
}

/// The factors of a shard that was never busy and is in the period of the entries.
pub fn quiet() -> CongestionHistory {
    CongestionHistory::restore(PERIOD, BTreeMap::new(), BTreeMap::new())
}

pub fn verdicts_at(
    entries: &[LogEntry],
    registries: &RegistryHistory,
    congestion: &CongestionHistory,
) -> Vec<Verdict> {
    let context = VerdictContext { network: network(), log: LOG, registries, congestion };
    judge(entries, &context, &mut ChaCha20Rng::from_seed([1; 32]))
}
