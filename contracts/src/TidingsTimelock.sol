// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {Parameter} from "./generated/ParameterTable.sol";
import {INetworkParameters} from "./interfaces/INetworkParameters.sol";

/// Has what was voted wait until whoever disagrees has left: longer than bonds and withdrawals
/// take, whatever they are set to, and whatever delay was voted.
contract TidingsTimelock is TimelockController {
    INetworkParameters public immutable parameters;

    /// @param minDelay The least delay in seconds, where the time to leave is shorter.
    /// @param admin Wires the roles, and renounces.
    constructor(
        INetworkParameters parameters_,
        uint256 minDelay,
        address[] memory proposers,
        address[] memory executors,
        address admin
    ) TimelockController(minDelay, proposers, executors, admin) {
        parameters = parameters_;
    }

    /// @inheritdoc TimelockController
    function getMinDelay() public view override returns (uint256) {
        // SET-022.
        uint256 leaving = Math.max(
            parameters.value(Parameter.UnbondingSeconds),
            parameters.value(Parameter.WithdrawalSeconds)
        );
        return Math.max(super.getMinDelay(), leaving + 1);
    }
}
