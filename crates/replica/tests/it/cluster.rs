//! Several replicas in one process: frames are queued, disks are write sets in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tidings_envelope::api::{
    PublishRequest, PublishResponse, PublishResult, StateAnswer, StateQuery,
};
use tidings_envelope::registry::{CapRecord, FeeSchedule, NodeRecord, PayerRecord, Registry};
use tidings_envelope::{
    AckLevel, BatchHeader, CertifiedBlock, ClientEnvelope, EnvelopeBody, Evidence, InclusionProof,
    Lane, LogId, RegistryHistory, Target, Topic,
};
use tidings_order::{LaneLog, RestoredAgreement};
use tidings_payer::Due;
use tidings_replica::store::{
    EntryRecord, Flush, Restored, RestoredLane, RestoredLog, TopicHeads, WriteSet,
};
use tidings_replica::wire::{ControlFrame, FeedFlush, FeedRequest, Have};
use tidings_replica::{
    Alarm, CongestionByShard, Effect, Now, RecentEntry, Replica, ReplicaConfig, RequestId,
    WriteTicket, examine_flush, prepare_publish,
};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::SigningKey;
use tidings_types::node_key::NodeKey;
use tidings_types::{
    BoundedVec, ErrorCode, EthereumAddress, Genesis, GenesisSalt, Height, LogIndex, LogSize,
    NetworkId, NodeId, Period, PicoDollars, Position, RegistryEpoch, ShardId, TimestampSeconds,
    TopicIndex, Wire,
};

pub const PAYER: EthereumAddress = EthereumAddress([7; 20]);

pub fn signing_key(number: u8) -> SigningKey {
    SigningKey::from_secret(&[number; 32])
}

pub fn node_key(node: NodeId) -> NodeKey {
    NodeKey::from_secret(&[u8::try_from(node.0).unwrap(); 32]).unwrap()
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
    let session_keys = vec![signing_key(50).public_key()];
    Registry {
        genesis: Genesis::without_chain(GenesisSalt([1; 32])),
        epoch: RegistryEpoch(1),
        shard_count: 1,
        replication_factor: 31,
        period_ms: 10_000,
        mailbox_buckets: 1,
        nodes: (1..=nodes).map(record).collect(),
        payers: vec![PayerRecord::unlimited(PAYER, session_keys)],
        edges: Vec::new(),
        fees: FeeSchedule::default(),
    }
}

/// What a replica has made durable.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub flushes: BTreeMap<LogId, Vec<Flush>>,
    pub blocks: Vec<CertifiedBlock>,
    pub registries: Vec<Arc<Registry>>,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    lane_logs: Vec<LaneLog>,
    pub evidence: Vec<Evidence>,
}

impl Disk {
    fn write(&mut self, set: WriteSet) {
        for flush in set.flushes {
            let log = self.flushes.entry(flush.log).or_default();
            let due = log.last().map_or(0, |last| last.checkpoint.checkpoint.size.0);
            assert_eq!(flush.first().0, due, "a stretch follows what is stored");
            log.push(flush);
        }
        self.lane_logs.extend(set.lane_logs.into_iter().map(|(_, log)| log));
        self.evidence.extend(set.evidence);
        self.registries.extend(set.registries);
        for decided in set.decided {
            assert_eq!(decided.certified.block.header.height.0, self.blocks.len() as u64 + 1);
            let height = decided.certified.block.header.height;
            self.lane_logs.retain(|log| log.height > height);
            self.blocks.push(decided.certified);
            for (key, value) in decided.state {
                match value {
                    Some(value) => self.state.insert(key, value),
                    None => self.state.remove(&key),
                };
            }
        }
    }

    fn restored(&self) -> Restored {
        let logs = self.flushes.iter().map(|(log, flushes)| {
            let last = flushes.last().unwrap();
            // As storage does: those of earlier incarnations are read when they are needed.
            let is_newest = !self.flushes.keys().any(|other| {
                (other.node, other.shard) == (log.node, log.shard)
                    && other.incarnation > log.incarnation
            });
            let topics = if is_newest { topic_heads(flushes) } else { TopicHeads::new() };
            let frontier = last.frontier.clone();
            (*log, RestoredLog { checkpoint: last.checkpoint, frontier, topics })
        });
        let mut agreement = RestoredAgreement::default();
        for log in &self.lane_logs {
            agreement.records.extend(log.records.iter().cloned());
            agreement.blocks.extend(log.blocks.iter().cloned());
        }
        let head = self.blocks.last().cloned();
        let lane = RestoredLane { head, agreement, state: self.state.clone() };
        // As storage does: what was never written is not there.
        let lanes = Some((ShardId(0), lane)).filter(|(_, lane)| *lane != RestoredLane::default());
        Restored {
            logs: logs.collect(),
            lanes: lanes.into_iter().collect(),
            evidence: self.evidence.clone(),
        }
    }

    fn recent(&self, node: NodeId) -> Vec<RecentEntry> {
        let own = self.flushes.iter().filter(|(log, _)| log.node == node);
        own.flat_map(|(log, flushes)| {
            flushes.iter().flat_map(|flush| &flush.entries).map(|entry| RecentEntry {
                id: entry.header.envelope_id,
                log: *log,
                index: entry.header.index,
                fee_period: entry.header.fee_period,
                due: Due::of(&entry.header, log.shard),
            })
        })
        .collect()
    }

    /// Every envelope id in every log, with how often it is there.
    pub fn ids(&self) -> BTreeMap<tidings_types::EnvelopeId, usize> {
        let mut ids = BTreeMap::new();
        let flushes = self.flushes.values().flatten();
        for entry in flushes.flat_map(|flush| &flush.entries) {
            *ids.entry(entry.header.envelope_id).or_default() += 1;
        }
        ids
    }
}

/// A feed that its subscriber has asked for, and how much was sent.
#[derive(Debug)]
struct OpenFeed {
    at: NodeId,
    to: NodeId,
    request: FeedRequest,
}

/// An entry that a replica wants from its storage, for a peer or for itself.
#[derive(Debug, Clone, Copy)]
struct LookUp {
    node: NodeId,
    to: Option<NodeId>,
    log: LogId,
    index: LogIndex,
    size: LogSize,
}

pub struct Cluster {
    pub registry: Arc<Registry>,
    /// What nodes know of the registry when they start.
    pub registries: Arc<RegistryHistory>,
    /// From what the keys of nodes are made that have another one by now.
    pub keys: BTreeMap<NodeId, u8>,
    /// The registry epoch that payers' batches name.
    pub epoch: RegistryEpoch,
    /// The most that payers sign for an envelope.
    pub max_fee: PicoDollars,
    pub network: NetworkId,
    pub now_ms: u64,
    pub alarms: Vec<(NodeId, Alarm)>,
    /// While set, the node's disk refuses writes.
    pub broken_disks: BTreeSet<NodeId>,
    /// While set, entries are looked up only by [`Cluster::answer_look_ups`].
    pub slow_storage: bool,
    look_ups: VecDeque<LookUp>,
    replicas: BTreeMap<NodeId, Replica>,
    pub disks: BTreeMap<NodeId, Disk>,
    wire: VecDeque<(NodeId, NodeId, ControlFrame)>,
    feeds: Vec<OpenFeed>,
    unwritten: BTreeMap<NodeId, VecDeque<(WriteTicket, WriteSet)>>,
    pub replies: BTreeMap<RequestId, PublishResponse>,
    next_request: u64,
    starts: u8,
}

impl Cluster {
    /// A cluster whose nodes are all up, linked and ready.
    pub fn new(nodes: u32) -> Self {
        Self::of(registry(nodes))
    }

    /// A cluster of these nodes, all up, linked and ready.
    pub fn of(registry: Registry) -> Self {
        let registry = Arc::new(registry);
        let ids: Vec<NodeId> = registry.nodes.iter().map(|node| node.id).collect();
        let mut cluster = Self {
            network: registry.network_id(),
            registries: Arc::new(RegistryHistory::new(registry.clone())),
            keys: BTreeMap::new(),
            epoch: registry.epoch,
            max_fee: PicoDollars(u64::MAX),
            registry,
            now_ms: 0,
            alarms: Vec::new(),
            broken_disks: BTreeSet::new(),
            slow_storage: false,
            look_ups: VecDeque::new(),
            replicas: BTreeMap::new(),
            disks: ids.iter().map(|id| (*id, Disk::default())).collect(),
            wire: VecDeque::new(),
            feeds: Vec::new(),
            unwritten: BTreeMap::new(),
            replies: BTreeMap::new(),
            next_request: 0,
            starts: 0,
        };
        for id in ids {
            cluster.start(id);
        }
        cluster.settle();
        cluster
    }

    /// Starts a node from its disk and links it to every node that is up.
    pub fn start(&mut self, node: NodeId) {
        self.starts += 1;
        let config = ReplicaConfig {
            node,
            key: self
                .keys
                .get(&node)
                .map_or_else(|| node_key(node), |seed| NodeKey::from_secret(&[*seed; 32]).unwrap()),
            nonce: [self.starts; 32],
            publish_timeout_ms: 5_000,
        };
        let disk = &self.disks[&node];
        let restored =
            Replica::restore(config, self.registries.clone(), disk.restored(), disk.recent(node));
        let peers: Vec<NodeId> = self.replicas.keys().copied().collect();
        self.replicas.insert(node, restored.unwrap());
        for peer in peers {
            self.with(peer, |replica, now| replica.peer_up(node, now));
            self.with(node, |replica, now| replica.peer_up(peer, now));
        }
        self.with(node, |replica, now| replica.tick(now));
    }

    /// Kills a node: memory, unwritten sets and everything on the way are gone.
    pub fn kill(&mut self, node: NodeId) {
        self.replicas.remove(&node);
        self.unwritten.remove(&node);
        self.look_ups.retain(|look_up| look_up.node != node);
        self.wire.retain(|(from, to, _)| *from != node && *to != node);
        self.feeds.retain(|feed| feed.at != node && feed.to != node);
        let peers: Vec<NodeId> = self.replicas.keys().copied().collect();
        for peer in peers {
            self.with(peer, |replica, now| replica.peer_down(node, now));
        }
    }

    pub fn is_up(&self, node: NodeId) -> bool {
        self.replicas.contains_key(&node)
    }

    fn now(&self) -> Now {
        Now { monotonic_ms: self.now_ms, timestamp: TimestampSeconds(1_000) }
    }

    fn with(&mut self, node: NodeId, input: impl FnOnce(&mut Replica, Now)) {
        let now = self.now();
        if let Some(replica) = self.replicas.get_mut(&node) {
            input(replica, now);
        }
        self.carry_out(node);
    }

    fn carry_out(&mut self, node: NodeId) {
        while let Some(effect) = self.replicas.get_mut(&node).and_then(Replica::poll_effect) {
            match effect {
                Effect::Persist(ticket, set) => {
                    self.unwritten.entry(node).or_default().push_back((ticket, set));
                }
                Effect::Control(to, frame) => {
                    // What goes over the wire is bytes.
                    let frame = ControlFrame::from_wire(&frame.to_wire()).unwrap();
                    self.wire.push_back((node, to, frame));
                }
                Effect::Subscribe(at, request) if self.replicas.contains_key(&at) => {
                    self.feeds.retain(|feed| {
                        !(feed.at == at && feed.to == node && same_subject(&feed.request, &request))
                    });
                    self.feeds.push(OpenFeed { at, to: node, request });
                }
                Effect::Subscribe(..) | Effect::Serve(_) | Effect::ServeBlock(..) => {}
                Effect::Unsubscribe(at, log) => self.feeds.retain(|feed| {
                    let is_it =
                        matches!(feed.request, FeedRequest::Log { log: fed, .. } if fed == log);
                    !(feed.at == at && feed.to == node && is_it)
                }),
                Effect::UnsubscribeBlocks(at, shard) => self.feeds.retain(|feed| {
                    let is_it = matches!(
                        feed.request,
                        FeedRequest::Blocks { shard: fed, .. } if fed == shard
                    );
                    !(feed.at == at && feed.to == node && is_it)
                }),
                Effect::Reply(request, response) => {
                    assert!(self.replies.insert(request, response).is_none(), "one reply each");
                }
                Effect::Prove { request, item, log, index, against } => {
                    let found = self.prove(node, log, index, against.checkpoint.checkpoint.size.0);
                    self.with(node, |replica, _| replica.proved(request, item, *against, found));
                }
                Effect::Include { to, log, index, size } => {
                    self.look_ups.push_back(LookUp { node, to, log, index, size });
                    if !self.slow_storage {
                        self.answer_look_ups();
                    }
                }
                Effect::TopicHeads(log) => {
                    let found = topic_heads(&self.disks[&node].flushes[&log]);
                    self.with(node, |replica, now| replica.topic_heads(log, Some(found), now));
                }
                Effect::Recall { request, item, height, index, .. } => {
                    let place = usize::try_from(height.0 - 1).unwrap();
                    let found = self.disks[&node].blocks[place].receipt(index);
                    self.with(node, |replica, _| replica.recalled(request, item, found));
                }
                Effect::Alarm(alarm) => self.alarms.push((node, alarm)),
            }
        }
    }

    fn prove(
        &self,
        node: NodeId,
        log: LogId,
        index: LogIndex,
        size: u64,
    ) -> Option<(tidings_envelope::EntryHeader, tidings_envelope::MerklePath)> {
        let flushes = self.disks[&node].flushes.get(&log)?.iter();
        let entries: Vec<_> = flushes.flat_map(|flush| &flush.entries).collect();
        let leaves: Vec<_> =
            entries.iter().take(usize::try_from(size).unwrap()).map(|entry| entry.hash.0).collect();
        let place = usize::try_from(index.0).unwrap();
        let path = tidings_types::merkle::path(&leaves, place);
        Some((entries.get(place)?.header, BoundedVec::new(path).unwrap()))
    }

    /// Answers every look-up of an entry that waits.
    pub fn answer_look_ups(&mut self) {
        while let Some(look_up) = self.look_ups.pop_front() {
            let found = self.include(look_up);
            let LookUp { node, to, log, .. } = look_up;
            self.with(node, |replica, now| replica.included(to, log, found, now));
        }
    }

    fn include(&self, look_up: LookUp) -> Option<InclusionProof> {
        let LookUp { node, log, index, size, .. } = look_up;
        let flushes = self.disks[&node].flushes.get(&log)?;
        let ends = |flush: &&Flush| flush.checkpoint.checkpoint.size == size;
        let checkpoint = flushes.iter().find(ends)?.checkpoint;
        let (header, path) = self.prove(node, log, index, size.0)?;
        Some(InclusionProof { header, path, checkpoint })
    }

    /// Hands a node a frame and a stretch as if `from` had sent them.
    pub fn inject(&mut self, from: NodeId, to: NodeId, flush: FeedFlush) {
        let checkpoint = flush.checkpoint.checkpoint;
        let have = Have { log: checkpoint.log, size: checkpoint.size };
        let frame = ControlFrame::Have(vec![have].try_into().unwrap());
        self.with(to, |replica, now| replica.control(from, frame, now));
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (registries, congestion) =
            (self.replicas[&to].registries(), self.replicas[&to].congestion());
        let examined = examine_flush(flush, self.network, registries, &congestion, &mut rng);
        self.with(to, |replica, now| replica.flush(from, examined, now));
    }

    /// Makes a snapshot of the registry known to a node.
    pub fn learn(&mut self, node: NodeId, registry: &Arc<Registry>) {
        let registry = registry.clone();
        self.with(node, |replica, now| replica.registry_changed(registry, now).unwrap());
    }

    /// Makes a snapshot known to all nodes that run in which the payer's cap is `amount` in every
    /// period, and it has enough left or not.
    pub fn cap(&mut self, amount: PicoDollars, is_short: bool) {
        let mut next = Registry::clone(self.registries.latest());
        next.epoch.0 += 1;
        let cap = CapRecord { shard: ShardId(0), before: amount, from: Period(0), amount };
        let unlimited = next.payers[0].clone();
        next.payers = vec![PayerRecord { caps: Some(vec![cap]), is_short, ..unlimited }];
        let next = Arc::new(next);
        self.epoch = next.epoch;
        Arc::make_mut(&mut self.registries).insert(next.clone()).unwrap();
        for node in self.replicas.keys().copied().collect::<Vec<_>>() {
            self.learn(node, &next);
        }
        self.settle();
    }

    /// Tells a node that `from` holds so much of a log.
    pub fn offer(&mut self, from: NodeId, to: NodeId, log: LogId, size: u64) {
        let have = Have { log, size: LogSize(size) };
        self.say(from, to, ControlFrame::Have(vec![have].try_into().unwrap()));
    }

    /// Hands a node a frame as if `from` had sent it.
    pub fn say(&mut self, from: NodeId, to: NodeId, frame: ControlFrame) {
        self.with(to, |replica, now| replica.control(from, frame, now));
    }

    /// How many feeds a node has open.
    pub fn feed_count(&self, node: NodeId) -> usize {
        self.feeds.iter().filter(|feed| feed.to == node).count()
    }

    /// Everything that is on the way from one node to another.
    pub fn on_the_way(&self, from: NodeId, to: NodeId) -> Vec<ControlFrame> {
        let between =
            self.wire.iter().filter(|(sender, target, _)| (*sender, *target) == (from, to));
        between.map(|(.., frame)| frame.clone()).collect()
    }

    /// Writes everything that waits at a node's disk, and delivers nothing.
    pub fn write_all(&mut self, node: NodeId) {
        while self.unwritten.get(&node).is_some_and(|sets| !sets.is_empty()) {
            self.write_one(node);
        }
    }

    /// Does one thing that waits, chosen by `choice`; answers whether there was one.
    pub fn step(&mut self, choice: usize) -> bool {
        let writers: Vec<NodeId> = self
            .unwritten
            .iter()
            .filter(|(node, sets)| !sets.is_empty() && !self.broken_disks.contains(node))
            .map(|(node, _)| *node)
            .collect();
        let count = writers.len() + usize::from(!self.wire.is_empty()) + self.feeds.len();
        if count == 0 {
            return false;
        }
        let choice = choice % count;
        if let Some(node) = writers.get(choice) {
            self.write_one(*node);
            return true;
        }
        if choice == writers.len() && !self.wire.is_empty() {
            let (from, to, frame) = self.wire.pop_front().unwrap();
            self.with(to, |replica, now| replica.control(from, frame, now));
            return true;
        }
        let feed = choice - writers.len() - usize::from(!self.wire.is_empty());
        self.feed_one(feed)
    }

    fn write_one(&mut self, node: NodeId) {
        if let Some((ticket, set)) = self.unwritten.get_mut(&node).and_then(VecDeque::pop_front) {
            self.disks.get_mut(&node).unwrap().write(set);
            self.with(node, |replica, now| replica.persisted(ticket, now));
        }
    }

    /// Sends the next stretch or block of a feed; answers whether there was one.
    fn feed_one(&mut self, place: usize) -> bool {
        let Some(feed) = self.feeds.get_mut(place) else { return false };
        let (at, to) = (feed.at, feed.to);
        match &mut feed.request {
            FeedRequest::Blocks { from, .. } => {
                let index = usize::try_from(from.0 - 1).unwrap();
                let Some(block) = self.disks[&at].blocks.get(index).cloned() else { return false };
                *from = Height(from.0 + 1);
                self.with(to, |replica, now| replica.block(block, now));
            }
            FeedRequest::Log { log, from } => {
                let stored = self.disks[&at].flushes.get(log);
                let next = stored.and_then(|stored| {
                    stored.iter().find(|flush| flush.checkpoint.checkpoint.size.0 > from.0)
                });
                let Some(flush) = next.cloned() else { return false };
                *from = flush.checkpoint.checkpoint.size.next_index();
                let entries: Vec<_> = flush.entries.iter().map(|entry| entry.to_entry()).collect();
                let frame = FeedFlush {
                    entries: entries.try_into().unwrap(),
                    checkpoint: flush.checkpoint,
                };
                let mut rng = ChaCha20Rng::seed_from_u64(1);
                let replica = &self.replicas[&to];
                let (registries, congestion) = (replica.registries(), replica.congestion());
                let examined =
                    examine_flush(frame, self.network, registries, &congestion, &mut rng);
                self.with(to, |replica, now| replica.flush(at, examined, now));
            }
        }
        true
    }

    /// Does everything that waits until nothing does, then lets a little time pass, until
    /// nothing changes any more.
    pub fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 12 {
            quiet = if self.drain() { 0 } else { quiet + 1 };
            self.pass(110);
        }
    }

    /// Does everything that comes up within a time, where something always does.
    pub fn run(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            self.drain();
            self.pass(110);
        }
        self.drain();
    }

    fn drain(&mut self) -> bool {
        let mut progress = false;
        loop {
            let mut moved = false;
            let writers: Vec<NodeId> = self.unwritten.keys().copied().collect();
            for node in writers {
                while !self.broken_disks.contains(&node)
                    && self.unwritten.get(&node).is_some_and(|sets| !sets.is_empty())
                {
                    self.write_one(node);
                    moved = true;
                }
            }
            while let Some((from, to, frame)) = self.wire.pop_front() {
                moved |= !matches!(frame, ControlFrame::Have(_));
                self.with(to, |replica, now| replica.control(from, frame, now));
            }
            let mut place = 0;
            while place < self.feeds.len() {
                match self.feed_one(place) {
                    true => moved = true,
                    false => place += 1,
                }
            }
            progress |= moved;
            if !moved {
                return progress;
            }
        }
    }

    /// Lets time pass at every node.
    pub fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        let nodes: Vec<NodeId> = self.replicas.keys().copied().collect();
        for node in nodes {
            self.with(node, |replica, now| replica.tick(now));
        }
    }

    pub fn fail_disk(&mut self, node: NodeId) {
        self.broken_disks.insert(node);
        self.with(node, |replica, now| replica.storage_failed(now));
    }

    /// An envelope of the group with key `key`.
    pub fn envelope(&self, key: u8, lane: Lane, text: &[u8]) -> ClientEnvelope {
        let key = signing_key(key);
        let topic = Topic::group(&key.public_key());
        let period = self.replicas.values().map(Replica::period).max().unwrap();
        let expected = (lane == Lane::Ordered).then(|| {
            let states = self.replicas.values().filter_map(|it| it.lane_state(ShardId(0)));
            states.map(|state| state.topic(topic).position).max().unwrap_or(Position(0))
        });
        let body = EnvelopeBody {
            lane,
            expected_position: expected,
            ..EnvelopeBody::broadcast(
                topic,
                PAYER,
                period.plus(1),
                text.to_vec().try_into().unwrap(),
            )
        };
        body.sign(&key, self.network)
    }

    /// A publish request for `node`, as a gateway makes it.
    pub fn request(
        &self,
        node: NodeId,
        level: AckLevel,
        envelopes: Vec<ClientEnvelope>,
    ) -> PublishRequest {
        let ids: Vec<_> = envelopes.iter().map(|envelope| envelope.body.id()).collect();
        let lane = envelopes.first().map_or(Lane::Broadcast, |envelope| envelope.body.lane);
        let header = BatchHeader {
            version: PROTOCOL_VERSION,
            payer: PAYER,
            session_key: signing_key(50).public_key(),
            target: match lane {
                Lane::Broadcast => Target::Node(node),
                Lane::Ordered => Target::Shard(ShardId(0)),
            },
            registry_epoch: self.epoch,
            not_after: envelopes.first().map_or(Period(0), |envelope| envelope.body.not_after),
            max_fee: self.max_fee,
            count: u32::try_from(ids.len()).unwrap(),
            root: BatchHeader::root_of(&ids),
        };
        let bytes = envelopes.iter().map(|envelope| envelope.to_wire().try_into().unwrap());
        PublishRequest {
            version: PROTOCOL_VERSION,
            level,
            batch: header.sign(&signing_key(50), self.network),
            envelopes: bytes.collect::<Vec<_>>().try_into().unwrap(),
            ids: ids.try_into().unwrap(),
        }
    }

    /// Publishes at `node`; the response, once there is one, is in `replies`.
    pub fn publish(
        &mut self,
        node: NodeId,
        request: &PublishRequest,
    ) -> Result<RequestId, ErrorCode> {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let mut rng = ChaCha20Rng::seed_from_u64(self.next_request);
        let replica = &self.replicas[&node];
        let (admission, congestion) = (replica.admission(), replica.congestion());
        let prepared = prepare_publish(request, &admission, &congestion, &mut rng)?;
        self.with(node, |replica, now| replica.publish(id, prepared, now));
        Ok(id)
    }

    /// The factors of the shards that a node follows.
    pub fn congestion(&self, node: NodeId) -> CongestionByShard {
        self.replicas[&node].congestion()
    }

    /// What a node answers to a look-up.
    pub fn look_up(&self, node: NodeId, query: &StateQuery) -> Result<StateAnswer, ErrorCode> {
        self.replicas[&node].look_up(query)
    }

    /// The results of a request that was answered.
    pub fn results(&self, request: RequestId) -> Option<&[PublishResult]> {
        self.replies.get(&request).map(|response| &*response.results)
    }
}

/// The last entry of each topic.
fn topic_heads(flushes: &[Flush]) -> TopicHeads {
    let entries = flushes.iter().flat_map(|flush| &flush.entries);
    let head = |entry: &EntryRecord| {
        let count = TopicIndex(entry.header.topic_index.0 + 1);
        (entry.header.topic, (count, entry.hash))
    };
    entries.map(head).collect()
}

fn same_subject(one: &FeedRequest, other: &FeedRequest) -> bool {
    match (one, other) {
        (FeedRequest::Log { log, .. }, FeedRequest::Log { log: other, .. }) => log == other,
        (FeedRequest::Blocks { shard, .. }, FeedRequest::Blocks { shard: other, .. }) => {
            shard == other
        }
        _ => false,
    }
}
