//! What the nodes of the test network agree on: logs, lanes, inboxes, all signed for real.

use std::collections::BTreeMap;

use tidings_client::{AssociationState, LocalWallet, Member};
use tidings_envelope::api::{SendResult, TopicEntry, TopicPage, TopicQuery};
use tidings_envelope::registry::{FeeSchedule, NodeRecord, PayerRecord};
use tidings_envelope::{
    BatchHeader, Block, BlockHeader, Certificate, Checkpoint, ClientEnvelope, CommitSignature,
    DecidedOperation, EntryHeader, Lane, LogEntry, LogId, Operation, OrderedReceipt, Outcome,
    ParsedEnvelope, PayerEnvelope, Receipt, Registry, SignedAcknowledgement, Target, Topic,
    TopicKind, verify_all,
};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::{PublicKey, SigningKey};
use tidings_types::node_key::NodeKey;
use tidings_types::{
    BlockHash, BoundedVec, EntryHash, EnvelopeId, ErrorCode, EthereumAddress, Genesis, GenesisSalt,
    Height, InboxId, Incarnation, LogIndex, LogSize, NetworkId, NodeId, Period, PicoDollars,
    Position, RegistryEpoch, Round, ShardId, TimestampSeconds, TopicIndex, Wire, merkle, sha256,
};

/// How many nodes there are: one may be faulty.
pub(crate) const NODES: u32 = 4;

pub(crate) struct Ledger {
    pub(crate) registry: Registry,
    pub(crate) network: NetworkId,
    pub(crate) period: Period,
    keys: BTreeMap<NodeId, NodeKey>,
    session: SigningKey,
    logs: BTreeMap<NodeId, Vec<[u8; 32]>>,
    heads: BTreeMap<(NodeId, Topic), (TopicIndex, EntryHash)>,
    positions: BTreeMap<Topic, Position>,
    parent: BlockHash,
    height: Height,
    pub(crate) inboxes: BTreeMap<InboxId, AssociationState>,
    pub(crate) broadcast: Vec<TopicEntry>,
    pub(crate) ordered: Vec<(Topic, OrderedReceipt)>,
    answers: BTreeMap<EnvelopeId, SendResult>,
}

impl Ledger {
    pub(crate) fn new(urls: &[String]) -> Self {
        let key = |id: u32| NodeKey::from_secret(&[u8::try_from(id).unwrap(); 32]).unwrap();
        let session = SigningKey::from_secret(&[77; 32]);
        let record = |id: u32| NodeRecord {
            id: NodeId(id),
            name: format!("node-{id}"),
            signing: key(id).address(),
            transport: PublicKey([u8::try_from(id).unwrap(); 32]),
            quic: String::new(),
            http: urls[usize::try_from(id - 1).unwrap()].clone(),
            weight: 1,
            active: true,
        };
        let registry = Registry {
            genesis: Genesis::without_chain(GenesisSalt([5; 32])),
            epoch: RegistryEpoch(1),
            shard_count: 1,
            replication_factor: 4,
            period_ms: 10_000,
            mailbox_buckets: 1,
            nodes: (1..=NODES).map(record).collect(),
            payers: vec![PayerRecord {
                address: EthereumAddress([9; 20]),
                session_keys: vec![session.public_key()],
            }],
            fees: FeeSchedule::default(),
        };
        Self {
            network: registry.network_id(),
            registry,
            period: Period(100),
            keys: (1..=NODES).map(|id| (NodeId(id), key(id))).collect(),
            session,
            logs: BTreeMap::new(),
            heads: BTreeMap::new(),
            positions: BTreeMap::new(),
            parent: BlockHash::default(),
            height: Height(0),
            inboxes: BTreeMap::new(),
            broadcast: Vec::new(),
            ordered: Vec::new(),
            answers: BTreeMap::new(),
        }
    }

    pub(crate) fn inbox_of(&self, address: EthereumAddress) -> Option<InboxId> {
        let member = Member::EthereumAccount(address);
        let found = self.inboxes.values().find(|state| state.contains(&member));
        found.map(AssociationState::inbox)
    }

    /// Admits an envelope through `node`; a repeat gets the first answer.
    pub(crate) fn publish(&mut self, node: NodeId, envelope: &ClientEnvelope) -> SendResult {
        let id = envelope.body.id();
        if let Some(answer) = self.answers.get(&id) {
            return answer.clone();
        }
        let result = match self.admit(envelope) {
            Err(code) => SendResult::Refused { code },
            Ok(()) if envelope.body.lane == Lane::Broadcast => {
                SendResult::Stored(self.append(node, envelope))
            }
            Ok(()) => match self.order(envelope) {
                Ok(receipt) => SendResult::Ordered(receipt),
                Err(code) => SendResult::Refused { code },
            },
        };
        if !matches!(result, SendResult::Refused { .. }) {
            self.answers.insert(id, result.clone());
        }
        result
    }

    pub(crate) fn query(&self, query: &TopicQuery) -> TopicPage {
        let after = |entry: &&TopicEntry| {
            let known = query.cursor.logs.iter().find(|cursor| cursor.log == entry.log);
            known.is_none_or(|cursor| entry.entry.header.topic_index >= cursor.next)
        };
        let limit = usize::from(query.limit);
        let ordered = self.ordered.iter().filter(|(topic, receipt)| {
            *topic == query.topic && receipt.position() > Some(query.cursor.position)
        });
        let ordered: Vec<_> = ordered.map(|(_, receipt)| receipt.clone()).collect();
        let broadcast =
            self.broadcast.iter().filter(|entry| entry.entry.header.topic == query.topic);
        let broadcast: Vec<_> = broadcast.filter(after).cloned().collect();
        let count = ordered.len() + broadcast.len();
        let room = limit.saturating_sub(ordered.len());
        TopicPage {
            version: PROTOCOL_VERSION,
            ordered: BoundedVec::new(ordered.into_iter().take(limit).collect()).unwrap(),
            broadcast: BoundedVec::new(broadcast.into_iter().take(room).collect()).unwrap(),
            more: u8::from(count > limit),
        }
    }

    pub(crate) fn newest(&self, topic: Topic) -> TopicPage {
        let mut last = BTreeMap::new();
        for entry in self.broadcast.iter().filter(|entry| entry.entry.header.topic == topic) {
            last.insert(entry.log, entry.clone());
        }
        TopicPage {
            version: PROTOCOL_VERSION,
            ordered: BoundedVec::default(),
            broadcast: BoundedVec::new(last.into_values().collect()).unwrap(),
            more: 0,
        }
    }

    fn admit(&self, envelope: &ClientEnvelope) -> Result<(), ErrorCode> {
        let parsed = ParsedEnvelope::check(envelope.clone())?;
        verify_all(vec![parsed], self.network, &mut rand::rngs::OsRng).remove(0)?;
        match envelope.body.not_after {
            expiry if expiry < self.period => Err(ErrorCode::EnvelopeExpired),
            expiry if expiry > self.period.plus(2) => Err(ErrorCode::NotAfterTooFar),
            _ => Ok(()),
        }
    }

    fn paid(&self, target: Target, envelope: &ClientEnvelope) -> PayerEnvelope {
        let header = BatchHeader {
            version: PROTOCOL_VERSION,
            payer: envelope.body.payer,
            session_key: self.session.public_key(),
            target,
            registry_epoch: self.registry.epoch,
            not_after: envelope.body.not_after,
            max_fee: PicoDollars(u64::MAX),
            count: 1,
            root: BatchHeader::root_of(&[envelope.body.id()]),
        };
        PayerEnvelope {
            envelope: envelope.clone(),
            batch: header.sign(&self.session, self.network),
            index: 0,
            path: BoundedVec::default(),
        }
    }

    fn append(&mut self, node: NodeId, envelope: &ClientEnvelope) -> Receipt {
        let log = LogId { node, shard: ShardId(0), incarnation: Incarnation(1) };
        let payload = self.paid(Target::Node(node), envelope).to_wire();
        let (topic_index, previous) =
            self.heads.get(&(node, envelope.body.topic)).copied().unwrap_or_default();
        let leaves = self.logs.entry(node).or_default();
        let header = EntryHeader {
            version: PROTOCOL_VERSION,
            envelope_id: envelope.body.id(),
            index: LogIndex(u64::try_from(leaves.len()).unwrap()),
            timestamp: TimestampSeconds(1),
            topic: envelope.body.topic,
            topic_index,
            previous,
            payer: envelope.body.payer,
            payload_hash: sha256(&payload),
            payload_length: u32::try_from(payload.len()).unwrap(),
            retention_days: envelope.body.retention_days,
            fee_period: self.period,
            fee: PicoDollars(0),
        };
        leaves.push(header.hash().0);
        let index = leaves.len() - 1;
        let size = LogSize(u64::try_from(leaves.len()).unwrap());
        let path = BoundedVec::new(merkle::path(leaves, index)).unwrap();
        let checkpoint = Checkpoint::new(log, size, merkle::root(leaves), self.period);
        self.heads.insert((node, header.topic), (topic_index.plus(1), header.hash()));
        let entry = LogEntry { header, payload: Some(payload.try_into().unwrap()) };
        self.broadcast.push(TopicEntry { log, entry });
        let replica = NodeId(node.0 % NODES + 1);
        let digest = checkpoint.digest(self.network);
        let acknowledgement =
            SignedAcknowledgement::sign(replica, digest, &self.keys[&replica], self.network);
        Receipt {
            header,
            path,
            checkpoint: checkpoint.sign(&self.keys[&node], self.network),
            acknowledgements: BoundedVec::new(vec![acknowledgement]).unwrap(),
        }
    }

    fn order(&mut self, envelope: &ClientEnvelope) -> Result<OrderedReceipt, ErrorCode> {
        let topic = envelope.body.topic;
        let position = self.positions.get(&topic).copied().unwrap_or_default();
        let expected = envelope.body.expected_position;
        let outcome = match expected.is_some_and(|expected| expected != position) {
            true => Outcome::Conflict { position },
            false => {
                self.apply_identity(envelope)?;
                Outcome::Applied { position: position.plus(1) }
            }
        };
        let operation = Operation::Envelope(self.paid(Target::Shard(ShardId(0)), envelope));
        let receipt = self.certify(DecidedOperation { operation, outcome });
        if receipt.position().is_some() {
            self.positions.insert(topic, position.plus(1));
            self.ordered.push((topic, receipt.clone()));
        }
        Ok(receipt)
    }

    fn apply_identity(&mut self, envelope: &ClientEnvelope) -> Result<(), ErrorCode> {
        if envelope.body.topic.kind != TopicKind::Identity {
            return Ok(());
        }
        let inbox = InboxId(envelope.body.topic.id.0);
        let current = self.inboxes.get(&inbox);
        let next = AssociationState::advance(current, self.network, &envelope.body.payload)
            .map_err(|error| error.code())?;
        self.inboxes.insert(inbox, next);
        Ok(())
    }

    fn certify(&mut self, decided: DecidedOperation) -> OrderedReceipt {
        let leaves = Block::leaves(std::slice::from_ref(&decided));
        self.height = self.height.plus(1);
        let header = BlockHeader {
            version: PROTOCOL_VERSION,
            shard: ShardId(0),
            height: self.height,
            parent: self.parent,
            period: self.period,
            chain_reference: None,
            registry_epoch: self.registry.epoch,
            next_epoch: self.registry.epoch,
            next_committee: self.registry.committee_hash(ShardId(0)),
            operations_count: 1,
            operations_root: merkle::root(&leaves),
            state_root: [0; 32],
        };
        self.parent = header.hash();
        let vote =
            |node| CommitSignature::sign(node, &header, Round(0), &self.keys[&node], self.network);
        let votes = (1..=3).map(NodeId).map(vote).collect();
        OrderedReceipt {
            header,
            certificate: Certificate {
                round: Round(0),
                signatures: BoundedVec::new(votes).unwrap(),
            },
            index: 0,
            path: BoundedVec::default(),
            decided,
        }
    }
}

/// A wallet for a test's person number `number`.
pub(crate) fn wallet(number: u8) -> LocalWallet {
    LocalWallet::from_secret(&[number.max(1); 32]).unwrap()
}
