//! What a client asks of the node that it reads from: queries and streams by topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Answers;
use crate::association::Identifier;
use crate::edge::Edge;
use crate::index::{Cursor, Stored};
use crate::limit::{Gate, Place};
use crate::proto::associations::IdentifierKind;
use crate::proto::envelopes::Cursor as ProtoCursor;
use crate::proto::message_api::replication_api_server::ReplicationApi;
use crate::proto::message_api::subscribe_topics_response::{
    self, Envelopes, StatusUpdate, SubscriptionStatus,
};
use crate::proto::message_api::{
    EnvelopesQuery, GetInboxIdsRequest, GetInboxIdsResponse, GetNewestEnvelopeRequest,
    GetNewestEnvelopeResponse, QueryEnvelopesRequest, QueryEnvelopesResponse,
    SubscribeEnvelopesRequest, SubscribeEnvelopesResponse, SubscribeTopicsRequest,
    SubscribeTopicsResponse, get_inbox_ids_response, get_newest_envelope_response,
};
use crate::subscription::Subscription;
use crate::topic::XmtpTopic;
use crate::wrap::wrap;

/// Topics of one request; clients ask for all their groups at once.
const TOPICS_MAX: usize = 10_000;

/// Originators of one cursor.
const CURSOR_ORIGINATORS_MAX: usize = 4_096;

/// Clients ask for a hundred envelopes, take whatever comes, and ask once for each sync: a longer
/// page spares one that was away a sync for each hundred.
const PAGE_ENVELOPES: usize = 2_000;

/// What is answered when no limit is asked for, which clients do for identities: the updates of
/// three hundred full inboxes.
const UNLIMITED_ENVELOPES_MAX: usize = 100_000;

/// Identifiers of one request.
const IDENTIFIERS_MAX: usize = 1_000;

/// The most of one answer, in bytes: below what clients take.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// How long a stream is silent before it says that it waits.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Answers that may wait for a slow stream.
const WAITING_MAX: usize = 2;

/// How long a stream may take to accept an answer before it is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// `xmtp.xmtpv4.message_api.ReplicationApi`.
#[derive(Debug)]
pub struct ReplicationService {
    edge: Arc<Edge>,
    gate: Arc<Gate>,
}

impl ReplicationService {
    /// The service of an edge.
    #[must_use]
    pub fn new(edge: Arc<Edge>, gate: Arc<Gate>) -> Self {
        Self { edge, gate }
    }

    fn check_serving(&self) -> Result<(), Status> {
        match self.edge.is_serving() {
            true => Ok(()),
            false => Err(Status::unavailable("the edge has not caught up yet")),
        }
    }

    /// Follows topics from now on; what is stored is found in the index.
    fn subscribe(&self, topics: BTreeMap<XmtpTopic, Cursor>) -> Subscription {
        let live = self.edge.live();
        Subscription::new(self.edge.reader.clone(), topics, live)
    }
}

#[tonic::async_trait]
impl ReplicationApi for ReplicationService {
    async fn get_inbox_ids(
        &self,
        request: Request<GetInboxIdsRequest>,
    ) -> Result<Response<GetInboxIdsResponse>, Status> {
        let _place = self.gate.enter(&request)?;
        self.check_serving()?;
        let asked = request.into_inner().requests;
        bound("identifiers", asked.len(), IDENTIFIERS_MAX)?;
        let mut responses = Vec::with_capacity(asked.len());
        for asked in asked {
            let kind = kind_of(asked.identifier_kind);
            let inbox = match canonical(kind, &asked.identifier) {
                Some(text) => self.edge.reader.inbox_of(i32::from(kind), &text).await?,
                None => None,
            };
            responses.push(get_inbox_ids_response::Response {
                identifier: asked.identifier,
                inbox_id: inbox.map(hex::encode),
                identifier_kind: asked.identifier_kind,
            });
        }
        Ok(Response::new(GetInboxIdsResponse { responses }))
    }

    async fn query_envelopes(
        &self,
        request: Request<QueryEnvelopesRequest>,
    ) -> Result<Response<QueryEnvelopesResponse>, Status> {
        let _place = self.gate.enter(&request)?;
        self.check_serving()?;
        let QueryEnvelopesRequest { query, limit } = request.into_inner();
        let (topics, cursor) = read_query(query)?;
        let limit = match limit {
            0 => UNLIMITED_ENVELOPES_MAX,
            limit => (limit as usize).clamp(PAGE_ENVELOPES, UNLIMITED_ENVELOPES_MAX),
        };
        let found = self.edge.reader.after(&topics, &cursor, limit, ANSWER_BYTES_MAX).await?;
        let envelopes = found.iter().map(wrap).collect();
        Ok(Response::new(QueryEnvelopesResponse { envelopes }))
    }

    async fn get_newest_envelope(
        &self,
        request: Request<GetNewestEnvelopeRequest>,
    ) -> Result<Response<GetNewestEnvelopeResponse>, Status> {
        let _place = self.gate.enter(&request)?;
        self.check_serving()?;
        let topics = request.into_inner().topics;
        bound("topics", topics.len(), TOPICS_MAX)?;
        let mut results = Vec::with_capacity(topics.len());
        let mut bytes = 0;
        for topic in topics {
            let newest = match XmtpTopic::parse(&topic) {
                Ok(topic) => self.edge.reader.newest(&topic).await?,
                // One that cannot be has nothing; the others are answered all the same.
                Err(_) => None,
            };
            bytes += newest.as_ref().map_or(0, crate::wrap::wrapped_bytes);
            bound("bytes", bytes, ANSWER_BYTES_MAX)?;
            let originator_envelope = newest.as_ref().map(wrap);
            results.push(get_newest_envelope_response::Response { originator_envelope });
        }
        Ok(Response::new(GetNewestEnvelopeResponse { results }))
    }

    type SubscribeEnvelopesStream = Answers<SubscribeEnvelopesResponse>;

    async fn subscribe_envelopes(
        &self,
        request: Request<SubscribeEnvelopesRequest>,
    ) -> Result<Response<Self::SubscribeEnvelopesStream>, Status> {
        let place = self.gate.stream(&request)?;
        self.check_serving()?;
        let (topics, cursor) = read_query(request.into_inner().query)?;
        let topics = topics.into_iter().map(|topic| (topic, cursor.clone())).collect();
        let answer = |found: &[Stored]| SubscribeEnvelopesResponse {
            envelopes: found.iter().map(wrap).collect(),
        };
        let silent = |_| None;
        Ok(stream(self.subscribe(topics), place, answer, silent))
    }

    type SubscribeTopicsStream = Answers<SubscribeTopicsResponse>;

    async fn subscribe_topics(
        &self,
        request: Request<SubscribeTopicsRequest>,
    ) -> Result<Response<Self::SubscribeTopicsStream>, Status> {
        let place = self.gate.stream(&request)?;
        self.check_serving()?;
        let filters = request.into_inner().filters;
        bound("topics", filters.len(), TOPICS_MAX)?;
        let mut topics = BTreeMap::new();
        for filter in filters {
            let topic = XmtpTopic::parse(&filter.topic)?;
            topics.insert(topic, read_cursor(filter.last_seen)?);
        }
        let answer = |found: &[Stored]| {
            let envelopes = Envelopes { envelopes: found.iter().map(wrap).collect() };
            let response = subscribe_topics_response::Response::Envelopes(envelopes);
            SubscribeTopicsResponse { response: Some(response) }
        };
        let tell = |status: SubscriptionStatus| {
            let update = StatusUpdate { status: status.into() };
            let response = subscribe_topics_response::Response::StatusUpdate(update);
            Some(SubscribeTopicsResponse { response: Some(response) })
        };
        Ok(stream(self.subscribe(topics), place, answer, tell))
    }
}

/// Runs a subscription until its client is gone or does not keep up.
fn stream<T: Send + 'static>(
    mut subscription: Subscription,
    place: Place,
    answer: impl Fn(&[Stored]) -> T + Send + Sync + 'static,
    tell: impl Fn(SubscriptionStatus) -> Option<T> + Send + Sync + 'static,
) -> Response<Answers<T>> {
    let (sender, receiver) = mpsc::channel::<Result<T, Status>>(WAITING_MAX);
    tokio::spawn(async move {
        let _place = place;
        // An error here means that the client is gone.
        let _ = run(&mut subscription, &sender, &answer, &tell).await;
    });
    Response::new(Box::pin(ReceiverStream::new(receiver)))
}

/// The client is gone, or takes nothing off the wire.
struct Gone;

async fn run<T>(
    subscription: &mut Subscription,
    sender: &mpsc::Sender<Result<T, Status>>,
    answer: &impl Fn(&[Stored]) -> T,
    tell: &impl Fn(SubscriptionStatus) -> Option<T>,
) -> Result<(), Gone> {
    let send = async |message: Result<T, Status>| {
        sender.send_timeout(message, WRITE_TIMEOUT).await.map_err(|_| Gone)
    };
    let status = async |status| match tell(status) {
        Some(message) => send(Ok(message)).await,
        None => Ok(()),
    };
    status(SubscriptionStatus::Started).await?;
    let mut has_caught_up = false;
    loop {
        loop {
            match subscription.next_page().await {
                Ok(Some(page)) => send(Ok(answer(&page))).await?,
                Ok(None) => break,
                Err(error) => return send(Err(error.into())).await,
            }
        }
        if !std::mem::replace(&mut has_caught_up, true) {
            status(SubscriptionStatus::CatchupComplete).await?;
        }
        tokio::select! {
            () = sender.closed() => return Err(Gone),
            () = tokio::time::sleep(KEEP_ALIVE) => status(SubscriptionStatus::Waiting).await?,
            news = subscription.next_live() => match news {
                Some(news) => send(Ok(answer(&news))).await?,
                None if subscription.is_behind() => {}
                None => return Err(Gone),
            },
        }
    }
}

fn bound(what: &str, count: usize, max: usize) -> Result<(), Status> {
    match count <= max {
        true => Ok(()),
        false => Err(Status::resource_exhausted(format!("at most {max} {what}"))),
    }
}

fn read_query(query: Option<EnvelopesQuery>) -> Result<(Vec<XmtpTopic>, Cursor), Status> {
    let query = query.ok_or_else(|| Status::invalid_argument("the query is missing"))?;
    if !query.originator_node_ids.is_empty() {
        return Err(Status::unimplemented("queries are by topic"));
    }
    bound("topics", query.topics.len(), TOPICS_MAX)?;
    let topics = query.topics.iter().map(|topic| XmtpTopic::parse(topic));
    let topics: BTreeSet<_> = topics.collect::<Result<_, _>>()?;
    Ok((topics.into_iter().collect(), read_cursor(query.last_seen)?))
}

fn read_cursor(cursor: Option<ProtoCursor>) -> Result<Cursor, Status> {
    let seen = cursor.unwrap_or_default().node_id_to_sequence_id;
    bound("originators", seen.len(), CURSOR_ORIGINATORS_MAX)?;
    Ok(seen)
}

/// Clients that know no kinds mean addresses.
fn kind_of(kind: i32) -> IdentifierKind {
    match IdentifierKind::try_from(kind) {
        Ok(IdentifierKind::Passkey) => IdentifierKind::Passkey,
        _ => IdentifierKind::Ethereum,
    }
}

/// The identifier as updates hold it, if there can be one.
fn canonical(kind: IdentifierKind, text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let identifier = match kind {
        IdentifierKind::Passkey => Identifier::passkey(&lower),
        _ => Identifier::ethereum(&lower),
    };
    identifier.ok().map(|identifier| identifier.to_string())
}
