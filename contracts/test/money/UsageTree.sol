// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";

/// Builds trees as OpenZeppelin's StandardMerkleTree does: leaves sorted by hash, then laid out
/// backwards in an array whose entry i has its children at 2i + 1 and 2i + 2.
library UsageTree {
    /// Zero where there are no leaves.
    function root(bytes32[] memory leaves) internal pure returns (bytes32) {
        return leaves.length == 0 ? bytes32(0) : tree(leaves)[0];
    }

    /// The proof of `leaf`, which must be one of `leaves`.
    function proof(bytes32[] memory leaves, bytes32 leaf)
        internal
        pure
        returns (bytes32[] memory path)
    {
        bytes32[] memory nodes = tree(leaves);
        uint256 place = nodes.length - 1;
        while (nodes[place] != leaf) {
            place -= 1;
        }
        uint256 depth = 0;
        for (uint256 i = place; i > 0; i = (i - 1) / 2) {
            depth += 1;
        }
        path = new bytes32[](depth);
        for (uint256 i = 0; i < depth; ++i) {
            path[i] = nodes[place % 2 == 1 ? place + 1 : place - 1];
            place = (place - 1) / 2;
        }
    }

    function tree(bytes32[] memory leaves) private pure returns (bytes32[] memory nodes) {
        bytes32[] memory sorted = sort(leaves);
        uint256 count = sorted.length;
        nodes = new bytes32[](2 * count - 1);
        for (uint256 i = 0; i < count; ++i) {
            nodes[nodes.length - 1 - i] = sorted[i];
        }
        for (uint256 i = count - 1; i > 0; --i) {
            nodes[i - 1] = Hashes.commutativeKeccak256(nodes[2 * i - 1], nodes[2 * i]);
        }
    }

    function sort(bytes32[] memory leaves) private pure returns (bytes32[] memory sorted) {
        sorted = new bytes32[](leaves.length);
        for (uint256 i = 0; i < leaves.length; ++i) {
            uint256 place = i;
            for (; place > 0 && sorted[place - 1] > leaves[i]; --place) {
                sorted[place] = sorted[place - 1];
            }
            sorted[place] = leaves[i];
        }
    }
}
