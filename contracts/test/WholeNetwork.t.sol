// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";

import {PayerVault} from "../src/PayerVault.sol";
import {Roles} from "../src/Roles.sol";
import {UsageSettlement} from "../src/UsageSettlement.sol";
import {NodeId, Period} from "../src/Types.sol";
import {Parameter} from "../src/generated/ParameterTable.sol";
import {INodeRegistry} from "../src/interfaces/INodeRegistry.sol";
import {IPayerVault} from "../src/interfaces/IPayerVault.sol";
import {IUsageSettlement} from "../src/interfaces/IUsageSettlement.sol";
import {ReportTrees} from "../src/lib/ReportTrees.sol";
import {WholeNetwork} from "./WholeNetwork.sol";

/// Money on its way through the whole network, and who may touch what of it.
contract WholeNetworkTest is WholeNetwork {
    /// What alice and bob use in the second and third report: no whole units.
    uint128 private constant OF_ALICE = 3_000_000 * UNIT + 700_001;
    uint128 private constant OF_BOB = 1_234_567 * UNIT + 899_999;

    NodeId[] private _nodes;

    /// Four nodes are members, a first period without payers is reported, and payers come.
    function _begin() private {
        _nodes = _openWith(NODES);
        _add(1, 0, 0);
        _payer(alice);
        _payer(bob);
    }

    // Wiring

    function test_contracts_have_the_roles_they_need_and_no_other() external view {
        // covers: SET-022
        address[3] memory contracts = [address(vault), address(settlement), address(court)];
        uint64[4] memory roles = [Roles.ADMIN, Roles.COUNCIL, Roles.COURT, Roles.SETTLEMENT];
        for (uint256 i = 0; i < contracts.length; ++i) {
            for (uint256 j = 0; j < roles.length; ++j) {
                (bool isMember,) = network.access.hasRole(roles[j], contracts[i]);
                bool should = (contracts[i] == address(court) && roles[j] == Roles.COURT)
                    || (contracts[i] == address(settlement) && roles[j] == Roles.SETTLEMENT);
                check(isMember == should, "its own role alone");
            }
        }
        equal(address(vault.settlement()), address(settlement));
        equal(address(settlement.vault()), address(vault));
        equal(address(settlement.registry()), address(network.registry));
        equal(address(court.registry()), address(network.registry));
        equal(settlement.treasury(), address(network.timelock));
    }

    function test_nobody_but_votes_touches_the_wiring() external {
        // covers: SET-022
        address[6] memory others =
            [address(this), council, keeper, holder, address(settlement), address(court)];
        for (uint256 i = 0; i < others.length; ++i) {
            bytes memory refused = abi.encodeWithSelector(
                IAccessManaged.AccessManagedUnauthorized.selector, others[i]
            );
            vm.startPrank(others[i]);
            vm.expectRevert(refused);
            vault.setSettlement(others[i]);
            vm.expectRevert(refused);
            vault.proposeSettlement(others[i]);
            vm.expectRevert(refused);
            settlement.setTreasury(others[i]);
            if (others[i] != address(court)) {
                vm.expectRevert(refused);
                network.registry.slash(NodeId.wrap(0), 1000, 0, others[i]);
            }
            if (others[i] != address(settlement)) {
                vm.expectRevert(refused);
                network.registry.jail(NodeId.wrap(0));
                vm.expectRevert(
                    abi.encodeWithSelector(IPayerVault.NotSettlement.selector, others[i])
                );
                vault.collect(alice, ONLY_SHARD, 1, Period.wrap(1));
            }
            vm.stopPrank();
        }
    }

    function test_a_vote_names_the_treasury_and_the_next_settlement() external {
        _govern(address(settlement), abi.encodeCall(settlement.setTreasury, (stranger)));
        equal(settlement.treasury(), stranger);
        UsageSettlement next = new UsageSettlement(
            address(network.access),
            network.registry,
            network.parameters,
            vault,
            network.guardian,
            stranger
        );
        _govern(address(vault), abi.encodeCall(PayerVault.proposeSettlement, (address(next))));
        (, uint64 from,) = vault.proposal();
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.TooEarly.selector, from + 1));
        vault.acceptSettlement();
        vm.warp(from + 1);
        vault.acceptSettlement();
        equal(address(vault.settlement()), address(next));
    }

    // Money

    function test_what_payers_used_reaches_those_who_earned_it_to_the_last_unit() external {
        // covers: SET-013, SET-014, SET-015
        _begin();
        (bytes32[] memory keys,) = vault.sessionKeysOf(alice);
        equal(keys.length, 1);
        equal(keys[0], _sessionKeyOf(alice));
        _add(6, OF_ALICE, OF_BOB);
        _add(10, OF_ALICE, OF_BOB);
        _claimRefusedBeforeItIsMature();
        _mature();

        // The newest report settles all before it: each sum, rounded down to units.
        equal(_charge(2, 0), 6_000_001);
        equal(_charge(2, 1), 2_469_135);
        equal(vault.balanceOf(alice), DEPOSIT - 6_000_001);
        equal(vault.balanceOf(bob), DEPOSIT - 2_469_135);
        vm.expectRevert(IUsageSettlement.NothingToDo.selector);
        settlement.charge(_reportAt(2), 2, _usage(2, 0));

        uint256 billed = 2 * (OF_ALICE + OF_BOB);
        uint256 collected = settlement.collectedOf(ONLY_SHARD);
        equal(collected, 8_469_136);
        // What is left of units cannot be collected, so that the last report is not full.
        equal(billed - collected * UNIT, 1_200_000);
        uint256 paid = 0;
        for (uint256 i = 0; i < NODES; ++i) {
            uint256 amount = _claimPart(2, _nodes[i]);
            // Each of four has a quarter of 95 percent, rounded down to units.
            equal(amount, collected * 95 / 400);
            equal(dollars.balanceOf(_operatorOf(i + 1)), amount);
            paid += amount;
        }
        uint256 ofProtocol = _claimPart(2, ReportTrees.PROTOCOL);
        equal(dollars.balanceOf(address(network.timelock)), ofProtocol);
        paid += ofProtocol;
        vm.expectRevert(IUsageSettlement.NothingToDo.selector);
        _claimPart(2, _nodes[0]);

        _checkConserved(2 * DEPOSIT, 0, paid);
        // At most a unit for each who earned is still in the pool.
        uint256 left = vault.poolOf(address(settlement), ONLY_SHARD);
        equal(left, collected - paid);
        check(left <= NODES, "no more than what rounding leaves");
    }

    function test_a_claim_pays_the_part_that_is_collected() external {
        // covers: SET-014
        _begin();
        _add(6, 400 * UNIT, 0);
        _add(7, 2_000_000 * UNIT, 2_000_000 * UNIT);
        _mature();
        // Of the second report a half is collected.
        equal(_charge(2, 0), 2_000_400);
        equal(_claimPart(2, _nodes[3]), 95 + 475_000);
        equal(_charge(2, 1), 2_000_000);
        // Now the report is full, and a claim needs nothing of the one before.
        for (uint256 i = 0; i < 3; ++i) {
            equal(_claim(2, _nodes[i]), 950_095);
        }
        equal(_claim(2, _nodes[3]), 475_000);
        equal(_claim(2, ReportTrees.PROTOCOL), 200_020);
        equal(vault.poolOf(address(settlement), ONLY_SHARD), 0);
        _checkConserved(2 * DEPOSIT, 0, 4_000_400);
    }

    function test_who_earned_nothing_before_is_paid_its_part() external {
        // covers: SET-014
        _begin();
        // The report before has no payer and no earnings, of which nothing could be shown.
        _add(10, 2_000_000 * UNIT, 2_000_000 * UNIT);
        _mature();
        equal(_charge(1, 0), 2_000_000);
        equal(_claim(1, _nodes[3]), 475_000);
        equal(_charge(1, 1), 2_000_000);
        equal(_claim(1, _nodes[3]), 475_000);
        _checkConserved(2 * DEPOSIT, 0, 950_000);
    }

    function test_a_payer_leaves_with_what_it_did_not_use() external {
        // covers: SET-010, SET-011
        _begin();
        uint256 free = DEPOSIT - vault.reservedOf(alice);
        equal(free, 400 * DOLLAR);
        vm.startPrank(alice);
        vm.expectRevert(
            abi.encodeWithSelector(IPayerVault.BalanceTooSmall.selector, free, free + 1)
        );
        vault.requestWithdrawal(free + 1);
        vault.requestWithdrawal(free);
        vm.stopPrank();
        // What is asked back does not lower what the caps allow.
        _add(10, 4 * CAP * UNIT, 0);
        _add(11, CAP * UNIT, 0);
        _mature();
        equal(_charge(2, 0), 5 * CAP);
        equal(vault.balanceOf(alice), DEPOSIT - free - 5 * CAP);

        _pass(network.parameters.value(Parameter.WithdrawalSeconds) - 1 days);
        vm.prank(keeper);
        network.guardian.pause(address(vault));
        vm.prank(alice);
        vault.withdraw(stranger);
        equal(dollars.balanceOf(stranger), free);
        _checkConserved(2 * DEPOSIT, free, 0);
    }

    function test_no_committee_takes_more_than_the_caps() external {
        // covers: SET-010
        _begin();
        // The cap begins with period 7.
        (, Period from,) = vault.latestCapOf(alice, ONLY_SHARD);
        equal(Period.unwrap(from), 7);
        _add(10, 4 * CAP * UNIT, 0);
        _mature();
        uint256 index = _add(12, 2 * CAP * UNIT + UNIT, 0);
        // Nobody can have it dropped, but the vault knows the caps itself.
        equal(settlement.reportCount(ONLY_SHARD), index + 1);
        index = _add(13, 4000 * UNIT * UNIT, 0);
        _mature();
        equal(_charge(index, 0), 7 * CAP);
        _checkConserved(2 * DEPOSIT, 0, 0);
    }

    function test_bad_service_is_jailed_by_the_settlement() external {
        _begin();
        Book memory book = _make(6, 0, 0);
        book.measured[2].reachabilityPermille = 899;
        _plant(book);
        uint256 index = _submit(book);
        _mature();
        _reportMeasurement(index, 2);
        check(_status(_nodes[2]) == INodeRegistry.Status.Jailed, "jailed");
        vm.expectRevert(abi.encodeWithSelector(IUsageSettlement.ServiceGood.selector, _nodes[1]));
        _reportMeasurement(index, 1);
        // The bond is whole, and after its time the node comes back through probation.
        equal(network.registry.node(_nodes[2]).bond, _bondMin());
        network.registry.advanceEpoch();
        _pass(network.parameters.value(Parameter.JailSeconds));
        vm.prank(_operatorOf(3));
        network.registry.release(_nodes[2]);
        check(_status(_nodes[2]) == INodeRegistry.Status.Probation, "in probation");
    }

    function _status(NodeId id) private view returns (INodeRegistry.Status) {
        return network.registry.node(id).status;
    }

    function _claimRefusedBeforeItIsMature() private {
        IUsageSettlement.Earnings memory earnings = _earnings(1, _nodes[0]);
        vm.expectPartialRevert(IUsageSettlement.NotMatured.selector);
        settlement.claim(_reportAt(1), 1, earnings);
    }

    /// Nothing was made or lost: what is in the vault and what was paid is what was given.
    function _checkConserved(uint256 deposited, uint256 withdrawn, uint256 paid) private view {
        equal(vault.total() + paid, deposited - withdrawn);
        equal(dollars.balanceOf(address(vault)), vault.total());
        (uint256 ofAlice,) = vault.withdrawalOf(alice);
        (uint256 ofBob,) = vault.withdrawalOf(bob);
        equal(
            vault.balanceOf(alice) + vault.balanceOf(bob) + ofAlice + ofBob
                + vault.poolOf(address(settlement), ONLY_SHARD),
            vault.total()
        );
    }
}
