//! Nodes that have links and feeds and nothing else, on loopback.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidings_envelope::registry::{FeeSchedule, NodeRecord};
use tidings_envelope::{
    Block, BlockHeader, Certificate, CertifiedBlock, Checkpoint, EntryHeader, LogEntry, LogId,
    Registry, Topic, TopicKind,
};
use tidings_node::feed::{FeedSource, Feeds, SourceUnavailable};
use tidings_node::link::{LinkConfig, LinkEvent, LinkEvents, LinkLimits, Links};
use tidings_replica::store::{EntryRecord, Flush};
use tidings_replica::wire::{ControlFrame, FeedFrame, FeedRequest, Have};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::SigningKey;
use tidings_types::node_key::NodeKey;
use tidings_types::{
    BoundedVec, EthereumAddress, Genesis, Height, Incarnation, LogIndex, LogSize, NodeId, Period,
    PicoDollars, RegistryEpoch, Round, ShardId, TimestampSeconds, TopicIndex,
};
use tokio::sync::watch;

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(30);

/// What `future` gives, which it must within the deadline.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it did not happen in time")
}

/// Returns once `holds` does; for what other tasks count without telling.
pub async fn until(holds: impl Fn() -> bool) {
    soon(async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

pub fn transport_key(id: u32) -> SigningKey {
    SigningKey::from_secret(&[u8::try_from(id).unwrap(); 32])
}

/// A registry of nodes 1 to `nodes`, whose addresses are not known yet.
pub fn registry(nodes: u32) -> Registry {
    let record = |id: u32| NodeRecord {
        id: NodeId(id),
        name: format!("node-{id}"),
        signing: EthereumAddress([u8::try_from(id).unwrap(); 20]),
        transport: transport_key(id).public_key(),
        quic: String::new(),
        http: String::new(),
        weight: 1,
        active: true,
    };
    Registry {
        genesis: Genesis::without_chain([1; 32].into()),
        epoch: RegistryEpoch(1),
        shard_count: 1,
        replication_factor: 4,
        period_ms: 10_000,
        mailbox_buckets: 1,
        nodes: (1..=nodes).map(record).collect(),
        payers: Vec::new(),
        edges: Vec::new(),
        fees: FeeSchedule::default(),
    }
}

/// A node with links and feeds.
pub struct Node {
    pub links: Links,
    pub events: LinkEvents,
    pub feeds: Arc<Feeds>,
    pub storage: Memory,
}

impl Node {
    pub fn start(id: u32, registry: &watch::Sender<Arc<Registry>>, limits: LinkLimits) -> Self {
        Self::listen(id, registry, limits, "127.0.0.1:0")
    }

    pub fn listen(
        id: u32,
        registry: &watch::Sender<Arc<Registry>>,
        limits: LinkLimits,
        address: &str,
    ) -> Self {
        let storage = Memory::default();
        let feeds = Feeds::new(storage.clone());
        let config = LinkConfig {
            id: NodeId(id),
            key: transport_key(id),
            listen: address.parse().unwrap(),
            addresses: Default::default(),
            limits,
        };
        let (links, events) = Links::start(config, registry.subscribe(), feeds.clone()).unwrap();
        Self { links, events, feeds, storage }
    }

    /// The next event.
    pub async fn event(&mut self) -> LinkEvent {
        soon(self.events.recv()).await.expect("the links run")
    }

    /// The next frame of a feed, which must be the next event.
    pub async fn feed(&mut self, from: u32, request: FeedRequest) -> FeedFrame {
        match self.event().await {
            LinkEvent::Feed { from: peer, request: asked, frame } => {
                assert_eq!((peer, asked), (NodeId(from), request));
                frame
            }
            other => panic!("{other:?} instead of a feed"),
        }
    }

    /// Makes a flush durable, then publishes it.
    pub fn publish(&self, flush: Flush) {
        self.storage.append(flush.clone());
        self.feeds.publish_flush(&flush);
    }
}

/// Nodes that know each other's addresses.
pub struct Network {
    pub registry: watch::Sender<Arc<Registry>>,
    pub nodes: Vec<Node>,
}

impl Network {
    /// Nodes 1 to `count`, without links yet.
    pub fn new(count: u32, limits: &LinkLimits) -> Self {
        let (sender, _) = watch::channel(Arc::new(registry(count)));
        let nodes = (1..=count).map(|id| Node::start(id, &sender, limits.clone())).collect();
        Self { registry: sender, nodes }
    }

    /// Nodes 1 to `count`, each linked with each.
    pub async fn linked(count: u32) -> Self {
        let mut network = Self::new(count, &LinkLimits::default());
        network.introduce();
        for id in 1..=count {
            let mut up = Vec::new();
            while up.len() + 1 < usize::try_from(count).unwrap() {
                match network.node(id).event().await {
                    LinkEvent::Up(peer) => up.push(peer),
                    other => panic!("{other:?} instead of a link"),
                }
            }
            up.sort_unstable();
            let peers: Vec<_> = (1..=count).filter(|peer| *peer != id).map(NodeId).collect();
            assert_eq!(up, peers);
        }
        network
    }

    pub fn node(&mut self, id: u32) -> &mut Node {
        &mut self.nodes[usize::try_from(id).unwrap() - 1]
    }

    /// Puts every node's address into the registry.
    pub fn introduce(&self) {
        let addresses: Vec<_> =
            self.nodes.iter().map(|node| node.links.local_address().to_string()).collect();
        self.change(|registry| {
            for (record, address) in registry.nodes.iter_mut().zip(addresses) {
                record.quic = address;
            }
        });
    }

    pub fn change(&self, change: impl FnOnce(&mut Registry)) {
        self.registry.send_modify(|registry| change(Arc::make_mut(registry)));
    }
}

/// Storage in memory, for as many logs and blocks as a test writes.
#[derive(Clone, Default)]
pub struct Memory {
    contents: Arc<Mutex<Contents>>,
    pub reads: Arc<AtomicU64>,
}

#[derive(Default)]
struct Contents {
    logs: BTreeMap<LogId, Vec<Flush>>,
    blocks: Vec<CertifiedBlock>,
    broken: bool,
    one_flush_at_a_time: bool,
}

impl Memory {
    pub fn append(&self, flush: Flush) {
        self.contents.lock().unwrap().logs.entry(flush.log).or_default().push(flush);
    }

    pub fn append_block(&self, certified: CertifiedBlock) {
        self.contents.lock().unwrap().blocks.push(certified);
    }

    /// Makes every later read fail.
    pub fn fail(&self) {
        self.contents.lock().unwrap().broken = true;
    }

    /// Makes every later read give one flush of a log.
    pub fn read_one_flush_at_a_time(&self) {
        self.contents.lock().unwrap().one_flush_at_a_time = true;
    }

    fn read(&self) -> Result<std::sync::MutexGuard<'_, Contents>, SourceUnavailable> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let contents = self.contents.lock().unwrap();
        if contents.broken { Err(SourceUnavailable) } else { Ok(contents) }
    }
}

impl FeedSource for Memory {
    async fn flushes(
        &self,
        log: LogId,
        from: LogIndex,
        entries_max: usize,
        bytes_max: usize,
    ) -> Result<Option<Flush>, SourceUnavailable> {
        let contents = self.read()?;
        let entries_max = if contents.one_flush_at_a_time { 1 } else { entries_max };
        let mut found: Option<Flush> = None;
        let mut bytes = 0;
        for flush in contents.logs.get(&log).into_iter().flatten() {
            let entries = flush.entries.iter().filter(|entry| entry.header.index >= from).cloned();
            let entries: Vec<_> = entries.collect();
            let lengths = entries.iter().filter_map(|entry| entry.payload.as_ref());
            bytes += lengths.map(|payload| payload.len()).sum::<usize>();
            match &mut found {
                _ if entries.is_empty() => {}
                None => found = Some(Flush { entries, ..flush.clone() }),
                Some(found) => {
                    if found.entries.len() + entries.len() > entries_max || bytes > bytes_max {
                        break;
                    }
                    found.entries.extend(entries);
                    found.checkpoint = flush.checkpoint;
                }
            }
        }
        Ok(found)
    }

    async fn blocks(
        &self,
        shard: ShardId,
        from: Height,
        blocks_max: usize,
    ) -> Result<Vec<CertifiedBlock>, SourceUnavailable> {
        let contents = self.read()?;
        let wanted = contents.blocks.iter().filter(|certified| {
            let header = &certified.block.header;
            header.shard == shard && header.height >= from
        });
        Ok(wanted.take(blocks_max).cloned().collect())
    }
}

/// The log of a node's first start.
pub fn log_of(node: u32) -> LogId {
    LogId { node: NodeId(node), shard: ShardId(0), incarnation: Incarnation(1) }
}

pub fn request(log: LogId, from: u64) -> FeedRequest {
    FeedRequest::Log { log, from: LogIndex(from) }
}

/// A flush of entries from index `first` on, one per payload length.
pub fn flush(log: LogId, first: u64, lengths: &[usize]) -> Flush {
    let entries = lengths.iter().zip(first..).map(|(length, index)| entry(index, *length));
    let entries: Vec<_> = entries.collect();
    let size = LogSize(first + u64::try_from(lengths.len()).unwrap());
    let checkpoint = Checkpoint::new(log, size, [7; 32], Period(1));
    let key = NodeKey::from_secret(&[1; 32]).unwrap();
    let checkpoint = checkpoint.sign(&key, registry(1).network_id());
    Flush { log, entries, checkpoint, frontier: Vec::new() }
}

fn entry(index: u64, length: usize) -> EntryRecord {
    let header = EntryHeader {
        version: PROTOCOL_VERSION,
        envelope_id: [2; 32].into(),
        index: LogIndex(index),
        timestamp: TimestampSeconds(1),
        topic: Topic { kind: TopicKind::Group, id: [3; 32].into() },
        topic_index: TopicIndex(index),
        previous: [4; 32].into(),
        payer: EthereumAddress([5; 20]),
        payload_hash: [6; 32],
        payload_length: u32::try_from(length).unwrap(),
        retention_days: 1,
        fee_period: Period(1),
        fee: PicoDollars(1),
    };
    let payload = vec![u8::try_from(index % 251).unwrap(); length];
    EntryRecord { header, hash: header.hash(), payload: Some(payload.into()) }
}

/// What `expected` entries from `next` on look like in a frame; says what comes after them.
pub fn check_entries(frame: &FeedFrame, next: u64) -> u64 {
    let FeedFrame::Flush(flush) = frame else { panic!("{frame:?} is no flush") };
    let indexes: Vec<_> = flush.entries.iter().map(|entry| entry.header.index.0).collect();
    let end = next + u64::try_from(indexes.len()).unwrap();
    assert!(!indexes.is_empty() && indexes.iter().copied().eq(next..end), "{indexes:?} at {next}");
    assert_eq!(flush.checkpoint.checkpoint.size, LogSize(end));
    assert!(flush.entries.iter().all(is_intact));
    end
}

fn is_intact(entry: &LogEntry) -> bool {
    let fill = u8::try_from(entry.header.index.0 % 251).unwrap();
    entry.payload.as_ref().is_some_and(|payload| {
        u32::try_from(payload.len()) == Ok(entry.header.payload_length)
            && payload.iter().all(|byte| *byte == fill)
    })
}

pub fn block(height: u64) -> CertifiedBlock {
    let header = BlockHeader {
        version: PROTOCOL_VERSION,
        shard: ShardId(0),
        height: Height(height),
        parent: [1; 32].into(),
        period: Period(1),
        chain_reference: None,
        registry_epoch: RegistryEpoch(1),
        next_epoch: RegistryEpoch(1),
        next_committee: [2; 32],
        operations_count: 0,
        operations_root: [3; 32],
        state_root: [4; 32],
    };
    let certificate = Certificate { round: Round(0), signatures: BoundedVec::default() };
    CertifiedBlock { block: Block { header, operations: BoundedVec::default() }, certificate }
}

/// A control frame that carries a number.
pub fn numbered(node: u32, number: u64) -> ControlFrame {
    let have = Have { log: log_of(node), size: LogSize(number) };
    ControlFrame::Have(BoundedVec::new(vec![have]).unwrap())
}
