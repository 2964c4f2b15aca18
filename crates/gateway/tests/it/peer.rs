//! A node that does what its script says: admits by the protocol's own rules and proves what it
//! stores, or fails and lies in a chosen way.

use std::collections::{BTreeMap, VecDeque};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tidings_envelope::api::{
    AcknowledgedCheckpoint, PublishRequest, PublishResponse, PublishResult,
};
use tidings_envelope::{
    AdmissionContext, AdmittedEnvelope, Block, BlockHeader, Certificate, Checkpoint,
    CommitSignature, DecidedOperation, EntryHeader, FeeClass, Lane, LogId, Operation,
    OrderedReceipt, Outcome, ParsedEnvelope, Registry, RegistryHistory, SignedAcknowledgement,
    Tariff, verify_all,
};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{
    BlockHash, BoundedVec, EntryHash, EnvelopeId, ErrorCode, Hash, Height, Incarnation, LogIndex,
    LogSize, NodeId, Position, Round, ShardId, TimestampSeconds, TopicIndex, Wire, merkle, sha256,
};
use tokio::sync::Semaphore;

use super::world::{World, network, node_key};

/// What a node does with a publish request.
pub enum Act {
    /// Stores and proves.
    Honest,
    /// Refuses the request as a whole.
    RefuseAll(ErrorCode),
    /// Stores, and refuses every envelope all the same.
    RefuseEach(ErrorCode),
    /// Says that it takes a while: arrives, and is honest when it is released.
    Hold,
    /// Never answers.
    Hang,
    /// Answers with bytes that are no answer.
    Garble,
    /// Stores and proves, and then distorts the answer.
    Lie(fn(&mut PublishResponse)),
}

/// A scripted node.
pub struct Peer {
    pub id: NodeId,
    world: Arc<World>,
    /// What it does with the next requests; honest when it is empty.
    script: Mutex<VecDeque<Act>>,
    /// Whether it says that it is ready.
    pub is_ready: AtomicBool,
    /// Serves this registry in place of the world's.
    pub forged_registry: Mutex<Option<Registry>>,
    /// How many publish requests it got.
    pub publishes: AtomicUsize,
    /// How many envelopes came in them.
    pub envelopes: AtomicUsize,
    /// One permit per held request.
    pub held: Semaphore,
    /// A held request goes on with a permit.
    pub release: Semaphore,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    headers: BTreeMap<ShardId, Vec<EntryHeader>>,
    places: BTreeMap<EnvelopeId, usize>,
}

impl Peer {
    /// Serves on `listener` until the test ends.
    pub fn start(id: NodeId, world: Arc<World>, listener: TcpListener) -> Arc<Self> {
        let peer = Arc::new(Self {
            id,
            world,
            script: Mutex::default(),
            is_ready: AtomicBool::new(false),
            forged_registry: Mutex::default(),
            publishes: AtomicUsize::new(0),
            envelopes: AtomicUsize::new(0),
            held: Semaphore::new(0),
            release: Semaphore::new(0),
            log: Mutex::default(),
        });
        let router = Router::new()
            .route("/v1/status", get(status))
            .route("/v1/registry", get(registry))
            .route("/v1/publish", post(publish))
            .layer(axum::extract::DefaultBodyLimit::max(8 << 20))
            .with_state(Arc::clone(&peer));
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        peer
    }

    /// Adds to the script.
    pub fn then(&self, act: Act) {
        self.script.lock().unwrap().push_back(act);
    }

    pub fn publish_count(&self) -> usize {
        self.publishes.load(Ordering::SeqCst)
    }

    fn admit(&self, request: &PublishRequest) -> Result<Vec<Admitted>, ErrorCode> {
        let registry = self.world.registry();
        let mut registries = RegistryHistory::new(Arc::new(registry.clone()));
        // None before the first is taken.
        let before = Registry { epoch: registry.epoch.minus(1), ..registry.clone() };
        let _ = registries.insert(Arc::new(before));
        let context = AdmissionContext {
            network: network(),
            registries: &registries,
            period: self.world.period(),
            node: self.id,
        };
        assert!(request.ids_are_signed());
        request.batch.admit(&context)?;
        let listed = (0u32..).zip(request.paths()).zip(request.envelopes.iter());
        let admitted = listed.map(|((index, path), bytes)| {
            let parsed = ParsedEnvelope::parse(bytes)?;
            let verified = verify_all(vec![parsed], network(), &mut rand::rngs::OsRng);
            let verified = verified.into_iter().next().unwrap()?;
            let admitted = verified.admit(&request.batch, index, path, &context)?;
            let body = &admitted.envelope().envelope.body;
            let length = u32::try_from(admitted.envelope().to_wire().len()).unwrap();
            let class = FeeClass::of(&body.topic, body.lane);
            let congestion_permille = self.world.congestion_permille();
            let tariff = Tariff { schedule: &registry.fees, congestion_permille };
            let owed = tariff.fee(length, body.retention_days, class).unwrap();
            let signed = request.batch.header.max_fee;
            // The gateway signs what the dearest envelope costs, and not more.
            assert!(request.envelopes.len() > 1 || owed >= signed, "{owed} of {signed}");
            match owed > signed {
                true => Err(ErrorCode::FeeAboveMaximum),
                false => Ok(admitted),
            }
        });
        Ok(admitted.collect())
    }

    fn store(&self, request: &PublishRequest) -> Result<PublishResponse, ErrorCode> {
        let admitted = self.admit(request)?;
        let registry = self.world.registry();
        let block = self.block(&registry, admitted.iter().flatten());
        let mut log = self.log.lock().unwrap();
        for envelope in admitted.iter().flatten() {
            log.append(envelope, &registry);
        }
        let shards: Vec<ShardId> = log.headers.keys().copied().collect();
        let checkpoints = shards.iter().map(|shard| self.checkpoint(&log, *shard, &registry));
        let checkpoints = BoundedVec::new(checkpoints.collect()).unwrap();
        let mut ordered = block.into_iter();
        let results = admitted.into_iter().map(|admitted| match admitted {
            Err(code) => PublishResult::Refused { code },
            Ok(envelope) if envelope.envelope().envelope.body.lane == Lane::Ordered => {
                PublishResult::Ordered(ordered.next().unwrap())
            }
            Ok(envelope) => log.result(&envelope, &registry, &shards),
        });
        let results = BoundedVec::new(results.collect()).unwrap();
        Ok(PublishResponse { version: PROTOCOL_VERSION, checkpoints, results })
    }

    fn checkpoint(&self, log: &Log, shard: ShardId, registry: &Registry) -> AcknowledgedCheckpoint {
        let leaves = log.leaves(shard);
        let size = LogSize(u64::try_from(leaves.len()).unwrap());
        let log = LogId { node: self.id, shard, incarnation: Incarnation(1) };
        let checkpoint = Checkpoint::new(log, size, merkle::root(&leaves), self.world.period());
        let digest = checkpoint.digest(network());
        let others = registry.committee(shard).into_iter().filter(|node| *node != self.id);
        let others = others.take(registry.durability_quorum(shard) - 1);
        let signed = others
            .map(|node| SignedAcknowledgement::sign(node, digest, &node_key(node), network()));
        AcknowledgedCheckpoint {
            checkpoint: checkpoint.sign(&node_key(self.id), network()),
            acknowledgements: BoundedVec::new(signed.collect()).unwrap(),
        }
    }

    /// Decides on the ordered ones among the envelopes: those that expect position 0 win.
    fn block<'a>(
        &self,
        registry: &Registry,
        admitted: impl Iterator<Item = &'a AdmittedEnvelope>,
    ) -> Vec<OrderedReceipt> {
        let ordered =
            admitted.filter(|envelope| envelope.envelope().envelope.body.lane == Lane::Ordered);
        let decided: Vec<_> = ordered.map(decide).collect();
        let Some(shard) = decided.first().map(|decided| shard_of(decided, registry)) else {
            return Vec::new();
        };
        let leaves = Block::leaves(&decided);
        let header = BlockHeader {
            version: PROTOCOL_VERSION,
            shard,
            height: Height(1),
            parent: BlockHash::default(),
            period: self.world.period(),
            chain_reference: None,
            registry_epoch: registry.epoch,
            next_epoch: registry.epoch,
            next_committee: registry.committee_hash(shard),
            operations_count: u32::try_from(decided.len()).unwrap(),
            operations_root: merkle::root(&leaves),
            state_root: [0; 32],
        };
        let voters = registry.committee(shard).into_iter().take(registry.certificate_quorum(shard));
        let votes = voters
            .map(|node| CommitSignature::sign(node, &header, Round(0), &node_key(node), network()));
        let votes = BoundedVec::new(votes.collect()).unwrap();
        let certificate = Certificate { round: Round(0), signatures: votes };
        let receipts = decided.into_iter().enumerate().map(|(index, decided)| OrderedReceipt {
            header,
            certificate: certificate.clone(),
            index: u32::try_from(index).unwrap(),
            path: BoundedVec::new(merkle::path(&leaves, index)).unwrap(),
            decided,
        });
        receipts.collect()
    }
}

type Admitted = Result<AdmittedEnvelope, ErrorCode>;

fn decide(envelope: &AdmittedEnvelope) -> DecidedOperation {
    let outcome = match envelope.envelope().envelope.body.expected_position {
        Some(Position(0)) => Outcome::Applied { position: Position(1) },
        _ => Outcome::Conflict { position: Position(1) },
    };
    DecidedOperation { operation: Operation::Envelope(envelope.envelope().clone()), outcome }
}

fn shard_of(decided: &DecidedOperation, registry: &Registry) -> ShardId {
    match &decided.operation {
        Operation::Envelope(envelope) => envelope.envelope.body.topic.shard(registry.shard_count),
        _ => ShardId(0),
    }
}

impl Log {
    fn append(&mut self, envelope: &AdmittedEnvelope, registry: &Registry) {
        let body = &envelope.envelope().envelope.body;
        if body.lane == Lane::Ordered || self.places.contains_key(&envelope.id()) {
            return;
        }
        let payload = envelope.envelope().to_wire();
        let headers = self.headers.entry(body.topic.shard(registry.shard_count)).or_default();
        self.places.insert(envelope.id(), headers.len());
        headers.push(EntryHeader {
            version: PROTOCOL_VERSION,
            envelope_id: envelope.id(),
            index: LogIndex(u64::try_from(headers.len()).unwrap()),
            timestamp: TimestampSeconds(0),
            topic: body.topic,
            topic_index: TopicIndex(0),
            previous: EntryHash::default(),
            payer: body.payer,
            payload_hash: sha256(&payload),
            payload_length: u32::try_from(payload.len()).unwrap(),
            retention_days: body.retention_days,
            fee_period: body.not_after,
            fee: envelope.envelope().batch.header.max_fee,
        });
    }

    fn leaves(&self, shard: ShardId) -> Vec<Hash> {
        self.headers[&shard].iter().map(|header| header.hash().0).collect()
    }

    fn result(
        &self,
        envelope: &AdmittedEnvelope,
        registry: &Registry,
        shards: &[ShardId],
    ) -> PublishResult {
        let shard = envelope.envelope().envelope.body.topic.shard(registry.shard_count);
        let place = self.places[&envelope.id()];
        let checkpoint = shards.iter().position(|known| *known == shard).unwrap();
        PublishResult::Stored {
            header: self.headers[&shard][place],
            path: BoundedVec::new(merkle::path(&self.leaves(shard), place)).unwrap(),
            checkpoint: u16::try_from(checkpoint).unwrap(),
        }
    }
}

async fn status(State(peer): State<Arc<Peer>>) -> Json<Value> {
    let congestion_permille = peer.world.congestion_permille();
    let shards = (0..peer.world.registry().shard_count).map(
        |shard| json!({ "shard": shard, "height": 1, "congestion_permille": congestion_permille }),
    );
    let shards: Vec<_> = shards.collect();
    Json(json!({
        "network": network(),
        "node": peer.id,
        "name": "scripted",
        "version": "0",
        "ready": peer.is_ready.load(Ordering::SeqCst),
        "period": peer.world.period(),
        "registry_epoch": peer.world.registry().epoch,
        "shards": shards,
        "logs": [],
    }))
}

async fn registry(State(peer): State<Arc<Peer>>) -> Json<Registry> {
    let forged = peer.forged_registry.lock().unwrap().clone();
    Json(forged.unwrap_or_else(|| peer.world.registry()))
}

async fn publish(State(peer): State<Arc<Peer>>, body: Bytes) -> Response {
    let request = PublishRequest::from_wire(&body).unwrap();
    peer.publishes.fetch_add(1, Ordering::SeqCst);
    peer.envelopes.fetch_add(request.ids.len(), Ordering::SeqCst);
    let act = peer.script.lock().unwrap().pop_front().unwrap_or(Act::Honest);
    let stored = || peer.store(&request);
    match act {
        Act::Honest => reply(stored()),
        Act::RefuseAll(code) => reply(Err(code)),
        Act::RefuseEach(code) => reply(stored().map(|mut response| {
            let refused = request.ids.iter().map(|_| PublishResult::Refused { code });
            response.results = BoundedVec::new(refused.collect()).unwrap();
            response
        })),
        Act::Hold => {
            peer.held.add_permits(1);
            peer.release.acquire().await.unwrap().forget();
            reply(stored())
        }
        Act::Hang => std::future::pending().await,
        Act::Garble => Body::from("no answer").into_response(),
        Act::Lie(distort) => reply(stored().map(|mut response| {
            distort(&mut response);
            response
        })),
    }
}

fn reply(answer: Result<PublishResponse, ErrorCode>) -> Response {
    match answer {
        Ok(response) => Body::from(response.to_wire()).into_response(),
        Err(code) => {
            let body = json!({ "code": code, "retryable": code.retryable(), "message": "" });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}
