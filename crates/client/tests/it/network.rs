//! A gateway and four nodes over real HTTP and WebSockets, and the ways in which they misbehave.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tidings_envelope::api::{
    NewestQuery, NodeFrame, SendRequest, SendResponse, SendResult, StateAnswer, StateQuery,
    SubscriberFrame, TopicCursor, TopicPage, TopicQuery,
};
use tidings_envelope::{StateLeaf, Topic, TopicKind};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{
    BoundedBytes, BoundedVec, EnvelopeId, ErrorCode, Height, NodeId, Period, Position, TopicIndex,
    Wire,
};
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast};

use crate::ledger::{Ledger, NODES};

/// How a node behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// As it should.
    Honest,
    /// It refuses everything as if it were starting.
    Down,
    /// It leaves out the first entry of every page.
    LeavesOut,
    /// It changes a byte of every broadcast payload.
    Tampers,
    /// It knows of no inbox, and says so whether that can be proved or not.
    ForgetsInboxes,
    /// It leads accounts to another inbox.
    Misleads,
    /// It sends another state of an inbox beside the proof.
    SwapsStates,
    /// It knows no block after this height.
    Sleeps(Height),
    /// It shows another certified block of the same height.
    Forks,
    /// It names a period that is far ahead.
    Hurries,
    /// It claims another position for ordered entries.
    Reorders,
    /// It holds another history of node 1's log, which ends after the first entry of a topic.
    Branches,
}

/// How a gateway lies about what it stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forgery {
    /// It stores nothing on a second replica and says it did.
    NoAcknowledgement,
    /// It answers with the receipt of another envelope.
    OtherEnvelope,
    /// It changes the checkpoint.
    Checkpoint,
}

pub(crate) struct Shared {
    ledger: Mutex<Ledger>,
    behaviour: Mutex<Vec<Behaviour>>,
    changed: broadcast::Sender<()>,
    /// How many of the next calls to the gateway do what they should and then lose the answer.
    answers_to_lose: AtomicU32,
    /// What the gateway does to receipts.
    forgery: Mutex<Option<Forgery>>,
    /// How many of the next calls to the gateway are refused untouched.
    calls_to_refuse: AtomicU32,
    hang_up: Notify,
    turn: AtomicU32,
    /// How many look-ups nodes were asked.
    pub(crate) look_ups: AtomicU32,
}

/// The running network; it ends with the test's runtime.
pub(crate) struct Network {
    pub(crate) gateway: String,
    pub(crate) shared: Arc<Shared>,
}

#[derive(Clone)]
struct Node {
    id: NodeId,
    shared: Arc<Shared>,
}

impl Network {
    pub(crate) async fn start() -> Self {
        let mut listeners = Vec::new();
        for _ in 0..=NODES {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let url = |it: &TcpListener| format!("http://{}", it.local_addr().unwrap());
        let urls: Vec<String> = listeners.iter().map(url).collect();
        let shared = Arc::new(Shared {
            ledger: Mutex::new(Ledger::new(&urls[1..])),
            behaviour: Mutex::new(vec![Behaviour::Honest; 4]),
            changed: broadcast::channel(1_024).0,
            answers_to_lose: AtomicU32::new(0),
            forgery: Mutex::new(None),
            calls_to_refuse: AtomicU32::new(0),
            hang_up: Notify::new(),
            turn: AtomicU32::new(0),
            look_ups: AtomicU32::new(0),
        });
        for (id, listener) in listeners.into_iter().enumerate() {
            let router = match u32::try_from(id).unwrap() {
                0 => gateway(Arc::clone(&shared)),
                id => node(Node { id: NodeId(id), shared: Arc::clone(&shared) }),
            };
            tokio::spawn(async move { axum::serve(listener, router).await });
        }
        Self { gateway: urls[0].clone(), shared }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.shared.ledger.lock().unwrap()
    }

    pub(crate) fn behave(&self, node: u32, behaviour: Behaviour) {
        self.shared.behaviour.lock().unwrap()[usize::try_from(node - 1).unwrap()] = behaviour;
    }

    pub(crate) fn lose_answers(&self, count: u32) {
        self.shared.answers_to_lose.store(count, Ordering::SeqCst);
    }

    pub(crate) fn refuse_calls(&self, count: u32) {
        self.shared.calls_to_refuse.store(count, Ordering::SeqCst);
    }

    /// How many questions about inboxes the nodes were asked since the last call.
    pub(crate) fn take_inbox_questions(&self) -> u32 {
        self.shared.look_ups.swap(0, Ordering::SeqCst)
    }

    pub(crate) fn forge(&self, forgery: Option<Forgery>) {
        *self.shared.forgery.lock().unwrap() = forgery;
    }

    /// Ends every WebSocket.
    pub(crate) fn hang_up(&self) {
        self.shared.hang_up.notify_waiters();
    }
}

fn gateway(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/send", post(send))
        .route("/v1/status", get(gateway_status))
        .route("/v1/registry", get(registry))
        .with_state(shared)
}

fn node(node: Node) -> Router {
    Router::new()
        .route("/v1/query", post(query))
        .route("/v1/newest", post(newest))
        .route("/v1/status", get(node_status))
        .route("/v1/state", post(state))
        .route("/v1/subscribe", get(subscribe))
        .with_state(node)
}

async fn registry(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.ledger.lock().unwrap().registry.clone()).into_response()
}

async fn gateway_status(State(shared): State<Arc<Shared>>) -> Response {
    let ledger = shared.ledger.lock().unwrap();
    let (network, payer, period) = (ledger.network, ledger.payer, ledger.period());
    Json(json!({"network": network, "payer": payer, "period": period, "nodes": []})).into_response()
}

async fn send(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let take = |counter: &AtomicU32| {
        counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    };
    if take(&shared.calls_to_refuse) {
        return refusal(ErrorCode::Overloaded);
    }
    let Ok(request) = SendRequest::from_wire(&body) else { return refusal(ErrorCode::Malformed) };
    let mut results: Vec<SendResult> = Vec::new();
    for envelope in request.envelopes.iter() {
        let turn = shared.turn.fetch_add(1, Ordering::SeqCst) % NODES;
        let mut ledger = shared.ledger.lock().unwrap();
        results.push(match envelope.body.payer == ledger.payer {
            true => ledger.publish(NodeId(turn + 1), envelope),
            false => SendResult::Refused { code: ErrorCode::PayerMismatch },
        });
    }
    let _ = shared.changed.send(());
    if take(&shared.answers_to_lose) {
        return refusal(ErrorCode::ReplicationPending);
    }
    let forgery = *shared.forgery.lock().unwrap();
    for result in &mut results {
        let SendResult::Stored(receipt) = result else { continue };
        match forgery {
            None => {}
            Some(Forgery::NoAcknowledgement) => receipt.acknowledgements = BoundedVec::default(),
            Some(Forgery::OtherEnvelope) => receipt.header.envelope_id = EnvelopeId([1; 32]),
            Some(Forgery::Checkpoint) => receipt.checkpoint.checkpoint.root = [1; 32],
        }
    }
    let results = BoundedVec::new(results).unwrap();
    SendResponse { version: PROTOCOL_VERSION, results }.to_wire().into_response()
}

impl Node {
    fn behaviour(&self) -> Behaviour {
        self.shared.behaviour.lock().unwrap()[usize::try_from(self.id.0 - 1).unwrap()]
    }

    fn look_up(&self, query: &StateQuery) -> StateAnswer {
        let ledger = self.shared.ledger.lock().unwrap();
        self.shared.look_ups.fetch_add(1, Ordering::SeqCst);
        let mut answer = ledger.look_up(query, ledger.height());
        match self.behaviour() {
            Behaviour::ForgetsInboxes => {
                answer.proof.branch.leaf = StateLeaf::Empty;
                answer.value = None;
            }
            Behaviour::Misleads => {
                if let StateLeaf::Value(value) = &mut answer.proof.branch.leaf {
                    *value = BoundedBytes::new(vec![7; value.len()]).unwrap();
                }
            }
            Behaviour::SwapsStates => {
                if let Some(value) = &mut answer.value {
                    let mut bytes = value.to_vec();
                    bytes[40] ^= 1;
                    *value = BoundedBytes::new(bytes).unwrap();
                }
            }
            Behaviour::Sleeps(height) => return ledger.look_up(query, height),
            Behaviour::Forks => return ledger.forked(answer),
            _ => {}
        }
        answer
    }

    fn page(&self, query: &TopicQuery) -> TopicPage {
        let mut page = self.shared.ledger.lock().unwrap().query(query);
        let mut broadcast = page.broadcast.into_vec();
        let mut ordered = page.ordered.into_vec();
        match self.behaviour() {
            Behaviour::ForgetsInboxes if query.topic.kind == TopicKind::Identity => ordered.clear(),
            Behaviour::LeavesOut if !broadcast.is_empty() => {
                broadcast.remove(0);
            }
            Behaviour::LeavesOut if !ordered.is_empty() => {
                ordered.remove(0);
            }
            Behaviour::Branches => {
                let is_late = |entry: &tidings_envelope::api::TopicEntry| {
                    entry.entry.header.topic_index.0 > 0
                };
                broadcast.retain(|entry| entry.log.node != NodeId(1) || !is_late(entry));
                for entry in broadcast.iter_mut().filter(|entry| entry.log.node == NodeId(1)) {
                    entry.entry.header.timestamp.0 += 1;
                }
            }
            Behaviour::Tampers => {
                for entry in &mut broadcast {
                    let mut bytes = entry.entry.payload.clone().unwrap().into_vec();
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    entry.entry.payload = Some(bytes.try_into().unwrap());
                }
            }
            Behaviour::Reorders => ordered.iter_mut().for_each(|receipt| {
                let position = receipt.position().unwrap_or_default().plus(1);
                receipt.decided.outcome = tidings_envelope::Outcome::Applied { position };
            }),
            _ => {}
        }
        page.broadcast = BoundedVec::new(broadcast).unwrap();
        page.ordered = BoundedVec::new(ordered).unwrap();
        page
    }
}

async fn query(State(node): State<Node>, body: Bytes) -> Response {
    if node.behaviour() == Behaviour::Down {
        return refusal(ErrorCode::NotReady);
    }
    match TopicQuery::from_wire(&body) {
        Ok(query) => {
            if query.topic.kind == TopicKind::Identity {
                node.shared.look_ups.fetch_add(1, Ordering::SeqCst);
            }
            node.page(&query).to_wire().into_response()
        }
        Err(_) => refusal(ErrorCode::Malformed),
    }
}

async fn newest(State(node): State<Node>, body: Bytes) -> Response {
    if node.behaviour() == Behaviour::Down {
        return refusal(ErrorCode::NotReady);
    }
    match NewestQuery::from_wire(&body) {
        Ok(query) => {
            node.shared.ledger.lock().unwrap().newest(query.topic).to_wire().into_response()
        }
        Err(_) => refusal(ErrorCode::Malformed),
    }
}

async fn node_status(State(node): State<Node>) -> Response {
    if node.behaviour() == Behaviour::Down {
        return refusal(ErrorCode::NotReady);
    }
    let ledger = node.shared.ledger.lock().unwrap();
    let period = match node.behaviour() {
        Behaviour::Hurries => Period(1_000_000),
        _ => ledger.period(),
    };
    Json(json!({"network": ledger.network, "period": period})).into_response()
}

async fn state(State(node): State<Node>, body: Bytes) -> Response {
    match (node.behaviour(), StateQuery::from_wire(&body)) {
        (Behaviour::Down, _) => refusal(ErrorCode::NotReady),
        (_, Err(_)) => refusal(ErrorCode::Malformed),
        (_, Ok(query)) => node.look_up(&query).to_wire().into_response(),
    }
}

async fn subscribe(State(node): State<Node>, upgrade: WebSocketUpgrade) -> Response {
    if node.behaviour() == Behaviour::Down {
        return refusal(ErrorCode::NotReady);
    }
    upgrade.on_upgrade(|socket| async move {
        let _ = follow(node, socket).await;
    })
}

/// Serves one subscriber until either side hangs up.
async fn follow(node: Node, mut socket: WebSocket) -> Result<(), axum::Error> {
    let mut changed = node.shared.changed.subscribe();
    let mut topics: Vec<(Topic, TopicCursor)> = Vec::new();
    let hello = {
        let ledger = node.shared.ledger.lock().unwrap();
        NodeFrame::Hello {
            version: PROTOCOL_VERSION,
            network: ledger.network,
            period: ledger.period(),
        }
    };
    socket.send(Message::Binary(hello.to_wire().into())).await?;
    let hang_up = node.shared.hang_up.notified();
    tokio::pin!(hang_up);
    loop {
        let mut caught_up = Vec::new();
        tokio::select! {
            () = &mut hang_up => return Ok(()),
            _ = changed.recv() => {}
            frame = socket.recv() => match frame {
                Some(Ok(Message::Binary(bytes))) => {
                    if let Ok(SubscriberFrame::Subscribe(added)) = SubscriberFrame::from_wire(&bytes) {
                        for subscription in added.into_vec() {
                            caught_up.push(subscription.topic);
                            topics.push((subscription.topic, subscription.cursor));
                        }
                    }
                }
                Some(Ok(_)) => {}
                _ => return Ok(()),
            }
        }
        for (topic, cursor) in &mut topics {
            let page = node.page(&TopicQuery::new(*topic, cursor.clone(), 1_000));
            for receipt in page.ordered.into_vec() {
                cursor.position = receipt.position().unwrap_or(Position(0));
                socket.send(Message::Binary(NodeFrame::Ordered(receipt).to_wire().into())).await?;
            }
            for entry in page.broadcast.into_vec() {
                advance(cursor, &entry);
                socket.send(Message::Binary(NodeFrame::Broadcast(entry).to_wire().into())).await?;
            }
        }
        for topic in caught_up {
            let frame = NodeFrame::CaughtUp(topic).to_wire();
            socket.send(Message::Binary(frame.into())).await?;
        }
    }
}

fn advance(cursor: &mut TopicCursor, entry: &tidings_envelope::api::TopicEntry) {
    let mut logs = cursor.logs.clone().into_vec();
    logs.retain(|known| known.log != entry.log);
    logs.push(tidings_envelope::api::LogCursor {
        log: entry.log,
        next: TopicIndex(entry.entry.header.topic_index.0 + 1),
        previous: entry.entry.header.hash(),
    });
    cursor.logs = BoundedVec::new(logs).unwrap();
}

fn refusal(code: ErrorCode) -> Response {
    let body = json!({"code": code, "retryable": code.retryable(), "message": code.as_str()});
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}
