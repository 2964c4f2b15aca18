//! What the nodes of the test network agree on: logs, lanes, inboxes, all signed for real.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidings_client::LocalWallet;
use tidings_envelope::api::{
    SendResult, StateAnswer, StateQuery, TopicEntry, TopicPage, TopicQuery,
};
use tidings_envelope::registry::{FeeSchedule, NodeRecord, PayerRecord};
use tidings_envelope::{
    BatchHeader, BlockHeader, Certificate, CertifiedBlock, Checkpoint, ClientEnvelope,
    CommitSignature, EntryHeader, Lane, LogEntry, LogId, Operation, OrderedReceipt, Outcome,
    ParsedEnvelope, PayerEnvelope, PeriodMarker, Receipt, Registry, RegistryHistory,
    SignedAcknowledgement, StateKey, StateLeaf, StateProof, Target, Topic, verify_all,
};
use tidings_order::{LaneContext, LaneState};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::{PublicKey, SigningKey};
use tidings_types::node_key::NodeKey;
use tidings_types::{
    BlockHash, BoundedVec, EntryHash, EnvelopeId, ErrorCode, EthereumAddress, Genesis, GenesisSalt,
    Height, Incarnation, LogIndex, LogSize, NetworkId, NodeId, Period, PicoDollars, RegistryEpoch,
    Round, ShardId, TimestampSeconds, TopicIndex, Wire, merkle, sha256,
};

/// How many nodes there are: one may be faulty.
pub(crate) const NODES: u32 = 4;

/// Who may pay.
pub(crate) const PAYERS: [EthereumAddress; 2] =
    [EthereumAddress([9; 20]), EthereumAddress([10; 20])];

pub(crate) struct Ledger {
    pub(crate) registry: Registry,
    pub(crate) network: NetworkId,
    /// Who pays for everybody now.
    pub(crate) payer: EthereumAddress,
    registries: RegistryHistory,
    keys: BTreeMap<NodeId, NodeKey>,
    session: SigningKey,
    logs: BTreeMap<NodeId, Vec<[u8; 32]>>,
    heads: BTreeMap<(NodeId, Topic), (TopicIndex, EntryHash)>,
    lane: LaneState,
    /// The state after each block, and the block with its votes.
    history: Vec<(LaneState, BlockHeader, Certificate)>,
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
            payers: PAYERS
                .map(|address| PayerRecord::unlimited(address, vec![session.public_key()]))
                .into(),
            edges: Vec::new(),
            fees: FeeSchedule::default(),
        };
        let mut ledger = Self {
            network: registry.network_id(),
            payer: PAYERS[0],
            registries: RegistryHistory::new(Arc::new(registry.clone())),
            registry,
            keys: (1..=NODES).map(|id| (NodeId(id), key(id))).collect(),
            session,
            logs: BTreeMap::new(),
            heads: BTreeMap::new(),
            lane: LaneState::default(),
            history: Vec::new(),
            broadcast: Vec::new(),
            ordered: Vec::new(),
            answers: BTreeMap::new(),
        };
        ledger.begin(Period(100));
        ledger
    }

    pub(crate) fn period(&self) -> Period {
        self.lane.period()
    }

    /// Lets periods begin until this one has.
    pub(crate) fn begin(&mut self, period: Period) {
        while self.period() < period {
            let period = self.period().plus(1);
            self.decide(Operation::PeriodMarker(PeriodMarker::new(period)));
        }
    }

    /// The height of the last block.
    pub(crate) fn height(&self) -> Height {
        self.lane.height()
    }

    /// What a replica that knows no block after `height` answers to a look-up.
    pub(crate) fn look_up(&self, query: &StateQuery, height: Height) -> StateAnswer {
        let known = self.history.iter().rfind(|(_, header, _)| header.height <= height).unwrap();
        let (state, header, certificate) = known;
        let branch = state.prove(&query.key).unwrap();
        let value = match (query.key, &branch.leaf) {
            (StateKey::Inbox(inbox), StateLeaf::Digest(hash)) if query.known != Some(*hash) => {
                Some(state.inbox(inbox).unwrap().to_wire().try_into().unwrap())
            }
            _ => None,
        };
        let (version, key) = (PROTOCOL_VERSION, query.key);
        let (header, certificate) = (*header, certificate.clone());
        let proof = StateProof { version, key, branch, header, certificate };
        StateAnswer { version, proof, value }
    }

    /// What a quorum of cheats can certify: the same state after another block.
    pub(crate) fn forked(&self, mut answer: StateAnswer) -> StateAnswer {
        answer.proof.header.parent = BlockHash([0xff; 32]);
        answer.proof.certificate = self.certificate(&answer.proof.header);
        answer
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
            expiry if expiry < self.period() => Err(ErrorCode::EnvelopeExpired),
            expiry if expiry > self.period().plus(2) => Err(ErrorCode::NotAfterTooFar),
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
        let period = self.period();
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
            fee_period: period,
            fee: PicoDollars(0),
        };
        leaves.push(header.hash().0);
        let index = leaves.len() - 1;
        let size = LogSize(u64::try_from(leaves.len()).unwrap());
        let path = BoundedVec::new(merkle::path(leaves, index)).unwrap();
        let checkpoint = Checkpoint::new(log, size, merkle::root(leaves), period);
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
        let paid = self.paid(Target::Shard(ShardId(0)), envelope);
        let receipt = self.decide(Operation::Envelope(paid));
        match receipt.decided.outcome {
            Outcome::Refused { code } => return Err(code),
            Outcome::Applied { .. } => self.ordered.push((envelope.body.topic, receipt.clone())),
            Outcome::Conflict { .. } => {}
        }
        Ok(receipt)
    }

    /// Makes a block of one operation final.
    fn decide(&mut self, operation: Operation) -> OrderedReceipt {
        let context =
            LaneContext { network: self.network, registries: &self.registries, shard: ShardId(0) };
        let (staged, _) = self.lane.stage(vec![operation], context).unwrap();
        let block = staged.block.clone();
        self.lane.commit(staged);
        let certificate = self.certificate(&block.header);
        self.history.push((self.lane.clone(), block.header, certificate.clone()));
        CertifiedBlock { block, certificate }.receipt(0).unwrap()
    }

    fn certificate(&self, header: &BlockHeader) -> Certificate {
        let vote =
            |node| CommitSignature::sign(node, header, Round(0), &self.keys[&node], self.network);
        let votes: Vec<_> = (1..=3).map(NodeId).map(vote).collect();
        Certificate { round: Round(0), signatures: BoundedVec::new(votes).unwrap() }
    }
}

/// A wallet for a test's person number `number`.
pub(crate) fn wallet(number: u8) -> LocalWallet {
    LocalWallet::from_secret(&[number.max(1); 32]).unwrap()
}
