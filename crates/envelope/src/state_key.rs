//! The keys of a shard's ordered state, and how the state's tree names keys and values.

use tidings_types::{
    EnvelopeId, EthereumAddress, Hash, InboxId, Incarnation, NodeId, OffenceId, OperationHash,
    Period, Position, Wire, labelled_hash,
};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::Topic;

/// What the ordered state maps from.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
)]
#[repr(u8)]
pub enum StateKey {
    /// The current period.
    #[tls_codec(discriminant = 1)]
    Period,
    /// A topic's position and last operation.
    #[tls_codec(discriminant = 2)]
    Topic(Topic),
    /// An inbox's association state.
    #[tls_codec(discriminant = 3)]
    Inbox(InboxId),
    /// The inbox that an account joined last.
    #[tls_codec(discriminant = 4)]
    Account(EthereumAddress),
    /// A node's last incarnation in this shard.
    #[tls_codec(discriminant = 5)]
    Incarnation(NodeId),
    /// An envelope that was decided on, kept until nobody can present it again.
    #[tls_codec(discriminant = 6)]
    Decided(Period, EnvelopeId),
    /// What a node is shown to have done, kept for ever.
    #[tls_codec(discriminant = 7)]
    Offence(NodeId, OffenceId),
    /// A digest of the decisions on all envelopes with one expiry.
    #[tls_codec(discriminant = 8)]
    Decisions(Period),
    /// The period of which a member spoke last, and how much it had taken since it did before.
    #[tls_codec(discriminant = 9)]
    Statement(NodeId),
    /// The last period of the usage report that a member attested last.
    #[tls_codec(discriminant = 10)]
    Attestation(NodeId),
    /// The congestion factor from a period on, if it differs from the one before, kept for ever.
    #[tls_codec(discriminant = 11)]
    Congestion(Period),
    /// The registry epoch that entries are held to from a period on, if it differs from the one
    /// before, kept for ever.
    #[tls_codec(discriminant = 12)]
    Epoch(Period),
    /// The registry epoch whose key signs a node's logs from an incarnation on, if that key differs
    /// from the one before, kept for ever.
    #[tls_codec(discriminant = 13)]
    Signer(NodeId, Incarnation),
    /// What a payer with caps owes for its operations of the current period.
    #[tls_codec(discriminant = 14)]
    OperationFees(EthereumAddress),
}

impl StateKey {
    /// The key's way through the tree; none for decisions, which their digest covers (ORD-030).
    #[must_use]
    pub fn path(&self) -> Option<Hash> {
        match self {
            Self::Decided(..) => None,
            _ => Some(labelled_hash("state key", &[&self.to_wire()])),
        }
    }
}

/// What the tree holds for a value, given its encoding (ORD-030).
#[must_use]
pub fn state_value_hash(value: &[u8]) -> Hash {
    labelled_hash("state value", &[value])
}

/// Where a topic stands in the ordered lane.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, TlsSize, TlsSerialize, TlsDeserializeBytes,
)]
pub struct TopicHead {
    /// How many operations were applied.
    pub position: Position,
    /// The last of them; zero before the first.
    pub last: OperationHash,
}
