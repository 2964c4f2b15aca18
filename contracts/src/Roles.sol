// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// Roles of the access manager that the contracts share.
library Roles {
    /// The timelock of governance, and nobody else; the access manager's own number for it.
    uint64 internal constant ADMIN = 0;
    /// Who admits operators in the first phase.
    uint64 internal constant COUNCIL = 1;
    /// The evidence court, which slashes.
    uint64 internal constant COURT = 2;
    /// The usage settlement, which jails for bad service and takes payers' money.
    uint64 internal constant SETTLEMENT = 3;
}
