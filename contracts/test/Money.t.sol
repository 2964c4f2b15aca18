// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {PicoDollars} from "../src/Types.sol";
import {Money} from "../src/lib/Money.sol";
import {Test} from "./Test.sol";

contract MoneyTest is Test {
    function test_what_is_left_of_a_unit_is_dropped() public pure {
        equal(Money.unitsRoundedDown(PicoDollars.wrap(999_999)), 0);
        equal(Money.unitsRoundedDown(PicoDollars.wrap(1_000_000)), 1);
        equal(Money.unitsRoundedDown(PicoDollars.wrap(1_999_999)), 1);
    }

    function testFuzz_units_survive_both_conversions(uint256 units) public pure {
        units = bound(units, 0, uint256(type(uint128).max) / 1_000_000);
        equal(Money.unitsRoundedDown(Money.picoDollars(units)), units);
    }

    function test_units_that_do_not_fit_are_refused() public {
        uint256 units = uint256(type(uint128).max) / 1_000_000 + 1;
        vm.expectRevert(
            abi.encodeWithSelector(
                SafeCast.SafeCastOverflowedUintDowncast.selector, 128, units * 1_000_000
            )
        );
        this.convert(units);
    }

    function convert(uint256 units) external pure returns (PicoDollars) {
        return Money.picoDollars(units);
    }
}
