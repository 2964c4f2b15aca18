// SPDX-License-Identifier: MIT OR Apache-2.0
// Generated from spec/constants.toml by `cargo xtask codegen`; do not edit.
pragma solidity 0.8.37;

/// The protocol's numbers that contracts compute with.
library ProtocolConstants {
    /// The first protocol version; it opens every wire structure, so that an old peer can tell what
    /// it does not understand.
    /// Unit: version.
    uint16 internal constant PROTOCOL_VERSION = 1;

    /// A tree whose size is a 64-bit number is at most 64 levels deep, so a longer path is never
    /// honest.
    /// Unit: hashes.
    uint256 internal constant MERKLE_PATH_HASHES_MAX = 64;

    /// 1 MiB holds the largest commit of a full group; anything larger travels as a sealed blob by
    /// reference.
    /// Unit: bytes.
    uint256 internal constant ENVELOPE_PAYLOAD_BYTES_MAX = 1_048_576;

    /// A recipient that is offline overnight still finds its messages.
    /// Unit: days.
    uint16 internal constant RETENTION_DAYS_MIN = 1;

    /// Storage is paid in advance; a year bounds what an operator promises at today's price.
    /// Unit: days.
    uint16 internal constant RETENTION_DAYS_MAX = 365;

    /// Bounds how long an envelope can wait in a gateway and how long nodes must remember its id.
    /// Unit: periods.
    uint256 internal constant NOT_AFTER_PERIODS_AHEAD_MAX = 2;

    /// How long after its fee period an entry is still billed: who keeps it back for longer works
    /// for nothing, and ids need not be kept for ever.
    /// Unit: periods.
    uint256 internal constant LATE_PERIODS_MAX = 4;

    /// Two by which an envelope may expire after it is taken, and four by which its shard may trail
    /// the others.
    /// Unit: periods.
    uint256 internal constant FEE_PERIODS_BEFORE_EXPIRY_MAX = 6;

    /// One payer signature then costs each envelope a path of at most ten hashes.
    /// Unit: envelopes.
    uint32 internal constant BATCH_ENVELOPES_MAX = 1024;

    /// An envelope's largest payload and 6 KiB for its fields, its batch header and its Merkle
    /// path.
    /// Unit: bytes.
    uint256 internal constant ENTRY_PAYLOAD_BYTES_MAX = 1_054_720;
}
