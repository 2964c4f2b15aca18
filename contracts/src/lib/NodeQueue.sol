// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {NodeId} from "../Types.sol";

/// Nodes that wait, first come first served. Eight ids share a word, and who uses it bounds its
/// length, so that taking from the middle stays cheap.
library NodeQueue {
    struct Queue {
        NodeId[] waiting;
    }

    function length(Queue storage queue) internal view returns (uint256) {
        return queue.waiting.length;
    }

    function push(Queue storage queue, NodeId id) internal {
        queue.waiting.push(id);
    }

    /// Takes up to `count` nodes from the front.
    function take(Queue storage queue, uint256 count) internal returns (NodeId[] memory taken) {
        NodeId[] memory waiting = queue.waiting;
        count = Math.min(count, waiting.length);
        taken = new NodeId[](count);
        for (uint256 i = 0; i < count; ++i) {
            taken[i] = waiting[i];
        }
        if (count > 0) _store(queue, waiting, 0, count);
    }

    /// Takes out `id`, wherever it stands; nothing happens if it does not.
    function remove(Queue storage queue, NodeId id) internal {
        NodeId[] memory waiting = queue.waiting;
        for (uint256 i = 0; i < waiting.length; ++i) {
            if (waiting[i] == id) return _store(queue, waiting, i, 1);
        }
    }

    /// Closes the gap of `count` nodes from `gap` on.
    function _store(Queue storage queue, NodeId[] memory waiting, uint256 gap, uint256 count)
        private
    {
        for (uint256 i = gap + count; i < waiting.length; ++i) {
            queue.waiting[i - count] = waiting[i];
        }
        for (uint256 i = 0; i < count; ++i) {
            queue.waiting.pop();
        }
    }
}
