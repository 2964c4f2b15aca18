// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Period, ShardId} from "../Types.sol";

/// Payers' money: deposits, what may be taken of them, and what was.
/// Amounts are in units of the stable token, 10⁻⁶ US dollars; times in seconds since 1970.
interface IPayerVault {
    event Deposited(address indexed payer, address indexed from, uint256 amount);
    event SessionKeySet(address indexed payer, bytes32 indexed key, uint64 expires);
    event SessionKeyRemoved(address indexed payer, bytes32 indexed key);
    /// From `from` on no more than `amount` a period may be taken for `shard`.
    event CapSet(address indexed payer, ShardId indexed shard, uint128 amount, Period from);
    /// `amount` is no longer kept for the cap.
    event CapReleased(address indexed payer, ShardId indexed shard, uint256 amount);
    /// From now on the payer's balance is an eighth of what is reserved or more, or is not.
    event CoverChanged(address indexed payer, bool isCovered);
    event WithdrawalRequested(address indexed payer, uint256 amount, uint64 from);
    event WithdrawalCancelled(address indexed payer, uint256 amount);
    event Withdrawn(address indexed payer, address indexed to, uint256 amount);
    /// `amount` went from the payer into the pool of `shard`.
    event Collected(address indexed payer, ShardId indexed shard, uint256 amount, Period through);
    event PaidOut(ShardId indexed shard, address indexed to, uint256 amount);
    /// `settlement` may take the place of the one in force after `from`; zero takes it back.
    event SettlementProposed(address indexed settlement, uint64 from);
    event SettlementSet(address indexed settlement);

    error AmountZero();
    error BalanceTooSmall(uint256 balance, uint256 needed);
    error PoolTooSmall(uint256 pool, uint256 needed);
    error TooManySessionKeys();
    error UnknownSessionKey();
    /// A session key would have expired already.
    error ExpiryPassed(uint64 expires);
    error CapChangePending(Period from);
    /// The money for an earlier cap is kept until reports have reached `until`.
    error CapKept(Period until);
    error NothingToRelease();
    error NothingRequested();
    error TooEarly(uint64 from);
    error NotSettlement(address caller);
    error SettlementAlreadySet();
    error NothingProposed();
    error Stopped();
    /// The token took or gave another amount than it was told to.
    error TokenMisbehaved();

    /// Takes `amount` from the caller for `payer`.
    function deposit(address payer, uint256 amount) external;
    /// The same with the caller's permit (ERC-2612); a permit that somebody else sent in first
    /// does no harm.
    function depositWithPermit(
        address payer,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;
    /// Asks for `amount` of what is not reserved; a second request adds to the first and starts
    /// its time anew. Until it is fetched it can still be taken for what was used.
    function requestWithdrawal(uint256 amount) external;
    /// Puts a request's money back into the balance.
    function cancelWithdrawal() external;
    /// Fetches what was requested. Nothing can stop this.
    function withdraw(address to) external;
    /// Adds an Ed25519 key that may sign for the caller, or gives it another expiry.
    function setSessionKey(bytes32 key, uint64 expires) external;
    function removeSessionKey(bytes32 key) external;
    /// The most that reports may take from the caller per period on `shard`, from a period on
    /// that cannot have begun yet; the event says which. The balance must cover what is reserved.
    function setCap(ShardId shard, uint128 amount) external;
    /// Frees what a larger cap had reserved, once a smaller one has been in force for as many
    /// reported periods as may be charged at once.
    function releaseCap(address payer, ShardId shard) external;

    /// Takes up to `wanted` for what `payer` used on `shard` through period `through`;
    /// the settlement only. Returns what was taken.
    function collect(address payer, ShardId shard, uint256 wanted, Period through)
        external
        returns (uint256 taken);
    /// Pays out of a shard's pool; the settlement that filled it only.
    function pay(ShardId shard, address to, uint256 amount) external;

    /// Names the first settlement; governance only, once.
    function setSettlement(address settlement) external;
    /// Names the next settlement; governance only. Zero takes the proposal back.
    function proposeSettlement(address settlement) external;
    /// Puts the proposed settlement in force once every payer had time to leave; anybody may.
    function acceptSettlement() external;

    /// What a payer has, withdrawals that were requested not counted.
    function balanceOf(address payer) external view returns (uint256);
    /// What of the balance is kept for caps.
    function reservedOf(address payer) external view returns (uint256);
    /// Whether the balance is an eighth of what is reserved or more; nodes take nothing from a
    /// payer that is short of that.
    function isCovered(address payer) external view returns (bool);
    /// What is asked back, and from when it can be fetched.
    function withdrawalOf(address payer) external view returns (uint256 amount, uint64 from);
    /// The keys that may sign for `payer` now, and when they expire.
    function sessionKeysOf(address payer)
        external
        view
        returns (bytes32[] memory keys, uint64[] memory expiries);
    /// The cap in force in `period`.
    function capAt(address payer, ShardId shard, Period period) external view returns (uint128);
    /// The cap that was set last, in force or not, and how many periods are reserved for it.
    function latestCapOf(address payer, ShardId shard)
        external
        view
        returns (uint128 amount, Period from, uint32 window);
    /// The last period for which money was taken or could have been.
    function chargedThrough(address payer, ShardId shard) external view returns (Period);
    /// What caps allowed and the settlement wanted, and could not be taken yet.
    function carriedOf(address payer, ShardId shard) external view returns (uint256);
    /// The most that may be taken from `payer` for `shard` for the periods `first` to `last`.
    function allowance(address payer, ShardId shard, Period first, Period last)
        external
        view
        returns (uint256);
    /// What the calling settlement collected for `shard` and has not paid out.
    function poolOf(address settlement, ShardId shard) external view returns (uint256);
    /// All balances, requested withdrawals and pools.
    function total() external view returns (uint256);
}
