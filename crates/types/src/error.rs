//! The stable codes of everything that a peer or client can be refused for.

use serde::{Deserialize, Serialize};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $fault:ident;)*) => {
        /// A stable error code: a number on the wire, a name in text (ERR-001).
        ///
        /// Nobody matches on messages: `retryable` and `peer_at_fault` say what to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(TlsSize, TlsSerialize, TlsDeserializeBytes, Serialize, Deserialize)]
        #[repr(u16)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode {
            $($(#[$doc])* $name = $number,)*
        }

        impl ErrorCode {
            /// Every code, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name used in JSON and in text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            const fn fault(self) -> Fault {
                match self { $(Self::$name => Fault::$fault,)* }
            }
        }
    };
}

/// Whose fault an error is; decides what the other side does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The sender made an input that no honest, current sender makes.
    Sender,
    /// The sender was honest and late, poor, or raced; sending the same again will not help.
    Circumstance,
    /// This side cannot serve now; the same input may succeed later.
    Passing,
    /// This side has a bug.
    Bug,
}

error_codes! {
    /// The bytes are not the canonical encoding of the structure.
    Malformed = 1, "malformed", Sender;
    /// The structure's version is not known here.
    UnknownVersion = 2, "unknown_version", Circumstance;
    /// The input exceeds a size limit.
    TooLarge = 3, "too_large", Sender;
    /// The input belongs to another network.
    WrongNetwork = 4, "wrong_network", Sender;
    /// The same input holds the same envelope twice.
    Repeated = 5, "repeated", Sender;

    /// The write proof does not verify.
    WriteProofInvalid = 20, "write_proof_invalid", Sender;
    /// The write proof's key is not the one the topic names.
    TopicKeyMismatch = 21, "topic_key_mismatch", Sender;
    /// The topic's kind does not allow this lane.
    LaneNotAllowed = 22, "lane_not_allowed", Sender;
    /// The envelope expired before it was admitted.
    EnvelopeExpired = 23, "envelope_expired", Circumstance;
    /// `not_after` lies too far ahead.
    NotAfterTooFar = 24, "not_after_too_far", Circumstance;
    /// The retention is outside its range.
    RetentionOutOfRange = 25, "retention_out_of_range", Sender;
    /// The id listed in the batch is not the envelope's.
    EnvelopeIdMismatch = 26, "envelope_id_mismatch", Sender;
    /// The mailbox stamp is missing or not enough.
    StampInvalid = 27, "stamp_invalid", Sender;
    /// The envelope names an ordered position where its lane or topic has none.
    PositionMisplaced = 28, "position_misplaced", Sender;
    /// The topic id is not one its kind allows.
    TopicInvalid = 29, "topic_invalid", Sender;
    /// The write proof's key is that of no edge in the registry.
    EdgeUnknown = 30, "edge_unknown", Circumstance;

    /// The batch signature does not verify.
    BatchSignatureInvalid = 40, "batch_signature_invalid", Sender;
    /// The payer is not in the registry.
    PayerUnknown = 41, "payer_unknown", Circumstance;
    /// The session key is not the payer's.
    SessionKeyUnknown = 42, "session_key_unknown", Circumstance;
    /// The batch is addressed to another node or shard.
    BatchTargetWrong = 43, "batch_target_wrong", Circumstance;
    /// The batch root does not cover the envelope.
    BatchRootMismatch = 44, "batch_root_mismatch", Sender;
    /// The batch names a registry epoch that is not current.
    RegistryEpochWrong = 45, "registry_epoch_wrong", Circumstance;
    /// The fee is above what the payer signed for.
    FeeAboveMaximum = 46, "fee_above_maximum", Circumstance;
    /// The batch expired.
    BatchExpired = 47, "batch_expired", Circumstance;
    /// The envelope names another payer than the batch, or than pays for its sender now.
    PayerMismatch = 48, "payer_mismatch", Circumstance;
    /// The payer has reached its cap.
    PayerOverCap = 49, "payer_over_cap", Circumstance;
    /// The entry's fee or fee period is not the one the rules give.
    FeeInvalid = 50, "fee_invalid", Sender;

    /// Another commit took the expected position first.
    Conflict = 60, "conflict", Circumstance;
    /// The shard's ordered lane cannot make progress now.
    OrderingUnavailable = 61, "ordering_unavailable", Passing;
    /// The operation is not valid in the ordered state.
    OperationInvalid = 62, "operation_invalid", Sender;
    /// The shard's ordered lane has stopped until governance names the block that stays.
    OrderingHalted = 63, "ordering_halted", Circumstance;

    /// The identity update does not follow the inbox's log.
    IdentitySequenceWrong = 80, "identity_sequence_wrong", Circumstance;
    /// A signature in the identity update does not verify.
    IdentitySignatureInvalid = 81, "identity_signature_invalid", Sender;
    /// The identity update breaks an association rule.
    IdentityActionInvalid = 82, "identity_action_invalid", Sender;
    /// No such inbox.
    InboxUnknown = 83, "inbox_unknown", Circumstance;

    /// The checkpoint does not verify or does not follow the previous one.
    CheckpointInvalid = 100, "checkpoint_invalid", Sender;
    /// The proof of inclusion, consistency or state does not verify.
    MerkleProofInvalid = 101, "merkle_proof_invalid", Sender;
    /// An acknowledgement does not verify or is not from a replica.
    AcknowledgementInvalid = 102, "acknowledgement_invalid", Sender;
    /// The block certificate does not verify.
    CertificateInvalid = 103, "certificate_invalid", Sender;
    /// The entry contradicts what its originator signed before.
    EntryConflict = 104, "entry_conflict", Sender;
    /// The entry does not follow the previous one.
    EntryOutOfOrder = 105, "entry_out_of_order", Sender;
    /// The proof is of an older state than one that was shown before.
    StateStale = 106, "state_stale", Passing;

    /// The node cannot write to its storage.
    StorageUnavailable = 120, "storage_unavailable", Passing;
    /// The node has more work than it takes on.
    Overloaded = 121, "overloaded", Passing;
    /// The node is shutting down.
    ShuttingDown = 122, "shutting_down", Passing;
    /// The node is not ready yet.
    NotReady = 123, "not_ready", Passing;
    /// The acknowledgement level was not reached in time; repeating the same id is safe.
    ReplicationPending = 124, "replication_pending", Passing;
    /// The node does not serve the topic's shard.
    WrongShard = 125, "wrong_shard", Circumstance;
    /// There is no such thing here.
    NotFound = 126, "not_found", Circumstance;
    /// The caller asks too often.
    RateLimited = 127, "rate_limited", Passing;
    /// The caller's credentials are missing or wrong.
    Unauthorized = 128, "unauthorized", Circumstance;
    /// The caller has used up its quota.
    QuotaExceeded = 129, "quota_exceeded", Circumstance;
    /// No node that could take the request answered.
    Unreachable = 130, "unreachable", Passing;
    /// A bug on this side.
    Internal = 131, "internal", Bug;
    /// The payer's money, or its cap for the shard and period, is used up.
    InsufficientFunds = 132, "insufficient_funds", Circumstance;
}

impl ErrorCode {
    /// Whether the same input may succeed later (ERR-002).
    #[must_use]
    pub const fn retryable(self) -> bool {
        matches!(self.fault(), Fault::Passing)
    }

    /// Whether only a faulty sender makes such an input (ERR-002).
    #[must_use]
    pub const fn peer_at_fault(self) -> bool {
        matches!(self.fault(), Fault::Sender)
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl std::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Wire;

    #[test]
    fn numbers_and_names_are_unique() {
        // covers: ERR-001
        let names: std::collections::BTreeSet<_> =
            ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), ErrorCode::ALL.len());
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_wire(&code.to_wire()), Ok(*code));
        }
    }

    #[test]
    fn nobody_retries_what_a_faulty_sender_made() {
        // covers: ERR-002
        assert!(ErrorCode::ALL.iter().all(|code| !(code.retryable() && code.peer_at_fault())));
        assert!(ErrorCode::OrderingUnavailable.retryable());
        assert!(ErrorCode::Malformed.peer_at_fault());
    }
}
