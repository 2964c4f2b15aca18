//! An envelope as clients get it.

use prost::Message;

use crate::index::Stored;
use crate::proto::envelopes::{OriginatorEnvelope, PayerEnvelope, UnsignedOriginatorEnvelope};

const NS_PER_DAY: u64 = 86_400_000_000_000;
const SECONDS_PER_DAY: u64 = 86_400;

/// The layers that clients unwrap, without the signatures that they do not check (XMTP-008).
#[must_use]
pub fn wrap(stored: &Stored) -> OriginatorEnvelope {
    let originator = stored.mark.originator;
    let came_day = stored.sent_ns / NS_PER_DAY;
    let days = (stored.expires_s / SECONDS_PER_DAY).saturating_sub(came_day);
    let payer = PayerEnvelope {
        unsigned_client_envelope: stored.envelope.clone(),
        payer_signature: None,
        target_originator: originator,
        message_retention_days: u32::try_from(days).unwrap_or(u32::MAX),
    };
    let unsigned = UnsignedOriginatorEnvelope {
        originator_node_id: originator,
        originator_sequence_id: stored.mark.sequence,
        originator_ns: i64::try_from(stored.sent_ns).unwrap_or(i64::MAX),
        payer_envelope_bytes: payer.encode_to_vec(),
        base_fee_picodollars: 0,
        congestion_fee_picodollars: 0,
        expiry_unixtime: stored.expires_s,
    };
    OriginatorEnvelope { unsigned_originator_envelope: unsigned.encode_to_vec(), proof: None }
}

/// About how long the envelope is when wrapped, in bytes.
#[must_use]
pub fn wrapped_bytes(stored: &Stored) -> usize {
    stored.envelope.len() + 64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Mark;

    #[test]
    fn clients_find_the_bytes_and_the_numbers() {
        // covers: XMTP-008
        let stored = Stored {
            topic: vec![0; 17],
            mark: Mark { originator: 16, sequence: (1 << 40) + 1 },
            arrival: 5,
            sent_ns: 3 * NS_PER_DAY + 7,
            expires_s: (3 + 90) * SECONDS_PER_DAY,
            envelope: b"envelope".to_vec(),
        };
        let wrapped = wrap(&stored);
        assert_eq!(wrapped.proof, None);
        let bytes = &wrapped.unsigned_originator_envelope[..];
        let unsigned = UnsignedOriginatorEnvelope::decode(bytes).unwrap();
        assert_eq!(unsigned.originator_node_id, 16);
        assert_eq!(unsigned.originator_sequence_id, (1 << 40) + 1);
        assert_eq!(unsigned.originator_ns, i64::try_from(stored.sent_ns).unwrap());
        let payer = PayerEnvelope::decode(&unsigned.payer_envelope_bytes[..]).unwrap();
        assert_eq!(payer.unsigned_client_envelope, b"envelope");
        assert_eq!(payer.message_retention_days, 90);
        assert!(bytes.len() <= wrapped_bytes(&stored));
    }
}
