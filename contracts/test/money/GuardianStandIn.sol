// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IGuardian} from "../../src/interfaces/IGuardian.sol";

/// A guardian whose pauses do not end.
contract GuardianStandIn is IGuardian {
    mapping(address target => bool) public isPaused;

    function pause(address target) external {
        isPaused[target] = true;
    }

    function resume(address target) external {
        isPaused[target] = false;
    }
}
