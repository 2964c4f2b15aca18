// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {NodeId} from "../Types.sol";

/// Judges the evidence that nodes produce (EVD-001), byte for byte.
interface IEvidenceCourt {
    /// `node` is guilty of `offence`: `taken` of its bond was slashed, and `reporter` had its share.
    event Convicted(NodeId indexed node, bytes32 indexed offence, address reporter, uint256 taken);

    /// The bytes are no evidence in canonical form.
    error Malformed();
    /// Nothing is proved.
    error NothingProved();
    /// A statement is not signed by a key of the accused.
    error NotSigned();
    /// The offence was judged before.
    error AlreadyJudged(bytes32 offence);
    /// What is said to be wrong with the entry cannot be seen on chain: its signatures by payer and
    /// writer, or a payload that does not decode. An entry without fault is answered so, too.
    error NotJudgedHere();

    /// Judges `evidence`, slashes the accused, and pays the caller its share. Returns the id of the
    /// offence (EVD-002).
    function judge(bytes calldata evidence) external returns (bytes32 offence);
    /// Whether somebody was convicted of `offence`.
    function isJudged(bytes32 offence) external view returns (bool);
}
