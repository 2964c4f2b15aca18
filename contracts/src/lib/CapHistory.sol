// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// All caps that a payer ever set for a shard, by rising period. They are kept because what a
/// report may take of past periods must not change when the payer sets another cap. Each entry
/// carries the sum of what came before it, so that no payer can make its own charge dear.
library CapHistory {
    /// A cap in one storage slot.
    struct Cap {
        /// The first period in which it holds.
        uint64 from;
        /// Units a period.
        uint64 amount;
        /// The sum of the caps in force in all periods before `from`, in units.
        uint96 before;
        /// How many periods are reserved, and may be charged at once.
        uint32 window;
    }

    /// Adds a cap; `from` is later than that of any before.
    function push(Cap[] storage history, uint64 from, uint64 amount, uint32 window) internal {
        uint256 before = from == 0 ? 0 : sumThrough(history, from - 1);
        history.push(Cap(from, amount, SafeCast.toUint96(before), window));
    }

    /// The newest cap, in force or not; all zero before the first.
    function latest(Cap[] storage history) internal view returns (Cap memory cap) {
        uint256 count = history.length;
        return count == 0 ? cap : history[count - 1];
    }

    /// The cap in force in `period`; all zero where there is none.
    function inForce(Cap[] storage history, uint64 period) internal view returns (Cap memory cap) {
        uint256 high = history.length;
        if (high == 0) {
            return cap;
        }
        // Nearly always it is the newest.
        cap = history[high - 1];
        if (cap.from <= period) {
            return cap;
        }
        high -= 1;
        uint256 low = 0;
        // Entries below `low` start by `period`, those from `high` on start later.
        while (low < high) {
            uint256 middle = Math.average(low, high);
            if (history[middle].from <= period) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return low == 0 ? Cap(0, 0, 0, 0) : history[low - 1];
    }

    /// The sum of the caps in force from `first` to `last`, both included, of which at most the
    /// last `window` periods count, as it stands in the cap of `last`.
    function sum(Cap[] storage history, uint64 first, uint64 last) internal view returns (uint256) {
        if (first > last) {
            return 0;
        }
        Cap memory cap = inForce(history, last);
        if (cap.window == 0) {
            return 0;
        }
        if (last >= cap.window) {
            first = SafeCast.toUint64(Math.max(first, uint256(last) + 1 - cap.window));
        }
        uint256 through = valueThrough(cap, last);
        // A start in the same cap needs no second look-up.
        uint256 before = first > cap.from
            ? valueThrough(cap, first - 1)
            : first == 0 ? 0 : sumThrough(history, first - 1);
        return through - before;
    }

    /// The sum of the caps in force in all periods up to `period`.
    function sumThrough(Cap[] storage history, uint64 period) internal view returns (uint256) {
        return valueThrough(inForce(history, period), period);
    }

    /// `period` is one in which `cap` holds.
    function valueThrough(Cap memory cap, uint64 period) private pure returns (uint256) {
        return cap.before + uint256(cap.amount) * (uint256(period) - cap.from + 1);
    }
}
