//! A committee of orderers in one process, with a queue in place of a network and a disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tidings_envelope::registry::{FeeSchedule, NodeRecord, PayerRecord, Registry};
use tidings_envelope::{
    BatchHeader, CertifiedBlock, ClientEnvelope, EnvelopeBody, Evidence, Lane, Operation, Outcome,
    PayerEnvelope, RegistryHistory, Target, Topic,
};
use tidings_order::{
    Agreement, DecidedBlock, LaneContext, LaneLog, LaneState, OrderContext, OrderEffect,
    OrderMessage, RestoredAgreement,
};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::SigningKey;
use tidings_types::node_key::NodeKey;
use tidings_types::{
    BoundedVec, ErrorCode, EthereumAddress, Genesis, GenesisSalt, NetworkId, NodeId, Period,
    PicoDollars, Position, RegistryEpoch, ShardId, Wire,
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
    PayerRecord::unlimited(address, vec![signing_key(50).public_key()])
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
        edges: Vec::new(),
        fees: FeeSchedule::default(),
    }
}

/// What survives a kill of one replica.
#[derive(Default, Clone)]
pub struct Disk {
    logs: Vec<LaneLog>,
    pub decided: Vec<DecidedBlock>,
}

impl Disk {
    fn write(&mut self, write: Write) {
        match write {
            Write::Log(part) => self.logs.push(part),
            Write::Decided(decided) => {
                let height = decided.certified.block.header.height;
                assert_eq!(height.0, self.decided.len() as u64 + 1);
                self.decided.push(*decided);
                self.logs.retain(|part| part.height > height);
            }
        }
    }

    /// What was logged of the height after the last final block, which must be without a gap.
    fn restored(&self) -> RestoredAgreement {
        let mut restored = RestoredAgreement::default();
        for part in &self.logs {
            assert_eq!(part.first, restored.records.len() as u64);
            restored.records.extend(part.records.iter().cloned());
            restored.blocks.extend(part.blocks.iter().cloned());
        }
        restored
    }

    fn state(&self) -> LaneState {
        let mut stored = BTreeMap::new();
        for (key, value) in self.decided.iter().flat_map(|decided| &decided.changes) {
            match value {
                Some(value) => stored.insert(key.clone(), value.clone()),
                None => stored.remove(key),
            };
        }
        let head = self.decided.last().map(|decided| &decided.certified.block.header);
        LaneState::restore(head, &stored).unwrap()
    }
}

/// Something on its way to a disk.
enum Write {
    Log(LaneLog),
    Decided(Box<DecidedBlock>),
}

pub struct Committee {
    pub registry: Registry,
    pub registries: RegistryHistory,
    pub network: NetworkId,
    pub now_ms: u64,
    /// How far another shard is.
    pub latest_period: Period,
    /// What the committee found of its members.
    pub evidence: Vec<Evidence>,
    /// Who saw two certificates for one height.
    pub forked: BTreeSet<NodeId>,
    /// Who found that it is behind, and whom.
    pub ahead: Vec<(NodeId, NodeId)>,
    /// Nodes whose writes become durable only when the test says so.
    pub slow_disks: BTreeSet<NodeId>,
    /// Links that are cut, in one direction each.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub disks: BTreeMap<NodeId, Disk>,
    writes: BTreeMap<NodeId, VecDeque<Write>>,
    orderers: BTreeMap<NodeId, Agreement>,
    keys: BTreeMap<NodeId, NodeKey>,
    wire: VecDeque<(NodeId, NodeId, OrderMessage)>,
}

impl Committee {
    /// A committee that has begun its first period.
    pub fn new(nodes: u32) -> Self {
        Self::of(registry(nodes))
    }

    /// A committee of a registry's that has begun its first period.
    pub fn of(registry: Registry) -> Self {
        let mut committee = Self::unborn(registry);
        committee.pass(250);
        assert_eq!(committee.history().len(), 1);
        committee
    }

    /// A committee whose members are up and have heard nothing of each other.
    fn unborn(registry: Registry) -> Self {
        let ids: Vec<NodeId> = registry.nodes.iter().map(|node| node.id).collect();
        let mut committee = Self {
            network: registry.network_id(),
            registries: RegistryHistory::new(Arc::new(registry.clone())),
            registry,
            now_ms: 0,
            latest_period: Period(0),
            evidence: Vec::new(),
            forked: BTreeSet::new(),
            ahead: Vec::new(),
            slow_disks: BTreeSet::new(),
            cut: BTreeSet::new(),
            disks: ids.iter().map(|id| (*id, Disk::default())).collect(),
            writes: BTreeMap::new(),
            orderers: BTreeMap::new(),
            keys: ids.iter().map(|id| (*id, node_key(*id))).collect(),
            wire: VecDeque::new(),
        };
        ids.into_iter().for_each(|id| committee.start(id));
        committee
    }

    pub fn lane(&self) -> LaneContext<'_> {
        LaneContext { network: self.network, registries: &self.registries, shard: ShardId(0) }
    }

    /// Starts a replica from what is on its disk.
    pub fn start(&mut self, node: NodeId) {
        let disk = &self.disks[&node];
        let agreement = Agreement::new(ShardId(0), disk.state(), disk.restored());
        self.orderers.insert(node, agreement);
        self.with(node, |orderer, context| orderer.tick(context));
    }

    /// Kills a replica: its memory, what is on the way to it, and what its disk had not written.
    pub fn kill(&mut self, node: NodeId) {
        self.orderers.remove(&node);
        self.writes.remove(&node);
        self.wire.retain(|(_, to, _)| *to != node);
    }

    pub fn is_up(&self, node: NodeId) -> bool {
        self.orderers.contains_key(&node)
    }

    pub fn state(&self, node: NodeId) -> &LaneState {
        self.orderers[&node].state()
    }

    pub fn is_halted(&self, node: NodeId) -> bool {
        self.orderers[&node].is_halted()
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
        self.tick(ms);
        self.run();
    }

    /// Lets `ms` pass at every replica, and delivers nothing.
    pub fn tick(&mut self, ms: u64) {
        self.now_ms += ms;
        let nodes: Vec<NodeId> = self.orderers.keys().copied().collect();
        for node in nodes {
            self.with(node, |orderer, context| orderer.tick(context));
        }
    }

    /// Lets time pass in small steps until `done`; a minute is more than anything may take.
    pub fn pass_until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..600 {
            if done(self) {
                return;
            }
            self.pass(100);
        }
        panic!("not done after a minute");
    }

    /// Delivers until nothing is on the way, and hands final blocks to those who lack them.
    pub fn run(&mut self) {
        loop {
            while self.step() {}
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
        if !self.cut.contains(&(from, to)) {
            self.inject(from, to, message);
        }
        true
    }

    /// Hands a replica a message, whoever sent it.
    pub fn inject(&mut self, from: NodeId, to: NodeId, message: OrderMessage) {
        if self.is_up(to) {
            let message = OrderMessage::from_wire(&message.to_wire()).unwrap();
            self.with(to, |orderer, context| orderer.receive(from, message, context));
        }
    }

    /// Hands a replica a final block; answers whether it was the next one.
    pub fn learn(&mut self, node: NodeId, certified: CertifiedBlock) -> bool {
        let mut taken = false;
        self.with(node, |orderer, context| taken = orderer.learn(certified, context));
        taken
    }

    fn gossip(&mut self) -> bool {
        let nodes: Vec<NodeId> = self.orderers.keys().copied().collect();
        let mut progress = false;
        for node in nodes {
            let next = usize::try_from(self.state(node).height().0).unwrap();
            let reachable = self
                .disks
                .iter()
                .filter(|(from, _)| self.is_up(**from) && !self.cut.contains(&(**from, node)));
            let known = reachable.filter_map(|(_, disk)| disk.decided.get(next)).next();
            if let Some(certified) = known.map(|decided| decided.certified.clone()) {
                progress |= self.learn(node, certified);
            }
        }
        progress
    }

    fn with(&mut self, node: NodeId, input: impl FnOnce(&mut Agreement, OrderContext<'_>)) {
        let mut input = Some(input);
        loop {
            let context = OrderContext {
                network: self.network,
                registries: &self.registries,
                node,
                key: &self.keys[&node],
                now_ms: self.now_ms,
                latest_period: self.latest_period,
            };
            let orderer = self.orderers.get_mut(&node).unwrap();
            if let Some(input) = input.take() {
                input(orderer, context);
            }
            let Some(effect) = orderer.poll_effect() else {
                break;
            };
            let writes = self.writes.entry(node).or_default();
            match effect {
                OrderEffect::Send(to, message) => self.wire.push_back((node, to, message)),
                OrderEffect::Log(part) => writes.push_back(Write::Log(part)),
                OrderEffect::Decided(decided) => writes.push_back(Write::Decided(decided)),
                OrderEffect::Evidence(evidence) => self.evidence.push(*evidence),
                OrderEffect::Forked { .. } => {
                    self.forked.insert(node);
                }
                OrderEffect::Diverged(height) => panic!("node {node} diverges at {height}"),
                OrderEffect::Behind(peer) => self.ahead.push((node, peer)),
            }
        }
        if !self.slow_disks.contains(&node) {
            self.sync(node);
        }
    }

    /// Makes durable what a replica has written so far.
    pub fn sync(&mut self, node: NodeId) {
        let writes = self.writes.remove(&node).unwrap_or_default();
        for write in writes {
            let logged = match &write {
                Write::Log(part) => Some(part.sequence),
                Write::Decided(_) => None,
            };
            self.disks.get_mut(&node).unwrap().write(write);
            if let Some(sequence) = logged {
                self.with(node, |orderer, _| orderer.logged(sequence));
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

    /// What became of an operation, in every block that has it.
    pub fn outcomes_of(&self, operation: &Operation) -> Vec<Outcome> {
        let blocks = self.history().into_iter();
        let all = blocks.flat_map(|certified| certified.block.operations.into_vec());
        let same = all.filter(|decided| decided.operation == *operation);
        same.map(|decided| decided.outcome).collect()
    }

    /// An ordered envelope of the group with key `key`, paid for.
    pub fn envelope(&self, key: u8, expected: Option<u64>, text: &[u8]) -> Operation {
        let key = signing_key(key);
        let period = self.orderers.values().map(|orderer| orderer.state().period()).max();
        let not_after = period.unwrap_or_default().plus(1);
        let topic = Topic::group(&key.public_key());
        let body = EnvelopeBody {
            expected_position: expected.map(Position),
            ..ordered(topic, not_after, text)
        };
        Operation::Envelope(paid(body.sign(&key, self.network), self.network, |_| {}))
    }

    /// What `from` has sent and nobody has received yet, taken off the wire.
    pub fn sent_by(&mut self, from: NodeId) -> Vec<(NodeId, OrderMessage)> {
        let (sent, rest): (VecDeque<_>, _) =
            self.wire.drain(..).partition(|(sender, ..)| *sender == from);
        self.wire = rest;
        sent.into_iter().map(|(_, to, message)| (to, message)).collect()
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
