//! An envelope on its way: what its user sent, checked as far as the gateway can.

use tidings_envelope::{
    BatchHeader, ClientEnvelope, FeeClass, Lane, ParsedEnvelope, PayerBatch, Target, Tariff, Topic,
};
use tidings_types::constants::ENTRY_PAYLOAD_BYTES_MAX;
use tidings_types::ed25519::{PublicKey, Signature};
use tidings_types::{
    BoundedBytes, EnvelopeId, ErrorCode, EthereumAddress, NodeId, Period, PicoDollars,
    RegistryEpoch, ShardId, Wire,
};
use tls_codec::Size;

/// The canonical bytes of an envelope.
pub type EnvelopeBytes = BoundedBytes<ENTRY_PAYLOAD_BYTES_MAX>;

/// An envelope that follows every rule that needs neither a key nor the network's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The envelope's id.
    pub id: EnvelopeId,
    /// Where it is written.
    pub topic: Topic,
    /// How it is ordered.
    pub lane: Lane,
    /// How many days it is kept.
    pub retention_days: u16,
    /// Its canonical bytes.
    pub bytes: EnvelopeBytes,
    /// What was set aside for it; nothing before its cost is known.
    pub fee_max: PicoDollars,
}

impl Outgoing {
    /// Checks an envelope before anybody is charged or signs for it (GTW-004).
    ///
    /// # Errors
    /// What [`ParsedEnvelope::check`] refuses, [`ErrorCode::PayerMismatch`] when it names another
    /// payer, [`ErrorCode::TooLarge`].
    pub fn check(envelope: &ClientEnvelope, payer: EthereumAddress) -> Result<Self, ErrorCode> {
        let parsed = ParsedEnvelope::check(envelope.clone())?;
        if envelope.body.payer != payer {
            return Err(ErrorCode::PayerMismatch);
        }
        let bytes = EnvelopeBytes::new(envelope.to_wire()).map_err(|_| ErrorCode::TooLarge)?;
        Ok(Self {
            id: parsed.id(),
            topic: envelope.body.topic,
            lane: envelope.body.lane,
            retention_days: envelope.body.retention_days,
            bytes,
            fee_max: PicoDollars(0),
        })
    }

    /// What the envelope costs in a batch of `count` (FEE-001): its stored form adds the batch, an
    /// index and a Merkle path.
    ///
    /// # Errors
    /// [`ErrorCode::FeeInvalid`] when the fee fits no amount.
    pub fn fee(&self, tariff: Tariff<'_>, count: usize) -> Result<PicoDollars, ErrorCode> {
        let class = FeeClass::of(&self.topic, self.lane);
        let length = stored_bytes(self.bytes.len(), self.lane, count)?;
        tariff.fee(length, self.retention_days, class).map_err(|_| ErrorCode::FeeInvalid)
    }
}

/// The length under which an envelope of `bytes` is stored that is sent in a batch of `count`.
///
/// # Errors
/// [`ErrorCode::TooLarge`] when it fits no 32 bits.
pub fn stored_bytes(bytes: usize, lane: Lane, count: usize) -> Result<u32, ErrorCode> {
    let path = vec![[0u8; 32]; path_hashes_max(count)];
    let around = batch_bytes(lane) + 0u32.tls_serialized_len() + path.tls_serialized_len();
    u32::try_from(bytes.saturating_add(around)).map_err(|_| ErrorCode::TooLarge)
}

/// The most hashes in a path through a tree of `count` leaves (RFC 6962 §2.1.1).
fn path_hashes_max(count: usize) -> usize {
    usize::try_from(count.max(1).next_power_of_two().trailing_zeros()).unwrap_or_default()
}

/// The length of a signed batch header, whose fields have fixed lengths but for the target.
fn batch_bytes(lane: Lane) -> usize {
    let target = match lane {
        Lane::Broadcast => Target::Node(NodeId(0)),
        Lane::Ordered => Target::Shard(ShardId(0)),
    };
    let header = BatchHeader {
        version: 0,
        payer: EthereumAddress::default(),
        session_key: PublicKey::default(),
        target,
        registry_epoch: RegistryEpoch(0),
        not_after: Period(0),
        max_fee: PicoDollars(0),
        count: 0,
        root: [0; 32],
    };
    PayerBatch { header, signature: Signature([0; 64]) }.tls_serialized_len()
}

#[cfg(test)]
mod tests {
    use tidings_envelope::registry::FeeSchedule;
    use tidings_envelope::{EnvelopeBody, PayerEnvelope, WriteProof};
    use tidings_types::ed25519::SigningKey;
    use tidings_types::{BoundedVec, NetworkId};

    use super::*;

    const PAYER: EthereumAddress = EthereumAddress([7; 20]);

    fn envelope(payload: usize) -> ClientEnvelope {
        let key = SigningKey::from_secret(&[1; 32]);
        let topic = Topic::group(&key.public_key());
        let payload = BoundedBytes::new(vec![5; payload]).unwrap();
        EnvelopeBody::broadcast(topic, PAYER, Period(2), payload).sign(&key, NetworkId([1; 32]))
    }

    fn check(change: impl FnOnce(&mut ClientEnvelope), expected: Option<ErrorCode>) {
        let mut envelope = envelope(10);
        change(&mut envelope);
        assert_eq!(Outgoing::check(&envelope, PAYER).err(), expected);
    }

    #[test]
    fn what_no_node_admits_is_refused_here() {
        // covers: GTW-004
        check(|_| (), None);
        check(|envelope| envelope.body.version = 9, Some(ErrorCode::UnknownVersion));
        check(
            |envelope| envelope.body.payer = EthereumAddress([8; 20]),
            Some(ErrorCode::PayerMismatch),
        );
        check(|envelope| envelope.body.retention_days = 0, Some(ErrorCode::RetentionOutOfRange));
        check(|envelope| envelope.proof = WriteProof::FeeStamp, Some(ErrorCode::WriteProofInvalid));
    }

    #[test]
    fn the_fee_is_that_of_the_stored_form() {
        // covers: GTW-005
        for count in [1, 2, 3, 4, 5, 1_000, 1_024] {
            check_fee(Lane::Broadcast, FeeClass::Broadcast, Target::Node(NodeId(1)), count);
            check_fee(Lane::Ordered, FeeClass::Ordered, Target::Shard(ShardId(1)), count);
        }
    }

    fn check_fee(lane: Lane, class: FeeClass, target: Target, count: usize) {
        let (mut envelope, schedule) = (envelope(300), FeeSchedule::default());
        envelope.body.lane = lane;
        let ids: Vec<_> = (0..count).map(|_| envelope.body.id()).collect();
        let header = BatchHeader {
            version: 1,
            payer: PAYER,
            session_key: PublicKey::default(),
            target,
            registry_epoch: RegistryEpoch(1),
            not_after: Period(2),
            max_fee: PicoDollars(1),
            count: u32::try_from(count).unwrap(),
            root: BatchHeader::root_of(&ids),
        };
        let leaves: Vec<_> =
            ids.iter().map(|id| tidings_types::merkle::leaf_hash(id.as_bytes())).collect();
        let stored = PayerEnvelope {
            envelope: envelope.clone(),
            batch: PayerBatch { header, signature: Signature([0; 64]) },
            index: 0,
            path: BoundedVec::new(tidings_types::merkle::path(&leaves, 0)).unwrap(),
        };
        assert!(stored.is_covered());
        let length = u32::try_from(stored.to_wire().len()).unwrap();
        let tariff = Tariff { schedule: &schedule, congestion_permille: 1_125 };
        let expected = tariff.fee(length, 30, class).unwrap();
        let outgoing = Outgoing::check(&envelope, PAYER).unwrap();
        assert_eq!(outgoing.fee(tariff, count), Ok(expected), "{count}");
    }
}
