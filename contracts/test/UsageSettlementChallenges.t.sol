// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Epoch, Period} from "../src/Types.sol";
import {IUsageSettlement} from "../src/interfaces/IUsageSettlement.sol";
import {SettlementTest} from "./money/SettlementTest.sol";

/// Which reports can be voided, and what follows.
contract UsageSettlementChallengesTest is SettlementTest {
    uint128 private constant CAP = 10;

    function setUp() public override {
        super.setUp();
        ready(alice, CAP, 1000);
        ready(bob, CAP, 1000);
    }

    function test_a_falling_sum_voids_the_report_and_all_after_it() public {
        // covers: SET-012
        add(5, 8 * UNIT, 8 * UNIT);
        add(6, 7 * UNIT, 9 * UNIT);
        add(7, 8 * UNIT, 9 * UNIT);
        bytes32 wrong = reports.digest(made[SHARD][1]);
        vm.expectEmit(true, true, true, true);
        emit IUsageSettlement.ReportVoided(SHARD, 1, wrong);
        regress(1, 0);
        equal(reports.reportCount(SHARD), 1);
        equal(Period.unwrap(reports.lastPeriod(SHARD)), 5);
        check(reports.isVoided(wrong), "not voided");
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.UnknownReport.selector, SHARD, 1));
        regress(1, 0);
    }

    function test_after_a_void_the_committee_reports_anew_but_not_the_same() public {
        add(5, 8 * UNIT, 8 * UNIT);
        uint256 index = add(6, 7 * UNIT, 9 * UNIT);
        IUsageSettlement.UsageReport memory wrong = made[SHARD][index];
        bytes memory signatures = signed(wrong, ALL);
        regress(1, 0);
        vm.expectRevert(
            abi.encodeWithSelector(IUsageSettlement.Voided.selector, reports.digest(wrong))
        );
        reports.submit(wrong, ALL, signatures);
        drop(SHARD, 1);
        equal(add(6, 9 * UNIT, 9 * UNIT), 1);
        equal(reports.reportCount(SHARD), 2);
    }

    function test_after_a_void_the_epoch_is_that_of_the_report_before() public {
        add(5, 8 * UNIT, 8 * UNIT);
        registry.setEpoch(Epoch.wrap(2));
        deployCommittee(2, NODES);
        add(6, 7 * UNIT, 9 * UNIT);
        regress(1, 0);
        drop(SHARD, 1);
        deployCommittee(1, NODES);
        equal(add(6, 9 * UNIT, 9 * UNIT), 1);
    }

    function test_a_rising_sum_is_no_reason() public {
        add(5, 8 * UNIT, 8 * UNIT);
        add(6, 8 * UNIT, 9 * UNIT);
        vm.expectRevert(IUsageSettlement.NothingWrong.selector);
        regress(1, 0);
        vm.expectRevert(IUsageSettlement.NothingWrong.selector);
        regress(1, 1);
    }

    function test_more_than_the_caps_voids_nothing_and_is_not_taken() public {
        // covers: SET-012
        // covers: SET-010
        // The caps hold from period 2; what came late in one period is billed with the next.
        add(5, 41 * UNIT, 40 * UNIT);
        uint256 index = add(6, 60 * UNIT, 50 * UNIT);
        vm.expectRevert(IUsageSettlement.NothingWrong.selector);
        regress(1, 0);
        vm.warp(START + CHALLENGE);
        equal(charge(SHARD, index, 0), 50);
    }

    function test_a_mature_report_stands() public {
        // covers: SET-012
        add(5, 50 * UNIT, 40 * UNIT);
        add(6, 49 * UNIT, 60 * UNIT);
        vm.warp(START + CHALLENGE);
        bytes memory reason =
            abi.encodeWithSelector(IUsageSettlement.Matured.selector, START + CHALLENGE);
        vm.expectRevert(reason);
        regress(1, 0);
    }

    function test_a_challenge_compares_one_payer_in_reports_that_stand() public {
        add(5, 8 * UNIT, 7 * UNIT);
        add(6, 8 * UNIT, 7 * UNIT);
        add(7, 8 * UNIT, 7 * UNIT);
        IUsageSettlement.Usage memory earlier = usageOf(SHARD, 0, 0);
        IUsageSettlement.Usage memory later = usageOf(SHARD, 1, 1);
        IUsageSettlement.UsageReport[] memory all = made[SHARD];
        vm.expectRevert(IUsageSettlement.ProofInvalid.selector);
        reports.challengeRegress(all[0], all[1], 1, earlier, later);
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.UnknownReport.selector, SHARD, 0));
        reports.challengeRegress(all[1], all[2], 1, earlier, later);
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.UnknownReport.selector, SHARD, 0));
        reports.challengeRegress(all[0], all[0], 0, earlier, earlier);
    }

    function test_a_report_is_not_voided_in_the_name_of_another() public {
        add(5, 8 * UNIT, 7 * UNIT);
        add(6, 8 * UNIT, 7 * UNIT);
        IUsageSettlement.Usage memory earlier = usageOf(SHARD, 0, 0);
        IUsageSettlement.UsageReport memory forged = make(SHARD, 7, sums(1, 1));
        IUsageSettlement.UsageReport memory before = made[SHARD][0];
        IUsageSettlement.Usage memory later = usageOf(SHARD, 2, 0);
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.UnknownReport.selector, SHARD, 1));
        reports.challengeRegress(before, forged, 1, earlier, later);
        forged.shard = OTHER_SHARD;
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.UnknownReport.selector, SHARD, 1));
        reports.challengeRegress(before, forged, 1, earlier, later);
    }

    function test_a_false_leaf_proves_nothing() public {
        add(5, 8 * UNIT, 7 * UNIT);
        add(6, 8 * UNIT, 7 * UNIT);
        IUsageSettlement.UsageReport[] memory all = made[SHARD];
        IUsageSettlement.Usage memory earlier = usageOf(SHARD, 0, 0);
        IUsageSettlement.Usage memory later = usageOf(SHARD, 1, 1);
        later.payer = alice;
        vm.expectRevert(IUsageSettlement.ProofInvalid.selector);
        reports.challengeRegress(all[0], all[1], 1, earlier, later);
    }

    function regress(uint256 index, uint256 payer) private {
        reports.challengeRegress(
            made[SHARD][index - 1],
            made[SHARD][index],
            index,
            usageOf(SHARD, index - 1, payer),
            usageOf(SHARD, index, payer)
        );
    }
}
