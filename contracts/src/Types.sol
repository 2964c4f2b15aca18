// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// The number of a node, given at registration and never again.
type NodeId is uint32;
/// The number of a shard.
type ShardId is uint16;
/// Protocol time: the number of a period.
type Period is uint64;
/// The version of the registry's snapshot that nodes compute with; the first is 1.
type Epoch is uint64;
/// Money in 10⁻¹² US dollars, wide enough for sums over a network's life.
type PicoDollars is uint128;

function sameNode(NodeId one, NodeId other) pure returns (bool) {
    return NodeId.unwrap(one) == NodeId.unwrap(other);
}

using {sameNode as ==} for NodeId global;
