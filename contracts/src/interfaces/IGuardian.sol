// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// Who can stop a contract for a while, and can do nothing else.
interface IGuardian {
    /// `target` is stopped until `until`, in seconds since 1970.
    event Paused(address indexed target, uint64 until);

    /// The caller is not the keeper, or the keeper's term is over.
    error NotTheKeeper();
    /// `target` was paused so lately that it may not be paused again before `from`.
    error PausedLately(address target, uint64 from);

    /// Stops `target` for the longest time that is allowed; it ends by itself.
    function pause(address target) external;
    /// Whether `target` is stopped now.
    function isPaused(address target) external view returns (bool);
}
