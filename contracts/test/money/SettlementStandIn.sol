// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Period, ShardId} from "../../src/Types.sol";
import {IPayerVault} from "../../src/interfaces/IPayerVault.sol";

/// A settlement that says and does what tests tell it to: at worst, one that turned.
contract SettlementStandIn {
    IPayerVault public immutable vault;

    mapping(ShardId shard => Period) public lastPeriod;
    mapping(ShardId shard => uint64) public lastAcceptedAt;

    constructor(IPayerVault vault_) {
        vault = vault_;
    }

    /// Periods through `last` are settled as of now.
    function settle(ShardId shard, uint64 last) external {
        lastPeriod[shard] = Period.wrap(last);
        lastAcceptedAt[shard] = uint64(block.timestamp);
    }

    function collect(address payer, ShardId shard, uint256 wanted, uint64 through)
        external
        returns (uint256)
    {
        return vault.collect(payer, shard, wanted, Period.wrap(through));
    }

    function pay(ShardId shard, address to, uint256 amount) external {
        vault.pay(shard, to, amount);
    }
}
