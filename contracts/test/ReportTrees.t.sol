// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {NodeId, PicoDollars} from "../src/Types.sol";
import {IUsageSettlement} from "../src/interfaces/IUsageSettlement.sol";
import {ReportTrees} from "../src/lib/ReportTrees.sol";
import {Test} from "./Test.sol";
import {UsageTree} from "./money/UsageTree.sol";

contract ReportTreesTest is Test {
    /// The example of OpenZeppelin's JavaScript library.
    function test_trees_are_laid_out_as_the_standard_ones() public pure {
        // covers: SET-005
        bytes32[] memory leaves = new bytes32[](2);
        leaves[0] = ReportTrees.usageLeaf(
            0x1111111111111111111111111111111111111111, PicoDollars.wrap(5e18)
        );
        leaves[1] = ReportTrees.usageLeaf(
            0x2222222222222222222222222222222222222222, PicoDollars.wrap(25e17)
        );
        equal(
            UsageTree.root(leaves),
            0xd4dee0beab2d53f2cc83e567171bd2820e49898130a22622b10ead383e90bd77
        );
    }

    function test_leaves_encode_each_field_in_a_word() public pure {
        equal(
            ReportTrees.earningsLeaf(NodeId.wrap(7), PicoDollars.wrap(9)),
            keccak256(bytes.concat(keccak256(abi.encode(uint256(7), uint256(9)))))
        );
        IUsageSettlement.Measurement memory measurement =
            IUsageSettlement.Measurement(NodeId.wrap(1), 2, 3, 4, 5);
        equal(
            ReportTrees.measurementLeaf(measurement),
            keccak256(bytes.concat(keccak256(abi.encode(1, 2, 3, 4, 5))))
        );
    }

    function testFuzz_every_leaf_has_a_proof_and_no_other(uint8 size, uint256 seed) public view {
        bytes32[] memory leaves = new bytes32[](bound(size, 1, 16));
        for (uint256 i = 0; i < leaves.length; ++i) {
            leaves[i] = ReportTrees.usageLeaf(
                address(uint160(uint256(keccak256(abi.encode(seed, i))))), PicoDollars.wrap(1)
            );
        }
        bytes32 root = UsageTree.root(leaves);
        for (uint256 i = 0; i < leaves.length; ++i) {
            bytes32[] memory proof = UsageTree.proof(leaves, leaves[i]);
            check(this.holds(root, leaves[i], proof), "a proof fails");
            check(!this.holds(root, ~leaves[i], proof), "a proof of nothing passes");
        }
    }

    function holds(bytes32 root, bytes32 leaf, bytes32[] calldata proof)
        external
        pure
        returns (bool)
    {
        return ReportTrees.holds(root, leaf, proof);
    }
}
