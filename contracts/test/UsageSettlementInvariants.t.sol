// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Test} from "./Test.sol";
import {SettlementHandler} from "./money/SettlementHandler.sol";

/// Vault and settlement together, whatever happens in whatever order.
contract UsageSettlementInvariantsTest is Test {
    SettlementHandler private handler;

    function setUp() public {
        handler = new SettlementHandler();
        bytes4[] memory selectors = new bytes4[](16);
        selectors[0] = handler.deposits.selector;
        selectors[1] = handler.capIsSet.selector;
        selectors[2] = handler.capIsReleased.selector;
        selectors[3] = handler.reported.selector;
        selectors[4] = handler.voided.selector;
        selectors[5] = handler.charged.selector;
        selectors[6] = handler.claimed.selector;
        selectors[7] = handler.withdrawalIsRequested.selector;
        selectors[8] = handler.withdrawalIsCancelled.selector;
        selectors[9] = handler.withdraws.selector;
        selectors[10] = handler.timePasses.selector;
        // What settles comes more often.
        selectors[11] = handler.reported.selector;
        selectors[12] = handler.charged.selector;
        selectors[13] = handler.claimed.selector;
        selectors[14] = handler.timePasses.selector;
        selectors[15] = handler.charged.selector;
        target(address(handler), selectors);
        // Caps are in force and money is there at the start.
        for (uint256 i = 0; i < 3; ++i) {
            handler.deposits(i, 150_000);
            handler.capIsSet(i, 0, 4000);
            handler.capIsSet(i, 1, 2000);
        }
    }

    /// No unit appears or is lost, shards pay what they collected, in order, and every cap is
    /// reserved. One run for all three, because runs are what takes time.
    function invariant_money_is_conserved() public view {
        // covers: SET-015
        handler.checkConservation();
        handler.checkShards();
        handler.checkReserves();
    }

    /// The handler reaches what the invariants are about.
    function test_a_round_of_everything() public {
        handler.reported(0, 9, [uint256(5) << 4 | 2, 3 << 4 | 2, 1e15 << 4 | 2]);
        handler.timePasses(100);
        handler.timePasses(100);
        handler.charged(0, 0, 2);
        handler.claimed(0, 0, 0, false);
        handler.withdrawalIsRequested(0, 10);
        handler.timePasses(7);
        handler.withdraws(0);
        equal(handler.withdrawn(), 11);
        // A payer's sum falls.
        handler.reported(0, 0, [uint256(0), 2e18 << 4 | 2, 1e18 << 4 | 2]);
        handler.voided(0);
        equal(handler.voids(), 1);
        handler.checkConservation();
        handler.checkShards();
    }
}
