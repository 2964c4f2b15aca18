//! Log entries: what an originator appends, in a form that proves itself and can be pruned.

use tidings_types::constants::{ENTRY_PAYLOAD_BYTES_MAX, PROTOCOL_VERSION};
use tidings_types::{
    BoundedBytes, EntryHash, EnvelopeId, EthereumAddress, Hash, LogIndex, Period, PicoDollars,
    TimestampSeconds, TopicIndex, Wire, merkle, sha256,
};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::{PayerEnvelope, Topic};

/// The canonical bytes of a [`PayerEnvelope`].
pub type EntryPayload = BoundedBytes<ENTRY_PAYLOAD_BYTES_MAX>;

/// The part of an entry that the Merkle leaf covers; stays when the payload is pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct EntryHeader {
    /// The version of this structure.
    pub version: u16,
    /// Which envelope it holds.
    pub envelope_id: EnvelopeId,
    /// The entry's place in its log, assigned once (LOG-002).
    pub index: LogIndex,
    /// When the originator built it, by its own clock; for display only.
    pub timestamp: TimestampSeconds,
    /// The envelope's topic.
    pub topic: Topic,
    /// How many entries of this topic the log held before.
    pub topic_index: TopicIndex,
    /// The log's previous entry of this topic; zero for the first (LOG-003).
    pub previous: EntryHash,
    /// Who pays.
    pub payer: EthereumAddress,
    /// SHA-256 of the payload.
    pub payload_hash: Hash,
    /// Length of the payload in bytes.
    pub payload_length: u32,
    /// How many days the payload is kept.
    pub retention_days: u16,
    /// The period whose fee schedule applies.
    pub fee_period: Period,
    /// What the payer owes for it.
    pub fee: PicoDollars,
}

impl EntryHeader {
    /// The RFC 6962 leaf hash of the header (LOG-001).
    #[must_use]
    pub fn hash(&self) -> EntryHash {
        EntryHash(merkle::leaf_hash(&self.to_wire()))
    }

    /// Whether this is the payload that the header was built over (LOG-004).
    #[must_use]
    pub fn matches(&self, payload: &[u8]) -> bool {
        u32::try_from(payload.len()) == Ok(self.payload_length)
            && sha256(payload) == self.payload_hash
    }

    /// Whether the version is one this code reads.
    #[must_use]
    pub fn version_is_known(&self) -> bool {
        self.version == PROTOCOL_VERSION
    }
}

/// A header with its payload, unless that was pruned.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct LogEntry {
    /// What the leaf covers.
    pub header: EntryHeader,
    /// The payer envelope's bytes; absent once pruned.
    pub payload: Option<EntryPayload>,
}

impl LogEntry {
    /// The payer envelope inside, if it is there, matches the header and decodes (LOG-004).
    #[must_use]
    pub fn open(&self) -> Option<PayerEnvelope> {
        let payload = self.payload.as_ref()?;
        if !self.header.matches(payload) {
            return None;
        }
        PayerEnvelope::parse(payload).ok()
    }
}
