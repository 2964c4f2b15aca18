//! What an edge writes: an XMTP envelope and when it came.

use tidings_types::BoundedBytes;
use tidings_types::constants::{ENVELOPE_PAYLOAD_BYTES_MAX, PROTOCOL_VERSION};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

/// The payload of an envelope on an `xmtp` topic (XMTP-002).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Note {
    /// The version of this structure.
    pub version: u16,
    /// When the edge took it, in nanoseconds since 1970; clients show it as the time of sending.
    pub received_ns: u64,
    /// The encoded `ClientEnvelope`, exactly as it came.
    pub envelope: BoundedBytes<ENVELOPE_PAYLOAD_BYTES_MAX>,
}

impl Note {
    /// A note of the current version, unless the envelope is too long.
    #[must_use]
    pub fn new(received_ns: u64, envelope: Vec<u8>) -> Option<Self> {
        let envelope = BoundedBytes::new(envelope).ok()?;
        Some(Self { version: PROTOCOL_VERSION, received_ns, envelope })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidings_types::Wire;

    use super::*;
    use crate::envelope::ENVELOPE_BYTES_MAX;

    proptest! {
        #[test]
        fn a_note_holds_the_bytes_as_they_came(
            received_ns: u64,
            envelope in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            // covers: XMTP-002
            let note = Note::new(received_ns, envelope.clone()).unwrap();
            let again = Note::from_wire(&note.to_wire()).unwrap();
            prop_assert_eq!((again.received_ns, again.envelope.to_vec()), (received_ns, envelope));
            let cut = note.to_wire();
            prop_assert!(Note::from_wire(&cut[..cut.len() - 1]).is_err());
        }
    }

    #[test]
    fn the_longest_envelope_fits_a_tidings_envelope() {
        // covers: XMTP-002
        let note = Note::new(1, vec![7; ENVELOPE_BYTES_MAX]).unwrap();
        assert!(note.to_wire().len() <= ENVELOPE_PAYLOAD_BYTES_MAX);
        assert_eq!(Note::new(1, vec![7; ENVELOPE_PAYLOAD_BYTES_MAX + 1]), None);
    }
}
