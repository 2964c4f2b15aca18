// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

/// What nodes sign, and who signed (ENC-005, ENC-007).
library NodeSignatures {
    bytes32 private constant DOMAIN_TYPE =
        keccak256("EIP712Domain(string name,string version,bytes32 salt)");
    bytes32 private constant NAME = keccak256("Tidings");
    bytes32 private constant VERSION = keccak256("1");

    /// The EIP-712 domain of the network with id `networkId`, which is its salt.
    function domainSeparator(bytes32 networkId) internal pure returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPE, NAME, VERSION, networkId));
    }

    /// The EIP-712 signing hash of a statement with hash `structHash`.
    function digest(bytes32 separator, bytes32 structHash) internal pure returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(separator, structHash);
    }

    /// Who signed `digest_`, by the compact form of EIP-2098: `r`, then `s` in the lower half of
    /// the group order with the parity of R's y in its top bit. Zero if the signature is invalid.
    function recover(bytes32 digest_, bytes32 r, bytes32 vs)
        internal
        pure
        returns (address signer)
    {
        (signer,,) = ECDSA.tryRecover(digest_, r, vs);
    }
}
