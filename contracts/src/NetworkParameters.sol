// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";

import {Definition, Parameter, ParameterTable} from "./generated/ParameterTable.sol";
import {INetworkParameters} from "./interfaces/INetworkParameters.sol";

/// Every governed number. Bounds are code, so that no vote can leave them.
contract NetworkParameters is INetworkParameters, AccessManaged {
    mapping(Parameter parameter => uint256) private _values;

    /// The lists of parameters and of their values differ in length.
    error LengthsDiffer(uint256 overridden, uint256 values);

    /// @param authority Who says who may set values.
    /// @param overridden Parameters that do not begin with the table's first value, as in networks
    /// for tests.
    /// @param values What they begin with, within the same bounds.
    constructor(address authority, Parameter[] memory overridden, uint256[] memory values)
        AccessManaged(authority)
    {
        require(overridden.length == values.length, LengthsDiffer(overridden.length, values.length));
        for (uint256 i = 0; i < ParameterTable.COUNT; ++i) {
            Parameter parameter = Parameter(i);
            _values[parameter] = ParameterTable.definition(parameter).initial;
        }
        for (uint256 i = 0; i < overridden.length; ++i) {
            _set(overridden[i], values[i]);
        }
    }

    /// @inheritdoc INetworkParameters
    function set(Parameter parameter, uint256 newValue) external restricted {
        _set(parameter, newValue);
    }

    /// @inheritdoc INetworkParameters
    function value(Parameter parameter) external view returns (uint256) {
        return _values[parameter];
    }

    /// @inheritdoc INetworkParameters
    function definition(Parameter parameter)
        external
        pure
        returns (string memory name, string memory unit, uint256 min, uint256 max)
    {
        Definition memory found = ParameterTable.definition(parameter);
        return (found.name, found.unit, found.min, found.max);
    }

    function _set(Parameter parameter, uint256 newValue) private {
        Definition memory found = ParameterTable.definition(parameter);
        require(
            newValue >= found.min && newValue <= found.max,
            OutOfBounds(parameter, newValue, found.min, found.max)
        );
        _values[parameter] = newValue;
        emit ParameterSet(parameter, newValue);
    }
}
