// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// SHA-256 with labels that keep one kind of hash from being taken for another (ENC-004).
library LabelledHash {
    /// The hash with `label` over `part`.
    function digest(string memory label, bytes memory part) internal pure returns (bytes32) {
        return sha256(bytes.concat(_prefix(label), part));
    }

    /// The hash with `label` over `part`, which may be long: it is in memory only once and not for
    /// good.
    function digestCalldata(string memory label, bytes calldata part)
        internal
        view
        returns (bytes32 hash)
    {
        bytes memory prefix = _prefix(label);
        bool done;
        assembly ("memory-safe") {
            let start := mload(0x40)
            let length := mload(prefix)
            mcopy(start, add(prefix, 0x20), length)
            calldatacopy(add(start, length), part.offset, part.length)
            // SHA-256 is the precompiled contract 2; it answers with 32 bytes, into scratch space.
            done := staticcall(gas(), 2, start, add(length, part.length), 0, 0x20)
            done := and(done, eq(returndatasize(), 0x20))
            hash := mload(0)
        }
        // It fails for want of gas only, and then nothing may be concluded from the hash.
        assert(done);
    }

    function _prefix(string memory label) private pure returns (bytes memory) {
        return abi.encodePacked("Tidings 1.0 ", label, uint8(0));
    }
}
