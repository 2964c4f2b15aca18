// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

/// Signatures of nodes over typed data (EIP-712), in the domain of their network.
library NodeSignatures {
    bytes32 private constant DOMAIN_TYPE =
        keccak256("EIP712Domain(string name,string version,bytes32 salt)");
    bytes32 private constant NAME = keccak256("Tidings");
    bytes32 private constant VERSION = keccak256("1");

    /// The domain of a network. It names no chain and no contract: the network's id binds both.
    function domainSeparator(bytes32 networkId) internal pure returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPE, NAME, VERSION, networkId));
    }

    /// What is signed for a struct in a domain.
    function digest(bytes32 separator, bytes32 structHash) internal pure returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(separator, structHash);
    }

    /// Who signed, from a compact signature (EIP-2098); zero when it is invalid or its s is high,
    /// so that a statement has one signature of a key and not two.
    function recover(bytes32 digest_, bytes32 r, bytes32 vs)
        internal
        pure
        returns (address signer)
    {
        (signer,,) = ECDSA.tryRecover(digest_, r, vs);
    }
}
