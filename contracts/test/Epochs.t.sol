// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Membership} from "../src/Membership.sol";
import {NodeRegistry} from "../src/NodeRegistry.sol";
import {Epoch, NodeId, ShardId} from "../src/Types.sol";
import {Parameter} from "../src/generated/ParameterTable.sol";
import {INodeRegistry} from "../src/interfaces/INodeRegistry.sol";
import {PackedMember, pack} from "../src/lib/PackedMember.sol";
import {Rendezvous} from "../src/lib/Rendezvous.sol";
import {Deployment} from "./Deployment.sol";

/// Epochs: who is in, what may change at once, and the committees that follow.
contract EpochsTest is Deployment {
    NodeRegistry private _registry;

    function setUp() public override {
        super.setUp();
        _registry = network.registry;
    }

    // Opening epochs

    function test_there_is_no_epoch_without_a_member() external {
        equal(Epoch.unwrap(_registry.epoch()), 0);
        vm.expectRevert(INodeRegistry.NoMembers.selector);
        _registry.advanceEpoch();
        _probationer(1);
        vm.expectRevert(INodeRegistry.NoMembers.selector);
        _registry.advanceEpoch();
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.UnknownEpoch.selector, Epoch.wrap(0)));
        _registry.members(Epoch.wrap(0));
    }

    function test_everybody_who_waits_joins_the_first_epoch() external {
        _openWith(7);
        equal(Epoch.unwrap(_registry.epoch()), 1);
        _checkMembers(1, "0123456");
        equal(_registry.queue().length, 0);
        (uint64 startedAt, uint8 shards, uint8 replication) = _registry.epochSettings(Epoch.wrap(1));
        equal(startedAt, block.timestamp);
        equal(shards, 0);
        equal(replication, 4);
    }

    function test_members_stand_by_rising_id_however_they_graduated() external {
        NodeId[] memory ids = new NodeId[](5);
        for (uint256 i = 0; i < 5; ++i) {
            ids[i] = _probationer(i + 1);
        }
        _pass(7 days);
        uint8[5] memory order = [3, 1, 4, 0, 2];
        for (uint256 i = 0; i < 5; ++i) {
            _registry.graduate(ids[order[i]]);
        }
        _registry.advanceEpoch();
        _checkMembers(1, "01234");
    }

    function test_an_epoch_lasts_its_time() external {
        _openWith(1);
        uint256 from = block.timestamp + 1 hours;
        vm.warp(from - 1);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.TooEarly.selector, from));
        _registry.advanceEpoch();
        vm.warp(from);
        vm.expectEmit(true, true, true, true);
        emit INodeRegistry.EpochAdvanced(Epoch.wrap(2));
        vm.prank(stranger);
        _registry.advanceEpoch();
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.UnknownEpoch.selector, Epoch.wrap(3)));
        _registry.members(Epoch.wrap(3));
    }

    // Churn

    function test_nodes_join_one_by_one_in_the_order_in_which_they_graduated() external {
        // covers: SET-017
        _openWith(2);
        NodeId late = _probationer(10);
        NodeId early = _graduate(11);
        _registry.graduate(late);
        _nextEpoch();
        _checkMembers(2, "013");
        equal(NodeId.unwrap(_registry.queue()[0]), NodeId.unwrap(late));
        _checkSeat(early, Membership.Seat.Member);
        _checkSeat(late, Membership.Seat.Queued);
        _nextEpoch();
        _checkMembers(3, "0123");
        _nextEpoch();
        _checkMembers(4, "0123");
    }

    function test_who_leaves_goes_before_who_joins_and_before_weights() external {
        NodeId[] memory ids = _openWith(4);
        _graduate(10);
        _describeWeight(ids[0], 1, 5);
        _exit(ids[3], 4);
        _exit(ids[1], 2);
        _nextEpoch();
        _checkMembers(2, "023");
        _nextEpoch();
        _checkMembers(3, "02");
        equal(_registry.members(Epoch.wrap(3))[0].weight, 1);
        _nextEpoch();
        _checkMembers(4, "024");
        equal(_registry.members(Epoch.wrap(4))[0].weight, 1);
        _nextEpoch();
        equal(_registry.members(Epoch.wrap(5))[0].weight, 5);
    }

    function test_a_larger_bound_lets_more_change_at_once() external {
        NodeId[] memory ids = _openWith(4);
        _set(Parameter.EpochChurnMax, 3);
        _graduate(10);
        _graduate(11);
        _graduate(12);
        _exit(ids[0], 1);
        _nextEpoch();
        _checkMembers(2, "12345");
    }

    function test_a_jailed_node_is_out_at_once_whatever_else_changes() external {
        // covers: SET-017
        NodeId[] memory ids = _openWith(6);
        _exit(ids[5], 6);
        for (uint256 i = 0; i < 3; ++i) {
            _jail(ids[i]);
        }
        vm.prank(network.court);
        _registry.slash(ids[3], 100, keccak256("offence"), stranger);
        _nextEpoch();
        _checkMembers(2, "4");
        // The last epoch still says who its members were.
        _checkMembers(1, "012345");
    }

    function test_more_than_two_thirds_of_the_members_are_not_spared() external {
        // covers: SET-025
        NodeId[] memory ids = _openWith(7);
        NodeId candidate = _graduate(10);
        for (uint256 i = 0; i < 2; ++i) {
            check(_registry.canSpare(ids[i]), "a third can go");
            _jail(ids[i]);
        }
        check(!_registry.canSpare(ids[2]), "the others are needed");
        // Who is out already, or not in yet, is missed by nobody.
        check(_registry.canSpare(ids[0]) && _registry.canSpare(candidate), "no members");
        // With the next epoch it is counted anew.
        _nextEpoch();
        check(_registry.canSpare(ids[2]), "one of five or six");
    }

    function test_three_members_are_all_needed() external {
        // covers: SET-025
        NodeId[] memory ids = _openWith(3);
        check(!_registry.canSpare(ids[0]), "three");
    }

    function test_a_slashed_node_that_leaves_is_out_at_once() external {
        NodeId[] memory ids = _openWith(4);
        _exit(ids[0], 1);
        _exit(ids[1], 2);
        _exit(ids[2], 3);
        vm.prank(network.court);
        _registry.slash(ids[2], 100, keccak256("offence"), stranger);
        _nextEpoch();
        _checkMembers(2, "13");
    }

    function test_a_node_that_was_jailed_sits_out_one_epoch() external {
        _set(Parameter.JailSeconds, 0);
        _set(Parameter.ProbationSeconds, 0);
        NodeId[] memory ids = _openWith(2);
        _jail(ids[0]);
        vm.prank(_operatorOf(1));
        _registry.release(ids[0]);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.StillMember.selector, ids[0]));
        _registry.graduate(ids[0]);
        _nextEpoch();
        _checkMembers(2, "1");
        _registry.graduate(ids[0]);
        _nextEpoch();
        _checkMembers(3, "01");
    }

    function test_who_waits_and_is_jailed_or_leaves_does_not_join() external {
        _openWith(1);
        NodeId jailed = _graduate(10);
        NodeId leaving = _graduate(11);
        NodeId slashed = _graduate(12);
        NodeId last = _graduate(13);
        _jail(jailed);
        _exit(leaving, 11);
        vm.prank(network.court);
        _registry.slash(slashed, 100, keccak256("offence"), stranger);
        equal(_registry.queue().length, 1);
        equal(NodeId.unwrap(_registry.queue()[0]), NodeId.unwrap(last));
        _nextEpoch();
        _checkMembers(2, "04");
    }

    function test_the_last_member_waits_for_another_before_it_leaves() external {
        NodeId[] memory ids = _openWith(2);
        _exit(ids[0], 1);
        _exit(ids[1], 2);
        _nextEpoch();
        _checkMembers(2, "1");
        _nextEpoch();
        _checkMembers(3, "1");
        _graduate(10);
        _nextEpoch();
        _checkMembers(4, "12");
        _nextEpoch();
        _checkMembers(5, "2");
    }

    function test_no_epoch_opens_when_all_members_are_expelled_and_nobody_waits() external {
        NodeId[] memory ids = _openWith(2);
        _jail(ids[0]);
        _jail(ids[1]);
        _pass(1 hours);
        vm.expectRevert(INodeRegistry.NoMembers.selector);
        _registry.advanceEpoch();
        _graduate(10);
        _registry.advanceEpoch();
        _checkMembers(2, "2");
    }

    // Weights

    function test_a_member_s_weight_follows_with_the_next_epoch() external {
        NodeId[] memory ids = _openWith(3);
        _describeWeight(ids[1], 2, 7);
        equal(_registry.members(Epoch.wrap(1))[1].weight, 1);
        _nextEpoch();
        equal(_registry.members(Epoch.wrap(2))[1].weight, 7);
        equal(_registry.members(Epoch.wrap(1))[1].weight, 1);
    }

    function test_nobody_who_always_changes_weight_keeps_others_from_it() external {
        NodeId[] memory ids = _openWith(4);
        _describeWeight(ids[3], 4, 9);
        for (uint32 i = 0; i < 4; ++i) {
            _describeWeight(ids[0], 1, 2 + i);
            _nextEpoch();
        }
        equal(_registry.members(Epoch.wrap(5))[3].weight, 9);
    }

    function test_a_lowered_bound_of_weights_reaches_members_and_who_joins() external {
        NodeId[] memory ids = _openWith(2);
        _describeWeight(ids[0], 1, 16);
        NodeId heavy = _graduate(10);
        _describeWeight(heavy, 10, 16);
        _nextEpoch();
        _set(Parameter.WeightMax, 4);
        _nextEpoch();
        INodeRegistry.Member[] memory members = _registry.members(Epoch.wrap(3));
        equal(members[0].weight, 1);
        equal(members[2].weight, 4);
        _nextEpoch();
        equal(_registry.members(Epoch.wrap(4))[0].weight, 4);
        // Who joins later is bounded at once.
        NodeId other = _graduate(11);
        _set(Parameter.WeightMax, 3);
        _set(Parameter.EpochChurnMax, 4);
        _nextEpoch();
        members = _registry.members(Epoch.wrap(5));
        equal(NodeId.unwrap(members[3].id), NodeId.unwrap(other));
        for (uint256 i = 0; i < members.length; ++i) {
            equal(members[i].weight, i == 1 || i == 3 ? 1 : 3);
        }
    }

    // Committees

    function test_a_committee_is_that_of_the_rule_by_rising_id() external {
        _set(Parameter.ShardCountLog2, 2);
        _openWith(9);
        for (uint16 shard = 0; shard < 4; ++shard) {
            (NodeId[] memory ids, address[] memory signers) =
                _registry.committee(ShardId.wrap(shard), Epoch.wrap(1));
            equal(ids.length, 4);
            uint256 chosen = Rendezvous.choose(_packed(1), ShardId.wrap(shard), 4);
            for (uint256 i = 0; i < ids.length; ++i) {
                uint32 id = NodeId.unwrap(ids[i]);
                check((chosen >> id) & 1 == 1, "chosen by the rule");
                check(i == 0 || NodeId.unwrap(ids[i - 1]) < id, "rising");
                equal(signers[i], vm.addr(_signingKeyOf(id + 1)));
            }
        }
        vm.expectRevert(
            abi.encodeWithSelector(INodeRegistry.UnknownShard.selector, ShardId.wrap(4))
        );
        _registry.committee(ShardId.wrap(4), Epoch.wrap(1));
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.UnknownEpoch.selector, Epoch.wrap(2)));
        _registry.committee(ShardId.wrap(0), Epoch.wrap(2));
    }

    function test_a_rotated_key_signs_from_the_next_epoch_on() external {
        NodeId id = _openWith(1)[0];
        bytes memory possession = _possession(_signingKeyOf(50), _operatorOf(1), _transportOf(1));
        address young = vm.addr(_signingKeyOf(50));
        vm.prank(_operatorOf(1));
        _registry.rotateSigning(id, young, possession);
        equal(_signer(1), vm.addr(_signingKeyOf(1)));
        _nextEpoch();
        equal(_signer(1), vm.addr(_signingKeyOf(1)));
        equal(_signer(2), young);
    }

    function test_committees_of_past_epochs_never_change() external {
        _set(Parameter.ShardCountLog2, 1);
        NodeId[] memory ids = _openWith(8);
        bytes32 before = _committeeHash(1, 1);
        _set(Parameter.ShardCountLog2, 0);
        _set(Parameter.ReplicationFactor, 7);
        _jail(ids[0]);
        _jail(ids[1]);
        _nextEpoch();
        equal(_committeeHash(1, 1), before);
        (NodeId[] memory members,) = _registry.committee(ShardId.wrap(0), Epoch.wrap(2));
        equal(members.length, 6);
        vm.expectRevert(
            abi.encodeWithSelector(INodeRegistry.UnknownShard.selector, ShardId.wrap(1))
        );
        _registry.committee(ShardId.wrap(1), Epoch.wrap(2));
    }

    function test_a_settled_committee_is_the_same_and_cheap() external {
        _set(Parameter.ReplicationFactor, 7);
        _openWith(20);
        bytes32 before = _committeeHash(0, 1);
        vm.prank(stranger);
        _registry.settleCommittee(ShardId.wrap(0), Epoch.wrap(1));
        equal(_committeeHash(0, 1), before);
        vm.cool(address(_registry));
        uint256 gas = gasleft();
        _registry.committee(ShardId.wrap(0), Epoch.wrap(1));
        gas -= gasleft();
        check(gas < 60_000, "a settled committee of seven costs less than 60 000 gas");
        // An epoch in which nothing changed has it settled already.
        _nextEpoch();
        vm.cool(address(_registry));
        gas = gasleft();
        _registry.committee(ShardId.wrap(0), Epoch.wrap(2));
        gas -= gasleft();
        check(gas < 60_000, "so does the next");
        equal(_committeeHash(0, 2), before);
    }

    // Bounds

    /// With as many nodes as there may be, all that loops over them fits into a block.
    function test_the_number_of_active_nodes_is_bounded_and_so_is_every_loop() external {
        _set(Parameter.BondMin, 0);
        _set(Parameter.ProbationSeconds, 0);
        _set(Parameter.ReplicationFactor, 31);
        for (uint256 i = 0; i < 255; ++i) {
            _registry.graduate(_probationer(i + 1));
        }
        _registry.advanceEpoch();
        _registry.graduate(_probationer(256));
        NodeId id = _probationer(257);
        vm.expectRevert(INodeRegistry.TooManyNodes.selector);
        _registry.graduate(id);
        _pass(1 hours);
        vm.cool(address(_registry));
        uint256 gas = gasleft();
        _registry.advanceEpoch();
        gas -= gasleft();
        check(gas < 12_000_000, "an epoch of 256 members opens with less than 12 million gas");
        gas = gasleft();
        _registry.settleCommittee(ShardId.wrap(0), Epoch.wrap(2));
        gas -= gasleft();
        check(gas < 8_000_000, "its committee of 31 is settled with less than 8 million gas");
        equal(_registry.members(Epoch.wrap(2)).length, 256);
        vm.expectRevert(INodeRegistry.TooManyNodes.selector);
        _registry.graduate(id);
    }

    // Helpers

    function _checkMembers(uint64 epoch, string memory digits) private view {
        INodeRegistry.Member[] memory members = _registry.members(Epoch.wrap(epoch));
        equal(members.length, bytes(digits).length);
        for (uint256 i = 0; i < members.length; ++i) {
            equal(NodeId.unwrap(members[i].id), uint8(bytes(digits)[i]) - 48);
        }
    }

    function _checkSeat(NodeId id, Membership.Seat expected) private view {
        equal(uint256(_registry.seatOf(id)), uint256(expected));
    }

    function _packed(uint64 epoch) private view returns (PackedMember[] memory packed) {
        INodeRegistry.Member[] memory members = _registry.members(Epoch.wrap(epoch));
        packed = new PackedMember[](members.length);
        for (uint256 i = 0; i < members.length; ++i) {
            packed[i] = pack(members[i].id, members[i].weight, members[i].signing);
        }
    }

    function _committeeHash(uint16 shard, uint64 epoch) private view returns (bytes32) {
        (NodeId[] memory members, address[] memory signers) =
            _registry.committee(ShardId.wrap(shard), Epoch.wrap(epoch));
        return keccak256(abi.encode(members, signers));
    }

    function _signer(uint64 epoch) private view returns (address) {
        (, address[] memory signers) = _registry.committee(ShardId.wrap(0), Epoch.wrap(epoch));
        return signers[0];
    }

    function _set(Parameter parameter, uint256 value) private {
        vm.prank(address(network.timelock));
        network.parameters.set(parameter, value);
    }

    function _describeWeight(NodeId id, uint256 seed, uint32 weight) private {
        vm.prank(_operatorOf(seed));
        _registry.describe(id, "node", "node.example:4433", "https://node.example", weight);
    }

    function _exit(NodeId id, uint256 seed) private {
        vm.prank(_operatorOf(seed));
        _registry.exit(id);
    }

    function _jail(NodeId id) private {
        vm.prank(network.settlement);
        _registry.jail(id);
    }
}
