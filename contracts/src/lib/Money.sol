// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {PicoDollars} from "../Types.sol";

/// The conversions between picodollars and units of the stable token, 10⁻⁶ US dollars.
library Money {
    /// A unit is 10⁻⁶ US dollars and a picodollar 10⁻¹².
    uint256 internal constant PICO_DOLLARS_PER_UNIT = 1_000_000;

    /// The whole units in `amount`; what is left of a unit is dropped.
    function unitsRoundedDown(PicoDollars amount) internal pure returns (uint256) {
        return PicoDollars.unwrap(amount) / PICO_DOLLARS_PER_UNIT;
    }

    /// `units` in picodollars, exactly; reverts where that does not fit 128 bits.
    function picoDollars(uint256 units) internal pure returns (PicoDollars) {
        return PicoDollars.wrap(SafeCast.toUint128(units * PICO_DOLLARS_PER_UNIT));
    }
}
