// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";

import {UsageSettlement} from "../src/UsageSettlement.sol";
import {Epoch, Period, PicoDollars, ShardId} from "../src/Types.sol";
import {Parameter} from "../src/generated/ParameterTable.sol";
import {IUsageSettlement} from "../src/interfaces/IUsageSettlement.sol";
import {NodeSignatures} from "../src/lib/NodeSignatures.sol";
import {SettlementTest} from "./money/SettlementTest.sol";

/// Which reports are accepted.
contract UsageSettlementTest is SettlementTest {
    function test_the_digest_is_that_of_typed_data() public {
        // covers: SET-002
        IUsageSettlement.UsageReport memory report = make(SHARD, 5, sums(1, 2));
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256(
                    "UsageReport(uint16 shard,uint64 first,uint64 last,uint64 epoch,bytes32 previous,bytes32 ranges,bytes32 usage,bytes32 earnings,bytes32 measurements,uint128 billed)"
                ),
                report.shard,
                report.first,
                report.last,
                report.epoch,
                report.previous,
                report.ranges,
                report.usage,
                report.earnings,
                report.measurements,
                report.billed
            )
        );
        bytes32 separator = NodeSignatures.domainSeparator(registry.networkId());
        equal(reports.digest(report), NodeSignatures.digest(separator, structHash));
    }

    function test_reports_follow_each_other() public {
        equal(reports.lastAcceptedAt(SHARD), 0);
        add(5, 1, 2);
        vm.warp(START + 7);
        add(6, 1, 2);
        equal(reports.reportCount(SHARD), 2);
        equal(Period.unwrap(reports.lastPeriod(SHARD)), 6);
        equal(reports.lastAcceptedAt(SHARD), START + 7);
        IUsageSettlement.Record memory record = reports.reportAt(SHARD, 0);
        equal(record.digest, reports.digest(made[SHARD][0]));
        equal(Period.unwrap(record.last), 5);
        equal(record.acceptedAt, START);
        equal(record.challengeSeconds, CHALLENGE);
        equal(PicoDollars.unwrap(record.billed), 3);
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.UnknownReport.selector, SHARD, 2));
        reports.reportAt(SHARD, 2);
    }

    function test_shards_are_apart() public {
        add(SHARD, 5, sums(1, 2));
        add(OTHER_SHARD, 3, sums(1, 2));
        equal(Period.unwrap(reports.lastPeriod(OTHER_SHARD)), 3);
        equal(Period.unwrap(reports.lastPeriod(SHARD)), 5);
    }

    function test_reports_mature_in_order() public {
        add(5, 1, 2);
        parameters.set(Parameter.ChallengeSeconds, 0);
        vm.warp(START + 40);
        add(6, 1, 2);
        equal(reports.reportAt(SHARD, 1).challengeSeconds, CHALLENGE - 40);
        equal(reports.maturedCount(SHARD), 0);
        vm.warp(START + CHALLENGE - 1);
        equal(reports.maturedCount(SHARD), 0);
        vm.warp(START + CHALLENGE);
        equal(reports.maturedCount(SHARD), 2);
        add(7, 1, 2);
        equal(reports.maturedCount(SHARD), 3);
        // A longer time holds for later reports only.
        parameters.set(Parameter.ChallengeSeconds, 1 days);
        add(8, 1, 2);
        equal(reports.maturedCount(SHARD), 3);
    }

    function test_a_stopped_settlement_accepts_nothing() public {
        IUsageSettlement.UsageReport memory report = make(SHARD, 5, sums(1, 2));
        bytes memory signatures = signed(report, ALL);
        guardian.pause(address(reports));
        vm.expectRevert(IUsageSettlement.Stopped.selector);
        reports.submit(report, ALL, signatures);
    }

    function test_a_report_is_accepted_once() public {
        add(5, 1, 2);
        IUsageSettlement.UsageReport memory report = made[SHARD][0];
        refused(report, abi.encodeWithSelector(IUsageSettlement.OutOfOrder.selector, SHARD, 6));
    }

    function test_periods_are_neither_left_out_nor_reported_twice() public {
        // covers: SET-003
        add(5, 1, 2);
        IUsageSettlement.UsageReport memory report = make(SHARD, 9, sums(1, 2));
        report.first = Period.wrap(5);
        refused(report, abi.encodeWithSelector(IUsageSettlement.OutOfOrder.selector, SHARD, 6));
        report.first = Period.wrap(7);
        refused(report, abi.encodeWithSelector(IUsageSettlement.OutOfOrder.selector, SHARD, 6));
        report.first = Period.wrap(6);
        report.last = Period.wrap(5);
        refused(report, abi.encodeWithSelector(IUsageSettlement.EmptyRange.selector));
    }

    function test_the_first_report_starts_at_the_first_period() public {
        IUsageSettlement.UsageReport memory report = make(SHARD, 9, sums(1, 2));
        report.first = Period.wrap(0);
        refused(report, abi.encodeWithSelector(IUsageSettlement.OutOfOrder.selector, SHARD, 1));
        report.first = Period.wrap(1);
        report.previous = "something";
        refused(report, abi.encodeWithSelector(IUsageSettlement.WrongPrevious.selector, bytes32(0)));
    }

    function test_a_report_names_the_one_before() public {
        // covers: SET-003
        add(5, 1, 2);
        IUsageSettlement.UsageReport memory report = make(SHARD, 9, sums(1, 2));
        report.previous = "something";
        refused(
            report,
            abi.encodeWithSelector(
                IUsageSettlement.WrongPrevious.selector, reports.digest(made[SHARD][0])
            )
        );
    }

    function test_the_bill_never_falls() public {
        add(5, 1, 2);
        IUsageSettlement.UsageReport memory report = make(SHARD, 9, sums(1, 1));
        refused(report, abi.encodeWithSelector(IUsageSettlement.BilledTooLittle.selector, 3));
    }

    function test_the_committee_may_change_between_reports() public {
        add(5, 1, 2);
        uint256[] memory old = keys;
        deployCommittee(2, 7);
        IUsageSettlement.UsageReport memory report = make(SHARD, 6, sums(1, 2));
        made[SHARD].push(report);
        // Five of seven are needed.
        bytes memory signatures = signed(report, 0x0f);
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.QuorumMissing.selector, 4, 5));
        reports.submit(report, 0x0f, signatures);
        reports.submit(report, 0x5d, signed(report, 0x5d));

        // The old committee's time is over.
        report = make(SHARD, 7, sums(1, 2));
        report.epoch = Epoch.wrap(1);
        keys = old;
        refused(report, abi.encodeWithSelector(IUsageSettlement.EpochOutOfOrder.selector, 1));
    }

    function test_an_older_epoch_signs_until_a_newer_one_did() public {
        add(5, 1, 2);
        registry.setEpoch(Epoch.wrap(4));
        IUsageSettlement.UsageReport memory report = make(SHARD, 6, sums(1, 2));
        report.epoch = Epoch.wrap(1);
        made[SHARD].push(report);
        reports.submit(report, ALL, signed(report, ALL));
        equal(reports.reportCount(SHARD), 2);
    }

    function test_the_epoch_is_one_that_was() public {
        IUsageSettlement.UsageReport memory report = make(SHARD, 5, sums(1, 2));
        report.epoch = Epoch.wrap(0);
        refused(report, abi.encodeWithSelector(IUsageSettlement.EpochOutOfOrder.selector, 0));
        report.epoch = Epoch.wrap(2);
        refused(report, abi.encodeWithSelector(IUsageSettlement.EpochOutOfOrder.selector, 2));
    }

    // Signatures.

    function test_more_than_two_thirds_must_sign() public {
        // covers: SET-002
        uint256[7] memory needed = [uint256(1), 2, 3, 3, 4, 5, 5];
        for (uint16 members = 1; members <= 7; ++members) {
            ShardId shard = ShardId.wrap(100 + members);
            deployCommittee(members, members);
            IUsageSettlement.UsageReport memory report = make(shard, 5, sums(1, 2));
            uint256 enough = needed[members - 1];
            bytes memory signatures = signed(report, 2 ** (enough - 1) - 1);
            vm.expectRevert(
                abi.encodeWithSelector(IUsageSettlement.QuorumMissing.selector, enough - 1, enough)
            );
            reports.submit(report, 2 ** (enough - 1) - 1, signatures);
            reports.submit(report, 2 ** enough - 1, signed(report, 2 ** enough - 1));
        }
    }

    function test_nobody_signs_for_an_empty_committee() public {
        deployCommittee(2, 0);
        IUsageSettlement.UsageReport memory report = make(SHARD, 5, sums(1, 2));
        refused(
            report, 0, "", abi.encodeWithSelector(IUsageSettlement.QuorumMissing.selector, 0, 1)
        );
        refused(
            report,
            1,
            new bytes(64),
            abi.encodeWithSelector(IUsageSettlement.UnknownMember.selector, 0)
        );
    }

    function test_members_beyond_the_committee_do_not_count() public {
        IUsageSettlement.UsageReport memory report = make(SHARD, 5, sums(1, 2));
        bytes memory signatures = signed(report, ALL);
        bytes memory reason = abi.encodeWithSelector(IUsageSettlement.UnknownMember.selector, NODES);
        refused(report, 0x10 | 0x7, signatures, reason);
        refused(report, 1 << 255 | 0x7, signatures, reason);
    }

    function test_signatures_are_as_many_as_signers() public {
        IUsageSettlement.UsageReport memory report = make(SHARD, 5, sums(1, 2));
        bytes memory signatures = signed(report, ALL);
        refused(report, 0x7, signatures, malformed(256, 192));
        refused(report, ALL, signed(report, 0x7), malformed(192, 256));
        refused(report, ALL, bytes.concat(signatures, hex"00"), malformed(257, 256));
        refused(report, ALL, "", malformed(0, 256));
    }

    function test_each_signature_is_its_members() public {
        IUsageSettlement.UsageReport memory report = make(SHARD, 5, sums(1, 2));
        bytes32 digest = reports.digest(report);
        bytes memory one = signature(keys[0], digest);
        bytes memory two = signature(keys[1], digest);
        bytes memory three = signature(keys[2], digest);
        // One for another, one twice, a stranger's, one over something else, and none at all.
        refused(report, 0x7, bytes.concat(two, one, three), invalid(0));
        refused(report, 0x7, bytes.concat(one, one, three), invalid(1));
        refused(report, 0x7, bytes.concat(one, two, signature(77, digest)), invalid(2));
        refused(report, 0x7, bytes.concat(one, two, signature(keys[2], "other")), invalid(2));
        refused(report, 0x7, bytes.concat(one, two, new bytes(64)), invalid(2));
        // One that is not needed must be right all the same.
        refused(report, ALL, bytes.concat(one, two, three, new bytes(64)), invalid(3));
    }

    function test_the_other_form_of_a_signature_is_refused() public {
        IUsageSettlement.UsageReport memory report = make(SHARD, 5, sums(1, 2));
        bytes32 digest = reports.digest(report);
        (, bytes32 r, bytes32 s) = vm.sign(keys[0], digest);
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        bytes memory high = abi.encodePacked(r, order - uint256(s));
        bytes memory rest = bytes.concat(signature(keys[1], digest), signature(keys[2], digest));
        refused(report, 0x7, bytes.concat(high, rest), invalid(0));
    }

    function test_a_member_without_a_key_cannot_sign() public {
        address[] memory signers = new address[](1);
        registry.setCommittee(Epoch.wrap(2), signers);
        IUsageSettlement.UsageReport memory report = make(SHARD, 5, sums(1, 2));
        refused(report, 1, new bytes(64), invalid(0));
    }

    function test_signatures_are_for_one_report_of_one_shard() public {
        IUsageSettlement.UsageReport memory report = make(SHARD, 5, sums(1, 2));
        bytes memory signatures = signed(report, ALL);
        report.shard = OTHER_SHARD;
        refused(report, ALL, signatures, invalid(0));
        report.shard = SHARD;
        report.billed = PicoDollars.wrap(4);
        refused(report, ALL, signatures, invalid(0));
    }

    // The treasury.

    function test_governance_names_the_treasury() public {
        reports.setTreasury(bob);
        equal(reports.treasury(), bob);
        vm.expectRevert(IUsageSettlement.TreasuryZero.selector);
        reports.setTreasury(address(0));
        vm.prank(bob);
        vm.expectRevert(
            abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, bob)
        );
        reports.setTreasury(bob);
        vm.expectRevert(IUsageSettlement.TreasuryZero.selector);
        new UsageSettlement(address(authority), registry, parameters, vault, guardian, address(0));
    }

    function refused(IUsageSettlement.UsageReport memory report, bytes memory reason) private {
        refused(report, ALL, signed(report, ALL), reason);
    }

    function refused(
        IUsageSettlement.UsageReport memory report,
        uint256 signers,
        bytes memory signatures,
        bytes memory reason
    ) private {
        vm.expectRevert(reason);
        reports.submit(report, signers, signatures);
    }

    function malformed(uint256 length, uint256 expected) private pure returns (bytes memory) {
        return
            abi.encodeWithSelector(IUsageSettlement.SignaturesMalformed.selector, length, expected);
    }

    function invalid(uint256 index) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IUsageSettlement.SignatureInvalid.selector, index);
    }
}
