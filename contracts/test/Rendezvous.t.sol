// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {NodeId, ShardId} from "../src/Types.sol";
import {Genesis} from "../src/lib/Genesis.sol";
import {NodeSignatures} from "../src/lib/NodeSignatures.sol";
import {PackedMember, pack} from "../src/lib/PackedMember.sol";
import {Rendezvous} from "../src/lib/Rendezvous.sol";
import {Test} from "./Test.sol";

/// Against the vectors that the nodes' own code made.
contract RendezvousTest is Test {
    using SafeCast for uint256;

    string private constant VECTORS = "../spec/vectors/";

    function test_costs_are_those_of_the_vectors() external view {
        string memory json = vm.readFile(string.concat(VECTORS, "topics/costs.json"));
        uint256 count = 0;
        for (; vm.keyExistsJson(json, _case(count)); ++count) {
            bytes memory hash = vm.parseJsonBytes(json, string.concat(_case(count), ".hash"));
            uint256 cost = vm.parseJsonUint(json, string.concat(_case(count), ".cost"));
            equal(hash.length, 8);
            // forge-lint: disable-next-line(unsafe-typecast)
            equal(Rendezvous.negLog2(uint64(bytes8(hash))), cost);
        }
        check(count > 100, "all cases were read");
    }

    function test_committees_are_those_of_the_vectors() external view {
        // covers: TOP-005
        string memory json = vm.readFile(string.concat(VECTORS, "topics/committees.json"));
        uint256 count = 0;
        for (; vm.keyExistsJson(json, _case(count)); ++count) {
            _checkCommittee(json, _case(count));
        }
        check(count > 20, "all cases were read");
    }

    function test_networks_are_those_of_the_vectors() external view {
        // covers: ENC-005
        string memory json = vm.readFile(string.concat(VECTORS, "encoding/networks.json"));
        uint256 count = 0;
        for (; vm.keyExistsJson(json, _case(count)); ++count) {
            string memory key = _case(count);
            bytes32 id = Genesis.networkId(
                uint64(vm.parseJsonUint(json, string.concat(key, ".chain_id"))),
                address(bytes20(vm.parseJsonBytes(json, string.concat(key, ".registry")))),
                bytes32(vm.parseJsonBytes(json, string.concat(key, ".salt")))
            );
            equal(id, bytes32(vm.parseJsonBytes(json, string.concat(key, ".network"))));
            equal(
                NodeSignatures.domainSeparator(id),
                bytes32(vm.parseJsonBytes(json, string.concat(key, ".domain_separator")))
            );
        }
        check(count > 0, "cases were read");
    }

    function test_fuzz_costs_fall_as_hashes_rise(uint64 one, uint64 other) external pure {
        if (one > other) (one, other) = (other, one);
        check(Rendezvous.negLog2(one) >= Rendezvous.negLog2(other), "monotone");
        check(Rendezvous.negLog2(one) <= 64 << 32, "bounded");
    }

    /// The choice is that of sorting by cost ÷ weight and number.
    function test_fuzz_the_chosen_are_the_best(uint16 seed, uint256 size, uint256 places)
        external
        pure
    {
        size = bound(size, 1, 40);
        places = bound(places, 1, 31);
        ShardId shard = ShardId.wrap(seed);
        PackedMember[] memory members = new PackedMember[](size);
        for (uint256 i = 0; i < size; ++i) {
            uint32 weight = uint32(uint256(keccak256(abi.encode(seed, i))) % 16 + 1);
            members[i] = pack(NodeId.wrap((i * 3).toUint32()), weight, address(0));
        }
        uint256 chosen = Rendezvous.choose(members, shard, places);
        check(chosen >> size == 0, "members only");
        uint256[] memory costs = new uint256[](size);
        for (uint256 i = 0; i < size; ++i) {
            costs[i] = Rendezvous.negLog2(Rendezvous.lot(shard, members[i].idOf()));
        }
        for (uint256 i = 0; i < size; ++i) {
            uint256 better = 0;
            for (uint256 j = 0; j < size; ++j) {
                uint256 left = costs[j] * members[i].weightOf();
                uint256 right = costs[i] * members[j].weightOf();
                if (left < right || (left == right && j < i)) ++better;
            }
            check((better < places) == ((chosen >> i) & 1 == 1), "the best");
        }
    }

    function _checkCommittee(string memory json, string memory key) private view {
        PackedMember[] memory members = _members(json, string.concat(key, ".nodes["));
        uint256 places = vm.parseJsonUint(json, string.concat(key, ".replication_factor"));
        ShardId shard = ShardId.wrap(uint16(vm.parseJsonUint(json, string.concat(key, ".shard"))));
        uint256 chosen = Rendezvous.choose(members, shard, places);
        uint256 expected = 0;
        string memory list = string.concat(key, ".committee[");
        for (uint256 i = 0; vm.keyExistsJson(json, _at(list, i)); ++i) {
            uint256 id = vm.parseJsonUint(json, _at(list, i));
            for (uint256 j = 0; j < members.length; ++j) {
                if (NodeId.unwrap(members[j].idOf()) == id) expected |= uint256(1) << j;
            }
        }
        equal(chosen, expected);
    }

    /// The nodes that can be chosen; they stand by rising id.
    function _members(string memory json, string memory list)
        private
        view
        returns (PackedMember[] memory members)
    {
        PackedMember[] memory all = new PackedMember[](64);
        uint256 count = 0;
        for (uint256 i = 0; vm.keyExistsJson(json, _at(list, i)); ++i) {
            string memory key = _at(list, i);
            uint256 id = vm.parseJsonUint(json, string.concat(key, ".id"));
            uint256 weight = vm.parseJsonUint(json, string.concat(key, ".weight"));
            if (weight == 0 || !vm.parseJsonBool(json, string.concat(key, ".active"))) continue;
            all[count++] = pack(NodeId.wrap(id.toUint32()), weight.toUint32(), address(0));
        }
        members = new PackedMember[](count);
        for (uint256 i = 0; i < count; ++i) {
            members[i] = all[i];
        }
    }

    function _case(uint256 index) private pure returns (string memory) {
        return _at(".cases[", index);
    }

    function _at(string memory list, uint256 index) private pure returns (string memory) {
        return string.concat(list, vm.toString(index), "]");
    }
}
