// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IGuardian} from "./interfaces/IGuardian.sol";

/// Stops a contract for a while, and can do nothing else. It holds no funds and no role: a contract
/// that can be stopped asks its guardian, and governance gives it another guardian or none.
contract Guardian is IGuardian {
    /// How long a pause lasts, in seconds.
    uint64 public constant PAUSE_SECONDS = 7 days;
    /// How long after a pause began the next of the same target may begin, in seconds: a keeper
    /// can hold a contract for less than a quarter of the time.
    uint64 public constant PAUSE_INTERVAL_SECONDS = 30 days;

    /// Who may pause.
    address public immutable keeper;
    /// When the keeper's power ends, and with it every pause, in seconds since 1970.
    uint64 public immutable termEnd;

    mapping(address target => uint64) private _pausedAt;

    /// @param keeper_ Who may pause.
    /// @param termEnd_ When that ends, in seconds since 1970.
    constructor(address keeper_, uint64 termEnd_) {
        // With zero nobody can pause, which governance may want.
        // slither-disable-next-line missing-zero-check
        keeper = keeper_;
        termEnd = termEnd_;
    }

    /// @inheritdoc IGuardian
    function pause(address target) external {
        // SET-022.
        // Terms and pauses last days; a validator moves the time by seconds.
        // forge-lint: disable-next-line(block-timestamp)
        require(msg.sender == keeper && block.timestamp < termEnd, NotTheKeeper());
        uint64 before = _pausedAt[target];
        if (before != 0) {
            uint64 from = before + PAUSE_INTERVAL_SECONDS;
            // forge-lint: disable-next-line(block-timestamp)
            require(block.timestamp >= from, PausedLately(target, from));
        }
        _pausedAt[target] = uint64(block.timestamp);
        emit Paused(target, _pauseEnd(target));
    }

    /// @inheritdoc IGuardian
    function isPaused(address target) external view returns (bool) {
        // forge-lint: disable-next-line(block-timestamp)
        return _pausedAt[target] != 0 && block.timestamp < _pauseEnd(target);
    }

    function _pauseEnd(address target) private view returns (uint64) {
        uint64 end = _pausedAt[target] + PAUSE_SECONDS;
        return end < termEnd ? end : termEnd;
    }
}
