// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";

import {PicoDollars} from "../src/Types.sol";
import {IUsageSettlement} from "../src/interfaces/IUsageSettlement.sol";
import {ReportTrees} from "../src/lib/ReportTrees.sol";
import {SettlementTest} from "./money/SettlementTest.sol";
import {UsageTree} from "./money/UsageTree.sol";

/// What a transaction costs, with its calldata and its base fee of 21,000.
contract UsageSettlementGasTest is SettlementTest {
    uint256 private constant PAYERS = 32;
    /// With the five levels below it, the depth of a tree of 10,000 to 16,384 payers.
    uint256 private constant LEVELS_ABOVE = 9;

    function setUp() public override {
        super.setUp();
        deployCommittee(1, 7);
        for (uint256 i = 0; i < PAYERS; ++i) {
            address payer = payerAt(i);
            fund(payer);
            ready(payer, 1000, 1000);
        }
        add(5, 0, 0);
    }

    function test_a_report_of_seven_members_costs_less_than_250_000() public {
        IUsageSettlement.UsageReport memory report = make(SHARD, 6, sums(1, 2));
        uint256 gas = cost(abi.encodeCall(reports.submit, (report, 0x5d, signed(report, 0x5d))));
        cheaper(gas, 250_000);
    }

    /// The first charge of each payer fills its storage; the second is the usual one.
    function test_a_charge_of_many_costs_less_than_60_000_each() public {
        chargeAll(1, 500 * UNIT);
        uint256 gas = chargeAll(2, 900 * UNIT) / PAYERS;
        cheaper(gas, 60_000);
    }

    /// Alone it bears the base fee, the report and every cold slot, so batches are the usual way.
    function test_a_single_charge_costs_less_than_115_000() public {
        chargeAll(1, 500 * UNIT);
        IUsageSettlement.UsageReport memory report = submitted(8, 900 * UNIT);
        uint256 gas = cost(abi.encodeCall(reports.charge, (report, 2, usage(3, 900 * UNIT))));
        cheaper(gas, 115_000);
    }

    /// After a node's first, which fills its storage.
    function test_a_claim_costs_less_than_115_000() public {
        chargeAll(1, 500 * UNIT);
        claim(SHARD, 1, 0);
        chargeAll(2, 900 * UNIT);
        bytes memory call =
            abi.encodeCall(reports.claim, (made[SHARD][2], 2, earningsOf(SHARD, 2, 0)));
        cheaper(cost(call), 115_000);
    }

    function chargeAll(uint64 index, uint128 sum) private returns (uint256) {
        IUsageSettlement.UsageReport memory report = submitted(6 + index, sum);
        IUsageSettlement.Usage[] memory usages = new IUsageSettlement.Usage[](PAYERS);
        for (uint256 i = 0; i < PAYERS; ++i) {
            usages[i] = usage(i, sum);
        }
        uint256 gas = cost(abi.encodeCall(reports.chargeMany, (report, index, usages)));
        equal(reports.collectedOf(SHARD), PAYERS * (sum / UNIT));
        return gas;
    }

    /// A mature report by which each payer used `sum`.
    function submitted(uint64 last, uint128 sum)
        private
        returns (IUsageSettlement.UsageReport memory report)
    {
        report = make(SHARD, last, sums(sum, sum));
        report.usage = UsageTree.root(leaves(sum));
        for (uint256 i = 0; i < LEVELS_ABOVE; ++i) {
            report.usage = Hashes.commutativeKeccak256(report.usage, sibling(i));
        }
        made[SHARD].push(report);
        reports.submit(report, 0x7f, signed(report, 0x7f));
        mature();
    }

    function usage(uint256 payer, uint128 sum)
        private
        pure
        returns (IUsageSettlement.Usage memory found)
    {
        bytes32[] memory all = leaves(sum);
        bytes32[] memory below = UsageTree.proof(all, all[payer]);
        bytes32[] memory path = new bytes32[](below.length + LEVELS_ABOVE);
        for (uint256 i = 0; i < path.length; ++i) {
            path[i] = i < below.length ? below[i] : sibling(i - below.length);
        }
        return IUsageSettlement.Usage(payerAt(payer), PicoDollars.wrap(sum), path);
    }

    function leaves(uint128 sum) private pure returns (bytes32[] memory all) {
        all = new bytes32[](PAYERS);
        for (uint256 i = 0; i < PAYERS; ++i) {
            all[i] = ReportTrees.usageLeaf(payerAt(i), PicoDollars.wrap(sum));
        }
    }

    function sibling(uint256 level) private pure returns (bytes32) {
        return keccak256(abi.encode("level", level));
    }

    function payerAt(uint256 index) private pure returns (address) {
        return vm.addr(0x9a4e4 + index);
    }

    function cheaper(uint256 gas, uint256 limit) private pure {
        require(gas < limit, NotEqual(gas, limit));
    }

    /// The gas of a transaction, storage cold at its start.
    function cost(bytes memory message) private returns (uint256) {
        vm.cool(address(reports));
        vm.cool(address(vault));
        vm.cool(address(registry));
        vm.cool(address(parameters));
        vm.cool(address(guardian));
        uint256 before = gasleft();
        (bool done,) = address(reports).call(message);
        uint256 gas = before - gasleft();
        check(done, "the call failed");
        return gas + intrinsic(message);
    }

    function intrinsic(bytes memory message) private pure returns (uint256 gas) {
        gas = 21_000;
        for (uint256 i = 0; i < message.length; ++i) {
            gas += message[i] == 0 ? 4 : 16;
        }
    }
}
