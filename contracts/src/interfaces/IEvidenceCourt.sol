// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {NodeId} from "../Types.sol";

/// Judges the evidence that nodes produce (EVD-001), byte for byte.
interface IEvidenceCourt {
    event Convicted(NodeId indexed node, bytes32 indexed offence, address reporter, uint256 taken);

    /// The bytes are no evidence in canonical form.
    error Malformed();
    /// Nothing is proved.
    error NothingProved();
    /// A statement is not signed by a key of the accused.
    error NotSigned();
    /// The offence was judged before.
    error AlreadyJudged(bytes32 offence);
    /// This kind of fault cannot be checked on chain.
    error NotJudgedHere();

    /// Judges `evidence`, slashes the accused, and pays the caller its share.
    function judge(bytes calldata evidence) external returns (bytes32 offence);
    /// Whether an offence was judged.
    function isJudged(bytes32 offence) external view returns (bool);
}
