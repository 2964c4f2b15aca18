// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// The numbers of spec/constants.toml that contracts compute with.
library ProtocolConstants {
    uint16 internal constant PROTOCOL_VERSION = 1;
    /// Hashes.
    uint256 internal constant MERKLE_PATH_HASHES_MAX = 64;
    /// Bytes of the ciphertext.
    uint256 internal constant ENVELOPE_PAYLOAD_BYTES_MAX = 1_048_576;
    /// Bytes of the encoded payer envelope.
    uint256 internal constant ENTRY_PAYLOAD_BYTES_MAX = 1_054_720;
    /// Days.
    uint16 internal constant RETENTION_DAYS_MIN = 1;
    /// Days.
    uint16 internal constant RETENTION_DAYS_MAX = 365;
    /// Periods.
    uint256 internal constant NOT_AFTER_PERIODS_AHEAD_MAX = 2;
    /// Envelopes.
    uint32 internal constant BATCH_ENVELOPES_MAX = 1024;
}
