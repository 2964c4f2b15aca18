// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {UsageSettlement} from "../../src/UsageSettlement.sol";
import {Epoch, NodeId, Period, PicoDollars, ShardId} from "../../src/Types.sol";
import {Parameter} from "../../src/generated/ParameterTable.sol";
import {IUsageSettlement} from "../../src/interfaces/IUsageSettlement.sol";
import {ReportTrees} from "../../src/lib/ReportTrees.sol";
import {RegistryStandIn} from "./RegistryStandIn.sol";
import {UsageTree} from "./UsageTree.sol";
import {VaultTest} from "./VaultTest.sol";

/// A vault with its settlement, three payers, four nodes, and reports with their trees.
abstract contract SettlementTest is VaultTest {
    uint256 internal constant CHALLENGE = 100;
    uint32 internal constant NODES = 4;
    uint256 internal constant ALL = 0xf;
    /// A unit in picodollars.
    uint128 internal constant UNIT = 1_000_000;

    address internal carol = vm.addr(0xca401);
    address internal treasury = vm.addr(0x74ea5);
    address[] internal payers;
    uint256[] internal keys;

    RegistryStandIn internal registry;
    UsageSettlement internal reports;

    /// The reports that stand, and what is in their trees.
    mapping(ShardId shard => IUsageSettlement.UsageReport[]) internal made;
    mapping(ShardId shard => mapping(uint256 index => uint128[])) internal used;
    mapping(ShardId shard => mapping(uint256 index => uint128[])) internal earned;
    /// What the next reports say of nodes.
    IUsageSettlement.Measurement[] internal measured;

    function setUp() public virtual override {
        vm.warp(START);
        deployVault();
        parameters.set(Parameter.ChallengeSeconds, CHALLENGE);
        fund(carol);
        payers = [alice, bob, carol];
        registry = new RegistryStandIn();
        deployCommittee(1, NODES);
        for (uint32 i = 0; i < NODES; ++i) {
            registry.setPayout(NodeId.wrap(i), payoutOf(i));
            measured.push(IUsageSettlement.Measurement(NodeId.wrap(i), 1000, 10, 1000, 1000));
        }
        reports = new UsageSettlement(
            address(authority), registry, parameters, vault, guardian, treasury
        );
        vault.setSettlement(address(reports));
    }

    function deployCommittee(uint64 epoch, uint256 members) internal {
        delete keys;
        address[] memory signers = new address[](members);
        for (uint256 i = 0; i < members; ++i) {
            keys.push(uint256(keccak256(abi.encode("node", epoch, i))));
            signers[i] = vm.addr(keys[i]);
        }
        registry.setCommittee(Epoch.wrap(epoch), signers);
    }

    function payoutOf(uint32 node) internal pure returns (address) {
        return vm.addr(0x900d + node);
    }

    // Reports.

    /// The next report of `shard`: what each payer used since the shard began, in picodollars.
    /// Nodes earned a fifth each, and the protocol the rest.
    function make(ShardId shard, uint64 last, uint128[] memory all)
        internal
        returns (IUsageSettlement.UsageReport memory report)
    {
        uint256 index = made[shard].length;
        report.shard = shard;
        if (index > 0) {
            IUsageSettlement.UsageReport memory before = made[shard][index - 1];
            report.previous = reports.digest(before);
            report.first = Period.wrap(Period.unwrap(before.last) + 1);
        } else {
            report.first = Period.wrap(1);
        }
        report.last = Period.wrap(last);
        report.epoch = registry.epoch();
        report.ranges = keccak256("ranges");
        uint128 billed = 0;
        for (uint256 i = 0; i < all.length; ++i) {
            billed += all[i];
        }
        report.billed = PicoDollars.wrap(billed);

        used[shard][index] = all;
        delete earned[shard][index];
        for (uint256 i = 0; i < NODES; ++i) {
            earned[shard][index].push(billed / 5);
        }
        earned[shard][index].push(billed - billed / 5 * NODES);
        report.usage = UsageTree.root(usageLeaves(shard, index));
        report.earnings = UsageTree.root(earningsLeaves(shard, index));
        report.measurements = UsageTree.root(measurementLeaves());
    }

    /// Makes the next report and submits it with all signatures.
    function add(ShardId shard, uint64 last, uint128[] memory all)
        internal
        returns (uint256 index)
    {
        IUsageSettlement.UsageReport memory report = make(shard, last, all);
        index = made[shard].length;
        made[shard].push(report);
        uint256 signers = 2 ** keys.length - 1;
        reports.submit(report, signers, signed(report, signers));
    }

    function add(uint64 last, uint128 ofAlice, uint128 ofBob) internal returns (uint256 index) {
        return add(SHARD, last, sums(ofAlice, ofBob));
    }

    function sums(uint128 ofAlice, uint128 ofBob) internal pure returns (uint128[] memory all) {
        all = new uint128[](2);
        (all[0], all[1]) = (ofAlice, ofBob);
    }

    /// Forgets the reports that were voided.
    function drop(ShardId shard, uint256 index) internal {
        while (made[shard].length > index) {
            made[shard].pop();
        }
    }

    function mature() internal {
        vm.warp(block.timestamp + CHALLENGE);
    }

    /// The compact signatures of the members in `signers`.
    function signed(IUsageSettlement.UsageReport memory report, uint256 signers)
        internal
        view
        returns (bytes memory signatures)
    {
        bytes32 digest = reports.digest(report);
        for (uint256 i = 0; i < keys.length; ++i) {
            if (signers >> i & 1 == 1) {
                signatures = bytes.concat(signatures, signature(keys[i], digest));
            }
        }
    }

    function signature(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, uint256(v - 27) << 255 | uint256(s));
    }

    // Leaves and proofs.

    function usageOf(ShardId shard, uint256 index, uint256 payer)
        internal
        view
        returns (IUsageSettlement.Usage memory)
    {
        bytes32[] memory leaves = usageLeaves(shard, index);
        return IUsageSettlement.Usage({
            payer: payers[payer],
            cumulative: PicoDollars.wrap(used[shard][index][payer]),
            proof: UsageTree.proof(leaves, leaves[payer])
        });
    }

    /// `node` is the place: the last is the protocol's.
    function earningsOf(ShardId shard, uint256 index, uint256 node)
        internal
        view
        returns (IUsageSettlement.Earnings memory)
    {
        bytes32[] memory leaves = earningsLeaves(shard, index);
        return IUsageSettlement.Earnings({
            node: nodeAt(node),
            cumulative: PicoDollars.wrap(earned[shard][index][node]),
            proof: UsageTree.proof(leaves, leaves[node])
        });
    }

    function measurementProof(uint256 node) internal view returns (bytes32[] memory) {
        bytes32[] memory leaves = measurementLeaves();
        return UsageTree.proof(leaves, leaves[node]);
    }

    function nodeAt(uint256 place) internal pure returns (NodeId) {
        // forge-lint: disable-next-line(unsafe-typecast)
        return place == NODES ? ReportTrees.PROTOCOL : NodeId.wrap(uint32(place));
    }

    function usageLeaves(ShardId shard, uint256 index)
        private
        view
        returns (bytes32[] memory leaves)
    {
        uint128[] memory all = used[shard][index];
        leaves = new bytes32[](all.length);
        for (uint256 i = 0; i < all.length; ++i) {
            leaves[i] = ReportTrees.usageLeaf(payers[i], PicoDollars.wrap(all[i]));
        }
    }

    function earningsLeaves(ShardId shard, uint256 index)
        private
        view
        returns (bytes32[] memory leaves)
    {
        uint128[] memory all = earned[shard][index];
        leaves = new bytes32[](all.length);
        for (uint256 i = 0; i < all.length; ++i) {
            leaves[i] = ReportTrees.earningsLeaf(nodeAt(i), PicoDollars.wrap(all[i]));
        }
    }

    function measurementLeaves() private view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](measured.length);
        for (uint256 i = 0; i < measured.length; ++i) {
            leaves[i] = ReportTrees.measurementLeaf(measured[i]);
        }
    }

    // Settling.

    function charge(ShardId shard, uint256 index, uint256 payer) internal returns (uint256) {
        return reports.charge(made[shard][index], index, usageOf(shard, index, payer));
    }

    function claim(ShardId shard, uint256 index, uint256 node) internal returns (uint256) {
        return reports.claim(made[shard][index], index, earningsOf(shard, index, node));
    }

    function claimPart(ShardId shard, uint256 index, uint256 node) internal returns (uint256) {
        return reports.claimPart(
            made[shard][index - 1],
            made[shard][index],
            index,
            earningsOf(shard, index - 1, node),
            earningsOf(shard, index, node)
        );
    }
}
