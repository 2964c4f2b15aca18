//! What a reader checks before it believes a node: chains, write proofs, certificates, receipts,
//! and proofs about the ordered state.

use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::OsRng;
use tidings_envelope::api::{
    LogCursor, SendResult, StateAnswer, StateQuery, TopicCursor, TopicEntry, TopicPage,
};
use tidings_envelope::{
    AckLevel, ClientEnvelope, Lane, LogId, Operation, OrderedReceipt, Outcome, ParsedEnvelope,
    Registry, RegistryHistory, StateContent, StateProof, StateProofInvalid, Topic,
    state_value_hash, verify_all,
};
use tidings_tlog::TopicHead;
use tidings_types::constants::{CURSOR_LOGS_MAX, PROTOCOL_VERSION};
use tidings_types::{BoundedVec, EnvelopeId, ErrorCode, NetworkId, Period, Position};

use crate::error::VerifyFailure;
use crate::heads::Heads;
use crate::look_up::Proved;

/// What answers are checked against.
#[derive(Clone, Copy)]
pub(crate) struct Verifier<'a> {
    pub(crate) network: NetworkId,
    pub(crate) registries: &'a RegistryHistory,
    /// The newest block seen of each shard.
    pub(crate) heads: &'a Mutex<Heads>,
}

/// A broadcast entry that is what its writer wrote, where its log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broadcast {
    /// The envelope's id.
    pub(crate) id: EnvelopeId,
    /// In which period the node took it.
    pub(crate) admitted: Period,
    /// The envelope; absent when the node has pruned it.
    pub(crate) envelope: Option<ClientEnvelope>,
    /// As it was served.
    pub(crate) entry: TopicEntry,
}

/// An ordered entry that a quorum certified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ordered {
    /// The envelope's id.
    pub(crate) id: EnvelopeId,
    /// Its place in the topic.
    pub(crate) position: Position,
    /// The period of its block.
    pub(crate) period: Period,
    /// The envelope.
    pub(crate) envelope: ClientEnvelope,
}

/// A page whose every entry is verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct VerifiedPage {
    pub(crate) ordered: Vec<Ordered>,
    pub(crate) broadcast: Vec<Broadcast>,
    /// Where to go on.
    pub(crate) cursor: TopicCursor,
    /// Whether the topic holds more.
    pub(crate) more: bool,
}

/// Proof that an envelope is where it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proven {
    /// It is in a log, on as many disks as asked for.
    Stored,
    /// It took this position in its topic.
    Applied(Position),
    /// Another one took the expected position first.
    Conflict,
}

impl Verifier<'_> {
    /// Checks a page of `topic` that was asked for at `cursor`.
    pub(crate) fn page(
        &self,
        topic: &Topic,
        cursor: &TopicCursor,
        page: TopicPage,
    ) -> Result<VerifiedPage, VerifyFailure> {
        if page.version != PROTOCOL_VERSION {
            return Err(VerifyFailure::Version);
        }
        let (cursor, more) = (cursor.clone(), page.more != 0);
        let mut verified = VerifiedPage { cursor, more, ..Default::default() };
        for receipt in page.ordered.iter() {
            let ordered = self.ordered(topic, &mut verified.cursor, receipt)?;
            verified.ordered.push(ordered);
        }
        for entry in page.broadcast.into_vec() {
            let broadcast = self.broadcast(topic, &mut verified.cursor, entry)?;
            verified.broadcast.push(broadcast);
        }
        Ok(verified)
    }

    /// Checks one broadcast entry that follows `cursor`, which it moves.
    pub(crate) fn broadcast(
        &self,
        topic: &Topic,
        cursor: &mut TopicCursor,
        entry: TopicEntry,
    ) -> Result<Broadcast, VerifyFailure> {
        let header = entry.entry.header;
        if !header.version_is_known() {
            return Err(VerifyFailure::Version);
        }
        if header.topic != *topic || entry.log.shard != topic.shard(self.latest().shard_count) {
            return Err(VerifyFailure::Misplaced);
        }
        let advanced = advance(cursor, entry.log, &header)?;
        let envelope = match &entry.entry.payload {
            None => None,
            Some(payload) if !header.matches(payload) => return Err(VerifyFailure::Payload),
            // What its originator should never have admitted is passed over, and what stands
            // behind it is read.
            Some(_) => entry.entry.open().map(|inner| inner.envelope).filter(|inner| {
                self.envelope(inner, topic, Lane::Broadcast, header.envelope_id).is_ok()
            }),
        };
        let (id, admitted) = (header.envelope_id, header.fee_period);
        *cursor = advanced;
        Ok(Broadcast { id, admitted, envelope, entry })
    }

    /// Checks a broadcast entry on its own, without its place in the chain.
    pub(crate) fn newest(
        &self,
        topic: &Topic,
        entry: &TopicEntry,
    ) -> Result<Option<ClientEnvelope>, VerifyFailure> {
        let header = &entry.entry.header;
        if header.topic != *topic {
            return Err(VerifyFailure::Misplaced);
        }
        if entry.entry.payload.is_none() {
            return Ok(None);
        }
        let inner = entry.entry.open().ok_or(VerifyFailure::Payload)?.envelope;
        self.envelope(&inner, topic, Lane::Broadcast, header.envelope_id)?;
        Ok(Some(inner))
    }

    /// Checks one ordered entry that follows `cursor`, which it moves.
    pub(crate) fn ordered(
        &self,
        topic: &Topic,
        cursor: &mut TopicCursor,
        receipt: &OrderedReceipt,
    ) -> Result<Ordered, VerifyFailure> {
        self.certified(receipt)?;
        let Operation::Envelope(inner) = &receipt.decided.operation else {
            return Err(VerifyFailure::Misplaced);
        };
        let Outcome::Applied { position } = receipt.decided.outcome else {
            return Err(VerifyFailure::Misplaced);
        };
        if receipt.header.shard != topic.shard(self.latest().shard_count) {
            return Err(VerifyFailure::Misplaced);
        }
        let expected = cursor.position.plus(1);
        if position != expected {
            return Err(VerifyFailure::Position { expected: expected.0, found: position.0 });
        }
        let id = inner.envelope.body.id();
        self.envelope(&inner.envelope, topic, Lane::Ordered, id)?;
        cursor.position = position;
        let (period, envelope) = (receipt.header.period, inner.envelope.clone());
        Ok(Ordered { id, position, period, envelope })
    }

    /// Checks what a gateway answered for `envelope`.
    pub(crate) fn sent(
        &self,
        envelope: &ClientEnvelope,
        level: AckLevel,
        result: SendResult,
    ) -> Result<Result<Proven, ErrorCode>, VerifyFailure> {
        let id = envelope.body.id();
        match result {
            SendResult::Refused { code } => Ok(Err(code)),
            SendResult::Stored(receipt) => {
                let header = &receipt.header;
                let is_it = header.envelope_id == id && header.topic == envelope.body.topic;
                if !is_it || envelope.body.lane != Lane::Broadcast {
                    return Err(VerifyFailure::Misplaced);
                }
                receipt.verify(self.network, self.latest(), level)?;
                Ok(Ok(Proven::Stored))
            }
            SendResult::Ordered(receipt) => {
                self.certified(&receipt)?;
                match &receipt.decided.operation {
                    Operation::Envelope(inner) if inner.envelope.body == envelope.body => {}
                    _ => return Err(VerifyFailure::Misplaced),
                }
                match receipt.decided.outcome {
                    Outcome::Applied { position } => Ok(Ok(Proven::Applied(position))),
                    Outcome::Conflict { .. } => Ok(Ok(Proven::Conflict)),
                    Outcome::Refused { code } => Ok(Err(code)),
                }
            }
        }
    }

    /// Checks what a replica answered to a look-up (API-031).
    pub(crate) fn state(
        &self,
        query: &StateQuery,
        answer: &StateAnswer,
    ) -> Result<Proved, VerifyFailure> {
        if answer.version != PROTOCOL_VERSION {
            return Err(VerifyFailure::Version);
        }
        let proof = &answer.proof;
        if proof.key != query.key || proof.header.shard != query.shard {
            return Err(VerifyFailure::Misplaced);
        }
        let content = self.proved(proof)?;
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.check_age(&proof.header)?;
        heads.note(&proof.header)?;
        let value = match content {
            StateContent::Inbox(hash) if query.known != Some(hash) => {
                let value = answer.value.as_ref().filter(|value| state_value_hash(value) == hash);
                Some(value.ok_or(VerifyFailure::State(StateProofInvalid::Value))?.to_vec())
            }
            _ => None,
        };
        Ok(Proved { content, proof: proof.clone(), value })
    }

    fn proved(&self, proof: &StateProof) -> Result<StateContent, VerifyFailure> {
        let header = &proof.header;
        let is_newest = self.heads.lock().unwrap_or_else(PoisonError::into_inner).is_newest(header);
        if is_newest && proof.version == PROTOCOL_VERSION {
            return Ok(proof.branch.read(&proof.key, header.state_root)?);
        }
        let registry = self.registries.at(header.registry_epoch);
        let unknown = StateProofInvalid::Epoch(header.registry_epoch);
        Ok(proof.verify(self.network, registry.ok_or(unknown)?)?)
    }

    /// Checks an ordered receipt and notes its block.
    fn certified(&self, receipt: &OrderedReceipt) -> Result<(), VerifyFailure> {
        let header = &receipt.header;
        let registry = self.registries.at(header.registry_epoch);
        receipt.verify(self.network, registry.unwrap_or(self.latest()))?;
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).note(header)
    }

    fn latest(&self) -> &Arc<Registry> {
        self.registries.latest()
    }

    fn envelope(
        &self,
        envelope: &ClientEnvelope,
        topic: &Topic,
        lane: Lane,
        id: EnvelopeId,
    ) -> Result<(), VerifyFailure> {
        if envelope.body.topic != *topic || envelope.body.lane != lane {
            return Err(VerifyFailure::Misplaced);
        }
        let parsed = ParsedEnvelope::check(envelope.clone()).map_err(VerifyFailure::Envelope)?;
        if parsed.id() != id {
            return Err(VerifyFailure::Misplaced);
        }
        match verify_all(vec![parsed], self.network, &mut OsRng).pop() {
            Some(Ok(_)) => Ok(()),
            Some(Err(code)) => Err(VerifyFailure::Envelope(code)),
            None => Err(VerifyFailure::Envelope(ErrorCode::Internal)),
        }
    }
}

/// The cursor after an entry of `log`, if the entry is the one due there.
pub(crate) fn advance(
    cursor: &TopicCursor,
    log: LogId,
    header: &tidings_envelope::EntryHeader,
) -> Result<TopicCursor, VerifyFailure> {
    let mut logs = cursor.logs.clone().into_vec();
    let place = logs.iter().position(|known| known.log == log);
    let head = match place.and_then(|place| logs.get(place)) {
        Some(known) => TopicHead { next: known.next, last: known.previous },
        None => TopicHead::default(),
    };
    let head = head.advance(header).map_err(|_| VerifyFailure::Chain { log })?;
    let advanced = LogCursor { log, next: head.next, previous: head.last };
    match place.and_then(|place| logs.get_mut(place)) {
        Some(known) => *known = advanced,
        None => logs.push(advanced),
    }
    let logs = BoundedVec::<_, CURSOR_LOGS_MAX>::new(logs);
    let logs = logs.map_err(|_| VerifyFailure::Misplaced)?;
    Ok(TopicCursor { logs, position: cursor.position })
}

/// Whether an entry comes before the cursor: it has been read.
pub(crate) fn is_behind(cursor: &TopicCursor, entry: &TopicEntry) -> bool {
    let known = cursor.logs.iter().find(|known| known.log == entry.log);
    known.is_some_and(|known| entry.entry.header.topic_index < known.next)
}

#[cfg(test)]
mod tests {
    use tidings_envelope::{EntryHeader, LogEntry};
    use tidings_types::{
        EntryHash, EthereumAddress, Incarnation, LogIndex, NodeId, PicoDollars, ShardId,
        TimestampSeconds, TopicIndex,
    };

    use super::*;

    fn log(node: u32) -> LogId {
        LogId { node: NodeId(node), shard: ShardId(0), incarnation: Incarnation(1) }
    }

    fn header(topic_index: u64, previous: EntryHash) -> EntryHeader {
        EntryHeader {
            version: PROTOCOL_VERSION,
            envelope_id: EnvelopeId([7; 32]),
            index: LogIndex(topic_index),
            timestamp: TimestampSeconds(0),
            topic: Topic::mailbox(0),
            topic_index: TopicIndex(topic_index),
            previous,
            payer: EthereumAddress([1; 20]),
            payload_hash: [0; 32],
            payload_length: 0,
            retention_days: 30,
            fee_period: Period(1),
            fee: PicoDollars(0),
        }
    }

    #[test]
    fn a_cursor_follows_each_log_by_itself() {
        let start = TopicCursor::default();
        let first = header(0, EntryHash::default());
        let one = advance(&start, log(1), &first).unwrap();
        let both = advance(&one, log(2), &first).unwrap();
        let second = header(1, first.hash());
        let further = advance(&both, log(1), &second).unwrap();
        assert_eq!(further.logs.len(), 2);
        // A gap, a repetition and another history are refused.
        for (cursor, entry) in [(&start, second), (&one, first), (&one, header(1, start_hash()))] {
            let refused = advance(cursor, log(1), &entry);
            assert_eq!(refused, Err(VerifyFailure::Chain { log: log(1) }));
        }
    }

    fn start_hash() -> EntryHash {
        EntryHash([9; 32])
    }

    #[test]
    fn what_was_read_is_behind() {
        let first = header(0, EntryHash::default());
        let cursor = advance(&TopicCursor::default(), log(1), &first).unwrap();
        let entry =
            |node, header| TopicEntry { log: log(node), entry: LogEntry { header, payload: None } };
        assert!(is_behind(&cursor, &entry(1, first)));
        assert!(!is_behind(&cursor, &entry(2, first)));
        assert!(!is_behind(&cursor, &entry(1, header(1, first.hash()))));
    }
}
