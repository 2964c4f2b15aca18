// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

import {NodeId, PicoDollars} from "../Types.sol";
import {IUsageSettlement} from "../interfaces/IUsageSettlement.sol";

/// The Merkle trees of a usage report, in the layout of OpenZeppelin's StandardMerkleTree:
/// leaves are hashed twice, so that no inner node passes for a leaf, and pairs are sorted
/// (SET-005).
library ReportTrees {
    /// The number under which the protocol's share stands among the nodes'.
    NodeId internal constant PROTOCOL = NodeId.wrap(type(uint32).max);

    /// A payer and what it was billed since the shard began.
    function usageLeaf(address payer, PicoDollars cumulative) internal pure returns (bytes32) {
        return twice(abi.encode(payer, cumulative));
    }

    /// A node and what it earned since the shard began.
    function earningsLeaf(NodeId node, PicoDollars cumulative) internal pure returns (bytes32) {
        return twice(abi.encode(node, cumulative));
    }

    /// What was measured of a node in the periods of the report.
    function measurementLeaf(IUsageSettlement.Measurement memory measurement)
        internal
        pure
        returns (bytes32)
    {
        return twice(abi.encode(measurement));
    }

    /// Whether `leaf` is in the tree under `root`.
    function holds(bytes32 root, bytes32 leaf, bytes32[] calldata proof)
        internal
        pure
        returns (bool)
    {
        return MerkleProof.verifyCalldata(proof, root, leaf);
    }

    function twice(bytes memory encoded) private pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(encoded)));
    }
}
