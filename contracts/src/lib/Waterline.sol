// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {PicoDollars} from "../Types.sol";

/// How collected money fills a shard's reports in order, so that no claim is first come, first
/// served: it stands at a waterline, and what a node earned above it waits.
library Waterline {
    /// What is due, since the shard began, to a node that earned `earnedBefore` through the
    /// report that ends at `billedBefore` and `earned` through the one that ends at `billed`.
    /// Rounded down. Needs `billedBefore ≤ collected` and `earnedBefore ≤ earned`.
    function due(
        PicoDollars collected,
        PicoDollars billedBefore,
        PicoDollars billed,
        PicoDollars earnedBefore,
        PicoDollars earned
    ) internal pure returns (PicoDollars) {
        uint256 level = PicoDollars.unwrap(collected);
        uint256 bottom = PicoDollars.unwrap(billedBefore);
        uint256 top = PicoDollars.unwrap(billed);
        if (level >= top) {
            return earned;
        }
        uint256 base = PicoDollars.unwrap(earnedBefore);
        uint256 share = Math.mulDiv(PicoDollars.unwrap(earned) - base, level - bottom, top - bottom);
        return PicoDollars.wrap(SafeCast.toUint128(base + share));
    }
}
