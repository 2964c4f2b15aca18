//! A node's contents in memory: logs, ordered entries and blocks, with real hashes and signatures.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidings_envelope::api::{TopicCursor, TopicEntry, TopicPage};
use tidings_envelope::{
    BatchHeader, Block, BlockHeader, Certificate, CertifiedBlock, Checkpoint, ClientEnvelope,
    DecidedOperation, EntryHeader, EnvelopeBody, LogId, Operation, OrderedReceipt, Outcome,
    PayerBatch, PayerEnvelope, SignedCheckpoint, Target, Topic, WriteProof,
};
use tidings_replica::store::{EntryRecord, Flush};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::{PublicKey, Signature};
use tidings_types::node_key::NodeKey;
use tidings_types::{
    BlockHash, BoundedVec, EntryHash, EnvelopeId, EthereumAddress, Hash, Height, Incarnation,
    LogIndex, LogSize, NetworkId, NodeId, Period, PicoDollars, Position, RegistryEpoch, Round,
    ShardId, TimestampSeconds, TopicIndex, Wire, merkle, sha256,
};

pub const NETWORK: NetworkId = NetworkId([7; 32]);

/// The log of a node in shard 0 and incarnation 1.
pub fn log(node: u32) -> LogId {
    LogId { node: NodeId(node), shard: ShardId(0), incarnation: Incarnation(1) }
}

#[derive(Default)]
struct Log {
    entries: Vec<EntryRecord>,
    checkpoints: Vec<SignedCheckpoint>,
}

/// What a node holds.
#[derive(Default)]
pub struct Store {
    logs: BTreeMap<LogId, Log>,
    ordered: BTreeMap<Topic, Vec<OrderedReceipt>>,
    blocks: Vec<CertifiedBlock>,
}

impl Store {
    /// Appends one flush of entries to a log.
    pub fn append(&mut self, id: LogId, entries: &[(Topic, Vec<u8>)]) -> Flush {
        let log = self.logs.entry(id).or_default();
        let first = log.entries.len();
        for (topic, payload) in entries {
            log.push(*topic, payload);
        }
        let hashes: Vec<Hash> = log.entries.iter().map(|entry| entry.hash.0).collect();
        let size = LogSize(hashes.len() as u64);
        let checkpoint = Checkpoint::new(id, size, merkle::root(&hashes), Period(3));
        let key = NodeKey::from_secret(&[1; 32]).unwrap();
        let checkpoint = checkpoint.sign(&key, NETWORK);
        log.checkpoints.push(checkpoint);
        Flush { log: id, entries: log.entries[first..].to_vec(), checkpoint, frontier: Vec::new() }
    }

    /// Orders one envelope in a block of its own.
    pub fn order(&mut self, topic: Topic) -> OrderedReceipt {
        let receipts = self.ordered.entry(topic).or_default();
        let position = Position(receipts.len() as u64 + 1);
        let decided = DecidedOperation {
            operation: Operation::Envelope(payer_envelope(topic)),
            outcome: Outcome::Applied { position },
        };
        let certified = block(Height(self.blocks.len() as u64 + 1), decided.clone());
        let receipt = OrderedReceipt {
            header: certified.block.header,
            certificate: certified.certificate.clone(),
            index: 0,
            path: BoundedVec::default(),
            decided,
        };
        self.blocks.push(certified);
        receipts.push(receipt.clone());
        receipt
    }

    /// How many entries of the topic the log holds.
    pub fn held(&self, id: LogId, topic: Topic) -> u64 {
        let entries = self.logs.get(&id).map_or(&[][..], |log| &log.entries);
        entries.iter().filter(|entry| entry.header.topic == topic).count() as u64
    }

    /// How many ordered entries the topic has.
    pub fn position(&self, topic: Topic) -> u64 {
        self.ordered.get(&topic).map_or(0, Vec::len) as u64
    }

    pub fn page(
        &self,
        topic: Topic,
        cursor: &TopicCursor,
        limit: usize,
        bytes_max: usize,
    ) -> TopicPage {
        let ordered = self.ordered.get(&topic).map_or(&[][..], Vec::as_slice);
        let ordered = ordered.iter().filter(|receipt| receipt.position() > Some(cursor.position));
        let ordered: Vec<_> = ordered.cloned().collect();
        let next = |id| {
            let known = cursor.logs.iter().find(|known| known.log == id);
            known.map_or(TopicIndex(0), |known| known.next)
        };
        let broadcast: Vec<_> = self
            .logs
            .iter()
            .flat_map(|(id, log)| log.entries.iter().map(move |entry| (*id, entry)))
            .filter(|(id, entry)| {
                entry.header.topic == topic && entry.header.topic_index >= next(*id)
            })
            .map(|(id, entry)| TopicEntry { log: id, entry: entry.to_entry() })
            .collect();
        let found = ordered.len() + broadcast.len();
        let ordered: Vec<_> = ordered.into_iter().take(limit).collect();
        let mut bytes = 0;
        let room = limit - ordered.len();
        let broadcast: Vec<_> = broadcast
            .into_iter()
            .take(room)
            .take_while(|entry| {
                bytes += entry.to_wire().len();
                bytes <= bytes_max || bytes == entry.to_wire().len()
            })
            .collect();
        let more = u8::from(ordered.len() + broadcast.len() < found);
        TopicPage {
            version: PROTOCOL_VERSION,
            ordered: ordered.try_into().unwrap(),
            broadcast: broadcast.try_into().unwrap(),
            more,
        }
    }

    pub fn newest(&self, topic: Topic) -> Vec<TopicEntry> {
        let last = |log: &Log| {
            log.entries.iter().rfind(|entry| entry.header.topic == topic).map(EntryRecord::to_entry)
        };
        let logs = self.logs.iter();
        logs.filter_map(|(id, log)| last(log).map(|entry| TopicEntry { log: *id, entry })).collect()
    }

    pub fn checkpoints(&self) -> Vec<SignedCheckpoint> {
        self.logs.values().filter_map(|log| log.checkpoints.last().copied()).collect()
    }

    pub fn flushes(&self, id: LogId, from: LogIndex, entries_max: usize) -> Option<Flush> {
        let log = self.logs.get(&id)?;
        let after = |end: &&SignedCheckpoint| end.checkpoint.size.0 > from.0;
        let fits = |end: &&SignedCheckpoint| end.checkpoint.size.0 - from.0 <= entries_max as u64;
        let ends = || log.checkpoints.iter().filter(after);
        let end = *ends().rfind(fits).or_else(|| ends().next())?;
        let range = from.0 as usize..end.checkpoint.size.0 as usize;
        let entries = log.entries[range].to_vec();
        Some(Flush { log: id, entries, checkpoint: end, frontier: Vec::new() })
    }

    pub fn leaf_hashes(&self, id: LogId, from: LogIndex, to: LogIndex) -> Vec<Hash> {
        let entries = &self.logs[&id].entries;
        let entries = &entries[from.0 as usize..entries.len().min(to.0 as usize)];
        entries.iter().map(|entry| entry.hash.0).collect()
    }

    pub fn blocks(&self, from: Height, max: usize) -> Vec<CertifiedBlock> {
        let after = self.blocks.iter().filter(|block| block.block.header.height >= from);
        after.take(max).cloned().collect()
    }
}

impl Log {
    fn push(&mut self, topic: Topic, payload: &[u8]) {
        let before = self.entries.iter().rfind(|entry| entry.header.topic == topic);
        let header = EntryHeader {
            version: PROTOCOL_VERSION,
            envelope_id: EnvelopeId(sha256(payload)),
            index: LogIndex(self.entries.len() as u64),
            timestamp: TimestampSeconds(0),
            topic,
            topic_index: before.map_or(TopicIndex(0), |entry| entry.header.topic_index.plus(1)),
            previous: before.map_or(EntryHash::default(), |entry| entry.hash),
            payer: EthereumAddress::default(),
            payload_hash: sha256(payload),
            payload_length: payload.len() as u32,
            retention_days: 30,
            fee_period: Period(3),
            fee: PicoDollars(0),
        };
        let payload = Some(Arc::from(payload));
        self.entries.push(EntryRecord { header, hash: header.hash(), payload });
    }
}

/// An envelope for the broadcast lane; nothing here looks at its proof.
pub fn client_envelope(topic: Topic, payload: &[u8]) -> ClientEnvelope {
    let payload = payload.to_vec().try_into().unwrap();
    let body = EnvelopeBody::broadcast(topic, EthereumAddress::default(), Period(4), payload);
    ClientEnvelope { body, proof: WriteProof::FeeStamp }
}

/// A batch over the ids of `envelopes`; nothing here looks at its signature.
pub fn batch(envelopes: &[ClientEnvelope]) -> PayerBatch {
    let ids: Vec<_> = envelopes.iter().map(|envelope| envelope.body.id()).collect();
    let header = BatchHeader {
        version: PROTOCOL_VERSION,
        payer: EthereumAddress::default(),
        session_key: PublicKey([1; 32]),
        target: Target::Shard(ShardId(0)),
        registry_epoch: RegistryEpoch(1),
        not_after: Period(4),
        max_fee: PicoDollars(0),
        count: ids.len() as u32,
        root: BatchHeader::root_of(&ids),
    };
    PayerBatch { header, signature: Signature([0; 64]) }
}

fn payer_envelope(topic: Topic) -> PayerEnvelope {
    let envelope = client_envelope(topic, &[0; 32]);
    let batch = batch(std::slice::from_ref(&envelope));
    PayerEnvelope { envelope, batch, index: 0, path: BoundedVec::default() }
}

fn block(height: Height, decided: DecidedOperation) -> CertifiedBlock {
    let header = BlockHeader {
        version: PROTOCOL_VERSION,
        shard: ShardId(0),
        height,
        parent: BlockHash::default(),
        period: Period(3),
        chain_reference: None,
        registry_epoch: RegistryEpoch(1),
        next_epoch: RegistryEpoch(1),
        next_committee: [0; 32],
        operations_count: 1,
        operations_root: merkle::root(&Block::leaves(std::slice::from_ref(&decided))),
        state_root: [0; 32],
    };
    let operations = vec![decided].try_into().unwrap();
    let certificate = Certificate { round: Round(0), signatures: BoundedVec::default() };
    CertifiedBlock { block: Block { header, operations }, certificate }
}
