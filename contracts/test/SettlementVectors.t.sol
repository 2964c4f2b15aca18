// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {UsageSettlement} from "../src/UsageSettlement.sol";
import {Epoch, NodeId, Period, PicoDollars, ShardId} from "../src/Types.sol";
import {IUsageSettlement} from "../src/interfaces/IUsageSettlement.sol";
import {ReportTrees} from "../src/lib/ReportTrees.sol";
import {SettlementTest} from "./money/SettlementTest.sol";
import {UsageTree} from "./money/UsageTree.sol";

/// Trees and digests are those that nodes compute: the same files are read by both.
contract SettlementVectorsTest is SettlementTest {
    string private constant FOLDER = "../spec/vectors/settlement/";

    function test_trees_are_those_of_nodes() public view {
        // covers: SET-005
        string memory json = vm.readFile(string.concat(FOLDER, "trees.json"));
        uint256 count;
        for (; vm.keyExistsJson(json, _key(count, "")); ++count) {
            _checkTree(json, count);
        }
        check(count >= 18, "cases are missing");
    }

    function test_digests_are_those_of_nodes() public {
        // covers: SET-002
        string memory json = vm.readFile(string.concat(FOLDER, "reports.json"));
        uint256 count;
        for (; vm.keyExistsJson(json, _key(count, "")); ++count) {
            registry.setNetworkId(vm.parseJsonBytes32(json, _key(count, ".network_id")));
            UsageSettlement settlement = new UsageSettlement(
                address(authority), registry, parameters, vault, guardian, treasury
            );
            bytes32 expected = vm.parseJsonBytes32(json, _key(count, ".digest"));
            equal(settlement.digest(_report(json, count)), expected);
        }
        check(count >= 4, "cases are missing");
    }

    function test_measurements_are_those_of_nodes() public view {
        // covers: SET-005
        string memory json = vm.readFile(string.concat(FOLDER, "measurements.json"));
        uint256 count;
        for (; vm.keyExistsJson(json, _key(count, "")); ++count) {
            IUsageSettlement.Measurement memory measurement = IUsageSettlement.Measurement({
                node: NodeId.wrap(_figure(json, count, ".node")),
                reachabilityPermille: _figure(json, count, ".reachability_permille"),
                acknowledgementMs: _figure(json, count, ".acknowledgement_ms"),
                cadencePermille: _figure(json, count, ".cadence_permille"),
                servedPermille: _figure(json, count, ".served_permille")
            });
            bytes32 expected = vm.parseJsonBytes32(json, _key(count, ".leaf"));
            equal(ReportTrees.measurementLeaf(measurement), expected);
        }
        check(count >= 3, "cases are missing");
    }

    function _checkTree(string memory json, uint256 count) private view {
        bytes32[] memory leaves = vm.parseJsonBytes32Array(json, _key(count, ".leaves"));
        bytes32 root = vm.parseJsonBytes32(json, _key(count, ".root"));
        bool isUsage =
            keccak256(bytes(vm.parseJsonString(json, _key(count, ".kind")))) == keccak256("usage");
        for (uint256 i = 0; i < leaves.length; ++i) {
            string memory place = string.concat("[", vm.toString(i), "]");
            string memory key = _key(count, string.concat(".keys", place));
            uint256 total = vm.parseJsonUint(json, _key(count, string.concat(".totals", place)));
            check(total <= type(uint128).max, "a total fits");
            // forge-lint: disable-next-line(unsafe-typecast)
            PicoDollars sum = PicoDollars.wrap(uint128(total));
            bytes32 leaf = isUsage
                ? ReportTrees.usageLeaf(vm.parseJsonAddress(json, key), sum)
                // forge-lint: disable-next-line(unsafe-typecast)
                : ReportTrees.earningsLeaf(NodeId.wrap(uint32(vm.parseJsonUint(json, key))), sum);
            equal(leaf, leaves[i]);
        }
        if (leaves.length == 0) {
            equal(root, bytes32(0));
            return;
        }
        equal(UsageTree.root(leaves), root);
        bytes32[] memory path = vm.parseJsonBytes32Array(json, _key(count, ".path"));
        bytes32 proven = leaves[vm.parseJsonUint(json, _key(count, ".proven"))];
        check(this.holds(root, proven, path), "the path leads to the root");
    }

    /// In calldata, as the settlement has it.
    function holds(bytes32 root, bytes32 leaf, bytes32[] calldata path)
        external
        pure
        returns (bool)
    {
        return ReportTrees.holds(root, leaf, path);
    }

    function _report(string memory json, uint256 count)
        private
        pure
        returns (IUsageSettlement.UsageReport memory report)
    {
        // forge-lint: disable-start(unsafe-typecast)
        report.shard = ShardId.wrap(uint16(vm.parseJsonUint(json, _key(count, ".shard"))));
        report.first = Period.wrap(uint64(vm.parseJsonUint(json, _key(count, ".first"))));
        report.last = Period.wrap(uint64(vm.parseJsonUint(json, _key(count, ".last"))));
        report.epoch = Epoch.wrap(uint64(vm.parseJsonUint(json, _key(count, ".epoch"))));
        report.billed = PicoDollars.wrap(uint128(vm.parseJsonUint(json, _key(count, ".billed"))));
        // forge-lint: disable-end(unsafe-typecast)
        report.previous = vm.parseJsonBytes32(json, _key(count, ".previous"));
        report.ranges = vm.parseJsonBytes32(json, _key(count, ".ranges"));
        report.usage = vm.parseJsonBytes32(json, _key(count, ".usage"));
        report.earnings = vm.parseJsonBytes32(json, _key(count, ".earnings"));
        report.measurements = vm.parseJsonBytes32(json, _key(count, ".measurements"));
    }

    function _figure(string memory json, uint256 count, string memory name)
        private
        pure
        returns (uint32)
    {
        uint256 figure = vm.parseJsonUint(json, _key(count, name));
        check(figure <= type(uint32).max, name);
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint32(figure);
    }

    function _key(uint256 index, string memory name) private pure returns (string memory) {
        return string.concat(".cases[", vm.toString(index), "]", name);
    }
}
