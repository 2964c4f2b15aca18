// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// What a network is made from.
library Genesis {
    /// The id that every signature binds (ENC-005): the EIP-155 chain, the registry contract, and
    /// what tells apart networks that share both.
    function networkId(uint64 chainId, address registry, bytes32 salt)
        internal
        pure
        returns (bytes32)
    {
        return sha256(abi.encodePacked("Tidings 1.0 network", bytes1(0), chainId, registry, salt));
    }
}
