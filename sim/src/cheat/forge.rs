//! A log with an entry that nobody with the right to signed, under the node's own signature.

use std::collections::BTreeMap;

use tidings_envelope::{
    BatchHeader, Checkpoint, ClientEnvelope, EntryHeader, EnvelopeBody, FeeClass, Lane, LogId,
    PayerEnvelope, Target, Tariff, Topic,
};
use tidings_replica::store::{EntryRecord, Flush, WriteSet};
use tidings_replica::wire::{ControlFrame, Have};
use tidings_tlog::{Frontier, TopicHead};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::node_key::NodeKey;
use tidings_types::{BoundedVec, LogIndex, NodeId, PicoDollars, TimestampSeconds, Wire, sha256};

use crate::disk::Disk;
use crate::message::Message;
use crate::setup::{PAYER, Setup, key, session_key};

/// The forged log that peers are shown: a false entry first, then the true ones behind it.
#[derive(Debug, Default)]
pub struct Forgery {
    /// Where the forged log is read from.
    pub shown: Disk,
    logs: BTreeMap<LogId, ForgedLog>,
}

#[derive(Debug, Default)]
struct ForgedLog {
    frontier: Frontier,
    heads: BTreeMap<Topic, TopicHead>,
}

impl Forgery {
    /// The true log has grown; so does the false one.
    pub fn extend(&mut self, flush: &Flush, setup: &Setup, signer: &NodeKey) {
        let forged = self.logs.entry(flush.log).or_default();
        let mut entries = Vec::new();
        if forged.frontier.size().0 == 0
            && let Some(model) = flush.entries.first()
        {
            entries.push(forged.append(false_entry(model, flush.log, setup)));
        }
        entries.extend(flush.entries.iter().cloned().map(|entry| forged.append(entry)));
        let (size, root) = (forged.frontier.size(), forged.frontier.root());
        let period = flush.checkpoint.checkpoint.period;
        let checkpoint = Checkpoint::new(flush.log, size, root, period);
        let checkpoint = checkpoint.sign(signer, setup.network);
        let flush = Flush { log: flush.log, entries, checkpoint, frontier: Vec::new() };
        // It follows what is there, by construction.
        let _ = self.shown.write(&WriteSet { flushes: vec![flush], ..WriteSet::default() });
    }
}

impl Forgery {
    /// A message in which the sizes of the node's own logs are those of the false ones.
    #[must_use]
    pub fn restated(&self, node: NodeId, message: Message) -> Message {
        let Message::Control(ControlFrame::Have(logs)) = message else { return message };
        let restated = logs.iter().map(|have| match have.log.node == node {
            true => Have { log: have.log, size: self.shown.size(have.log) },
            false => *have,
        });
        let logs = BoundedVec::new(restated.collect()).unwrap_or_default();
        Message::Control(ControlFrame::Have(logs))
    }
}

impl ForgedLog {
    /// The entry in its place in the false log.
    fn append(&mut self, entry: EntryRecord) -> EntryRecord {
        let head = self.heads.entry(entry.header.topic).or_default();
        let header = EntryHeader {
            index: LogIndex(self.frontier.size().0),
            topic_index: head.next,
            previous: head.last,
            ..entry.header
        };
        let hash = header.hash();
        *head = TopicHead { next: head.next.plus(1), last: hash };
        self.frontier.append(hash.0);
        EntryRecord { header, hash, payload: entry.payload }
    }
}

/// An entry with the model's circumstances and a write proof of the wrong key.
fn false_entry(model: &EntryRecord, log: LogId, setup: &Setup) -> EntryRecord {
    let payload = b"nobody wrote this".to_vec().try_into().unwrap_or_default();
    let period = model.header.fee_period;
    let body = EnvelopeBody {
        lane: Lane::Broadcast,
        ..EnvelopeBody::broadcast(model.header.topic, PAYER, period.plus(1), payload)
    };
    let envelope = body.sign(&key("stranger", 0), setup.network);
    let payload = in_batch(&envelope, log, setup).to_wire();
    let body = &envelope.body;
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let class = FeeClass::of(&body.topic, body.lane);
    let fees = &setup.registry.fees;
    let header = EntryHeader {
        envelope_id: body.id(),
        timestamp: TimestampSeconds(model.header.timestamp.0),
        payload_hash: sha256(&payload),
        payload_length: length,
        retention_days: body.retention_days,
        fee: Tariff::uncongested(fees).fee(length, body.retention_days, class).unwrap_or_default(),
        ..model.header
    };
    EntryRecord { header, hash: header.hash(), payload: Some(payload.into()) }
}

fn in_batch(envelope: &ClientEnvelope, log: LogId, setup: &Setup) -> PayerEnvelope {
    let header = BatchHeader {
        version: PROTOCOL_VERSION,
        payer: PAYER,
        session_key: session_key().public_key(),
        target: Target::Node(log.node),
        registry_epoch: setup.registry.epoch,
        not_after: envelope.body.not_after,
        max_fee: PicoDollars(u64::MAX),
        count: 1,
        root: BatchHeader::root_of(&[envelope.body.id()]),
    };
    let batch = header.sign(&session_key(), setup.network);
    PayerEnvelope { envelope: envelope.clone(), batch, index: 0, path: BoundedVec::default() }
}
