//! The operations that wait to be ordered, whose signatures are verified.

use std::collections::BTreeMap;

use tidings_envelope::{DecidedOperation, Operation, PayerEnvelope};
use tidings_types::constants::{ORDER_QUEUE_BYTES_MAX, ORDER_QUEUE_OPERATIONS_MAX};
use tidings_types::{
    EnvelopeId, EthereumAddress, NodeId, OffenceId, OperationHash, Period, PicoDollars,
};
use tls_codec::Size;

/// What tells queued operations apart: an envelope is one whoever carries it, and a member's word
/// about a period is one however often it speaks, since each takes many signatures to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum QueueKey {
    Envelope(EnvelopeId),
    Offence(OffenceId),
    Statement(NodeId, Period),
    Attestation(NodeId, Period),
    /// Of one node's requests one is granted, and whoever lost asks again.
    Incarnation(NodeId),
    Marker(OperationHash),
}

impl QueueKey {
    fn of(operation: &Operation, hash: OperationHash) -> Self {
        match operation {
            Operation::Envelope(envelope) => Self::Envelope(envelope.envelope.body.id()),
            Operation::Evidence(evidence) => Self::Offence(evidence.offence()),
            Operation::Statement(said) => Self::Statement(said.node, said.period),
            Operation::Attestation(said) => {
                Self::Attestation(said.attestation.node, said.report.last)
            }
            Operation::OpenIncarnation(request) => Self::Incarnation(request.node),
            Operation::PeriodMarker(_) => Self::Marker(hash),
        }
    }
}

/// Room that envelopes leave to what members have to say, for which they may wait in vain: some
/// thirty words of each of as many members, and eight of the largest pieces of evidence.
const OPERATIONS_KEPT_FREE: usize = 1_024;
const BYTES_KEPT_FREE: usize = 8 * 1_024 * 1_024;

const _: () = assert!(
    OPERATIONS_KEPT_FREE < ORDER_QUEUE_OPERATIONS_MAX && BYTES_KEPT_FREE < ORDER_QUEUE_BYTES_MAX
);

/// The queue is full; the asker may try again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueFull;

#[derive(Debug)]
struct Waiting {
    operation: Operation,
    key: QueueKey,
    hash: OperationHash,
    length: usize,
    /// What it may cost its payer.
    fee: PicoDollars,
}

/// Operations by arrival; each stays until a final block holds it, it can be in none, or its payer
/// has no room for it.
#[derive(Debug, Default)]
pub(super) struct Queue {
    by_arrival: BTreeMap<u64, Waiting>,
    places: BTreeMap<QueueKey, u64>,
    hashes: BTreeMap<OperationHash, u64>,
    /// The length of all of them.
    bytes: usize,
    /// What may be owed for them, by payer.
    fees: BTreeMap<EthereumAddress, u128>,
    next: u64,
}

impl Queue {
    /// Whether any operation waits that `fits` allows.
    pub(super) fn any(&self, fits: impl Fn(&Operation) -> bool) -> bool {
        self.by_arrival.values().any(|waiting| fits(&waiting.operation))
    }

    /// Whether exactly this operation waits, and so is verified.
    pub(super) fn contains(&self, hash: OperationHash) -> bool {
        self.hashes.contains_key(&hash)
    }

    /// Whether the operation, or another that does the same, waits.
    pub(super) fn has(&self, operation: &Operation) -> bool {
        self.places.contains_key(&QueueKey::of(operation, operation.hash()))
    }

    /// What a payer may owe for what waits of its.
    pub(super) fn fees(&self, payer: EthereumAddress) -> u128 {
        self.fees.get(&payer).copied().unwrap_or_default()
    }

    /// Adds a verified operation, which may cost its payer so much; answers whether it was not
    /// there yet.
    pub(super) fn push(
        &mut self,
        operation: Operation,
        fee: PicoDollars,
    ) -> Result<bool, QueueFull> {
        let hash = operation.hash();
        let key = QueueKey::of(&operation, hash);
        if self.places.contains_key(&key) {
            return Ok(false);
        }
        let length = operation.tls_serialized_len();
        let bytes = self.bytes.saturating_add(length);
        let count = self.by_arrival.len() + 1;
        if !has_room(count, bytes, payer_of(&operation).is_some()) {
            return Err(QueueFull);
        }
        self.bytes = bytes;
        if let Some(payer) = payer_of(&operation) {
            add_fee(&mut self.fees, payer, fee);
        }
        self.places.insert(key, self.next);
        self.hashes.insert(hash, self.next);
        self.by_arrival.insert(self.next, Waiting { operation, key, hash, length, fee });
        self.next += 1;
        Ok(true)
    }

    /// The oldest operations that `fits` allows, up to a number and a length in bytes; the first
    /// is taken whatever its length.
    pub(super) fn batch(
        &self,
        count_max: usize,
        bytes_max: usize,
        mut fits: impl FnMut(&Operation) -> bool,
    ) -> Vec<Operation> {
        let (mut batch, mut bytes) = (Vec::new(), 0usize);
        for waiting in self.by_arrival.values() {
            if batch.len() >= count_max {
                break;
            }
            if !batch.is_empty() && bytes + waiting.length > bytes_max {
                break;
            }
            if fits(&waiting.operation) {
                bytes += waiting.length;
                batch.push(waiting.operation.clone());
            }
        }
        batch
    }

    /// Removes what a final block holds.
    pub(super) fn remove_decided(&mut self, decided: &[DecidedOperation]) {
        for DecidedOperation { operation, .. } in decided {
            let key = QueueKey::of(operation, operation.hash());
            if let Some(place) = self.places.get(&key).copied() {
                self.remove(place);
            }
        }
    }

    /// Keeps what `stays` allows.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(&Operation) -> bool) {
        let gone: Vec<u64> = self
            .by_arrival
            .iter()
            .filter(|(_, waiting)| !stays(&waiting.operation))
            .map(|(place, _)| *place)
            .collect();
        gone.into_iter().for_each(|place| self.remove(place));
    }

    /// Prices all envelopes anew.
    pub(super) fn price(&mut self, fee_of: impl Fn(&PayerEnvelope) -> PicoDollars) {
        self.fees.clear();
        for waiting in self.by_arrival.values_mut() {
            let Operation::Envelope(envelope) = &waiting.operation else { continue };
            waiting.fee = fee_of(envelope);
            add_fee(&mut self.fees, envelope.envelope.body.payer, waiting.fee);
        }
    }

    fn forget_fee(&mut self, waiting: &Waiting) {
        let Some(payer) = payer_of(&waiting.operation) else { return };
        let left = self.fees(payer).saturating_sub(waiting.fee.0.into());
        match left {
            0 => self.fees.remove(&payer),
            left => self.fees.insert(payer, left),
        };
    }

    fn remove(&mut self, place: u64) {
        if let Some(waiting) = self.by_arrival.remove(&place) {
            self.bytes -= waiting.length;
            self.places.remove(&waiting.key);
            self.hashes.remove(&waiting.hash);
            self.forget_fee(&waiting);
        }
    }
}

/// Whether so many operations of so many bytes may wait, the last of them an envelope or a member's
/// word.
fn has_room(count: usize, bytes: usize, is_envelope: bool) -> bool {
    let (count_kept, bytes_kept) = match is_envelope {
        true => (OPERATIONS_KEPT_FREE, BYTES_KEPT_FREE),
        false => (0, 0),
    };
    count <= ORDER_QUEUE_OPERATIONS_MAX - count_kept && bytes <= ORDER_QUEUE_BYTES_MAX - bytes_kept
}

fn add_fee(to: &mut BTreeMap<EthereumAddress, u128>, payer: EthereumAddress, fee: PicoDollars) {
    let fees = to.entry(payer).or_default();
    *fees = fees.saturating_add(fee.0.into());
}

fn payer_of(operation: &Operation) -> Option<EthereumAddress> {
    match operation {
        Operation::Envelope(envelope) => Some(envelope.envelope.body.payer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tidings_envelope::{
        BatchHeader, EnvelopeBody, IncarnationRequest, Payload, PeriodStatement, Target, Topic,
    };
    use tidings_types::constants::PROTOCOL_VERSION;
    use tidings_types::ed25519::SigningKey;
    use tidings_types::node_key::NodeKey;
    use tidings_types::{BoundedVec, Incarnation, NetworkId, RegistryEpoch, ShardId};

    use super::*;

    fn push(queue: &mut Queue, operation: Operation) -> Result<bool, QueueFull> {
        queue.push(operation, PicoDollars(0))
    }

    #[test]
    fn a_member_has_one_statement_of_a_period_waiting() {
        // covers: SET-023
        let key = NodeKey::from_secret(&[1; 32]).unwrap();
        let said = |node, period, network| {
            let about = (NodeId(node), ShardId(0), Period(period));
            let (held, measured) = (BoundedVec::default(), BoundedVec::default());
            let network = NetworkId([network; 32]);
            let said = PeriodStatement::sign(about, held, measured, 0, &key, network);
            Operation::Statement(Box::new(said))
        };
        let mut queue = Queue::default();
        assert!(push(&mut queue, said(1, 1, 1)).is_ok_and(|is_new| is_new));
        assert!(queue.has(&said(1, 1, 2)), "in other words");
        assert!(push(&mut queue, said(1, 1, 2)).is_ok_and(|is_new| !is_new));
        for other in [said(2, 1, 1), said(1, 2, 1)] {
            assert!(push(&mut queue, other).is_ok_and(|is_new| is_new));
        }
    }

    #[test]
    fn of_one_nodes_requests_one_waits_and_all_together_are_bounded() {
        let key = NodeKey::from_secret(&[1; 32]).unwrap();
        let open = |node, nonce| {
            let (shard, previous) = (ShardId(0), Incarnation(0));
            let (node, network) = (NodeId(node), NetworkId([1; 32]));
            let request =
                IncarnationRequest::sign(node, shard, previous, [nonce; 32], &key, network);
            Operation::OpenIncarnation(request)
        };
        let mut queue = Queue::default();
        assert_eq!(push(&mut queue, open(1, 1)), Ok(true));
        assert_eq!(
            [push(&mut queue, open(1, 2)), push(&mut queue, open(2, 2))],
            [Ok(false), Ok(true)]
        );
        let length = open(1, 1).tls_serialized_len();
        assert_eq!(queue.bytes, 2 * length);
        queue.retain(|_| false);
        assert_eq!(queue.bytes, 0);
        queue.bytes = ORDER_QUEUE_BYTES_MAX - length + 1;
        assert_eq!(push(&mut queue, open(1, 1)), Err(QueueFull));
        queue.bytes -= 1;
        assert_eq!(push(&mut queue, open(1, 1)), Ok(true));
    }

    #[test]
    fn envelopes_leave_places_for_what_members_say() {
        let most = ORDER_QUEUE_OPERATIONS_MAX;
        let envelopes = most - OPERATIONS_KEPT_FREE;
        assert!(has_room(envelopes, 1, true) && !has_room(envelopes + 1, 1, true));
        assert!(has_room(most, 1, false) && !has_room(most + 1, 1, false));
    }

    #[test]
    fn envelopes_leave_room_for_what_members_say() {
        let key = SigningKey::from_secret(&[1; 32]);
        let network = NetworkId([1; 32]);
        let payer = EthereumAddress([7; 20]);
        let topic = Topic::group(&key.public_key());
        let body = EnvelopeBody::broadcast(topic, payer, Period(1), Payload::default());
        let header = BatchHeader {
            version: PROTOCOL_VERSION,
            payer,
            session_key: key.public_key(),
            target: Target::Shard(ShardId(0)),
            registry_epoch: RegistryEpoch(1),
            not_after: Period(1),
            max_fee: PicoDollars(9),
            count: 1,
            root: BatchHeader::root_of(&[body.id()]),
        };
        let envelope = Operation::Envelope(PayerEnvelope {
            envelope: body.sign(&key, network),
            batch: header.sign(&key, network),
            index: 0,
            path: BoundedVec::default(),
        });
        let node_key = NodeKey::from_secret(&[1; 32]).unwrap();
        let said = Operation::OpenIncarnation(IncarnationRequest::sign(
            NodeId(1),
            ShardId(0),
            Incarnation(0),
            [1; 32],
            &node_key,
            network,
        ));
        let bytes = ORDER_QUEUE_BYTES_MAX - BYTES_KEPT_FREE;
        let mut queue = Queue { bytes, ..Queue::default() };
        assert_eq!(queue.push(envelope.clone(), PicoDollars(9)), Err(QueueFull));
        assert_eq!(queue.fees(payer), 0);
        assert_eq!(queue.push(said, PicoDollars(0)), Ok(true));
        queue.bytes = 0;
        assert_eq!(queue.push(envelope, PicoDollars(9)), Ok(true));
        assert_eq!(queue.fees(payer), 9);
        queue.price(|_| PicoDollars(7));
        assert_eq!(queue.fees(payer), 7);
        queue.retain(|operation| payer_of(operation).is_none());
        assert_eq!(queue.fees(payer), 0);
    }
}
