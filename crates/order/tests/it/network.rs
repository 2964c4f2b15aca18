//! A committee of orderers in one process, with a queue in place of a network and a disk.

use std::collections::{BTreeMap, VecDeque};

use tidings_envelope::registry::{FeeSchedule, NodeRecord, PayerRecord, Registry};
use tidings_envelope::{
    BatchHeader, Block, CertifiedBlock, ClientEnvelope, EnvelopeBody, Lane, Operation,
    PayerEnvelope, Target, Topic,
};
use tidings_order::{
    DecidedBlock, LaneState, OrderContext, OrderEffect, OrderMessage, Orderer, Sequencer,
};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::SigningKey;
use tidings_types::node_key::NodeKey;
use tidings_types::{
    BoundedVec, ErrorCode, EthereumAddress, Genesis, GenesisSalt, NetworkId, NodeId, Period,
    PicoDollars, Position, RegistryEpoch, ShardId,
};

pub const PAYER: EthereumAddress = EthereumAddress([7; 20]);

/// Key number `number` of a kind; every test uses few.
pub fn signing_key(number: u8) -> SigningKey {
    SigningKey::from_secret(&[number; 32])
}

pub fn node_key(node: NodeId) -> NodeKey {
    NodeKey::from_secret(&[u8::try_from(node.0).unwrap(); 32]).unwrap()
}

/// A payer of the tests; number 0 is [`PAYER`].
pub fn payer(number: u8) -> EthereumAddress {
    EthereumAddress([PAYER.0[0] + number; 20])
}

fn payer_record(address: EthereumAddress) -> PayerRecord {
    PayerRecord { address, session_keys: vec![signing_key(50).public_key()] }
}

pub fn registry(nodes: u32) -> Registry {
    let record = |id: u32| NodeRecord {
        id: NodeId(id),
        name: format!("node-{id}"),
        signing: node_key(NodeId(id)).address(),
        transport: signing_key(100).public_key(),
        quic: String::new(),
        http: String::new(),
        weight: 1,
        active: true,
    };
    Registry {
        genesis: Genesis::without_chain(GenesisSalt([1; 32])),
        epoch: RegistryEpoch(1),
        shard_count: 1,
        replication_factor: 31,
        period_ms: 10_000,
        mailbox_buckets: 1,
        nodes: (1..=nodes).map(record).collect(),
        payers: (0..4).map(payer).map(payer_record).collect(),
        fees: FeeSchedule::default(),
    }
}

/// What survives a kill of one replica.
#[derive(Default)]
struct Disk {
    proposal: Option<Block>,
    decided: Vec<DecidedBlock>,
}

pub struct Committee {
    pub registry: Registry,
    pub network: NetworkId,
    pub now_ms: u64,
    orderers: BTreeMap<NodeId, Sequencer>,
    keys: BTreeMap<NodeId, NodeKey>,
    disks: BTreeMap<NodeId, Disk>,
    wire: VecDeque<(NodeId, NodeId, OrderMessage)>,
}

impl Committee {
    /// A committee that has begun its first period.
    pub fn new(nodes: u32) -> Self {
        let registry = registry(nodes);
        let ids: Vec<NodeId> = registry.nodes.iter().map(|node| node.id).collect();
        let mut committee = Self {
            network: registry.network_id(),
            registry,
            now_ms: 0,
            orderers: BTreeMap::new(),
            keys: ids.iter().map(|id| (*id, node_key(*id))).collect(),
            disks: ids.iter().map(|id| (*id, Disk::default())).collect(),
            wire: VecDeque::new(),
        };
        ids.into_iter().for_each(|id| committee.start(id));
        committee.run();
        committee
    }

    /// Starts a replica from what is on its disk.
    pub fn start(&mut self, node: NodeId) {
        let disk = &self.disks[&node];
        let mut stored = BTreeMap::new();
        for (key, value) in disk.decided.iter().flat_map(|decided| &decided.changes) {
            match value {
                Some(value) => stored.insert(key.clone(), value.clone()),
                None => stored.remove(key),
            };
        }
        let head = disk.decided.last().map(|decided| &decided.certified.block.header);
        let state = LaneState::restore(head, &stored).unwrap();
        let orderer = Sequencer::new(ShardId(0), state, disk.proposal.clone());
        self.orderers.insert(node, orderer);
        self.with(node, |orderer, context| orderer.tick(context));
    }

    /// Kills a replica: its memory and what is on the way to it are gone.
    pub fn kill(&mut self, node: NodeId) {
        self.orderers.remove(&node);
        self.wire.retain(|(_, to, _)| *to != node);
    }

    pub fn state(&self, node: NodeId) -> &LaneState {
        self.orderers[&node].state()
    }

    pub fn submit(&mut self, node: NodeId, operation: Operation) {
        self.with(node, |orderer, context| orderer.submit(operation, context).unwrap());
    }

    pub fn try_submit(&mut self, node: NodeId, operation: Operation) -> Result<(), ErrorCode> {
        let mut answer = Ok(());
        self.with(node, |orderer, context| {
            answer = orderer.submit(operation, context).map_err(|error| error.0);
        });
        answer
    }

    /// Lets `ms` pass at every replica.
    pub fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        let nodes: Vec<NodeId> = self.orderers.keys().copied().collect();
        for node in nodes {
            self.with(node, |orderer, context| orderer.tick(context));
        }
        self.run();
    }

    /// Delivers until nothing is on the way, and hands final blocks to those who lack them.
    pub fn run(&mut self) {
        loop {
            while let Some((from, to, message)) = self.wire.pop_front() {
                self.deliver(from, to, message);
            }
            if !self.gossip() {
                return;
            }
        }
    }

    /// Delivers one message; answers whether there was one.
    pub fn step(&mut self) -> bool {
        let Some((from, to, message)) = self.wire.pop_front() else {
            return false;
        };
        self.deliver(from, to, message);
        true
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, message: OrderMessage) {
        if self.orderers.contains_key(&to) {
            self.with(to, |orderer, context| orderer.receive(from, message, context));
        }
    }

    fn gossip(&mut self) -> bool {
        let nodes: Vec<NodeId> = self.orderers.keys().copied().collect();
        let mut progress = false;
        for node in nodes {
            let next = usize::try_from(self.state(node).height().0).unwrap();
            let known = self.disks.values().find_map(|disk| disk.decided.get(next));
            if let Some(certified) = known.map(|decided| decided.certified.clone()) {
                self.with(node, |orderer, context| assert!(orderer.learn(certified, context)));
                progress = true;
            }
        }
        progress
    }

    fn with(&mut self, node: NodeId, input: impl FnOnce(&mut Sequencer, OrderContext<'_>)) {
        let mut input = Some(input);
        loop {
            let context = OrderContext {
                network: self.network,
                registry: &self.registry,
                node,
                key: &self.keys[&node],
                now_ms: self.now_ms,
            };
            let orderer = self.orderers.get_mut(&node).unwrap();
            if let Some(input) = input.take() {
                input(orderer, context);
            }
            let Some(effect) = orderer.poll_effect() else {
                return;
            };
            let disk = self.disks.get_mut(&node).unwrap();
            match effect {
                OrderEffect::Send(to, message) => self.wire.push_back((node, to, message)),
                OrderEffect::Persist(block) => {
                    let hash = block.header.hash();
                    disk.proposal = Some(block);
                    orderer.proposal_is_durable(hash, context);
                }
                OrderEffect::Decided(decided) => disk.decided.push(*decided),
            }
        }
    }

    /// Every final block, checked to be the same wherever it is known.
    pub fn history(&self) -> Vec<CertifiedBlock> {
        let longest = self.disks.values().max_by_key(|disk| disk.decided.len()).unwrap();
        for disk in self.disks.values() {
            for (one, other) in disk.decided.iter().zip(&longest.decided) {
                assert_eq!(one.certified.block, other.certified.block);
            }
        }
        let blocks = longest.decided.iter().map(|decided| decided.certified.clone());
        blocks.collect()
    }

    /// An ordered envelope of the group with key `key`, paid for.
    pub fn envelope(&self, key: u8, expected: Option<u64>, text: &[u8]) -> Operation {
        let key = signing_key(key);
        let not_after = self.state(NodeId(1)).period().plus(1);
        let topic = Topic::group(&key.public_key());
        let body = EnvelopeBody {
            expected_position: expected.map(Position),
            ..ordered(topic, not_after, text)
        };
        Operation::Envelope(paid(body.sign(&key, self.network), self.network, |_| {}))
    }

    /// Hands a replica a message that nobody sent through the committee.
    pub fn inject(&mut self, from: NodeId, to: NodeId, message: OrderMessage) {
        self.deliver(from, to, message);
    }

    /// What `from` has sent and nobody has received yet, taken off the wire.
    pub fn sent_by(&mut self, from: NodeId) -> Vec<OrderMessage> {
        let (sent, rest) = self.wire.drain(..).partition(|(sender, ..)| *sender == from);
        self.wire = rest;
        let sent: VecDeque<_> = sent;
        sent.into_iter().map(|(_, _, message)| message).collect()
    }
}

/// The body of an ordered envelope paid by [`PAYER`].
pub fn ordered(topic: Topic, not_after: Period, text: &[u8]) -> EnvelopeBody {
    let payload = text.to_vec().try_into().unwrap();
    EnvelopeBody {
        lane: Lane::Ordered,
        ..EnvelopeBody::broadcast(topic, PAYER, not_after, payload)
    }
}

/// The envelope in a batch of its own, whose header was changed before it was signed.
pub fn paid(
    envelope: ClientEnvelope,
    network: NetworkId,
    change: impl FnOnce(&mut BatchHeader),
) -> PayerEnvelope {
    let mut header = BatchHeader {
        version: PROTOCOL_VERSION,
        payer: envelope.body.payer,
        session_key: signing_key(50).public_key(),
        target: Target::Shard(ShardId(0)),
        registry_epoch: RegistryEpoch(1),
        not_after: envelope.body.not_after,
        max_fee: PicoDollars(u64::MAX),
        count: 1,
        root: BatchHeader::root_of(&[envelope.body.id()]),
    };
    change(&mut header);
    PayerEnvelope {
        envelope,
        batch: header.sign(&signing_key(50), network),
        index: 0,
        path: BoundedVec::default(),
    }
}
