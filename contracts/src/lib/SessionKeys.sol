// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// The Ed25519 keys that may sign batches for a payer, each until it expires.
library SessionKeys {
    struct Key {
        bytes32 key;
        /// In seconds since 1970.
        uint64 expires;
    }

    /// The most keys of a payer; nodes hold all of them for every payer.
    uint256 internal constant COUNT_MAX = 16;

    /// Adds `key` or gives it another expiry. Where all places are taken an expired key makes
    /// room: `dropped` is that key, or zero. `done` is false where there is no room.
    function set(Key[] storage keys, bytes32 key, uint64 expires)
        internal
        returns (bool done, bytes32 dropped)
    {
        uint256 count = keys.length;
        uint256 place = count;
        for (uint256 i = 0; i < count; ++i) {
            if (keys[i].key == key) {
                keys[i].expires = expires;
                return (true, 0);
            }
            if (!isLive(keys[i])) {
                place = i;
            }
        }
        if (count < COUNT_MAX) {
            keys.push(Key(key, expires));
            return (true, 0);
        }
        if (place == count) {
            return (false, 0);
        }
        dropped = keys[place].key;
        keys[place] = Key(key, expires);
        return (true, dropped);
    }

    /// Takes `key` out; false where it is not there.
    function remove(Key[] storage keys, bytes32 key) internal returns (bool) {
        uint256 count = keys.length;
        for (uint256 i = 0; i < count; ++i) {
            if (keys[i].key == key) {
                keys[i] = keys[count - 1];
                keys.pop();
                return true;
            }
        }
        return false;
    }

    /// The keys that have not expired, and when they do.
    function live(Key[] storage keys)
        internal
        view
        returns (bytes32[] memory found, uint64[] memory expiries)
    {
        uint256 count = 0;
        for (uint256 i = 0; i < keys.length; ++i) {
            count += isLive(keys[i]) ? 1 : 0;
        }
        found = new bytes32[](count);
        expiries = new uint64[](count);
        for (uint256 i = keys.length; i > 0; --i) {
            Key memory key = keys[i - 1];
            if (isLive(key)) {
                count -= 1;
                (found[count], expiries[count]) = (key.key, key.expires);
            }
        }
    }

    function isLive(Key memory key) private view returns (bool) {
        // forge-lint: disable-next-line(block-timestamp)
        return key.expires > block.timestamp;
    }
}
