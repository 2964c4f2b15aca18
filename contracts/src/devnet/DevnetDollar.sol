// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// Stands for a stable token on a chain that has none: six decimals, permits, and anybody can make
/// as much of it as they like. For development networks only.
contract DevnetDollar is ERC20, ERC20Permit {
    constructor() ERC20("Devnet dollar", "DUSD") ERC20Permit("Devnet dollar") {}

    /// Makes `amount` for `to`.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// Units of a dollar are 10⁻⁶.
    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
