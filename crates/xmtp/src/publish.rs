//! Publishing: check, sign, store, and answer when every edge shows it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidings_envelope::api::SendResult;
use tidings_envelope::{EnvelopeBody, OrderedReceipt, Outcome};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{BoundedBytes, ErrorCode, Period, Wire};
use tokio::time::timeout;

use crate::association::{AssociationError, Fault};
use crate::edge::Edge;
use crate::envelope::{Check, Course, EnvelopeInvalid, ParsedEnvelope};
use crate::inbox::{self, InboxError};
use crate::index::{IndexError, Stored};
use crate::note::Note;
use crate::place::Place;
use crate::take::place_of;

/// Envelopes of one request; a welcome for each installation of a full group.
pub const ENVELOPES_MAX: usize = 1_024;

/// The last period in which nodes may take an envelope: the next one.
const PERIODS_AHEAD: u64 = 1;

/// How long this edge's own node may take to show what other nodes have; then another is followed.
pub const OWN_PATIENCE: Duration = Duration::from_secs(2);

/// How long all this may take until the publisher is told that it is stored but not shown.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long edges that say they live are waited for: one that is slow must not hold up all.
const PEER_PATIENCE: Duration = Duration::from_secs(3);

/// Why envelopes were not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// There are none, or too many.
    #[error("a request has 1 to {ENVELOPES_MAX} envelopes")]
    Count,
    /// One is not what it must be.
    #[error("envelope {at}: {source}")]
    Invalid {
        /// Its place in the request, from 0.
        at: usize,
        /// What is wrong.
        source: EnvelopeInvalid,
    },
    /// An identity update breaks a rule.
    #[error("envelope {at}: {source}")]
    Association {
        /// Its place in the request, from 0.
        at: usize,
        /// What is wrong.
        source: AssociationError,
    },
    /// Another update of the inbox came first.
    #[error("another update of the inbox came first")]
    Overtaken,
    /// The edge has not caught up.
    #[error("the edge does not serve yet")]
    NotServing,
    /// The network refused, or did not answer.
    #[error("the network: {0}")]
    Network(ErrorCode),
    /// It is stored but cannot be read here yet.
    #[error("stored, but not readable here yet")]
    NotShown,
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The clock is before 1970, or the index is damaged.
    #[error("{0}")]
    Internal(&'static str),
}

/// Publishes envelopes; each as it is readable at every edge that lives, in order.
///
/// # Errors
/// [`PublishError`]; some may be stored already, and repeating them is safe.
pub async fn publish(edge: &Arc<Edge>, request: Vec<Vec<u8>>) -> Result<Vec<Stored>, PublishError> {
    if !edge.is_serving() || !edge.peers.are_known() {
        return Err(PublishError::NotServing);
    }
    if !(1..=ENVELOPES_MAX).contains(&request.len()) {
        return Err(PublishError::Count);
    }
    let mut parsed = Vec::with_capacity(request.len());
    for (at, bytes) in request.into_iter().enumerate() {
        let envelope = ParsedEnvelope::parse(bytes, Check::Full);
        parsed.push(envelope.map_err(|source| PublishError::Invalid { at, source })?);
    }
    let mut answers = Vec::with_capacity(parsed.len());
    for (at, envelope) in parsed.iter().enumerate() {
        let digest = inbox::digest(envelope.bytes());
        let known = edge.reader.repeated(envelope.topic(), &digest).await?;
        if known.is_none() {
            check_update(edge, envelope).await.map_err(|error| error.at(at))?;
        }
        answers.push(known);
    }
    let new: Vec<_> = (0..parsed.len()).filter(|at| answers[*at].is_none()).collect();
    let fresh: Vec<_> = new.iter().map(|at| &parsed[*at]).collect();
    let stored = store(edge, &fresh).await?;
    for (at, stored) in new.into_iter().zip(stored) {
        answers[at] = Some(stored);
    }
    answers.into_iter().collect::<Option<_>>().ok_or(PublishError::Internal("an answer is missing"))
}

/// An update that does not apply is not ordered.
async fn check_update(edge: &Edge, envelope: &ParsedEnvelope) -> Result<(), InboxError> {
    let Some(update) = envelope.update() else { return Ok(()) };
    let state = inbox::load(&edge.reader, envelope.topic()).await?;
    inbox::apply(state.as_ref(), update.clone())?;
    Ok(())
}

impl InboxError {
    fn at(self, at: usize) -> PublishError {
        match self {
            Self::Association(source) => PublishError::Association { at, source },
            Self::Index(error) => PublishError::Index(error),
            Self::Damaged => PublishError::Internal("the inbox is damaged"),
        }
    }
}

/// Has envelopes stored, and waits until they are readable.
async fn store(
    edge: &Arc<Edge>,
    envelopes: &[&ParsedEnvelope],
) -> Result<Vec<Stored>, PublishError> {
    if envelopes.is_empty() {
        return Ok(Vec::new());
    }
    let period = edge.publisher.period().ok_or(PublishError::Network(ErrorCode::NotReady))?;
    let mut signed = Vec::with_capacity(envelopes.len());
    for envelope in envelopes {
        let body = body(edge, envelope, edge.tick(now_ns()?), period)?;
        signed.push(body.sign(&edge.identity.key, edge.network));
    }
    let results = edge.publisher.publish(signed).await.map_err(PublishError::Network)?;
    let places: Vec<Place> = results.iter().map(place).collect::<Result<_, _>>()?;
    show(edge, &places).await?;
    let mut stored = Vec::with_capacity(places.len());
    for (envelope, place) in envelopes.iter().zip(places) {
        let mark = envelope.course().mark(&place);
        let mark = mark.ok_or(PublishError::Internal("out of numbers"))?;
        // An update that was valid when it was checked is passed over when it is not any more.
        let mut found = edge.reader.at(envelope.topic(), mark).await?;
        if found.is_none() {
            // The same update may have been under way twice; then the first copy is the answer.
            let digest = inbox::digest(envelope.bytes());
            found = edge.reader.repeated(envelope.topic(), &digest).await?;
        }
        stored.push(found.ok_or(PublishError::Overtaken)?);
    }
    Ok(stored)
}

fn body(
    edge: &Edge,
    envelope: &ParsedEnvelope,
    received_ns: u64,
    period: Period,
) -> Result<EnvelopeBody, PublishError> {
    let too_long = PublishError::Invalid { at: 0, source: EnvelopeInvalid::TooLong };
    let note = Note::new(received_ns, envelope.bytes().to_vec());
    let payload = note.and_then(|note| BoundedBytes::new(note.to_wire()).ok()).ok_or(too_long)?;
    let retention_days = match envelope.course() {
        Course::Broadcast => edge.limits.message_retention_days,
        Course::Ordered { .. } => edge.limits.ordered_retention_days,
    };
    Ok(EnvelopeBody {
        version: PROTOCOL_VERSION,
        topic: envelope.topic().carrier(),
        lane: envelope.course().lane(),
        payer: edge.identity.payer,
        not_after: period.plus(PERIODS_AHEAD),
        retention_days,
        expected_position: None,
        depends_on: None,
        payload,
    })
}

fn place(result: &SendResult) -> Result<Place, PublishError> {
    match result {
        SendResult::Stored(receipt) => {
            let (log, index) = (receipt.checkpoint.checkpoint.log, receipt.header.index);
            Ok(Place::Log { log, index })
        }
        SendResult::Ordered(receipt) => applied(receipt),
        SendResult::Refused { code } => Err(PublishError::Network(*code)),
    }
}

fn applied(receipt: &OrderedReceipt) -> Result<Place, PublishError> {
    match receipt.decided.outcome {
        Outcome::Applied { .. } => Ok(place_of(receipt)),
        Outcome::Conflict { .. } => Err(PublishError::Network(ErrorCode::Conflict)),
        Outcome::Refused { code } => Err(PublishError::Network(code)),
    }
}

/// Waits until what stands at the places is readable at every edge that lives (XMTP-007).
async fn show(edge: &Arc<Edge>, places: &[Place]) -> Result<(), PublishError> {
    let here = async {
        if timeout(OWN_PATIENCE, edge.reach(places)).await.is_err() {
            edge.missed.send_replace(places.to_vec());
            edge.reach(places).await;
        }
    };
    let there = timeout(PEER_PATIENCE, edge.peers.reach(places));
    let both = async { tokio::join!(here, there) };
    match timeout(PATIENCE, both).await {
        Err(_) => Err(PublishError::NotShown),
        Ok(((), Ok(()))) => Ok(()),
        Ok(((), Err(_))) => {
            edge.metrics.peers_late.increment();
            edge.peers.leave_behind(places);
            Ok(())
        }
    }
}

fn now_ns() -> Result<u64, PublishError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.map_err(|_| PublishError::Internal("the clock is before 1970"))?;
    u64::try_from(since.as_nanos()).map_err(|_| PublishError::Internal("the clock is off"))
}

impl PublishError {
    /// Whether the same request may succeed later, at this edge or another.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::NotServing | Self::NotShown | Self::Index(_) => true,
            Self::Network(code) => code.retryable(),
            Self::Count | Self::Invalid { .. } | Self::Overtaken | Self::Internal(_) => false,
            Self::Association { source, .. } => source.fault() == Fault::Edge,
        }
    }
}
