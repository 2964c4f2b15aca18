// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Guardian} from "../src/Guardian.sol";
import {IGuardian} from "../src/interfaces/IGuardian.sol";
import {Test} from "./Test.sol";

contract GuardianTest is Test {
    uint64 private constant START = 1_750_000_000;
    uint64 private constant TERM_END = START + 100 days;
    address private constant KEEPER = address(11);
    address private constant TARGET = address(12);

    Guardian private _guardian;

    function setUp() external {
        vm.warp(START);
        _guardian = new Guardian(KEEPER, TERM_END);
    }

    function test_a_pause_ends_by_itself_after_seven_days() external {
        // covers: SET-022
        check(!_guardian.isPaused(TARGET), "never paused");
        vm.expectEmit(true, true, true, true);
        emit IGuardian.Paused(TARGET, START + 7 days);
        _pause();
        check(_guardian.isPaused(TARGET), "paused");
        check(!_guardian.isPaused(address(13)), "no other is");
        vm.warp(START + 7 days - 1);
        check(_guardian.isPaused(TARGET), "to the last second");
        vm.warp(START + 7 days);
        check(!_guardian.isPaused(TARGET), "over");
    }

    function test_a_target_is_not_paused_again_within_thirty_days() external {
        _pause();
        uint64 from = START + 30 days;
        uint64[3] memory early = [START, START + 7 days, from - 1];
        for (uint256 i = 0; i < early.length; ++i) {
            vm.warp(early[i]);
            vm.expectRevert(abi.encodeWithSelector(IGuardian.PausedLately.selector, TARGET, from));
            _pause();
        }
        vm.prank(KEEPER);
        _guardian.pause(address(13));
        vm.warp(from);
        _pause();
        check(_guardian.isPaused(TARGET), "paused again");
    }

    function test_nobody_else_pauses() external {
        vm.expectRevert(IGuardian.NotTheKeeper.selector);
        _guardian.pause(TARGET);
    }

    function test_with_the_term_ends_every_power_and_every_pause() external {
        vm.warp(TERM_END - 1);
        vm.expectEmit(true, true, true, true);
        emit IGuardian.Paused(TARGET, TERM_END);
        _pause();
        check(_guardian.isPaused(TARGET), "paused");
        vm.warp(TERM_END);
        check(!_guardian.isPaused(TARGET), "the pause ends with the term");
        vm.expectRevert(IGuardian.NotTheKeeper.selector);
        vm.prank(KEEPER);
        _guardian.pause(address(13));
    }

    function _pause() private {
        vm.prank(KEEPER);
        _guardian.pause(TARGET);
    }
}
