// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {Parameter} from "./generated/ParameterTable.sol";
import {INetworkParameters} from "./interfaces/INetworkParameters.sol";

/// Whatever the delay and the times to leave are set to, what was voted waits as much longer than
/// bonds and deposits take to leave as it did at deployment: in that time whoever disagrees sees it,
/// and a member gives up its seat.
contract TidingsTimelock is TimelockController {
    /// No vote can have others wait for ever.
    uint256 public constant DELAY_SECONDS_MAX = 365 days;

    INetworkParameters public immutable parameters;
    /// How many seconds more than leaving takes a decision waits.
    uint256 public immutable marginSeconds;

    /// Leaving would take as long as the delay, or longer.
    error DelayTooShort(uint256 minDelay, uint256 leaving);

    /// @param minDelay The delay at first, in seconds.
    /// @param admin Wires the roles, and renounces.
    constructor(
        INetworkParameters parameters_,
        uint256 minDelay,
        address[] memory proposers,
        address[] memory executors,
        address admin
    ) TimelockController(minDelay, proposers, executors, admin) {
        parameters = parameters_;
        uint256 leaving = _leavingSeconds(parameters_);
        require(minDelay > leaving, DelayTooShort(minDelay, leaving));
        marginSeconds = minDelay - leaving;
    }

    /// @inheritdoc TimelockController
    function getMinDelay() public view override returns (uint256) {
        // SET-022.
        uint256 voted = Math.min(super.getMinDelay(), DELAY_SECONDS_MAX);
        return Math.max(voted, _leavingSeconds(parameters) + marginSeconds);
    }

    function _leavingSeconds(INetworkParameters from) private view returns (uint256) {
        return
            Math.max(
                from.value(Parameter.UnbondingSeconds), from.value(Parameter.WithdrawalSeconds)
            );
    }
}
