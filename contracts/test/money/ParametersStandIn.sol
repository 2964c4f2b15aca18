// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Definition, Parameter, ParameterTable} from "../../src/generated/ParameterTable.sol";
import {INetworkParameters} from "../../src/interfaces/INetworkParameters.sol";

/// Parameters that anybody may set.
contract ParametersStandIn is INetworkParameters {
    mapping(Parameter parameter => uint256) private _values;

    constructor() {
        for (uint256 i = 0; i < ParameterTable.COUNT; ++i) {
            Parameter parameter = Parameter(i);
            _values[parameter] = ParameterTable.definition(parameter).initial;
        }
    }

    function set(Parameter parameter, uint256 value_) external {
        _values[parameter] = value_;
        emit ParameterSet(parameter, value_);
    }

    function value(Parameter parameter) external view returns (uint256) {
        return _values[parameter];
    }

    function definition(Parameter parameter)
        external
        pure
        returns (string memory name, string memory unit, uint256 min, uint256 max)
    {
        Definition memory found = ParameterTable.definition(parameter);
        return (found.name, found.unit, found.min, found.max);
    }
}
