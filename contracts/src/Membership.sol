// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Committees} from "./Committees.sol";
import {Epoch, NodeId} from "./Types.sol";
import {Parameter} from "./generated/ParameterTable.sol";
import {INetworkParameters} from "./interfaces/INetworkParameters.sol";
import {INodeRegistry} from "./interfaces/INodeRegistry.sol";
import {NodeQueue} from "./lib/NodeQueue.sol";
import {PackedMember, pack} from "./lib/PackedMember.sol";

/// From one epoch to the next: which nodes leave, which join, and whose weight changes. No loop is
/// longer than `MEMBERS_MAX`.
abstract contract Membership is Committees {
    using NodeQueue for NodeQueue.Queue;
    using SafeCast for uint256;

    /// Where a node stands between the current epoch and the next.
    enum Seat {
        /// In no committee.
        None,
        /// Active, and waits to join.
        Queued,
        /// In the current epoch.
        Member,
        /// In the current epoch, and in no later one.
        Expelled
    }

    struct Record {
        // What an epoch is made from, in one word.
        /// The newest key; it signs from `signingFrom` on.
        address signing;
        uint32 weight;
        Status status;
        Seat seat;
        /// Whether the node was let in by those who admit, and has not failed probation since.
        bool admitted;
        // The rest.
        address operator;
        /// When it came into its status, in seconds since 1970.
        uint64 since;
        /// How long its bond stays, at most, after it left: as long as when it asked to leave.
        uint32 unbondingSeconds;
        address payout;
        /// When it last ceased to be a member, in seconds since 1970; 0 if it never did.
        uint64 leftAt;
        /// The key that signs before `signingFrom`.
        address previousSigning;
        Epoch signingFrom;
        /// In token units of 10⁻¹⁸.
        uint128 bond;
        bytes32 transport;
        string name;
        string quic;
        string http;
    }

    /// The governed numbers.
    INetworkParameters public immutable parameters;

    /// Every node ever registered.
    mapping(NodeId id => Record) internal _records;
    /// The active nodes that are no members yet. They and the members are at most `MEMBERS_MAX`.
    NodeQueue.Queue private _queue;

    constructor(INetworkParameters parameters_) {
        parameters = parameters_;
    }

    /// Opens the next epoch once the current one lasted `EpochSeconds`; anyone may. Expelled nodes
    /// are out. Of all other changes, `EpochChurnMax` are made: first who leaves, then who joins,
    /// then other weights. Into the first epoch everybody joins who waits.
    function advanceEpoch() external returns (Epoch opened) {
        // SET-017.
        uint256 churn = MEMBERS_MAX;
        if (Epoch.unwrap(epoch()) != 0) {
            _checkTime(_startOf(epoch()) + _seconds(Parameter.EpochSeconds));
            churn = parameters.value(Parameter.EpochChurnMax);
        }
        uint32 weightMax = SafeCast.toUint32(parameters.value(Parameter.WeightMax));
        PackedMember[] memory next;
        (next, churn) = _withoutLeavers(churn);
        (next, churn) = _withJoiners(next, churn, weightMax);
        _changeWeights(next, churn, weightMax);
        _openEpoch(
            next,
            SafeCast.toUint8(parameters.value(Parameter.ShardCountLog2)),
            SafeCast.toUint8(parameters.value(Parameter.ReplicationFactor))
        );
        return epoch();
    }

    /// Where a node stands between the current epoch and the next.
    function seatOf(NodeId id) external view returns (Seat) {
        return _records[id].seat;
    }

    /// @inheritdoc INodeRegistry
    function canSpare(NodeId id) external view returns (bool) {
        if (_records[id].seat != Seat.Member) return true;
        PackedMember[] memory current = _currentMembers();
        return 3 * (_countNotExpelled(current) - 1) > 2 * current.length;
    }

    /// The active nodes that wait to join, in the order in which they will.
    function queue() external view returns (NodeId[] memory) {
        return _queue.waiting;
    }

    /// Lets an active node wait to join.
    function _enqueue(NodeId id, Record storage record) internal {
        // Who was expelled sits out one epoch at least.
        require(record.seat == Seat.None, StillMember(id));
        require(_currentMemberCount() + _queue.length() < MEMBERS_MAX, TooManyNodes());
        record.seat = Seat.Queued;
        _queue.push(id);
    }

    /// Takes a node out of the committees from the next epoch on, or off the queue.
    function _expel(NodeId id, Record storage record) internal {
        if (record.seat == Seat.Queued) _dequeue(id, record);
        if (record.seat == Seat.Member) record.seat = Seat.Expelled;
    }

    function _dequeue(NodeId id, Record storage record) internal {
        record.seat = Seat.None;
        _queue.remove(id);
    }

    function _checkTime(uint64 from) internal view {
        // forge-lint: disable-next-line(block-timestamp)
        require(block.timestamp >= from, TooEarly(from));
    }

    function _seconds(Parameter parameter) internal view returns (uint64) {
        return SafeCast.toUint64(parameters.value(parameter));
    }

    // Epochs, one kind of change after the other

    /// The current members without the expelled and, as far as `churn` goes, without those who
    /// exit; and what is left of `churn`. Nobody leaves the network empty by an exit.
    function _withoutLeavers(uint256 churn)
        private
        returns (PackedMember[] memory kept, uint256 rest)
    {
        PackedMember[] memory current = _currentMembers();
        uint256 staying = _countNotExpelled(current);
        kept = new PackedMember[](current.length);
        uint256 count = 0;
        for (uint256 i = 0; i < current.length; ++i) {
            NodeId id = current[i].idOf();
            Record storage record = _records[id];
            bool leaves = record.status == Status.Exiting && churn > 0 && staying > 1;
            if (record.seat == Seat.Expelled) {
                _leave(record);
            } else if (leaves) {
                _leave(record);
                --churn;
                --staying;
            } else {
                kept[count++] = pack(id, current[i].weightOf(), record.signing);
            }
        }
        return (_resized(kept, count), churn);
    }

    /// `packed` with those who waited longest, as far as `churn` goes; and what is left of it.
    function _withJoiners(PackedMember[] memory packed, uint256 churn, uint32 weightMax)
        private
        returns (PackedMember[] memory all, uint256 rest)
    {
        NodeId[] memory joining = _queue.take(churn);
        all = _resized(packed, packed.length + joining.length);
        for (uint256 i = 0; i < joining.length; ++i) {
            Record storage record = _records[joining[i]];
            record.seat = Seat.Member;
            PackedMember member =
                pack(joining[i], _boundedWeight(record, weightMax), record.signing);
            _insert(all, packed.length + i, member);
        }
        return (all, churn - joining.length);
    }

    /// Brings the weights of `packed` to what their operators ask, as far as `churn` goes. Each
    /// epoch begins with another member, so that nobody who changes all the time keeps off others.
    function _changeWeights(PackedMember[] memory packed, uint256 churn, uint32 weightMax)
        private
        view
    {
        uint256 first = Epoch.unwrap(epoch());
        for (uint256 i = 0; i < packed.length && churn > 0; ++i) {
            uint256 index = (first + i) % packed.length;
            PackedMember member = packed[index];
            uint32 wanted = _boundedWeight(_records[member.idOf()], weightMax);
            if (member.weightOf() == wanted) continue;
            packed[index] = member.withWeight(wanted);
            --churn;
        }
    }

    function _leave(Record storage record) private {
        record.seat = Seat.None;
        record.leftAt = uint64(block.timestamp);
    }

    function _countNotExpelled(PackedMember[] memory packed) private view returns (uint256 count) {
        for (uint256 i = 0; i < packed.length; ++i) {
            if (_records[packed[i].idOf()].seat != Seat.Expelled) ++count;
        }
    }

    /// What a node asks, or less when governance has lowered the bound since.
    function _boundedWeight(Record storage record, uint32 weightMax) private view returns (uint32) {
        uint32 weight = record.weight;
        return weight < weightMax ? weight : weightMax;
    }

    /// Puts `member` among the first `count` of `packed`, which are by rising id.
    function _insert(PackedMember[] memory packed, uint256 count, PackedMember member)
        private
        pure
    {
        uint256 word = PackedMember.unwrap(member);
        for (; count > 0 && PackedMember.unwrap(packed[count - 1]) > word; --count) {
            packed[count] = packed[count - 1];
        }
        packed[count] = member;
    }

    function _resized(PackedMember[] memory packed, uint256 length)
        private
        pure
        returns (PackedMember[] memory resized)
    {
        resized = new PackedMember[](length);
        for (uint256 i = 0; i < Math.min(length, packed.length); ++i) {
            resized[i] = packed[i];
        }
    }
}
