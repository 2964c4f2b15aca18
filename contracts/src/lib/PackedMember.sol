// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {NodeId} from "../Types.sol";

/// A member of an epoch in one word: 32 zero bits, id (32 bits), weight (32), signing key (160).
/// The id stands highest, so that words are ordered as ids are.
type PackedMember is uint256;

function pack(NodeId id, uint32 weight, address signing) pure returns (PackedMember) {
    return PackedMember.wrap(
        (uint256(NodeId.unwrap(id)) << 192) | (uint256(weight) << 160) | uint160(signing)
    );
}

function idOf(PackedMember member) pure returns (NodeId) {
    return NodeId.wrap(uint32(PackedMember.unwrap(member) >> 192));
}

function weightOf(PackedMember member) pure returns (uint32) {
    return uint32(PackedMember.unwrap(member) >> 160);
}

function signingOf(PackedMember member) pure returns (address) {
    return address(uint160(PackedMember.unwrap(member)));
}

function withWeight(PackedMember member, uint32 weight) pure returns (PackedMember) {
    return pack(idOf(member), weight, signingOf(member));
}

using {idOf, weightOf, signingOf, withWeight} for PackedMember global;
