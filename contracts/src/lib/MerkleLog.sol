// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// The Merkle trees of RFC 6962 with SHA-256, of which logs and batches are made (ENC-008).
library MerkleLog {
    /// The hash of a leaf (RFC 6962 §2.1).
    function leafHash(bytes memory leaf) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(uint8(0), leaf));
    }

    /// The hash of an inner node (RFC 6962 §2.1).
    function nodeHash(bytes32 left, bytes32 right) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(uint8(1), left, right));
    }

    /// Whether `path` leads from the leaf with hash `leaf` at `index`, from 0, to `root` in a tree
    /// of `size` leaves; it must have exactly the length that index and size ask for
    /// (RFC 9162 §2.1.3.2).
    function covers(bytes32 root, bytes32 leaf, uint256 index, uint256 size, bytes32[] memory path)
        internal
        pure
        returns (bool)
    {
        if (index >= size) {
            return false;
        }
        uint256 node = index;
        uint256 last = size - 1;
        bytes32 hash = leaf;
        for (uint256 step = 0; step < path.length; step++) {
            if (last == 0) {
                return false;
            }
            if (node & 1 == 1 || node == last) {
                hash = nodeHash(path[step], hash);
                // A node without a sibling goes up as it is.
                while (node & 1 == 0 && node != 0) {
                    node >>= 1;
                    last >>= 1;
                }
            } else {
                hash = nodeHash(hash, path[step]);
            }
            node >>= 1;
            last >>= 1;
        }
        return last == 0 && hash == root;
    }
}
