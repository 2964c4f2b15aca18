// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AccessManager} from "@openzeppelin/contracts/access/manager/AccessManager.sol";

import {PayerVault} from "../../src/PayerVault.sol";
import {Period, ShardId} from "../../src/Types.sol";
import {Parameter} from "../../src/generated/ParameterTable.sol";
import {Test} from "../Test.sol";
import {GuardianStandIn} from "./GuardianStandIn.sol";
import {HostileToken} from "./HostileToken.sol";
import {ParametersStandIn} from "./ParametersStandIn.sol";
import {SettlementStandIn} from "./SettlementStandIn.sol";

/// A vault with small numbers: periods of 10 seconds, a window of 10 of them, a notice of 2.
abstract contract VaultTest is Test {
    uint64 internal constant START = 1_000_000;
    uint256 internal constant PERIOD = 10;
    uint64 internal constant WINDOW = 10;
    uint64 internal constant NOTICE = 2;
    /// How many periods after the last reported one may have begun when its report is accepted.
    uint64 internal constant BEGUN = 4;
    /// How much longer a smaller cap waits.
    uint64 internal constant LOWER_NOTICE = WINDOW / 4;
    uint256 internal constant WAIT = 1 days;
    /// What everybody owns before a test.
    uint256 internal constant MINTED = 1_000_000e6;

    ShardId internal constant SHARD = ShardId.wrap(3);
    ShardId internal constant OTHER_SHARD = ShardId.wrap(4);

    uint256 internal constant ALICE_KEY = 0xa11ce;
    address internal alice = vm.addr(ALICE_KEY);
    address internal bob = vm.addr(0xb0b);

    AccessManager internal authority;
    HostileToken internal token;
    ParametersStandIn internal parameters;
    GuardianStandIn internal guardian;
    PayerVault internal vault;
    SettlementStandIn internal settlement;

    function setUp() public virtual {
        vm.warp(START);
        deployVault();
        settlement = new SettlementStandIn(vault);
        vault.setSettlement(address(settlement));
    }

    function deployVault() internal {
        authority = new AccessManager(address(this));
        token = new HostileToken();
        parameters = new ParametersStandIn();
        guardian = new GuardianStandIn();
        parameters.set(Parameter.PeriodMs, PERIOD * 1000);
        parameters.set(Parameter.CapWindowPeriods, WINDOW);
        parameters.set(Parameter.CapNoticePeriods, NOTICE);
        parameters.set(Parameter.WithdrawalSeconds, WAIT);
        vault = new PayerVault(address(authority), token, parameters, guardian);
        fund(alice);
        fund(bob);
    }

    function fund(address account) internal {
        token.mint(account, MINTED);
        vm.prank(account);
        token.approve(address(vault), type(uint256).max);
    }

    function deposit(address payer, uint256 amount) internal {
        vm.prank(payer);
        vault.deposit(payer, amount);
    }

    function setCap(address payer, ShardId shard, uint128 amount) internal {
        vm.prank(payer);
        vault.setCap(shard, amount);
    }

    /// A payer with a balance of its reserve and `more`.
    function ready(address payer, uint128 cap, uint256 more) internal {
        deposit(payer, uint256(cap) * WINDOW + more);
        setCap(payer, SHARD, cap);
    }

    function allowance(address payer, uint64 first, uint64 last) internal view returns (uint256) {
        return vault.allowance(payer, SHARD, Period.wrap(first), Period.wrap(last));
    }

    function through(address payer) internal view returns (uint64) {
        return Period.unwrap(vault.chargedThrough(payer, SHARD));
    }

    function latestFrom(address payer) internal view returns (uint64) {
        (, Period from,) = vault.latestCapOf(payer, SHARD);
        return Period.unwrap(from);
    }

    function requested(address payer) internal view returns (uint256 amount) {
        (amount,) = vault.withdrawalOf(payer);
    }
}
