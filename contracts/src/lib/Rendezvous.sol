// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {NodeId, ShardId} from "../Types.sol";
import {PackedMember} from "./PackedMember.sol";

/// The choice of committees by weighted rendezvous hashing (TOP-005).
library Rendezvous {
    /// Which of `members`, at most 256 by rising id, are the `places` best for `shard`: bit i of
    /// the answer stands for the member with index i. All are, when they are fewer.
    function choose(PackedMember[] memory members, ShardId shard, uint256 places)
        internal
        pure
        returns (uint256 chosen)
    {
        uint256[] memory costs = new uint256[](members.length);
        for (uint256 i = 0; i < members.length; ++i) {
            costs[i] = negLog2(lot(shard, members[i].idOf()));
        }
        places = Math.min(places, members.length);
        for (uint256 taken = 0; taken < places; ++taken) {
            uint256 best = _best(members, costs, chosen);
            chosen |= uint256(1) << best;
        }
    }

    /// What a node drew for a shard.
    function lot(ShardId shard, NodeId node) internal pure returns (uint64) {
        bytes32 hash = sha256(
            abi.encodePacked(
                "Tidings 1.0 rendezvous", bytes1(0), ShardId.unwrap(shard), NodeId.unwrap(node)
            )
        );
        // The first eight bytes are what is wanted.
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint64(bytes8(hash));
    }

    /// −log₂((`hash` + 1) / 2⁶⁴) with 32 fractional bits, from 0 to 64 · 2³².
    function negLog2(uint64 hash) internal pure returns (uint256) {
        uint256 argument = uint256(hash) + 1;
        uint256 exponent = Math.log2(argument);
        // In [1, 2) with 63 fractional bits.
        uint256 mantissa = (argument << 63) >> exponent;
        uint256 fraction = 0;
        // The mantissa is below 2⁶⁴ at the start of each round, so its square is below 2¹²⁸ and the
        // square's bit 64 and up, after the shift by 63, are 0 or 1; halving it then restores the
        // bound. The fraction has at most 32 bits. Nothing overflows.
        unchecked {
            for (uint256 i = 0; i < 32; ++i) {
                mantissa = (mantissa * mantissa) >> 63;
                uint256 bit = mantissa >> 64;
                fraction = (fraction << 1) | bit;
                mantissa >>= bit;
            }
        }
        return (64 << 32) - ((exponent << 32) | fraction);
    }

    /// The index of the best member that is not chosen yet; of equals the first, whose id is lower.
    function _best(PackedMember[] memory members, uint256[] memory costs, uint256 chosen)
        private
        pure
        returns (uint256 best)
    {
        // Of none yet; any cost is lower than this one.
        uint256 cost = 1;
        uint256 weight = 0;
        for (uint256 i = 0; i < members.length; ++i) {
            if ((chosen >> i) & 1 == 1) continue;
            uint256 otherWeight = members[i].weightOf();
            // Costs have at most 39 bits and weights 32.
            if (costs[i] * weight < cost * otherWeight) {
                (best, cost, weight) = (i, costs[i], otherWeight);
            }
        }
    }
}
