// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Period, ShardId} from "../Types.sol";

/// Payers' money: deposits, what may be taken of them, and what was.
/// Amounts are in units of the stable token, 10⁻⁶ US dollars.
interface IPayerVault {
    event Deposited(address indexed payer, address indexed from, uint256 amount);
    event SessionKeySet(address indexed payer, bytes32 indexed key, uint64 expires);
    event SessionKeyRemoved(address indexed payer, bytes32 indexed key);
    /// From `from` on no more than `amount` a period may be taken for `shard`.
    event CapSet(address indexed payer, ShardId indexed shard, uint128 amount, Period from);
    event WithdrawalRequested(address indexed payer, uint256 amount, uint64 from);
    event Withdrawn(address indexed payer, address indexed to, uint256 amount);
    /// `amount` went from the payer into the pool of `shard`.
    event Collected(address indexed payer, ShardId indexed shard, uint256 amount, Period through);
    event PaidOut(ShardId indexed shard, address indexed to, uint256 amount);

    error AmountZero();
    error BalanceTooSmall(uint256 balance, uint256 needed);
    error PoolTooSmall(uint256 pool, uint256 needed);
    error TooManySessionKeys();
    error UnknownSessionKey();
    error CapChangePending(Period from);
    error NothingRequested();
    error TooEarly(uint64 from);
    error NotSettlement(address caller);
    error Stopped();
    /// The token took or gave another amount than it was told to.
    error TokenMisbehaved();

    /// What a payer has, withdrawals that were requested not counted.
    function balanceOf(address payer) external view returns (uint256);
    /// What of the balance is kept for caps.
    function reservedOf(address payer) external view returns (uint256);
    /// The most that may be taken from `payer` for `shard` for the periods `first` to `last`.
    function allowance(address payer, ShardId shard, Period first, Period last)
        external
        view
        returns (uint256);
    /// Takes up to `wanted` for what `payer` used on `shard` through period `through`;
    /// the settlement only. Returns what was taken.
    function collect(address payer, ShardId shard, uint256 wanted, Period through)
        external
        returns (uint256 taken);
    /// Pays out of a shard's pool; the settlement that filled it only.
    function pay(ShardId shard, address to, uint256 amount) external;
    /// What the calling settlement collected for `shard` and has not paid out.
    function poolOf(address settlement, ShardId shard) external view returns (uint256);
}
