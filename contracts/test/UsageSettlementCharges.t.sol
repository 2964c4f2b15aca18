// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {NodeId, PicoDollars} from "../src/Types.sol";
import {Parameter} from "../src/generated/ParameterTable.sol";
import {IPayerVault} from "../src/interfaces/IPayerVault.sol";
import {IUsageSettlement} from "../src/interfaces/IUsageSettlement.sol";
import {SettlementStandIn} from "./money/SettlementStandIn.sol";
import {SettlementTest} from "./money/SettlementTest.sol";

/// What payers are charged, operators are paid, and nodes are jailed for.
contract UsageSettlementChargesTest is SettlementTest {
    uint128 private constant CAP = 1000;

    function setUp() public override {
        super.setUp();
        ready(alice, CAP, 100_000);
        ready(bob, CAP, 0);
    }

    // Charges.

    function test_a_charge_waits_until_the_report_is_mature() public {
        add(5, 500 * UNIT, 500 * UNIT);
        bytes memory reason =
            abi.encodeWithSelector(IUsageSettlement.NotMatured.selector, START + CHALLENGE);
        vm.warp(START + CHALLENGE - 1);
        vm.expectRevert(reason);
        charge(SHARD, 0, 0);
        vm.expectRevert(reason);
        claim(SHARD, 0, 0);
        vm.warp(START + CHALLENGE);
        equal(charge(SHARD, 0, 0), 500);
        equal(reports.chargedOf(SHARD, alice), 500);
        equal(reports.collectedOf(SHARD), 500);
        equal(vault.poolOf(address(reports), SHARD), 500);
        equal(vault.balanceOf(alice), 10 * CAP + 100_000 - 500);
    }

    function test_the_difference_is_charged_once() public {
        // covers: SET-001, SET-013
        add(5, 500 * UNIT + UNIT - 1, 500 * UNIT);
        add(6, 700 * UNIT, 500 * UNIT);
        mature();
        equal(charge(SHARD, 0, 0), 500);
        vm.expectRevert(IUsageSettlement.NothingToDo.selector);
        charge(SHARD, 0, 0);
        equal(charge(SHARD, 1, 0), 200);
        vm.expectRevert(IUsageSettlement.NothingToDo.selector);
        charge(SHARD, 0, 0);
        // Reports may be passed over.
        equal(charge(SHARD, 1, 1), 500);
    }

    function test_less_than_a_unit_is_not_charged_yet() public {
        // covers: SET-001, SET-013
        add(5, UNIT - 1, 0);
        mature();
        vm.expectRevert(IUsageSettlement.NothingToDo.selector);
        charge(SHARD, 0, 0);
    }

    function test_a_charge_needs_the_leaf_of_the_report_that_stands() public {
        add(5, 500 * UNIT, 400 * UNIT);
        add(6, 600 * UNIT, 400 * UNIT);
        mature();
        IUsageSettlement.UsageReport memory report = made[SHARD][0];
        IUsageSettlement.Usage memory usage = usageOf(SHARD, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.UnknownReport.selector, SHARD, 1));
        reports.charge(report, 1, usage);
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.UnknownReport.selector, SHARD, 2));
        reports.charge(report, 2, usage);
        usage.payer = bob;
        vm.expectRevert(IUsageSettlement.ProofInvalid.selector);
        reports.charge(report, 0, usage);
        usage.payer = alice;
        usage.cumulative = PicoDollars.wrap(501 * UNIT);
        vm.expectRevert(IUsageSettlement.ProofInvalid.selector);
        reports.charge(report, 0, usage);
        report.usage = "other";
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.UnknownReport.selector, SHARD, 0));
        reports.charge(report, 0, usage);
    }

    function test_many_are_charged_at_once_and_the_settled_passed_over() public {
        add(5, 500 * UNIT, 400 * UNIT);
        mature();
        charge(SHARD, 0, 0);
        IUsageSettlement.Usage[] memory usages = new IUsageSettlement.Usage[](2);
        (usages[0], usages[1]) = (usageOf(SHARD, 0, 0), usageOf(SHARD, 0, 1));
        equal(reports.chargeMany(made[SHARD][0], 0, usages), 400);
        equal(reports.collectedOf(SHARD), 900);
        usages[1].cumulative = PicoDollars.wrap(1);
        IUsageSettlement.UsageReport memory report = made[SHARD][0];
        vm.expectRevert(IUsageSettlement.ProofInvalid.selector);
        reports.chargeMany(report, 0, usages);
    }

    function test_what_could_not_be_taken_stays_owed() public {
        // Bob has for ten periods; the cap holds from the second.
        add(11, 0, 10_000 * UNIT);
        add(13, 0, 12_000 * UNIT);
        mature();
        equal(charge(SHARD, 1, 1), 10_000);
        vm.warp(block.timestamp + 1 days);
        vm.expectRevert(IUsageSettlement.NothingToDo.selector);
        charge(SHARD, 1, 1);
        deposit(bob, 5000);
        // What is allowed in one window was taken; more comes with the next periods.
        vm.expectRevert(IUsageSettlement.NothingToDo.selector);
        charge(SHARD, 1, 1);
        add(15, 0, 12_000 * UNIT);
        mature();
        equal(charge(SHARD, 2, 1), 2000);
    }

    function test_a_payer_without_a_cap_is_not_charged() public {
        uint128[] memory all = new uint128[](3);
        all[2] = 500 * UNIT;
        deposit(carol, 1000);
        add(SHARD, 5, all);
        mature();
        vm.expectRevert(IUsageSettlement.NothingToDo.selector);
        charge(SHARD, 0, 2);
        equal(vault.balanceOf(carol), 1000);
    }

    function test_who_leaves_is_charged_before_the_money_is_fetched() public {
        vm.prank(alice);
        vault.requestWithdrawal(100_000);
        add(11, 10_000 * UNIT, 0);
        add(13, 12_000 * UNIT, 0);
        mature();
        equal(charge(SHARD, 0, 0), 10_000);
        vm.warp(START + WAIT);
        equal(charge(SHARD, 1, 0), 2000);
        equal(requested(alice), 98_000);
        vm.prank(alice);
        vault.withdraw(alice);
        equal(token.balanceOf(alice), MINTED - 12_000);
    }

    function test_a_stopped_vault_is_not_charged() public {
        add(5, 500 * UNIT, 400 * UNIT);
        mature();
        guardian.pause(address(vault));
        vm.expectRevert(IPayerVault.Stopped.selector);
        charge(SHARD, 0, 0);
    }

    /// However two thirds bill, and even if nobody challenges.
    /// forge-config: default.fuzz.runs = 64
    function testFuzz_a_corrupt_committee_takes_no_more_than_caps(
        uint8[5] calldata lengths,
        uint64[5] calldata bills
    ) public {
        uint64 last = 0;
        uint128 sum = 0;
        uint256 taken = 0;
        for (uint256 i = 0; i < lengths.length; ++i) {
            last += 1 + lengths[i] % 20;
            sum += bills[i];
            uint256 index = add(last, sum, 0);
            mature();
            uint256 before = vault.balanceOf(alice);
            try reports.charge(made[SHARD][index], index, usageOf(SHARD, index, 0)) {} catch {}
            taken += before - vault.balanceOf(alice);
            check(taken <= uint256(CAP) * (last - 1), "more than all caps");
            uint256 paced = 10 * uint256(CAP) + 2 * CAP * (block.timestamp - START) / PERIOD;
            check(taken <= paced, "faster than periods pass");
        }
    }

    // Claims.

    function test_nodes_and_the_protocol_are_paid_their_parts() public {
        add(5, 500 * UNIT, 500 * UNIT);
        mature();
        charge(SHARD, 0, 0);
        charge(SHARD, 0, 1);
        for (uint32 node = 0; node < NODES; ++node) {
            equal(claim(SHARD, 0, node), 200);
            equal(token.balanceOf(payoutOf(node)), 200);
            equal(reports.paidOf(SHARD, NodeId.wrap(node)), 200);
        }
        equal(claim(SHARD, 0, NODES), 200);
        equal(token.balanceOf(treasury), 200);
        equal(vault.poolOf(address(reports), SHARD), 0);
        vm.expectRevert(IUsageSettlement.NothingToDo.selector);
        claim(SHARD, 0, 0);
    }

    function test_of_the_first_report_the_collected_part_is_paid() public {
        // covers: SET-014
        add(5, 500 * UNIT, 500 * UNIT);
        mature();
        vm.expectRevert(IUsageSettlement.NothingToDo.selector);
        claim(SHARD, 0, 0);
        charge(SHARD, 0, 0);
        equal(claim(SHARD, 0, 0), 100);
        charge(SHARD, 0, 1);
        equal(claim(SHARD, 0, 0), 100);
        equal(claim(SHARD, 0, 1), 200);
    }

    function test_of_a_later_report_the_part_above_the_one_before_is_paid() public {
        // covers: SET-014
        add(5, 500 * UNIT, 500 * UNIT);
        add(6, 1000 * UNIT, 1000 * UNIT);
        mature();
        charge(SHARD, 0, 0);
        bytes memory reason = notCollected(500, 1000);
        vm.expectRevert(reason);
        claim(SHARD, 1, 0);
        vm.expectRevert(reason);
        claimPart(SHARD, 1, 0);
        charge(SHARD, 1, 0);
        charge(SHARD, 0, 1);
        // 1500 are there: 200 of the first report and a half of the second's 200. Who does not
        // show what it had before has a half of all, and the rest later.
        equal(claim(SHARD, 1, 0), 200);
        equal(claimPart(SHARD, 1, 0), 100);
        vm.expectRevert(IUsageSettlement.NothingToDo.selector);
        claim(SHARD, 1, 0);
        charge(SHARD, 1, 1);
        equal(claimPart(SHARD, 1, 0), 100);
        equal(claim(SHARD, 1, 1), 400);
    }

    function test_a_part_is_of_two_reports_and_one_node() public {
        add(5, 500 * UNIT, 500 * UNIT);
        add(6, 1000 * UNIT, 1000 * UNIT);
        mature();
        charge(SHARD, 1, 0);
        IUsageSettlement.UsageReport[] memory all = made[SHARD];
        IUsageSettlement.Earnings memory earlier = earningsOf(SHARD, 0, 0);
        IUsageSettlement.Earnings memory later = earningsOf(SHARD, 1, 1);
        vm.expectRevert(IUsageSettlement.ProofInvalid.selector);
        reports.claimPart(all[0], all[1], 1, earlier, later);
        later = earningsOf(SHARD, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.UnknownReport.selector, SHARD, 0));
        reports.claimPart(all[1], all[1], 1, earlier, later);
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.UnknownReport.selector, SHARD, 0));
        reports.claimPart(all[0], all[0], 0, earlier, earlier);
        earlier.cumulative = PicoDollars.wrap(1);
        vm.expectRevert(IUsageSettlement.ProofInvalid.selector);
        reports.claimPart(all[0], all[1], 1, earlier, later);
    }

    function test_earnings_that_fall_are_not_paid() public {
        add(5, 500 * UNIT, 500 * UNIT);
        uint256 index = add(6, 500 * UNIT, 500 * UNIT);
        // Another split of the same bill.
        IUsageSettlement.UsageReport memory report = make(SHARD, 7, sums(500 * UNIT, 500 * UNIT));
        mature();
        charge(SHARD, 0, 0);
        charge(SHARD, 0, 1);
        IUsageSettlement.Earnings memory earnings = earningsOf(SHARD, index, 0);
        earnings.cumulative = PicoDollars.wrap(0);
        vm.expectRevert(IUsageSettlement.ProofInvalid.selector);
        reports.claim(made0(index), index, earnings);
        report.last = report.first;
        vm.expectRevert(
            abi.encodeWithSelector(IUsageSettlement.UnknownReport.selector, SHARD, index)
        );
        reports.claim(report, index, earnings);
    }

    function test_a_pool_that_is_short_pays_what_it_has() public {
        // covers: SET-015
        ready2();
        // A corrupt committee says that one node earned far more than was billed.
        IUsageSettlement.UsageReport memory report = make(SHARD, 5, sums(500 * UNIT, 500 * UNIT));
        report.billed = PicoDollars.wrap(100 * UNIT);
        made[SHARD].push(report);
        reports.submit(report, ALL, signed(report, ALL));
        mature();
        charge(SHARD, 0, 0);
        for (uint256 node = 0; node < 3; ++node) {
            claim(SHARD, 0, node);
        }
        equal(token.balanceOf(payoutOf(2)), 100);
        vm.expectRevert(IUsageSettlement.NothingToDo.selector);
        claim(SHARD, 0, 3);
        // The other shard's pool is untouched.
        equal(vault.poolOf(address(reports), OTHER_SHARD), 100);
    }

    function test_a_node_without_a_payout_waits() public {
        add(5, 500 * UNIT, 500 * UNIT);
        mature();
        charge(SHARD, 0, 0);
        registry.setPayout(NodeId.wrap(0), address(0));
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.NoPayout.selector, 0));
        claim(SHARD, 0, 0);
    }

    function test_a_replaced_settlement_still_pays_and_charges_no_more() public {
        add(5, 500 * UNIT, 500 * UNIT);
        mature();
        charge(SHARD, 0, 0);
        vault.proposeSettlement(address(new SettlementStandIn(vault)));
        vm.warp(block.timestamp + WAIT + 7 days + 1);
        vault.acceptSettlement();
        vm.expectRevert(
            abi.encodeWithSelector(IPayerVault.NotSettlement.selector, address(reports))
        );
        charge(SHARD, 0, 1);
        equal(claim(SHARD, 0, 0), 100);
    }

    function test_a_token_that_calls_back_gets_nowhere() public {
        add(5, 500 * UNIT, 500 * UNIT);
        mature();
        charge(SHARD, 0, 0);
        IUsageSettlement.UsageReport memory report = made[SHARD][0];
        bytes[3] memory messages = [
            abi.encodeCall(reports.claim, (report, 0, earningsOf(SHARD, 0, 1))),
            abi.encodeCall(reports.charge, (report, 0, usageOf(SHARD, 0, 1))),
            abi.encodeCall(vault.withdraw, (bob))
        ];
        for (uint256 i = 0; i < messages.length; ++i) {
            token.callBack(i == 2 ? address(vault) : address(reports), messages[i]);
            claim(SHARD, 0, i + 2);
            check(!token.callWorked(), "the call went through");
            equal(
                bytes32(token.answer()),
                bytes32(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)
            );
        }
    }

    function test_a_token_that_keeps_a_fee_pays_nobody_less_from_the_vault() public {
        add(5, 500 * UNIT, 500 * UNIT);
        mature();
        charge(SHARD, 0, 0);
        token.setFee(1);
        // The fee is the receiver's loss; the vault gave what it counts.
        claim(SHARD, 0, 0);
        equal(token.balanceOf(payoutOf(0)), 99);
        equal(token.balanceOf(address(vault)), vault.total());
    }

    // Measurements.

    function test_bad_service_is_jailed_once() public {
        measured[1].reachabilityPermille = 899;
        measured[2].acknowledgementMs = 2001;
        measured[3].cadencePermille = 899;
        add(5, 0, 0);
        mature();
        for (uint32 node = 1; node < NODES; ++node) {
            measure(0, node);
            equal(NodeId.unwrap(registry.lastJailed()), node);
        }
        equal(registry.jailings(), 3);
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.AlreadyReported.selector, 1));
        measure(0, 1);
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.ServiceGood.selector, 0));
        measure(0, 0);
    }

    function test_no_more_are_jailed_than_can_be_spared() public {
        // covers: SET-025
        measured[1].cadencePermille = 0;
        measured[2].cadencePermille = 0;
        add(5, 0, 0);
        mature();
        registry.setSpare(1);
        measure(0, 1);
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.CannotSpare.selector, 2));
        measure(0, 2);
        // It is not forgotten: the same report does once there are others.
        registry.setSpare(2);
        measure(0, 2);
        equal(registry.jailings(), 2);
    }

    function test_thresholds_are_good_enough() public {
        measured[0] = IUsageSettlement.Measurement(NodeId.wrap(0), 900, 2000, 900, 900);
        measured[1].servedPermille = 899;
        add(5, 0, 0);
        mature();
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.ServiceGood.selector, 0));
        measure(0, 0);
        parameters.set(Parameter.ServedPermilleMin, 899);
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.ServiceGood.selector, 1));
        measure(0, 1);
    }

    function test_a_measurement_counts_when_the_report_is_mature_and_holds_it() public {
        measured[1].servedPermille = 0;
        add(5, 0, 0);
        vm.expectRevert(
            abi.encodeWithSelector(IUsageSettlement.NotMatured.selector, START + CHALLENGE)
        );
        measure(0, 1);
        mature();
        measured[1].servedPermille = 1;
        vm.expectRevert(IUsageSettlement.ProofInvalid.selector);
        measure(0, 1);
    }

    function test_an_old_measurement_does_not_jail_who_came_back() public {
        measured[1].servedPermille = 0;
        add(5, 0, 0);
        vm.warp(START + 10);
        add(6, 0, 0);
        vm.warp(START + 20);
        add(7, 0, 0);
        mature();
        registry.setSince(NodeId.wrap(1), START + 5);
        bytes memory reason =
            abi.encodeWithSelector(IUsageSettlement.MeasuredBefore.selector, 1, START + 5);
        vm.expectRevert(reason);
        measure(0, 1);
        // Accepted after the node came back, but begun before.
        vm.expectRevert(reason);
        measure(1, 1);
        measure(2, 1);
        equal(registry.jailings(), 1);
    }

    function measure(uint256 index, uint256 node) private {
        reports.reportMeasurement(made[SHARD][index], index, measured[node], measurementProof(node));
    }

    function notCollected(uint128 units, uint128 billed) private pure returns (bytes memory) {
        return abi.encodeWithSelector(
            IUsageSettlement.NotYetCollected.selector, units * UNIT, billed * UNIT
        );
    }

    function made0(uint256 index) private view returns (IUsageSettlement.UsageReport memory) {
        return made[SHARD][index];
    }

    /// Another shard with something in its pool.
    function ready2() private {
        setCap(alice, OTHER_SHARD, CAP);
        add(OTHER_SHARD, 5, sums(100 * UNIT, 0));
        mature();
        charge(OTHER_SHARD, 0, 0);
    }
}
