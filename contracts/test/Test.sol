// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "./Vm.sol";

/// What every test contract needs: the cheat codes, and assertions that say what differs.
abstract contract Test {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    address[] private _targetedContracts;
    FuzzSelector[] private _targetedSelectors;

    error NotEqual(uint256 actual, uint256 expected);
    error NotEqualBytes32(bytes32 actual, bytes32 expected);
    error Unexpected(string what);

    /// What forge's invariant runs call.
    function targetContracts() external view returns (address[] memory) {
        return _targetedContracts;
    }

    /// Which functions of it.
    function targetSelectors() external view returns (FuzzSelector[] memory) {
        return _targetedSelectors;
    }

    function target(address contract_) internal {
        _targetedContracts.push(contract_);
    }

    function target(address contract_, bytes4[] memory selectors) internal {
        _targetedContracts.push(contract_);
        _targetedSelectors.push(FuzzSelector({addr: contract_, selectors: selectors}));
    }

    function equal(uint256 actual, uint256 expected) internal pure {
        require(actual == expected, NotEqual(actual, expected));
    }

    function equal(address actual, address expected) internal pure {
        require(actual == expected, NotEqual(uint160(actual), uint160(expected)));
    }

    function equal(bytes32 actual, bytes32 expected) internal pure {
        require(actual == expected, NotEqualBytes32(actual, expected));
    }

    function check(bool holds, string memory what) internal pure {
        require(holds, Unexpected(what));
    }

    /// `value` brought between `min` and `max`, both included.
    function bound(uint256 value, uint256 min, uint256 max) internal pure returns (uint256) {
        uint256 width = max - min;
        return width == type(uint256).max ? value : min + value % (width + 1);
    }
}
