// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Epoch, NodeId, ShardId} from "../../src/Types.sol";
import {INodeRegistry} from "../../src/interfaces/INodeRegistry.sol";

/// A registry whose committees and nodes tests put in; all shards have one committee.
contract RegistryStandIn is INodeRegistry {
    bytes32 public networkId = keccak256("test network");

    Epoch public epoch = Epoch.wrap(1);
    Phase public phase;
    uint32 public nodeCount;
    /// Who was jailed last, and how often anybody was.
    NodeId public lastJailed;
    uint256 public jailings;
    /// How many nodes can be jailed.
    uint256 public spare = type(uint256).max;

    mapping(Epoch inEpoch => NodeId[]) private _members;
    mapping(Epoch inEpoch => address[]) private _signers;
    mapping(NodeId id => address) private _payouts;
    mapping(NodeId id => uint64) private _since;

    function setCommittee(Epoch inEpoch, address[] calldata signers) external {
        epoch = inEpoch;
        delete _members[inEpoch];
        _signers[inEpoch] = signers;
        for (uint32 i = 0; i < signers.length; ++i) {
            _members[inEpoch].push(NodeId.wrap(i));
        }
    }

    function setNetworkId(bytes32 networkId_) external {
        networkId = networkId_;
    }

    function setEpoch(Epoch epoch_) external {
        epoch = epoch_;
    }

    function setPayout(NodeId id, address payout) external {
        _payouts[id] = payout;
    }

    function setSince(NodeId id, uint64 since) external {
        _since[id] = since;
    }

    function setSpare(uint256 spare_) external {
        spare = spare_;
    }

    function canSpare(NodeId) external view returns (bool) {
        return jailings < spare;
    }

    function jail(NodeId id) external {
        lastJailed = id;
        jailings += 1;
    }

    function slash(NodeId, uint256, bytes32, address) external pure returns (uint256) {
        return 0;
    }

    function node(NodeId id) external view returns (Node memory found) {
        found.payout = _payouts[id];
        found.since = _since[id];
    }

    function committee(ShardId, Epoch inEpoch)
        external
        view
        returns (NodeId[] memory members, address[] memory signers)
    {
        return (_members[inEpoch], _signers[inEpoch]);
    }

    function isLiableKey(NodeId, address) external pure returns (bool) {
        return false;
    }
}
