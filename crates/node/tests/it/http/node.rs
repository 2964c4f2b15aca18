//! A backend in memory, its server, and clients for both.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use tidings_envelope::api::{
    AcknowledgedCheckpoint, MEDIA_TYPE, NodeFrame, PublishRequest, PublishResponse, PublishResult,
    StateAnswer, StateQuery, SubscriberFrame, Subscription, TopicCursor, TopicEntry, TopicPage,
};
use tidings_envelope::registry::FeeSchedule;
use tidings_envelope::{
    CertifiedBlock, ClientEnvelope, LogId, Registry, SignedCheckpoint, StateBranch, StateLeaf,
    StatePath, StateProof, Topic,
};
use tidings_node::http::{
    Answer, Backend, HttpConfig, HttpServer, LogStatus, NodeStatus, Sample, ShardStatus,
};
use tidings_node::hub::Hub;
use tidings_node::metrics::Metrics;
use tidings_node::settlement::SettlementBook;
use tidings_replica::store::Flush;
use tidings_tlog::{MemoryTree, ProofPlan, inclusion_proof};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{
    BoundedVec, ErrorCode, Genesis, GenesisSalt, Hash, Height, LogIndex, NetworkId, NodeId, Period,
    RegistryEpoch, ShardId, Wire, sparse_merkle,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::store::{NETWORK, Store, log};

/// The topic that another shard keeps.
pub fn elsewhere() -> Topic {
    Topic::mailbox(u32::MAX)
}

/// A node in memory.
pub struct TestNode {
    pub store: Mutex<Store>,
    pub hub: Arc<Hub>,
    pub is_ready: AtomicBool,
    pub storage_fails: AtomicBool,
    /// A publish takes one permit for good before it is answered.
    pub publish_permits: Semaphore,
    /// Gains a permit whenever a publish has begun.
    pub publishes_begun: Semaphore,
    /// The usage reports; nodes that make none have no book.
    pub book: Option<SettlementBook>,
}

impl TestNode {
    /// Makes a flush durable and then live.
    pub fn append(&self, log: LogId, entries: &[(Topic, Vec<u8>)]) -> Flush {
        let flush = self.store.lock().unwrap().append(log, entries);
        self.hub.broadcast(&flush);
        flush
    }

    /// Makes an ordered entry durable and then live.
    pub fn order(&self, topic: Topic) {
        let mut store = self.store.lock().unwrap();
        let receipt = store.order(topic);
        self.hub.block(&store.blocks(receipt.header.height, 1)[0]);
        self.hub.ordered(&[receipt]);
    }

    fn read<T: Send + 'static>(&self, read: impl FnOnce(&Store) -> T) -> Answer<'_, T> {
        let result = match self.storage_fails.load(Ordering::SeqCst) {
            true => Err(ErrorCode::StorageUnavailable),
            false => Ok(read(&self.store.lock().unwrap())),
        };
        Box::pin(std::future::ready(result))
    }

    fn publish_one(&self, bytes: &[u8]) -> (PublishResult, Option<SignedCheckpoint>) {
        let Ok(envelope) = ClientEnvelope::from_wire(bytes) else {
            return (PublishResult::Refused { code: ErrorCode::Malformed }, None);
        };
        let flush = self.append(log(1), &[(envelope.body.topic, bytes.to_vec())]);
        let (header, size) = (flush.entries[0].header, flush.checkpoint.checkpoint.size);
        let hashes = self.store.lock().unwrap().leaf_hashes(log(1), LogIndex(0), LogIndex(size.0));
        let tree: MemoryTree = hashes.into_iter().collect();
        let path = inclusion_proof(&tree, header.index, size).unwrap().try_into().unwrap();
        (PublishResult::Stored { header, path, checkpoint: 0 }, Some(flush.checkpoint))
    }
}

impl Backend for TestNode {
    fn network(&self) -> NetworkId {
        NETWORK
    }

    fn period(&self) -> Period {
        Period(3)
    }

    fn registry_at(&self, epoch: RegistryEpoch) -> Option<Arc<Registry>> {
        let newest = self.registry();
        let before = Registry { epoch: newest.epoch.minus(1), ..Registry::clone(&newest) };
        [newest, Arc::new(before)].into_iter().find(|registry| registry.epoch == epoch)
    }

    fn settlement(&self) -> Option<&SettlementBook> {
        self.book.as_ref()
    }

    fn registry(&self) -> Arc<Registry> {
        Arc::new(Registry {
            genesis: Genesis::without_chain(GenesisSalt([1; 32])),
            epoch: RegistryEpoch(2),
            shard_count: 1,
            replication_factor: 4,
            period_ms: 10_000,
            mailbox_buckets: 16,
            nodes: Vec::new(),
            payers: Vec::new(),
            edges: Vec::new(),
            fees: FeeSchedule::default(),
        })
    }

    fn ready(&self) -> Result<(), String> {
        match self.is_ready.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err("no incarnation is open".to_owned()),
        }
    }

    fn serves(&self, topic: Topic) -> Result<(), ErrorCode> {
        match topic == elsewhere() {
            true => Err(ErrorCode::WrongShard),
            false => Ok(()),
        }
    }

    fn samples(&self) -> Vec<Sample> {
        vec![
            Sample { name: "tidings_link_frames_total", help: "Frames from peers.", value: 11 },
            Sample { name: "tidings_peers_up", help: "Connected peers.", value: 3 },
        ]
    }

    fn status(&self) -> Answer<'_, NodeStatus> {
        self.read(|store| NodeStatus {
            network: NETWORK,
            node: NodeId(1),
            name: "node-1".to_owned(),
            version: "0.1.0".to_owned(),
            ready: true,
            period: Period(3),
            registry_epoch: RegistryEpoch(1),
            shards: vec![ShardStatus {
                shard: ShardId(0),
                height: Height(store.blocks(Height(0), usize::MAX).len() as u64),
                congestion_permille: 1_000,
            }],
            logs: store
                .checkpoints()
                .iter()
                .map(|signed| LogStatus {
                    log: signed.checkpoint.log,
                    size: signed.checkpoint.size,
                })
                .collect(),
        })
    }

    fn publish(&self, request: PublishRequest) -> Answer<'_, PublishResponse> {
        Box::pin(async move {
            self.publishes_begun.add_permits(1);
            self.publish_permits.acquire().await.unwrap().forget();
            let (mut checkpoints, mut results) = (Vec::new(), Vec::new());
            for envelope in request.envelopes.iter() {
                let (mut result, checkpoint) = self.publish_one(envelope);
                if let PublishResult::Stored { checkpoint, .. } = &mut result {
                    *checkpoint = checkpoints.len() as u16;
                }
                results.push(result);
                checkpoints.extend(checkpoint.map(|checkpoint| AcknowledgedCheckpoint {
                    checkpoint,
                    acknowledgements: BoundedVec::default(),
                }));
            }
            Ok(PublishResponse {
                version: PROTOCOL_VERSION,
                checkpoints: checkpoints.try_into().unwrap(),
                results: results.try_into().unwrap(),
            })
        })
    }

    fn topic_page(
        &self,
        topic: Topic,
        cursor: TopicCursor,
        limit: usize,
        bytes_max: usize,
    ) -> Answer<'_, TopicPage> {
        self.read(|store| store.page(topic, &cursor, limit, bytes_max))
    }

    fn newest(&self, topic: Topic) -> Answer<'_, Vec<TopicEntry>> {
        self.read(|store| store.newest(topic))
    }

    fn logs(&self) -> Answer<'_, Vec<SignedCheckpoint>> {
        self.read(Store::checkpoints)
    }

    fn checkpoint(&self, log: LogId) -> Answer<'_, Option<SignedCheckpoint>> {
        self.read(|store| {
            store.checkpoints().into_iter().find(|signed| signed.checkpoint.log == log)
        })
    }

    fn flushes(
        &self,
        log: LogId,
        from: LogIndex,
        entries_max: usize,
        _bytes_max: usize,
    ) -> Answer<'_, Option<Flush>> {
        self.read(|store| store.flushes(log, from, entries_max))
    }

    fn prove(&self, log: LogId, plan: ProofPlan) -> Answer<'_, Vec<Hash>> {
        self.read(|store| {
            let leaves = store.leaf_hashes(log, LogIndex(0), LogIndex(u64::MAX));
            plan.build(&leaves.into_iter().collect::<MemoryTree>()).unwrap()
        })
    }

    fn blocks(&self, _: ShardId, from: Height, max: usize) -> Answer<'_, Vec<CertifiedBlock>> {
        self.read(|store| store.blocks(from, max))
    }

    fn look_up(&self, query: StateQuery) -> Answer<'_, StateAnswer> {
        self.read(|store| {
            let CertifiedBlock { block, certificate } = store.blocks(Height(0), 1).remove(0);
            let mut header = block.header;
            header.state_root = sparse_merkle::EMPTY;
            let path = StatePath::new(&[]).unwrap();
            let branch = StateBranch { leaf: StateLeaf::Empty, path };
            let (version, key) = (PROTOCOL_VERSION, query.key);
            let proof = StateProof { version, key, branch, header, certificate };
            StateAnswer { version, proof, value: None }
        })
    }
}

/// A served node and a client for it.
pub struct Running {
    pub node: Arc<TestNode>,
    pub server: HttpServer,
    pub metrics: Arc<Metrics>,
    pub client: reqwest::Client,
}

/// Serves an empty node on a free port, with settings changed by `change`.
pub async fn start(change: impl FnOnce(&mut HttpConfig)) -> Running {
    start_with(None, change).await
}

/// The same, of a node with these usage reports.
pub async fn start_with(
    book: Option<SettlementBook>,
    change: impl FnOnce(&mut HttpConfig),
) -> Running {
    let mut config = HttpConfig { listen: ([127, 0, 0, 1], 0).into(), ..HttpConfig::default() };
    change(&mut config);
    let hub = Hub::new(config.limits.outbox());
    let node = Arc::new(TestNode {
        store: Mutex::default(),
        hub: hub.clone(),
        is_ready: AtomicBool::new(true),
        storage_fails: AtomicBool::new(false),
        publish_permits: Semaphore::new(Semaphore::MAX_PERMITS / 2),
        publishes_begun: Semaphore::new(0),
        book,
    });
    let metrics = Arc::new(Metrics::default());
    let server = HttpServer::start(config, node.clone(), hub, metrics.clone()).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    Running { node, server, metrics, client }
}

impl Running {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.local_address())
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    pub async fn json(&self, path: &str) -> serde_json::Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    }

    pub async fn post(&self, path: &str, body: Vec<u8>) -> reqwest::Response {
        let request = self.client.post(self.url(path)).header("content-type", MEDIA_TYPE);
        request.body(body).send().await.unwrap()
    }

    /// What a bare connection reads until its end after sending `text`.
    pub async fn bare(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(self.server.local_address()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    pub async fn subscriber(&self) -> Listener {
        let url = format!("ws://{}/v1/subscribe", self.server.local_address());
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let mut listener = Listener { socket };
        let hello = listener.next().await;
        // covers: API-008
        let expected =
            NodeFrame::Hello { version: PROTOCOL_VERSION, network: NETWORK, period: Period(3) };
        assert_eq!(hello, Some(expected));
        listener
    }
}

/// The body of a successful binary answer.
pub async fn binary<T: Wire>(response: reqwest::Response) -> T {
    assert_eq!(response.status(), 200);
    // covers: API-001
    assert_eq!(response.headers()["content-type"], MEDIA_TYPE);
    T::from_wire(&response.bytes().await.unwrap()).unwrap()
}

/// The answer is a refusal with this status and code.
pub async fn check_refused(response: reqwest::Response, status: u16, code: ErrorCode) {
    let (found, body) = (response.status(), response.bytes().await.unwrap());
    let body: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&body).unwrap();
    assert_eq!((found.as_u16(), body["code"].as_str()), (status, Some(code.as_str())), "{body:?}");
    // covers: API-003
    assert_eq!(body["retryable"].as_bool(), Some(code.retryable()));
    assert!(body["message"].is_string() && body.len() == 3);
}

/// The other side of a subscription.
pub struct Listener {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Listener {
    /// The next frame; none when the connection has ended.
    pub async fn next(&mut self) -> Option<NodeFrame> {
        loop {
            match self.socket.next().await?.ok()? {
                Message::Binary(bytes) => return Some(NodeFrame::from_wire(&bytes).unwrap()),
                Message::Ping(_) => {}
                _ => return None,
            }
        }
    }

    pub async fn send(&mut self, frame: &SubscriberFrame) {
        self.send_raw(Message::Binary(frame.to_wire().into())).await;
    }

    pub async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// Follows topics from their start.
    pub async fn subscribe(&mut self, topics: &[Topic]) {
        let subscription =
            |topic: &Topic| Subscription { topic: *topic, cursor: TopicCursor::default() };
        let subscriptions: Vec<_> = topics.iter().map(subscription).collect();
        self.send(&SubscriberFrame::Subscribe(subscriptions.try_into().unwrap())).await;
    }

    /// Follows a topic from its start and waits until it is caught up; nothing must come before.
    pub async fn follow_empty(&mut self, topic: Topic) {
        self.subscribe(&[topic]).await;
        assert_eq!(self.next().await, Some(NodeFrame::CaughtUp(topic)));
    }

    /// The next frame is a broadcast entry of this topic and topic index.
    pub async fn expect_entry(&mut self, topic: Topic, index: u64) {
        match self.next().await {
            Some(NodeFrame::Broadcast(entry)) => {
                let header = entry.entry.header;
                assert_eq!((header.topic, header.topic_index.0), (topic, index));
            }
            other => panic!("{other:?}"),
        }
    }

    /// The connection ends, with this code.
    pub async fn expect_refused(&mut self, code: ErrorCode) {
        assert_eq!(self.next().await, Some(NodeFrame::Refused { topic: None, code }));
        assert_eq!(self.next().await, None);
    }
}
