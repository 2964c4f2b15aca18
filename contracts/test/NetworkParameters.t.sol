// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";

import {NetworkParameters} from "../src/NetworkParameters.sol";
import {Definition, Parameter, ParameterTable} from "../src/generated/ParameterTable.sol";
import {INetworkParameters} from "../src/interfaces/INetworkParameters.sol";
import {Deployment} from "./Deployment.sol";

contract NetworkParametersTest is Deployment {
    function test_every_parameter_begins_with_its_first_value() external view {
        for (uint256 i = 0; i < ParameterTable.COUNT; ++i) {
            Parameter parameter = Parameter(i);
            Definition memory expected = ParameterTable.definition(parameter);
            equal(network.parameters.value(parameter), expected.initial);
            (string memory name, string memory unit, uint256 min, uint256 max) =
                network.parameters.definition(parameter);
            equal(keccak256(bytes(name)), keccak256(bytes(expected.name)));
            equal(keccak256(bytes(unit)), keccak256(bytes(expected.unit)));
            equal(min, expected.min);
            equal(max, expected.max);
            check(min <= expected.initial && expected.initial <= max, "first value in bounds");
        }
    }

    function test_a_test_network_begins_with_other_values_within_bounds() external {
        NetworkParameters parameters = _with(Parameter.PeriodMs, 10_000);
        equal(parameters.value(Parameter.PeriodMs), 10_000);
        equal(parameters.value(Parameter.BondMin), 100_000);
        vm.expectRevert(_outOfBounds(Parameter.PeriodMs, 999));
        _with(Parameter.PeriodMs, 999);
    }

    function test_lists_of_other_values_must_match() external {
        vm.expectRevert(abi.encodeWithSelector(NetworkParameters.LengthsDiffer.selector, 1, 0));
        new NetworkParameters(address(network.access), new Parameter[](1), new uint256[](0));
    }

    function test_fuzz_governance_sets_any_value_within_bounds_and_no_other(
        uint256 which,
        uint256 value
    ) external {
        Parameter parameter = Parameter(bound(which, 0, ParameterTable.COUNT - 1));
        Definition memory found = ParameterTable.definition(parameter);
        // Half of the values are near the bounds.
        if (which % 2 == 0) value = bound(value, 0, found.max + 1);
        bool within = value >= found.min && value <= found.max;
        if (!within) vm.expectRevert(_outOfBounds(parameter, value));
        vm.prank(address(network.timelock));
        network.parameters.set(parameter, value);
        equal(network.parameters.value(parameter), within ? value : found.initial);
    }

    function test_nobody_but_the_timelock_sets() external {
        address[4] memory others = [address(this), council, keeper, holder];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.expectRevert(
                abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, others[i])
            );
            vm.prank(others[i]);
            network.parameters.set(Parameter.FeeBase, 1);
        }
    }

    function test_a_vote_sets_a_value_but_not_one_out_of_bounds() external {
        _govern(
            address(network.parameters),
            abi.encodeCall(INetworkParameters.set, (Parameter.FeeBase, 7))
        );
        equal(network.parameters.value(Parameter.FeeBase), 7);
        (address[] memory targets, uint256[] memory values, bytes[] memory calls) = _single(
            address(network.parameters),
            abi.encodeCall(INetworkParameters.set, (Parameter.OrderedPermille, 999))
        );
        bytes32 description = _vote(targets, values, calls);
        network.governor.queue(targets, values, calls, description);
        _pass(TIMELOCK_SECONDS);
        vm.expectRevert(_outOfBounds(Parameter.OrderedPermille, 999));
        network.governor.execute(targets, values, calls, description);
    }

    function _with(Parameter parameter, uint256 value) private returns (NetworkParameters) {
        Parameter[] memory overridden = new Parameter[](1);
        uint256[] memory values = new uint256[](1);
        (overridden[0], values[0]) = (parameter, value);
        return new NetworkParameters(address(network.access), overridden, values);
    }

    function _outOfBounds(Parameter parameter, uint256 value) private pure returns (bytes memory) {
        Definition memory found = ParameterTable.definition(parameter);
        return abi.encodeWithSelector(
            INetworkParameters.OutOfBounds.selector, parameter, value, found.min, found.max
        );
    }
}
