// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Period} from "../src/Types.sol";
import {Parameter} from "../src/generated/ParameterTable.sol";
import {IPayerVault} from "../src/interfaces/IPayerVault.sol";
import {Vm} from "./Vm.sol";
import {VaultTest} from "./money/VaultTest.sol";

/// Caps, what is reserved for them, and what the settlement can take.
contract PayerVaultCapsTest is VaultTest {
    function test_a_cap_needs_a_balance_that_covers_its_window() public {
        // covers: SET-009
        deposit(alice, 99);
        vm.startPrank(alice);
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.BalanceTooSmall.selector, 99, 100));
        vault.setCap(SHARD, 10);
        vault.setCap(SHARD, 9);
        equal(vault.reservedOf(alice), 90);
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.BalanceTooSmall.selector, 99, 100));
        vault.setCap(OTHER_SHARD, 1);
    }

    function test_a_cap_holds_from_the_end_of_its_notice() public {
        // covers: SET-009
        ready(alice, 10, 0);
        equal(latestFrom(alice), NOTICE);
        equal(vault.capAt(alice, SHARD, Period.wrap(NOTICE - 1)), 0);
        equal(vault.capAt(alice, SHARD, Period.wrap(NOTICE)), 10);
        equal(allowance(alice, 0, NOTICE - 1), 0);
        equal(allowance(alice, 0, NOTICE + 2), 30);
    }

    function test_before_anything_is_settled_periods_count_from_the_deployment() public {
        deposit(alice, 100);
        vm.warp(START + 3 * PERIOD + 1);
        setCap(alice, SHARD, 10);
        // Four periods have begun, at most twice as many passed.
        equal(latestFrom(alice), 8 + NOTICE);
    }

    function test_the_notice_counts_periods_that_may_have_begun_unseen() public {
        settlement.settle(SHARD, 50);
        vm.warp(START + 2 * PERIOD + 1);
        ready(alice, 10, 0);
        // The report of 50 was made in 52 at the earliest, and three periods may have begun since.
        equal(latestFrom(alice), 52 + 6 + NOTICE);
    }

    function test_a_pending_cap_is_not_replaced() public {
        ready(alice, 10, 0);
        settlement.settle(SHARD, NOTICE - 1);
        vm.startPrank(alice);
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.CapChangePending.selector, NOTICE));
        vault.setCap(SHARD, 5);
        vault.setCap(OTHER_SHARD, 0);
        settlement.settle(SHARD, NOTICE);
        vault.setCap(SHARD, 5);
        // One that was just reported may be over already, and a smaller one waits longer.
        equal(latestFrom(alice), NOTICE + BEGUN + NOTICE + LOWER_NOTICE);
    }

    function test_a_lowered_cap_keeps_its_reserve_until_it_is_released() public {
        ready(alice, 10, 0);
        settlement.settle(SHARD, 20);
        setCap(alice, SHARD, 4);
        uint64 from = 20 + BEGUN + NOTICE + LOWER_NOTICE;
        equal(latestFrom(alice), from);
        equal(vault.reservedOf(alice), 100);
        // The last ten: 10 before, 4 from then on.
        equal(allowance(alice, 15, from + 1), 8 * 10 + 2 * 4);
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.CapKept.selector, from + WINDOW - 1));
        vault.releaseCap(alice, SHARD);

        settlement.settle(SHARD, from + WINDOW - 2);
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.CapKept.selector, from + WINDOW - 1));
        vault.releaseCap(alice, SHARD);

        settlement.settle(SHARD, from + WINDOW - 1);
        vm.prank(bob);
        vault.releaseCap(alice, SHARD);
        equal(vault.reservedOf(alice), 40);
        vm.expectRevert(IPayerVault.NothingToRelease.selector);
        vault.releaseCap(alice, SHARD);
    }

    function test_a_raised_cap_reserves_at_once() public {
        ready(alice, 10, 50);
        settlement.settle(SHARD, 20);
        vm.startPrank(alice);
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.BalanceTooSmall.selector, 150, 160));
        vault.setCap(SHARD, 16);
        vault.setCap(SHARD, 15);
        equal(vault.reservedOf(alice), 150);
        vm.expectRevert(IPayerVault.NothingToRelease.selector);
        vault.releaseCap(alice, SHARD);
    }

    function test_who_was_charged_below_the_reserve_may_still_lower_the_cap() public {
        ready(alice, 10, 0);
        settlement.settle(SHARD, 20);
        settlement.collect(alice, SHARD, 100, 20);
        equal(vault.balanceOf(alice), 0);
        vm.startPrank(alice);
        vault.setCap(SHARD, 9);
        settlement.settle(SHARD, 30);
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.BalanceTooSmall.selector, 0, 100));
        vault.setCap(SHARD, 10);
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.BalanceTooSmall.selector, 0, 1));
        vault.requestWithdrawal(1);
    }

    function test_another_window_counts_from_the_next_cap_on() public {
        ready(alice, 10, 0);
        parameters.set(Parameter.CapWindowPeriods, 20);
        equal(allowance(alice, 5, 40), 100);
        settlement.settle(SHARD, 40);
        deposit(alice, 100);
        setCap(alice, SHARD, 10);
        equal(vault.reservedOf(alice), 200);
        equal(allowance(alice, 5, 40), 100);
        equal(allowance(alice, 5, 40 + BEGUN + NOTICE), 200);
        parameters.set(Parameter.CapWindowPeriods, 5);
        settlement.settle(SHARD, 50);
        setCap(alice, SHARD, 10);
        settlement.settle(SHARD, 60);
        vault.releaseCap(alice, SHARD);
        equal(vault.reservedOf(alice), 50);
    }

    // Cover.

    function test_who_has_less_than_an_eighth_of_the_reserve_is_short_of_it() public {
        // covers: SET-026
        ready(alice, 80, 0);
        settlement.settle(SHARD, NOTICE + WINDOW);
        _expectNoCoverChange(WINDOW * 70);
        equal(vault.balanceOf(alice), 100);
        check(vault.isCovered(alice), "short");
        settlement.settle(SHARD, NOTICE + WINDOW + 1);
        vm.warp(START + 2 * WINDOW * PERIOD);
        _expectCover(alice, false);
        settlement.collect(alice, SHARD, 1, NOTICE + WINDOW + 1);
        check(!vault.isCovered(alice), "covered");

        _expectCover(alice, true);
        deposit(alice, 1);
        check(vault.isCovered(alice), "short");
    }

    function test_money_that_comes_back_or_is_set_free_covers_again() public {
        // covers: SET-026
        ready(alice, 80, 30);
        vm.prank(alice);
        vault.requestWithdrawal(30);
        settlement.settle(SHARD, NOTICE + WINDOW);
        settlement.collect(alice, SHARD, WINDOW * 70 + 10, NOTICE + WINDOW);
        check(!vault.isCovered(alice), "covered");
        vm.prank(alice);
        _expectCover(alice, true);
        vault.cancelWithdrawal();
        equal(vault.balanceOf(alice), 120);

        settlement.settle(SHARD, NOTICE + WINDOW + 1);
        _expectCover(alice, false);
        settlement.collect(alice, SHARD, 21, NOTICE + WINDOW + 1);
        setCap(alice, SHARD, 79);
        settlement.settle(SHARD, 3 * WINDOW + 2 * NOTICE);
        _expectCover(alice, true);
        vault.releaseCap(alice, SHARD);
        equal(vault.reservedOf(alice), 790);
    }

    function _expectCover(address payer, bool isCovered) private {
        vm.expectEmit(true, true, true, true);
        emit IPayerVault.CoverChanged(payer, isCovered);
    }

    function _expectNoCoverChange(uint256 taken) private {
        vm.recordLogs();
        settlement.collect(alice, SHARD, taken, NOTICE + WINDOW);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        equal(logs.length, 1);
    }

    // Collecting.

    function test_what_is_taken_is_within_what_is_wanted_and_allowed() public {
        ready(alice, 10, 1000);
        equal(settlement.collect(alice, SHARD, 15, 3), 15);
        // Periods 4 and 5, and what is left of 3.
        equal(settlement.collect(alice, SHARD, 1000, 5), 25);
        equal(through(alice), 5);
        equal(settlement.collect(alice, SHARD, 1000, 5), 0);
        equal(settlement.collect(alice, SHARD, 1000, 4), 0);
        equal(through(alice), 5);
        equal(vault.balanceOf(alice), 1100 - 40);
    }

    function test_allowance_that_was_not_wanted_stays_for_four_periods() public {
        // covers: SET-010
        ready(alice, 10, 1000);
        equal(settlement.collect(alice, SHARD, 1, 9), 1);
        equal(settlement.collect(alice, SHARD, 1000, 9), 0);
        equal(settlement.collect(alice, SHARD, 11, 10), 11);
        // After period 9 four caps were kept.
        equal(settlement.collect(alice, SHARD, 1000, 12), 39 + 20);
        equal(settlement.collect(alice, SHARD, 1000, 13), 10);
    }

    function test_of_a_smaller_cap_less_is_kept() public {
        // covers: SET-010
        ready(alice, 10, 1000);
        settlement.settle(SHARD, 10);
        setCap(alice, SHARD, 3);
        uint64 from = latestFrom(alice);
        settlement.collect(alice, SHARD, 0, from + 1);
        // Two periods of each.
        equal(settlement.collect(alice, SHARD, 1000, from + 2), 2 * 10 + 2 * 3 + 3);
    }

    function test_what_the_balance_lacked_is_taken_later() public {
        ready(alice, 10, 0);
        equal(settlement.collect(alice, SHARD, 90, 10), 90);
        equal(settlement.collect(alice, SHARD, 50, 15), 10);
        equal(vault.carriedOf(alice, SHARD), 40);
        vm.warp(START + 1 days);
        deposit(alice, 15);
        // A charge by an older report wants little, and leaves the rest to be taken.
        equal(settlement.collect(alice, SHARD, 5, 15), 5);
        equal(vault.carriedOf(alice, SHARD), 35);
        equal(settlement.collect(alice, SHARD, 40, 15), 10);
        equal(vault.carriedOf(alice, SHARD), 25);
        deposit(alice, 1000);
        equal(settlement.collect(alice, SHARD, 1000, 16), 35);
        equal(vault.carriedOf(alice, SHARD), 0);
    }

    function test_collecting_reaches_what_is_asked_back_but_not_yet_fetched() public {
        // covers: SET-011
        ready(alice, 10, 30);
        vm.prank(alice);
        vault.requestWithdrawal(30);
        equal(settlement.collect(alice, SHARD, 100, 20), 100);
        vm.warp(START + WAIT);
        equal(settlement.collect(alice, SHARD, 20, 22), 20);
        equal(vault.balanceOf(alice), 0);
        equal(requested(alice), 10);
        vm.prank(alice);
        vault.withdraw(alice);
        equal(token.balanceOf(alice), MINTED - 120);
        equal(settlement.collect(alice, SHARD, 20, 24), 0);
        equal(vault.total(), 120);
    }

    function test_a_change_of_cap_counts_in_each_period_as_it_was() public {
        ready(alice, 10, 1000);
        settlement.settle(SHARD, 10);
        setCap(alice, SHARD, 3);
        uint64 from = latestFrom(alice);
        // 10 in three periods, 3 in two.
        equal(allowance(alice, from - 3, from + 1), 36);
        equal(settlement.collect(alice, SHARD, 1000, from - 4), WINDOW * 10);
        vm.warp(START + 1 days);
        equal(settlement.collect(alice, SHARD, 1000, from + 1), 36);
        settlement.settle(SHARD, from + 1);
        setCap(alice, SHARD, 20);
        // The past stays as it was.
        equal(allowance(alice, from - 3, from + 1), 36);
        uint64 raised = latestFrom(alice);
        equal(raised, from + 1 + BEGUN + NOTICE);
        uint256 between = raised - from - 2;
        equal(settlement.collect(alice, SHARD, 1000, raised + 1), between * 3 + 20 + 20);
    }

    function test_caps_of_shards_are_apart() public {
        ready(alice, 10, 1000);
        setCap(alice, OTHER_SHARD, 5);
        equal(vault.reservedOf(alice), 150);
        equal(settlement.collect(alice, SHARD, 1000, 3), 20);
        equal(settlement.collect(alice, OTHER_SHARD, 1000, 3), 10);
        equal(vault.poolOf(address(settlement), SHARD), 20);
        equal(vault.poolOf(address(settlement), OTHER_SHARD), 10);
        equal(settlement.collect(bob, SHARD, 1000, 3), 0);
    }

    /// A settlement that invents periods gets the reserve at once, and twice the cap per period
    /// of real time.
    function testFuzz_a_hostile_settlement_takes_no_more_than_caps(
        uint64[8] calldata jumps,
        uint16[8] calldata waits
    ) public {
        // covers: SET-010
        uint128 cap = 10;
        ready(alice, cap, 500_000e6);
        uint256 taken = 0;
        uint64 last = 0;
        for (uint256 i = 0; i < jumps.length; ++i) {
            last += uint64(bound(jumps[i], 0, 1e12));
            vm.warp(block.timestamp + waits[i]);
            taken += settlement.collect(alice, SHARD, type(uint128).max, last);
            uint256 elapsed = block.timestamp - START;
            check(taken <= uint256(cap) * WINDOW + 2 * cap * elapsed / PERIOD, "too much was taken");
        }
    }

    function test_a_payer_who_uses_the_cap_in_full_is_charged_in_full() public {
        ready(alice, 7, 500_000e6);
        // A first report of a whole window, then one each period.
        equal(settlement.collect(alice, SHARD, 70, NOTICE + WINDOW - 1), 70);
        for (uint64 i = 0; i < 50; ++i) {
            vm.warp(block.timestamp + PERIOD);
            equal(settlement.collect(alice, SHARD, 7, NOTICE + WINDOW + i), 7);
        }
    }

    /// The allowance is the sum over periods, as a loop counts it.
    function testFuzz_the_allowance_is_the_sum_of_caps(
        uint16[6] calldata caps,
        uint8[6] calldata gaps,
        uint16 first,
        uint16 last
    ) public {
        // covers: SET-010
        deposit(alice, MINTED);
        uint64[6] memory froms;
        uint64 settled = 0;
        for (uint256 i = 0; i < caps.length; ++i) {
            setCap(alice, SHARD, caps[i]);
            froms[i] = latestFrom(alice);
            settled = froms[i] + gaps[i];
            settlement.settle(SHARD, settled);
        }
        first = uint16(bound(first, 0, settled + 20));
        last = uint16(bound(last, 0, settled + 20));

        uint256 expected = 0;
        for (uint256 period = first; period <= last; ++period) {
            if (period + WINDOW <= last) {
                continue;
            }
            uint256 cap = 0;
            for (uint256 i = 0; i < caps.length; ++i) {
                cap = froms[i] <= period ? caps[i] : cap;
            }
            expected += cap;
        }
        equal(allowance(alice, first, last), expected);
    }

    function test_no_period_is_too_late_to_ask_for() public {
        ready(alice, 10, 0);
        equal(allowance(alice, 0, type(uint64).max), 100);
        equal(allowance(alice, type(uint64).max, type(uint64).max), 10);
        equal(allowance(alice, 5, 4), 0);
        equal(allowance(bob, 0, type(uint64).max), 0);
        equal(settlement.collect(alice, SHARD, 1000, type(uint64).max), 100);
        equal(settlement.collect(alice, SHARD, 1000, type(uint64).max), 0);
    }
}
