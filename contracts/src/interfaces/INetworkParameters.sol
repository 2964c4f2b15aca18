// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Parameter} from "../generated/ParameterTable.sol";

/// Every governed number, with its unit and bounds.
interface INetworkParameters {
    /// `parameter` is `value` from now on.
    event ParameterSet(Parameter indexed parameter, uint256 value);

    /// `value` is below `min` or above `max`.
    error OutOfBounds(Parameter parameter, uint256 value, uint256 min, uint256 max);

    /// The current value, in the unit of `definition`.
    function value(Parameter parameter) external view returns (uint256);
    /// Sets a value; governance only.
    function set(Parameter parameter, uint256 newValue) external;
    /// What the parameter is called, its unit, and its bounds, both included.
    function definition(Parameter parameter)
        external
        pure
        returns (string memory name, string memory unit, uint256 min, uint256 max);
}
