//! The part of a publish request that needs no replica state, to be run on any thread.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand_core::CryptoRngCore;
use tidings_envelope::api::{EnvelopeBytes, PublishRequest};
use tidings_envelope::{
    AckLevel, AdmissionContext, AdmittedEnvelope, CongestionHistory, EntryHeader, Lane, Operation,
    ParsedEnvelope, Registry, Tariff, VerifiedEnvelope, verify_all,
};
use tidings_types::constants::{FEE_PERIODS_BEFORE_EXPIRY_MAX, PROTOCOL_VERSION};
use tidings_types::{
    EntryHash, EnvelopeId, ErrorCode, Hash, LogIndex, Period, PicoDollars, ShardId,
    TimestampSeconds, TopicIndex, Wire, sha256,
};

use crate::replica::CongestionByShard;

/// A broadcast envelope, ready to be given an index.
#[derive(Debug, Clone)]
pub(crate) struct BroadcastItem {
    pub(crate) id: EnvelopeId,
    pub(crate) shard: ShardId,
    pub(crate) payload: Arc<[u8]>,
    /// Complete but for index, timestamp and the topic chain.
    pub(crate) header: EntryHeader,
}

/// An envelope after every check that needs no replica state.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Broadcast(Box<BroadcastItem>),
    Ordered {
        id: EnvelopeId,
        not_after: Period,
        shard: ShardId,
        operation: Box<Operation>,
    },
    /// Refused, unless the id is one that was answered before.
    Refused {
        id: Option<(EnvelopeId, Period)>,
        code: ErrorCode,
    },
}

/// A publish request whose signatures are checked.
#[derive(Debug, Clone)]
pub struct PreparedPublish {
    pub(crate) level: AckLevel,
    pub(crate) items: Vec<Item>,
}

/// Checks a request: form, payer, each envelope's form, signature, expiry and fee, for which the
/// factors of this node's shards count.
///
/// One bad envelope is refused alone (ENV-011); `rng` blinds the signature batch.
///
/// # Errors
/// The code that refuses the request as a whole: an unknown version, a batch that is not
/// acceptable here and now, or ids that its root does not cover.
pub fn prepare_publish(
    request: &PublishRequest,
    context: &AdmissionContext<'_>,
    congestion: &CongestionByShard,
    rng: &mut impl CryptoRngCore,
) -> Result<PreparedPublish, ErrorCode> {
    if request.version != PROTOCOL_VERSION {
        return Err(ErrorCode::UnknownVersion);
    }
    if !request.ids_are_signed() {
        return Err(ErrorCode::BatchRootMismatch);
    }
    let refusal = request.batch.admit(context).err();
    if let Some(code) = refusal.filter(|code| *code != ErrorCode::BatchExpired) {
        return Err(code);
    }
    let parsed = parse_listed(request);
    let verified = verify_listed(parsed, context, rng);
    let mut items = Vec::with_capacity(verified.len());
    let listed = request.ids.iter().zip(request.paths()).zip(verified);
    for (index, ((id, path), verified)) in (0u32..).zip(listed) {
        items.push(match (verified, refusal) {
            (Err(code), _) => Item::Refused { id: None, code },
            (Ok(verified), Some(code)) => {
                let not_after = verified.envelope().body.not_after;
                Item::Refused { id: Some((*id, not_after)), code }
            }
            (Ok(verified), None) => admit(verified, request, index, path, (context, congestion)),
        });
    }
    refuse_repeats(&mut items);
    Ok(PreparedPublish { level: request.level, items })
}

fn parse_listed(request: &PublishRequest) -> Vec<Result<ParsedEnvelope, ErrorCode>> {
    let listed = request.ids.iter().zip(request.envelopes.iter());
    let parse = |(id, bytes): (&EnvelopeId, &EnvelopeBytes)| {
        let parsed = ParsedEnvelope::parse(bytes)?;
        if parsed.id() == *id { Ok(parsed) } else { Err(ErrorCode::EnvelopeIdMismatch) }
    };
    listed.map(parse).collect()
}

/// Verifies what parsed, all at once, and keeps every refusal in its place.
fn verify_listed(
    parsed: Vec<Result<ParsedEnvelope, ErrorCode>>,
    context: &AdmissionContext<'_>,
    rng: &mut impl CryptoRngCore,
) -> Vec<Result<VerifiedEnvelope, ErrorCode>> {
    let good: Vec<ParsedEnvelope> = parsed.iter().flatten().cloned().collect();
    let mut verdicts = verify_all(good, context.network, rng).into_iter();
    let verified = parsed
        .into_iter()
        .map(|parsed| parsed.and_then(|_| verdicts.next().unwrap_or(Err(ErrorCode::Internal))));
    verified.collect()
}

fn admit(
    verified: VerifiedEnvelope,
    request: &PublishRequest,
    index: u32,
    path: Vec<Hash>,
    (context, congestion): (&AdmissionContext<'_>, &CongestionByShard),
) -> Item {
    let (id, not_after) = (verified.id(), verified.envelope().body.not_after);
    let refused = |code| Item::Refused { id: Some((id, not_after)), code };
    let admitted = match verified.admit(&request.batch, index, path, context) {
        Ok(admitted) => admitted,
        Err(code) => return refused(code),
    };
    let body = &admitted.envelope().envelope.body;
    let registry = match context.registry_of(&request.batch) {
        Ok(registry) => registry,
        Err(code) => return refused(code),
    };
    let shard = body.topic.shard(registry.shard_count);
    let Some(congestion) = congestion.get(&shard) else { return refused(ErrorCode::WrongShard) };
    let price = Price { shard, registry, congestion };
    match body.lane {
        // A shard that is behind others has no factor for their period yet.
        Lane::Broadcast => {
            match price.broadcast(&admitted, context.period.min(congestion.settled())) {
                Ok(item) => Item::Broadcast(Box::new(item)),
                Err(code) => refused(code),
            }
        }
        Lane::Ordered => match price.ordered(&admitted) {
            Ok(()) => {
                let operation = Box::new(Operation::Envelope(admitted.into_envelope()));
                Item::Ordered { id, not_after, shard, operation }
            }
            Err(code) => refused(code),
        },
    }
}

/// What an envelope is priced by.
#[derive(Clone, Copy)]
struct Price<'a> {
    shard: ShardId,
    registry: &'a Registry,
    congestion: &'a CongestionHistory,
}

impl Price<'_> {
    /// An entry to be, with the fee of a period.
    fn broadcast(
        self,
        admitted: &AdmittedEnvelope,
        period: Period,
    ) -> Result<BroadcastItem, ErrorCode> {
        let envelope = admitted.envelope();
        let body = &envelope.envelope.body;
        let payload: Arc<[u8]> = envelope.to_wire().into();
        let payload_length = u32::try_from(payload.len()).map_err(|_| ErrorCode::TooLarge)?;
        let mut header = EntryHeader {
            version: PROTOCOL_VERSION,
            envelope_id: admitted.id(),
            index: LogIndex(0),
            timestamp: TimestampSeconds(0),
            topic: body.topic,
            topic_index: TopicIndex(0),
            previous: EntryHash::default(),
            payer: body.payer,
            payload_hash: sha256(&payload),
            payload_length,
            retention_days: body.retention_days,
            fee_period: period,
            fee: PicoDollars(0),
        };
        // The shard is too far behind others; it catches up (ORD-014).
        let expiry = body.not_after.max(envelope.batch.header.not_after);
        if expiry > period.plus(FEE_PERIODS_BEFORE_EXPIRY_MAX) {
            return Err(ErrorCode::NotReady);
        }
        let fee = self.tariff(period)?.entry_fee(&header);
        header.fee = fee.map_err(|_| ErrorCode::FeeAboveMaximum)?;
        match header.fee > envelope.batch.header.max_fee {
            true => Err(ErrorCode::FeeAboveMaximum),
            false => Ok(BroadcastItem { id: admitted.id(), shard: self.shard, payload, header }),
        }
    }

    /// Whether an operation costs no more than its payer signed for, if it is decided in the period
    /// that its shard is in.
    fn ordered(self, admitted: &AdmittedEnvelope) -> Result<(), ErrorCode> {
        let (envelope, period) = (admitted.envelope(), self.congestion.current());
        let fee = self.tariff(period)?.operation_fee(envelope);
        match fee.filter(|fee| *fee <= envelope.batch.header.max_fee) {
            Some(_) => Ok(()),
            None => Err(ErrorCode::FeeAboveMaximum),
        }
    }

    fn tariff(&self, period: Period) -> Result<Tariff<'_>, ErrorCode> {
        let congestion_permille = self.congestion.permille(period).ok_or(ErrorCode::NotReady)?;
        Ok(Tariff { schedule: &self.registry.fees, congestion_permille })
    }
}

/// An id listed twice in one request is taken once.
fn refuse_repeats(items: &mut [Item]) {
    let mut seen = BTreeSet::new();
    for item in items {
        let id = match item {
            Item::Broadcast(item) => item.id,
            Item::Ordered { id, .. } => *id,
            Item::Refused { .. } => continue,
        };
        if !seen.insert(id) {
            *item = Item::Refused { id: None, code: ErrorCode::Repeated };
        }
    }
}
