// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {CourtTest} from "./CourtTest.sol";

/// What the largest evidence of each kind costs, so that none is too dear to be judged. The cost of
/// calldata comes on top, and a stand-in slashes for about 113,000.
contract EvidenceCourtGasTest is CourtTest {
    function _costs(bytes memory evidence, uint256 max) private {
        bytes memory input = abi.encodeCall(court.judge, evidence);
        address to = address(court);
        bool done;
        uint256 used;
        // A call in Solidity would copy the input first, which costs more than to judge it.
        assembly ("memory-safe") {
            let before := gas()
            done := call(before, to, 0, add(input, 0x20), mload(input), 0, 0)
            used := sub(before, gas())
        }
        check(done, "judged");
        check(used <= max, string.concat("costs ", vm.toString(used)));
    }

    function test_checkpoints_cost_little() public {
        bytes memory one = signed(checkpointOf(5, sha256("left")));
        _costs(bytes.concat(hex"01", one, signed(checkpointOf(5, sha256("right")))), 200_000);
    }

    function test_votes_cost_little() public {
        bytes memory one = signed(voteFor(sha256("left")));
        _costs(bytes.concat(hex"03", one, signed(voteFor(sha256("right")))), 200_000);
    }

    function test_proposals_cost_little() public {
        bytes memory one = signed(proposalOf(sha256("left")));
        _costs(bytes.concat(hex"04", one, signed(proposalOf(sha256("right")))), 200_000);
    }

    function test_entries_of_the_largest_logs_cost_little() public {
        bytes memory one = _proofInTheLargestLog(headerOf(0, "left"));
        _costs(bytes.concat(hex"02", one, _proofInTheLargestLog(headerOf(0, "right"))), 420_000);
    }

    function test_an_invalid_entry_of_a_kilobyte_costs_little() public {
        _costs(_invalidEntry(1024), 320_000);
    }

    function test_an_invalid_entry_of_a_hundred_kilobytes_costs_little() public {
        _costs(_invalidEntry(102_400), 460_000);
    }

    /// It takes more calldata than a block has room for.
    function test_the_largest_invalid_entry_costs_less_than_a_block_has() public {
        _costs(_invalidEntry(1_048_576), 4_000_000);
    }

    function _invalidEntry(uint256 length) private pure returns (bytes memory) {
        EntryOf memory entry = goodEntry();
        entry.body.ciphertext = new bytes(length);
        seal(entry);
        entry.header.index = 0;
        entry.header.fee = entry.batch.maxFee + 1;
        bytes memory proof = _proofInTheLargestLog(entry.header);
        return bytes.concat(hex"05", proof, vectorOf(encodePayload(entry)));
    }

    /// Of the first entry in a log of 2⁶⁴ − 1, with a path of 64 hashes.
    function _proofInTheLargestLog(HeaderOf memory header) private pure returns (bytes memory) {
        bytes32[] memory path = new bytes32[](64);
        bytes32 root = leafOf(encode(header));
        for (uint256 level = 0; level < path.length; level++) {
            path[level] = sha256(abi.encodePacked(level));
            root = sha256(abi.encodePacked(hex"01", root, path[level]));
        }
        bytes memory under = signed(checkpointOf(type(uint64).max, root));
        return bytes.concat(encode(header), vectorOf(path), under);
    }
}
