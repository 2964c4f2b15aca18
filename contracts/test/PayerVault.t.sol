// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {Period} from "../src/Types.sol";
import {Parameter} from "../src/generated/ParameterTable.sol";
import {IPayerVault} from "../src/interfaces/IPayerVault.sol";
import {SettlementStandIn} from "./money/SettlementStandIn.sol";
import {VaultTest} from "./money/VaultTest.sol";

/// Deposits, withdrawals, session keys, who may collect, and tokens that turn.
contract PayerVaultTest is VaultTest {
    bytes32 private constant PERMIT_TYPE = keccak256(
        "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
    );

    // Deposits.

    function test_anyone_deposits_for_anyone() public {
        // covers: SET-008
        vm.prank(bob);
        vault.deposit(alice, 5);
        equal(vault.balanceOf(alice), 5);
        equal(vault.balanceOf(bob), 0);
        equal(vault.total(), 5);
        equal(token.balanceOf(address(vault)), 5);
    }

    function test_nothing_is_no_deposit() public {
        vm.expectRevert(IPayerVault.AmountZero.selector);
        vault.deposit(alice, 0);
    }

    function test_a_stopped_vault_takes_no_deposits() public {
        guardian.pause(address(vault));
        vm.prank(alice);
        vm.expectRevert(IPayerVault.Stopped.selector);
        vault.deposit(alice, 5);
    }

    function test_a_token_that_keeps_a_fee_is_refused() public {
        token.setFee(1);
        vm.prank(alice);
        vm.expectRevert(IPayerVault.TokenMisbehaved.selector);
        vault.deposit(alice, 5);
    }

    function test_a_token_that_refuses_quietly_is_refused() public {
        token.setRefuses(true);
        vm.prank(alice);
        vm.expectRevert(
            abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(token))
        );
        vault.deposit(alice, 5);
    }

    function test_a_permit_deposits() public {
        vm.prank(alice);
        token.approve(address(vault), 0);
        (uint8 v, bytes32 r, bytes32 s) = permit(7);
        vm.prank(alice);
        vault.depositWithPermit(alice, 7, START, v, r, s);
        equal(vault.balanceOf(alice), 7);
    }

    function test_a_permit_that_was_front_run_deposits_all_the_same() public {
        vm.prank(alice);
        token.approve(address(vault), 0);
        (uint8 v, bytes32 r, bytes32 s) = permit(7);
        vm.prank(bob);
        token.permit(alice, address(vault), 7, START, v, r, s);
        vm.prank(alice);
        vault.depositWithPermit(alice, 7, START, v, r, s);
        equal(vault.balanceOf(alice), 7);
    }

    function test_a_permit_is_good_once() public {
        vm.prank(alice);
        token.approve(address(vault), 0);
        (uint8 v, bytes32 r, bytes32 s) = permit(7);
        vm.startPrank(alice);
        vault.depositWithPermit(alice, 7, START, v, r, s);
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientAllowance.selector, address(vault), 0, 7
            )
        );
        vault.depositWithPermit(alice, 7, START, v, r, s);
    }

    function test_another_cannot_use_a_permit() public {
        vm.prank(alice);
        token.approve(address(vault), 0);
        vm.prank(bob);
        token.approve(address(vault), 0);
        (uint8 v, bytes32 r, bytes32 s) = permit(7);
        vm.prank(bob);
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientAllowance.selector, address(vault), 0, 7
            )
        );
        vault.depositWithPermit(bob, 7, START, v, r, s);
    }

    // Withdrawals.

    function test_a_withdrawal_waits() public {
        // covers: SET-011
        deposit(alice, 10);
        vm.startPrank(alice);
        vault.requestWithdrawal(4);
        equal(vault.balanceOf(alice), 6);
        equal(requested(alice), 4);

        vm.warp(START + WAIT - 1);
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.TooEarly.selector, START + WAIT));
        vault.withdraw(alice);

        vm.warp(START + WAIT);
        vault.withdraw(bob);
        equal(token.balanceOf(bob), MINTED + 4);
        equal(vault.total(), 6);
        vm.expectRevert(IPayerVault.NothingRequested.selector);
        vault.withdraw(bob);
    }

    function test_a_second_request_adds_and_waits_anew() public {
        deposit(alice, 10);
        vm.startPrank(alice);
        vault.requestWithdrawal(4);
        vm.warp(START + WAIT);
        vault.requestWithdrawal(3);
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.TooEarly.selector, START + 2 * WAIT));
        vault.withdraw(alice);
        vm.warp(START + 2 * WAIT);
        vault.withdraw(alice);
        equal(token.balanceOf(alice), MINTED - 3);
    }

    function test_what_is_reserved_cannot_be_asked_back() public {
        ready(alice, 2, 5);
        vm.startPrank(alice);
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.BalanceTooSmall.selector, 5, 6));
        vault.requestWithdrawal(6);
        vm.expectRevert(IPayerVault.AmountZero.selector);
        vault.requestWithdrawal(0);
        vault.requestWithdrawal(5);
    }

    function test_a_request_can_be_cancelled() public {
        deposit(alice, 10);
        vm.startPrank(alice);
        vm.expectRevert(IPayerVault.NothingRequested.selector);
        vault.cancelWithdrawal();
        vault.requestWithdrawal(4);
        vault.cancelWithdrawal();
        equal(vault.balanceOf(alice), 10);
        equal(requested(alice), 0);
    }

    function test_withdrawals_cannot_be_stopped() public {
        // covers: SET-011
        deposit(alice, 10);
        guardian.pause(address(vault));
        vm.startPrank(alice);
        vault.requestWithdrawal(10);
        vm.warp(START + WAIT);
        vault.withdraw(alice);
        equal(token.balanceOf(alice), MINTED);
    }

    function test_a_withdrawal_into_the_vault_fails() public {
        deposit(alice, 10);
        vm.startPrank(alice);
        vault.requestWithdrawal(10);
        vm.warp(START + WAIT);
        vm.expectRevert(IPayerVault.TokenMisbehaved.selector);
        vault.withdraw(address(vault));
    }

    function test_a_refused_withdrawal_can_be_tried_again() public {
        deposit(alice, 10);
        vm.startPrank(alice);
        vault.requestWithdrawal(10);
        vm.warp(START + WAIT);
        token.setRefuses(true);
        vm.expectRevert(
            abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(token))
        );
        vault.withdraw(alice);
        token.setRefuses(false);
        vault.withdraw(alice);
        equal(token.balanceOf(alice), MINTED);
    }

    // A token that calls back.

    function test_nothing_can_be_called_during_a_transfer() public {
        deposit(alice, 100);
        reenter(address(vault), abi.encodeCall(vault.deposit, (bob, 1)));
        reenter(address(vault), abi.encodeCall(vault.withdraw, (bob)));
        reenter(address(vault), abi.encodeCall(vault.pay, (SHARD, bob, 1)));
        reenter(
            address(settlement), abi.encodeCall(settlement.collect, (alice, SHARD, 1, uint64(9)))
        );
    }

    // Session keys.

    function test_session_keys_are_listed_until_they_expire() public {
        vm.startPrank(alice);
        vault.setSessionKey("one", START + 10);
        vault.setSessionKey("two", START + 20);
        vault.setSessionKey("one", START + 30);
        (bytes32[] memory keys, uint64[] memory expiries) = vault.sessionKeysOf(alice);
        equal(keys.length, 2);
        equal(keys[0], "one");
        equal(expiries[0], START + 30);
        equal(keys[1], "two");
        equal(expiries[1], START + 20);

        vm.warp(START + 20);
        (keys,) = vault.sessionKeysOf(alice);
        equal(keys.length, 1);
        equal(keys[0], "one");
        (keys,) = vault.sessionKeysOf(bob);
        equal(keys.length, 0);
    }

    function test_a_session_key_can_be_removed() public {
        vm.startPrank(alice);
        vault.setSessionKey("one", START + 10);
        vault.setSessionKey("two", START + 10);
        vault.removeSessionKey("one");
        (bytes32[] memory keys,) = vault.sessionKeysOf(alice);
        equal(keys.length, 1);
        equal(keys[0], "two");
        vm.expectRevert(IPayerVault.UnknownSessionKey.selector);
        vault.removeSessionKey("one");
    }

    function test_a_payer_has_at_most_sixteen_live_keys() public {
        vm.startPrank(alice);
        for (uint64 i = 1; i <= 16; ++i) {
            vault.setSessionKey(bytes32(uint256(i)), START + i);
        }
        vm.expectRevert(IPayerVault.TooManySessionKeys.selector);
        vault.setSessionKey(bytes32(uint256(17)), START + 100);
        // One that is there can still be changed.
        vault.setSessionKey(bytes32(uint256(16)), START + 200);

        vm.warp(START + 1);
        vault.setSessionKey(bytes32(uint256(17)), START + 100);
        (bytes32[] memory keys,) = vault.sessionKeysOf(alice);
        equal(keys.length, 16);
        equal(keys[0], bytes32(uint256(17)));
    }

    function test_a_key_that_has_expired_is_not_set() public {
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.ExpiryPassed.selector, START));
        vault.setSessionKey("one", START);
    }

    // Who may collect, and pay.

    function test_only_the_settlement_collects() public {
        // covers: SET-008
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.NotSettlement.selector, address(this)));
        vault.collect(alice, SHARD, 1, Period.wrap(1));
    }

    function test_a_stopped_vault_collects_nothing() public {
        guardian.pause(address(vault));
        vm.expectRevert(IPayerVault.Stopped.selector);
        settlement.collect(alice, SHARD, 1, 1);
    }

    function test_a_pool_pays_only_what_was_collected_for_its_shard() public {
        ready(alice, 10, 0);
        settlement.collect(alice, SHARD, 30, 10);
        equal(vault.poolOf(address(settlement), SHARD), 30);
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.PoolTooSmall.selector, 30, 31));
        settlement.pay(SHARD, bob, 31);
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.PoolTooSmall.selector, 0, 1));
        settlement.pay(OTHER_SHARD, bob, 1);
        vm.expectRevert(IPayerVault.AmountZero.selector);
        settlement.pay(SHARD, bob, 0);
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.PoolTooSmall.selector, 0, 1));
        vault.pay(SHARD, bob, 1);
        settlement.pay(SHARD, bob, 30);
        equal(token.balanceOf(bob), MINTED + 30);
        equal(vault.poolOf(address(settlement), SHARD), 0);
        equal(vault.total(), 70);
    }

    // Replacing the settlement.

    function test_the_first_settlement_is_set_once_by_governance() public {
        deployVault();
        vm.prank(bob);
        vm.expectRevert(
            abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, bob)
        );
        vault.setSettlement(bob);
        vault.setSettlement(address(settlement));
        vm.expectRevert(IPayerVault.SettlementAlreadySet.selector);
        vault.setSettlement(address(settlement));
    }

    function test_no_cap_is_set_without_a_settlement() public {
        deployVault();
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.NotSettlement.selector, address(0)));
        vault.setCap(SHARD, 0);
    }

    function test_a_new_settlement_comes_after_the_notice() public {
        vm.prank(bob);
        vm.expectRevert(
            abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, bob)
        );
        vault.proposeSettlement(bob);
        vm.expectRevert(IPayerVault.NothingProposed.selector);
        vault.acceptSettlement();

        SettlementStandIn next = new SettlementStandIn(vault);
        vault.proposeSettlement(address(next));
        uint256 from = START + WAIT + 7 days;
        vm.warp(from);
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.TooEarly.selector, from + 1));
        vault.acceptSettlement();
        vm.warp(from + 1);
        vm.prank(bob);
        vault.acceptSettlement();
        equal(address(vault.settlement()), address(next));
        vm.expectRevert(IPayerVault.NothingProposed.selector);
        vault.acceptSettlement();
    }

    function test_a_proposal_can_be_taken_back() public {
        vault.proposeSettlement(bob);
        vault.proposeSettlement(address(0));
        vm.warp(START + 365 days);
        vm.expectRevert(IPayerVault.NothingProposed.selector);
        vault.acceptSettlement();
    }

    function test_another_proposal_starts_the_notice_anew() public {
        vault.proposeSettlement(alice);
        uint256 from = START + WAIT + 7 days;
        vm.warp(from);
        vault.proposeSettlement(bob);
        vm.warp(from + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IPayerVault.TooEarly.selector, from + WAIT + 7 days + 1)
        );
        vault.acceptSettlement();
    }

    /// Even where governance makes withdrawals slower meanwhile.
    function test_who_asks_within_the_notice_is_out_before_the_new_settlement() public {
        deposit(alice, 10);
        vault.proposeSettlement(bob);
        parameters.set(Parameter.WithdrawalSeconds, 30 days);
        vm.warp(START + 7 days);
        vm.startPrank(alice);
        vault.requestWithdrawal(10);
        vm.warp(START + 7 days + WAIT);
        vm.expectRevert(
            abi.encodeWithSelector(IPayerVault.TooEarly.selector, START + 7 days + WAIT + 1)
        );
        vault.acceptSettlement();
        vault.withdraw(alice);
        equal(token.balanceOf(alice), MINTED);
    }

    function test_a_replaced_settlement_pays_out_of_its_own_pool_and_collects_no_more() public {
        ready(alice, 10, 0);
        settlement.collect(alice, SHARD, 30, 10);
        SettlementStandIn next = new SettlementStandIn(vault);
        vault.proposeSettlement(address(next));
        vm.warp(START + WAIT + 7 days + 1);
        vault.acceptSettlement();

        vm.expectRevert(
            abi.encodeWithSelector(IPayerVault.NotSettlement.selector, address(settlement))
        );
        settlement.collect(alice, SHARD, 1, 20);
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.PoolTooSmall.selector, 0, 1));
        next.pay(SHARD, bob, 1);
        // What was charged stays charged.
        equal(next.collect(alice, SHARD, 100, 10), 0);
        equal(next.collect(alice, SHARD, 20, 20), 20);
        vm.expectRevert(abi.encodeWithSelector(IPayerVault.PoolTooSmall.selector, 30, 31));
        settlement.pay(SHARD, bob, 31);
        settlement.pay(SHARD, bob, 30);
        equal(vault.poolOf(address(next), SHARD), 20);
    }

    function permit(uint256 amount) private view returns (uint8 v, bytes32 r, bytes32 s) {
        bytes32 structHash = keccak256(
            abi.encode(
                PERMIT_TYPE, alice, address(vault), amount, token.nonces(alice), uint256(START)
            )
        );
        return vm.sign(
            ALICE_KEY, keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), structHash))
        );
    }

    /// Alice deposits while the token makes a call of its own.
    function reenter(address callee, bytes memory message) private {
        token.callBack(callee, message);
        vm.prank(alice);
        vault.deposit(alice, 1);
        check(!token.callWorked(), "the call went through");
        equal(
            bytes32(token.answer()),
            bytes32(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)
        );
    }
}
