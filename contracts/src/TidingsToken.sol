// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC20Votes} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Votes.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";

/// The token of governance and of nodes' bonds. Its supply is minted once and never changes.
contract TidingsToken is ERC20, ERC20Permit, ERC20Votes {
    /// All tokens there ever are, in units of 10⁻¹⁸ tokens.
    uint256 public constant SUPPLY = 1_000_000_000 * 1e18;

    /// @param recipient Who holds the whole supply at first.
    constructor(address recipient) ERC20("Tidings", "TIDE") ERC20Permit("Tidings") {
        _mint(recipient, SUPPLY);
    }

    /// Now, in seconds since 1970: votes are counted by time, which means the same on any chain.
    function clock() public view override returns (uint48) {
        return uint48(block.timestamp);
    }

    /// What `clock` counts (ERC-6372).
    // The standard spells it so.
    // forge-lint: disable-next-item(mixed-case-function)
    // slither-disable-next-line naming-convention
    function CLOCK_MODE() public pure override returns (string memory) {
        return "mode=timestamp";
    }

    /// The next nonce of a holder's permits and delegations.
    function nonces(address holder) public view override(ERC20Permit, Nonces) returns (uint256) {
        return super.nonces(holder);
    }

    function _update(address from, address to, uint256 amount)
        internal
        override(ERC20, ERC20Votes)
    {
        super._update(from, to, amount);
    }
}
