// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {PicoDollars} from "../src/Types.sol";
import {Waterline} from "../src/lib/Waterline.sol";
import {Test} from "./Test.sol";

contract WaterlineTest is Test {
    function test_above_the_bill_everything_is_due() public pure {
        equal(due(100, 0, 100, 0, 30), 30);
        equal(due(101, 50, 100, 10, 30), 30);
        equal(due(100, 100, 100, 30, 30), 30);
    }

    function test_below_it_the_report_is_shared_by_what_is_there() public pure {
        equal(due(0, 0, 100, 0, 30), 0);
        equal(due(50, 50, 100, 10, 30), 10);
        equal(due(75, 50, 100, 10, 30), 20);
        equal(due(1, 0, 3, 0, 2), 0);
    }

    function test_the_largest_sums_fit() public pure {
        uint128 max = type(uint128).max;
        equal(due(max - 1, 0, max, 0, max), max - 1);
    }

    /// Shares that add up to the bill never add up to more than was collected, and none falls.
    function testFuzz_dues_stay_within_what_is_collected(
        uint128 collected,
        uint128 billedBefore,
        uint128 billed,
        uint128 split,
        uint128 splitBefore
    ) public pure {
        billed = uint128(bound(billed, 0, type(uint128).max));
        billedBefore = uint128(bound(billedBefore, 0, billed));
        collected = uint128(bound(collected, billedBefore, type(uint128).max));
        splitBefore = uint128(bound(splitBefore, 0, billedBefore));
        split = uint128(bound(split, splitBefore, splitBefore + (billed - billedBefore)));

        uint256 one = due(collected, billedBefore, billed, splitBefore, split);
        uint256 other =
            due(collected, billedBefore, billed, billedBefore - splitBefore, billed - split);
        check(one + other <= collected, "more is due than there is");
        check(one >= splitBefore && one <= split, "a due is out of bounds");
    }

    function due(
        uint128 collected,
        uint128 billedBefore,
        uint128 billed,
        uint128 earnedBefore,
        uint128 earned
    ) private pure returns (uint256) {
        return PicoDollars.unwrap(
            Waterline.due(
                PicoDollars.wrap(collected),
                PicoDollars.wrap(billedBefore),
                PicoDollars.wrap(billed),
                PicoDollars.wrap(earnedBefore),
                PicoDollars.wrap(earned)
            )
        );
    }
}
