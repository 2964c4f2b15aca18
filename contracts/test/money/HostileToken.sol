// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

import {StableToken} from "./StableToken.sol";

/// A token that turned: it keeps a fee, refuses quietly, or calls somebody on transfers.
contract HostileToken is StableToken {
    uint256 public fee;
    bool public refuses;
    address public callee;
    bytes public message;
    /// What the callee answered.
    bool public callWorked;
    bytes public answer;

    function setFee(uint256 fee_) external {
        fee = fee_;
    }

    function setRefuses(bool refuses_) external {
        refuses = refuses_;
    }

    function callBack(address callee_, bytes calldata message_) external {
        callee = callee_;
        message = message_;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        return _before() && super.transfer(to, amount) && _after(to);
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        return _before() && super.transferFrom(from, to, amount) && _after(to);
    }

    function _before() private returns (bool) {
        if (callee != address(0)) {
            (callWorked, answer) = callee.call(message);
        }
        return !refuses;
    }

    function _after(address to) private returns (bool) {
        if (fee > 0) {
            _burn(to, fee);
        }
        return true;
    }
}
