// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {NodeSignatures} from "../src/lib/NodeSignatures.sol";
import {Test} from "./Test.sol";

contract NodeSignaturesTest is Test {
    uint256 private constant ORDER =
        0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    function test_the_domain_is_that_of_the_network() public pure {
        bytes32 net = "net";
        bytes32 structHash = "struct";
        bytes32 separator = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,bytes32 salt)"),
                keccak256("Tidings"),
                keccak256("1"),
                net
            )
        );
        equal(NodeSignatures.domainSeparator(net), separator);
        equal(
            NodeSignatures.digest(separator, structHash),
            keccak256(abi.encodePacked(hex"1901", separator, structHash))
        );
    }

    function testFuzz_who_signed_is_found(uint256 key, bytes32 digest) public pure {
        key = bound(key, 1, ORDER - 1);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        equal(NodeSignatures.recover(digest, r, compact(v, s)), vm.addr(key));
    }

    function testFuzz_the_other_s_is_refused(uint256 key, bytes32 digest) public pure {
        key = bound(key, 1, ORDER - 1);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        uint256 high = ORDER - uint256(s);
        // Only where it fits below the bit for the parity does it reach the check.
        bytes32 vs = compact(v == 27 ? 28 : 27, bytes32(high));
        check(NodeSignatures.recover(digest, r, vs) != vm.addr(key), "s is malleable");
    }

    function test_an_s_above_half_the_order_is_refused() public pure {
        bytes32 vs = bytes32(ORDER / 2 + 1);
        equal(NodeSignatures.recover("digest", bytes32(uint256(1)), vs), address(0));
    }

    function test_nonsense_is_nobodys() public pure {
        equal(NodeSignatures.recover("digest", 0, 0), address(0));
        equal(NodeSignatures.recover("digest", bytes32(ORDER), bytes32(uint256(1))), address(0));
    }

    function compact(uint8 v, bytes32 s) private pure returns (bytes32) {
        return bytes32(uint256(v - 27) << 255 | uint256(s));
    }
}
