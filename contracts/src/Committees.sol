// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Epoch, NodeId, ShardId} from "./Types.sol";
import {INodeRegistry} from "./interfaces/INodeRegistry.sol";
import {PackedMember} from "./lib/PackedMember.sol";
import {Rendezvous} from "./lib/Rendezvous.sol";

/// The members of every epoch and the committees that follow from them, for ever. An epoch in which
/// nothing changed shares the snapshot of the one before, so that quiet epochs cost little.
abstract contract Committees is INodeRegistry {
    struct Snapshot {
        uint8 shardCountLog2;
        /// How many members keep a shard, 1 to 31.
        uint8 replicationFactor;
        /// By rising id, at most `MEMBERS_MAX`.
        PackedMember[] members;
        /// Committees that were computed: bit i stands for the member with index i.
        mapping(ShardId shard => uint256) chosen;
    }

    struct EpochRecord {
        /// In seconds since 1970.
        uint64 startedAt;
        /// Index of its snapshot.
        uint64 snapshot;
    }

    /// The most members of an epoch, which bounds every loop; a committee is a bit set of them in
    /// one word.
    uint256 public constant MEMBERS_MAX = 256;

    Epoch private _epoch;
    Snapshot[] private _snapshots;
    mapping(Epoch number => EpochRecord) private _epochs;

    /// Computes the committee of `shard` in `inEpoch` once and for all, so that reading it is
    /// cheap from then on. Anyone may.
    function settleCommittee(ShardId shard, Epoch inEpoch) external {
        Snapshot storage snapshot = _snapshotFor(shard, inEpoch);
        if (snapshot.chosen[shard] == 0) snapshot.chosen[shard] = _choose(snapshot, shard);
    }

    /// @inheritdoc INodeRegistry
    function epoch() public view returns (Epoch) {
        return _epoch;
    }

    /// @inheritdoc INodeRegistry
    function committee(ShardId shard, Epoch inEpoch)
        external
        view
        returns (NodeId[] memory members_, address[] memory signers)
    {
        Snapshot storage snapshot = _snapshotFor(shard, inEpoch);
        uint256 chosen = snapshot.chosen[shard];
        if (chosen == 0) chosen = _choose(snapshot, shard);
        uint256 count = _countBits(chosen);
        members_ = new NodeId[](count);
        signers = new address[](count);
        uint256 place = 0;
        for (uint256 index = 0; place < count; ++index) {
            if ((chosen >> index) & 1 == 0) continue;
            PackedMember member = snapshot.members[index];
            members_[place] = member.idOf();
            signers[place] = member.signingOf();
            ++place;
        }
    }

    /// Whom the committees of `inEpoch` are chosen from, by rising id.
    function members(Epoch inEpoch) external view returns (Member[] memory all) {
        PackedMember[] memory packed = _snapshotOf(inEpoch).members;
        all = new Member[](packed.length);
        for (uint256 i = 0; i < packed.length; ++i) {
            all[i] = Member(packed[i].idOf(), packed[i].weightOf(), packed[i].signingOf());
        }
    }

    /// When `inEpoch` began, in seconds since 1970, the number of shards as a power of two, and how
    /// many members keep a shard.
    function epochSettings(Epoch inEpoch)
        external
        view
        returns (uint64 startedAt, uint8 shardCountLog2, uint8 replicationFactor)
    {
        Snapshot storage snapshot = _snapshotOf(inEpoch);
        return (_epochs[inEpoch].startedAt, snapshot.shardCountLog2, snapshot.replicationFactor);
    }

    /// The epoch after the current one.
    function _nextEpoch() internal view returns (Epoch) {
        return Epoch.wrap(Epoch.unwrap(_epoch) + 1);
    }

    /// Whether `number` has begun; 0, before the first epoch, has.
    function _hasBegun(Epoch number) internal view returns (bool) {
        return Epoch.unwrap(number) <= Epoch.unwrap(_epoch);
    }

    /// When an epoch began, in seconds since 1970; 0 for one that has not.
    function _startOf(Epoch number) internal view returns (uint64) {
        return _epochs[number].startedAt;
    }

    /// The members of the current epoch; none before the first.
    function _currentMembers() internal view returns (PackedMember[] memory current) {
        if (Epoch.unwrap(_epoch) != 0) current = _snapshotOf(_epoch).members;
    }

    /// How many members the current epoch has.
    function _currentMemberCount() internal view returns (uint256) {
        return Epoch.unwrap(_epoch) == 0 ? 0 : _snapshotOf(_epoch).members.length;
    }

    /// Opens the next epoch with `next` as its members, by rising id.
    function _openEpoch(PackedMember[] memory next, uint8 shardCountLog2, uint8 replicationFactor)
        internal
    {
        require(next.length > 0, NoMembers());
        if (!_continues(next, shardCountLog2, replicationFactor)) {
            Snapshot storage snapshot = _snapshots.push();
            snapshot.shardCountLog2 = shardCountLog2;
            snapshot.replicationFactor = replicationFactor;
            snapshot.members = next;
        }
        _epoch = _nextEpoch();
        _epochs[_epoch] = EpochRecord({
            startedAt: uint64(block.timestamp), snapshot: uint64(_snapshots.length - 1)
        });
        emit EpochAdvanced(_epoch);
    }

    /// Whether the last snapshot says the same.
    function _continues(PackedMember[] memory next, uint8 shardCountLog2, uint8 replicationFactor)
        private
        view
        returns (bool)
    {
        if (_snapshots.length == 0) return false;
        Snapshot storage last = _snapshots[_snapshots.length - 1];
        return last.shardCountLog2 == shardCountLog2 && last.replicationFactor == replicationFactor
            && keccak256(abi.encodePacked(_words(last.members)))
                == keccak256(abi.encodePacked(_words(next)));
    }

    function _words(PackedMember[] memory packed) private pure returns (uint256[] memory words) {
        words = new uint256[](packed.length);
        for (uint256 i = 0; i < packed.length; ++i) {
            words[i] = PackedMember.unwrap(packed[i]);
        }
    }

    function _choose(Snapshot storage snapshot, ShardId shard) private view returns (uint256) {
        return Rendezvous.choose(snapshot.members, shard, snapshot.replicationFactor);
    }

    function _snapshotOf(Epoch number) private view returns (Snapshot storage) {
        EpochRecord storage record = _epochs[number];
        require(record.startedAt != 0, UnknownEpoch(number));
        return _snapshots[record.snapshot];
    }

    function _snapshotFor(ShardId shard, Epoch number)
        private
        view
        returns (Snapshot storage snapshot)
    {
        snapshot = _snapshotOf(number);
        require(ShardId.unwrap(shard) >> snapshot.shardCountLog2 == 0, UnknownShard(shard));
    }

    function _countBits(uint256 word) private pure returns (uint256 count) {
        for (; word != 0; word &= word - 1) {
            ++count;
        }
    }
}
