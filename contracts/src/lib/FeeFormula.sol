// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// What an envelope costs (FEE-001, FEE-003).
library FeeFormula {
    /// The fee does not fit 64 bits, or an exact product does not fit 128.
    error FeeOverflow();

    /// Two factors in thousandths.
    uint256 private constant PERMILLE_SQUARED = 1_000_000;

    /// `(base + byteDay × bytes × days) × class × congestion ÷ 10⁶` in picodollars, computed
    /// exactly and rounded up once.
    /// @param base Picodollars for any envelope.
    /// @param byteDay Picodollars per byte and day.
    /// @param length Bytes of the canonical payer envelope.
    /// @param retentionDays For how many days it is kept.
    /// @param classPermille The factor of its class, in thousandths.
    /// @param congestionPermille The factor of a busy shard, in thousandths.
    function fee(
        uint64 base,
        uint64 byteDay,
        uint32 length,
        uint16 retentionDays,
        uint32 classPermille,
        uint32 congestionPermille
    ) internal pure returns (uint64) {
        // Below 2¹¹³, so no product here comes near 256 bits.
        uint256 plain = base + uint256(byteDay) * length * retentionDays;
        uint256 exact = fits128(fits128(plain * classPermille) * congestionPermille);
        uint256 rounded = Math.ceilDiv(exact, PERMILLE_SQUARED);
        require(rounded <= type(uint64).max, FeeOverflow());
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint64(rounded);
    }

    function fits128(uint256 product) private pure returns (uint256) {
        require(product <= type(uint128).max, FeeOverflow());
        return product;
    }
}
