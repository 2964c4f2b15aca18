// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Period, ShardId} from "../../src/Types.sol";
import {IUsageSettlement} from "../../src/interfaces/IUsageSettlement.sol";
import {SettlementTest} from "./SettlementTest.sol";

/// Does at random what payers, committees, watchers and operators can do. What reverts leaves
/// nothing behind. After each step nothing may have moved backwards.
contract SettlementHandler is SettlementTest {
    using SafeCast for uint256;

    uint256 public deposited;
    uint256 public withdrawn;
    uint256 public voids;

    mapping(ShardId shard => mapping(address payer => uint256)) private _chargedBefore;
    mapping(ShardId shard => bytes32[]) private _matured;

    constructor() {
        setUp();
    }

    modifier forwardOnly() {
        _;
        for (uint16 i = 0; i < 2; ++i) {
            noteShard(shardAt(i));
        }
    }

    function deposits(uint256 payer, uint256 amount) external forwardOnly {
        amount = bound(amount, 1, 200_000);
        deposit(payerAt(payer), amount);
        deposited += amount;
    }

    function capIsSet(uint256 payer, uint256 shard, uint256 amount) external forwardOnly {
        setCap(payerAt(payer), shardAt(shard), uint128(bound(amount, 0, 5000)));
    }

    function capIsReleased(uint256 payer, uint256 shard) external forwardOnly {
        vault.releaseCap(payerAt(payer), shardAt(shard));
    }

    /// Mostly within caps, sometimes above, rarely below the report before.
    function reported(uint256 shard, uint8 length, uint256[3] calldata usages)
        external
        forwardOnly
    {
        ShardId of_ = shardAt(shard);
        uint256 count = made[of_].length;
        uint64 first = Period.unwrap(reports.lastPeriod(of_)) + 1;
        uint64 last = first + length % 15;
        uint128[] memory all = new uint128[](3);
        for (uint256 i = 0; i < 3; ++i) {
            uint256 before = count == 0 ? 0 : used[of_][count - 1][i];
            uint256 allowed =
                UNIT * vault.allowance(payers[i], of_, Period.wrap(first), Period.wrap(last));
            if (usages[i] % 16 == 0) {
                all[i] = bound(usages[i] >> 4, before / 2, before).toUint128();
            } else if (usages[i] % 16 == 1) {
                all[i] = (before + bound(usages[i] >> 4, 0, 2 * allowed + 10 * UNIT)).toUint128();
            } else {
                all[i] = (before + bound(usages[i] >> 4, 0, allowed)).toUint128();
            }
        }
        add(of_, last, all);
    }

    /// Voids the first report that can be, if there is one.
    function voided(uint256 shard) external forwardOnly {
        ShardId of_ = shardAt(shard);
        for (uint256 i = reports.maturedCount(of_); i < made[of_].length; ++i) {
            for (uint256 j = 0; j < 3; ++j) {
                if (challenged(of_, i, j)) {
                    drop(of_, i);
                    voids += 1;
                    return;
                }
            }
        }
    }

    function charged(uint256 shard, uint256 index, uint256 payer) external forwardOnly {
        ShardId of_ = shardAt(shard);
        charge(of_, bound(index, 0, reports.maturedCount(of_) - 1), payer % 3);
    }

    function claimed(uint256 shard, uint256 index, uint256 node, bool part) external forwardOnly {
        ShardId of_ = shardAt(shard);
        index = bound(index, 0, reports.maturedCount(of_) - 1);
        if (part) {
            claimPart(of_, index, node % (NODES + 1));
        } else {
            claim(of_, index, node % (NODES + 1));
        }
    }

    function withdrawalIsRequested(uint256 payer, uint256 amount) external forwardOnly {
        address of_ = payerAt(payer);
        vm.prank(of_);
        vault.requestWithdrawal(bound(amount, 1, 100_000));
    }

    function withdrawalIsCancelled(uint256 payer) external forwardOnly {
        vm.prank(payerAt(payer));
        vault.cancelWithdrawal();
    }

    function withdraws(uint256 payer) external forwardOnly {
        address of_ = payerAt(payer);
        uint256 amount = requested(of_);
        vm.prank(of_);
        vault.withdraw(of_);
        withdrawn += amount;
    }

    function timePasses(uint256 elapsed) external forwardOnly {
        // A seventh of the time it is days.
        vm.warp(block.timestamp + (elapsed % 7 == 0 ? WAIT : bound(elapsed, 1, 150)));
    }

    function checkConservation() external view {
        uint256 balances = 0;
        for (uint256 i = 0; i < payers.length; ++i) {
            balances += vault.balanceOf(payers[i]) + requested(payers[i]);
        }
        uint256 pools = 0;
        uint256 paid = 0;
        for (uint16 i = 0; i < 2; ++i) {
            pools += vault.poolOf(address(reports), shardAt(i));
            paid += paidFor(shardAt(i));
        }
        equal(balances + pools + paid, deposited - withdrawn);
        equal(balances + pools, vault.total());
        equal(token.balanceOf(address(vault)), vault.total());
        uint256 received = token.balanceOf(treasury);
        for (uint32 i = 0; i < NODES; ++i) {
            received += token.balanceOf(payoutOf(i));
        }
        equal(received, paid);
    }

    function checkShards() external view {
        for (uint16 i = 0; i < 2; ++i) {
            ShardId shard = shardAt(i);
            uint256 sum = 0;
            for (uint256 j = 0; j < payers.length; ++j) {
                sum += reports.chargedOf(shard, payers[j]);
            }
            uint256 collected = reports.collectedOf(shard);
            equal(sum, collected);
            check(paidFor(shard) <= collected, "more is paid than collected");
            equal(vault.poolOf(address(reports), shard), collected - paidFor(shard));
            checkOrder(shard);
        }
    }

    function checkReserves() external view {
        for (uint256 i = 0; i < payers.length; ++i) {
            uint256 needed = 0;
            for (uint16 j = 0; j < 2; ++j) {
                (uint128 amount,, uint32 window) = vault.latestCapOf(payers[i], shardAt(j));
                needed += uint256(amount) * window;
            }
            check(vault.reservedOf(payers[i]) >= needed, "a cap is not reserved");
        }
    }

    /// Challenges a report where a payer's leaf is wrong; nothing may be in the way then.
    function challenged(ShardId shard, uint256 index, uint256 payer) private returns (bool) {
        IUsageSettlement.UsageReport memory report = made[shard][index];
        uint256 sum = used[shard][index][payer];
        uint256 before = index == 0 ? 0 : used[shard][index - 1][payer];
        if (sum >= before) {
            return false;
        }
        IUsageSettlement.Usage memory earlier = usageOf(shard, index - 1, payer);
        IUsageSettlement.Usage memory later = usageOf(shard, index, payer);
        reports.challengeRegress(made[shard][index - 1], report, index, earlier, later);
        return true;
    }

    function checkOrder(ShardId shard) private view {
        uint64 last = 0;
        for (uint256 i = 0; i < reports.reportCount(shard); ++i) {
            uint64 next = Period.unwrap(reports.reportAt(shard, i).last);
            check(next > last, "reports are out of order");
            last = next;
        }
    }

    /// Charges never fall, and mature reports stay as they are.
    function noteShard(ShardId shard) private {
        for (uint256 i = 0; i < payers.length; ++i) {
            uint256 now_ = reports.chargedOf(shard, payers[i]);
            check(now_ >= _chargedBefore[shard][payers[i]], "a charge fell");
            _chargedBefore[shard][payers[i]] = now_;
        }
        uint256 count = reports.maturedCount(shard);
        bytes32[] storage seen = _matured[shard];
        check(count >= seen.length, "a mature report was voided");
        for (uint256 i = 0; i < count; ++i) {
            bytes32 digest = reports.reportAt(shard, i).digest;
            if (i < seen.length) {
                equal(digest, seen[i]);
            } else {
                seen.push(digest);
            }
        }
    }

    function paidFor(ShardId shard) private view returns (uint256 paid) {
        for (uint256 i = 0; i <= NODES; ++i) {
            paid += reports.paidOf(shard, nodeAt(i));
        }
    }

    function payerAt(uint256 seed) private view returns (address) {
        return payers[seed % payers.length];
    }

    function shardAt(uint256 seed) private pure returns (ShardId) {
        return seed % 2 == 0 ? SHARD : OTHER_SHARD;
    }
}
