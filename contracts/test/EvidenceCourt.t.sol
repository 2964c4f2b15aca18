// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {CourtTest} from "./CourtTest.sol";

/// Statements that contradict each other, and all that nearly do.
contract EvidenceCourtTest is CourtTest {
    bytes32 private constant LEFT = sha256("left");
    bytes32 private constant RIGHT = sha256("right");
    /// The log of all checkpoints here that are not said to be of another.
    bytes private _log = abi.encodePacked(NODE, SHARD, uint32(2));

    // Checkpoints

    function checkpoints(CheckpointOf memory one, CheckpointOf memory two)
        private
        pure
        returns (bytes memory)
    {
        return bytes.concat(hex"01", signed(one), signed(two));
    }

    function checkpointDeed(uint64 size) private view returns (bytes memory) {
        return abi.encodePacked(uint8(1), _log, size);
    }

    function test_two_roots_of_one_size_convict() public {
        // covers: SET-019
        CheckpointOf memory later = checkpointOf(5, RIGHT);
        later.period = PERIOD + 9;
        equivocated(checkpoints(checkpointOf(5, LEFT), later), checkpointDeed(5));
    }

    function test_an_offence_is_judged_once_whichever_statements_prove_it() public {
        // covers: SET-020
        CheckpointOf memory left = checkpointOf(5, LEFT);
        CheckpointOf memory right = checkpointOf(5, RIGHT);
        equivocated(checkpoints(left, right), checkpointDeed(5));
        judgedAlready(checkpoints(left, right), checkpointDeed(5));
        judgedAlready(checkpoints(right, left), checkpointDeed(5));
        judgedAlready(checkpoints(left, checkpointOf(5, sha256("third"))), checkpointDeed(5));
        equivocated(checkpoints(checkpointOf(6, LEFT), checkpointOf(6, RIGHT)), checkpointDeed(6));
    }

    function test_one_root_twice_proves_nothing() public {
        CheckpointOf memory later = checkpointOf(5, LEFT);
        later.period = PERIOD + 1;
        nothingProved(checkpoints(checkpointOf(5, LEFT), later));
        nothingProved(checkpoints(later, later));
    }

    function test_checkpoints_of_two_places_prove_nothing() public {
        CheckpointOf memory one = checkpointOf(5, LEFT);
        nothingProved(checkpoints(one, checkpointOf(6, RIGHT)));
        CheckpointOf memory two = checkpointOf(5, RIGHT);
        two.incarnation = 3;
        nothingProved(checkpoints(one, two));
        two = checkpointOf(5, RIGHT);
        two.shard = SHARD + 1;
        nothingProved(checkpoints(one, two));
        two = checkpointOf(5, RIGHT);
        two.node = OTHER_NODE;
        nothingProved(checkpoints(one, two));
    }

    function test_a_checkpoint_of_another_version_is_not_signed() public {
        CheckpointOf memory one = checkpointOf(5, LEFT);
        CheckpointOf memory two = checkpointOf(5, RIGHT);
        two.version = 2;
        notSigned(checkpoints(one, two));
        notSigned(checkpoints(two, one));
        two.version = 0;
        notSigned(checkpoints(one, two));
    }

    function test_checkpoints_of_another_key_or_network_are_not_signed() public {
        CheckpointOf memory one = checkpointOf(5, LEFT);
        CheckpointOf memory two = checkpointOf(5, RIGHT);
        bytes memory good = signed(one);
        bytes memory stranger = signed(two, 1234, NETWORK);
        bytes memory peer = signed(two, secretOf(OTHER_NODE), NETWORK);
        bytes memory elsewhere = signed(two, secretOf(NODE), sha256("another network"));
        notSigned(bytes.concat(hex"01", good, stranger));
        notSigned(bytes.concat(hex"01", stranger, good));
        notSigned(bytes.concat(hex"01", good, peer));
        notSigned(bytes.concat(hex"01", good, elsewhere));
    }

    function test_a_node_that_does_not_exist_has_signed_nothing() public {
        CheckpointOf memory one = checkpointOf(5, LEFT);
        CheckpointOf memory two = checkpointOf(5, RIGHT);
        one.node = two.node = 99;
        notSigned(checkpoints(one, two));
    }

    function test_statements_by_two_keys_of_one_node_convict() public {
        registry.addKey(NODE, vm.addr(secretOf(NODE, 1)));
        bytes memory old = signed(checkpointOf(5, LEFT));
        bytes memory fresh = signed(checkpointOf(5, RIGHT), secretOf(NODE, 1), NETWORK);
        equivocated(bytes.concat(hex"01", old, fresh), checkpointDeed(5));
    }

    /// The signature has a signer, whose key it would be if s were not in the upper half.
    function test_signatures_in_the_upper_half_are_refused() public {
        CheckpointOf memory two = checkpointOf(5, RIGHT);
        bytes memory good = signed(checkpointOf(5, LEFT));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", domainOf(NETWORK), hashOf(two)));
        bytes32 r = _word(good, 60);
        uint256 half = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;
        for (uint256 s = half; s < half + 3; s++) {
            address signer = ecrecover(digest, 27, r, bytes32(s));
            check(signer != address(0), "somebody signed");
            registry.addKey(NODE, signer);
            bytes memory evidence = bytes.concat(hex"01", good, encode(two), r, bytes32(s));
            if (s == half) {
                equivocated(evidence, checkpointDeed(5));
            } else {
                notSigned(evidence);
            }
        }
    }

    function test_a_signature_of_nobody_is_refused_even_if_zero_is_a_key() public {
        registry.addKey(NODE, address(0));
        bytes memory good = signed(checkpointOf(5, LEFT));
        bytes memory unsigned = encode(checkpointOf(5, RIGHT));
        notSigned(bytes.concat(hex"01", good, unsigned, new bytes(64)));
        bytes32 r = _word(good, 60);
        notSigned(bytes.concat(hex"01", good, unsigned, r, bytes32(0)));
        notSigned(bytes.concat(hex"01", good, unsigned, r, bytes32(type(uint256).max)));
    }

    function _word(bytes memory from, uint256 offset) private pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := mload(add(add(from, 0x20), offset))
        }
    }

    // Entries

    function entries(bytes memory one, bytes memory two) private pure returns (bytes memory) {
        return bytes.concat(hex"02", one, two);
    }

    function entryDeed(uint64 index) private view returns (bytes memory) {
        return abi.encodePacked(uint8(2), _log, index);
    }

    function test_two_entries_at_one_index_convict_whatever_the_sizes() public {
        bytes[] memory left = logOf(9, "history", 4, "left");
        bytes[] memory right = logOf(9, "history", 4, "right");
        equivocated(entries(proofAt(left, 4, 5), proofAt(right, 4, 5)), entryDeed(4));
        judgedAlready(entries(proofAt(right, 4, 9), proofAt(left, 4, 6)), entryDeed(4));
        equivocated(entries(proofAt(left, 6, 7), proofAt(right, 6, 9)), entryDeed(6));
        equivocated(entries(proofAt(left, 8, 9), proofAt(right, 8, 9)), entryDeed(8));
    }

    function test_one_history_proves_nothing() public {
        bytes[] memory log = logOf(9, "history", 9, 0);
        nothingProved(entries(proofAt(log, 4, 5), proofAt(log, 4, 9)));
        nothingProved(entries(proofAt(log, 4, 5), proofAt(log, 4, 5)));
        nothingProved(entries(proofAt(log, 4, 7), proofAt(log, 5, 7)));
    }

    function test_entries_of_two_logs_prove_nothing() public {
        bytes[] memory left = logOf(9, "history", 4, "left");
        bytes[] memory right = logOf(9, "history", 4, "right");
        bytes memory one = proofAt(left, 4, 7);
        CheckpointOf memory of_ = checkpointAt(right, 7);
        of_.incarnation = 3;
        nothingProved(entries(one, proofUnder(right, 4, of_)));
        of_ = checkpointAt(right, 7);
        of_.shard = SHARD + 1;
        nothingProved(entries(one, proofUnder(right, 4, of_)));
        of_ = checkpointAt(right, 7);
        of_.node = OTHER_NODE;
        nothingProved(entries(one, proofUnder(right, 4, of_)));
        nothingProved(entries(one, proofAt(right, 5, 7)));
    }

    function test_an_entry_that_is_not_under_its_checkpoint_proves_nothing() public {
        bytes[] memory left = logOf(9, "history", 4, "left");
        bytes[] memory right = logOf(9, "history", 4, "right");
        bytes memory good = proofAt(left, 4, 7);
        bytes32[] memory path = auditPath(leavesOf(right), 4, 0, 7);
        bytes memory under = signed(checkpointAt(right, 7));
        equivocated(entries(good, bytes.concat(right[4], vectorOf(path), under)), entryDeed(4));
        // Another size, another path, a shorter and a longer one.
        bytes memory larger = signed(checkpointAt(right, 8));
        nothingProved(entries(good, bytes.concat(right[4], vectorOf(path), larger)));
        bytes32[] memory other = auditPath(leavesOf(left), 4, 0, 7);
        other[0] = sha256("beside");
        nothingProved(entries(good, bytes.concat(right[4], vectorOf(other), under)));
        bytes32[] memory short = new bytes32[](path.length - 1);
        bytes32[] memory long = new bytes32[](path.length + 1);
        for (uint256 step = 0; step < path.length; step++) {
            long[step] = path[step];
            if (step < short.length) {
                short[step] = path[step];
            }
        }
        nothingProved(entries(good, bytes.concat(right[4], vectorOf(short), under)));
        nothingProved(entries(good, bytes.concat(right[4], vectorOf(long), under)));
        // An index at or above the size.
        bytes memory small = signed(checkpointAt(right, 4));
        nothingProved(entries(good, bytes.concat(right[4], hex"00", small)));
    }

    function test_entries_under_a_checkpoint_of_another_key_or_version_are_not_signed() public {
        bytes[] memory left = logOf(9, "history", 4, "left");
        bytes[] memory right = logOf(9, "history", 4, "right");
        bytes32[] memory path = auditPath(leavesOf(right), 4, 0, 7);
        bytes memory entry = bytes.concat(right[4], vectorOf(path));
        CheckpointOf memory of_ = checkpointAt(right, 7);
        bytes memory stranger = bytes.concat(entry, signed(of_, 1234, NETWORK));
        notSigned(entries(proofAt(left, 4, 7), stranger));
        notSigned(entries(stranger, proofAt(left, 4, 7)));
        bytes memory elsewhere = bytes.concat(entry, signed(of_, secretOf(NODE), sha256("")));
        notSigned(entries(proofAt(left, 4, 7), elsewhere));
        of_.version = 2;
        notSigned(entries(proofAt(left, 4, 7), bytes.concat(entry, signed(of_))));
    }

    // Votes

    function votes(VoteOf memory one, VoteOf memory two) private pure returns (bytes memory) {
        return bytes.concat(hex"03", signed(one), signed(two));
    }

    function voteDeed(VoteOf memory of_) private pure returns (bytes memory) {
        return abi.encodePacked(uint8(3), of_.shard, of_.height, of_.round, of_.step, uint8(0));
    }

    function test_two_votes_in_one_step_convict() public {
        VoteOf memory one = voteFor(LEFT);
        equivocated(votes(one, voteFor(RIGHT)), voteDeed(one));
        judgedAlready(votes(voteFor(RIGHT), one), voteDeed(one));
        judgedAlready(votes(one, voteForNone()), voteDeed(one));
        one.step = 2;
        VoteOf memory two = voteForNone();
        two.step = 2;
        equivocated(votes(two, one), voteDeed(one));
    }

    function test_one_vote_twice_proves_nothing() public {
        nothingProved(votes(voteFor(LEFT), voteFor(LEFT)));
        nothingProved(votes(voteForNone(), voteForNone()));
    }

    /// Both have one digest, so that who signed the one has signed the other.
    function test_a_vote_for_no_block_cannot_be_passed_off_as_one_for_block_zero() public {
        // covers: ORD-023
        bytes memory signature = sign(secretOf(NODE), NETWORK, hashOf(voteForNone()));
        bytes memory none = bytes.concat(encode(voteForNone()), signature);
        bytes memory zero = bytes.concat(encode(voteFor(0)), signature);
        nothingProved(bytes.concat(hex"03", none, zero));
        nothingProved(bytes.concat(hex"03", zero, none));
        bytes memory another = bytes.concat(
            encode(voteFor(bytes32(uint256(1)))),
            sign(secretOf(NODE), NETWORK, hashOf(voteFor(bytes32(uint256(1)))))
        );
        nothingProved(bytes.concat(hex"03", zero, another));
        nothingProved(bytes.concat(hex"03", another, zero));
    }

    function test_votes_of_two_steps_prove_nothing() public {
        VoteOf memory one = voteFor(LEFT);
        VoteOf memory two = voteFor(RIGHT);
        two.step = 2;
        nothingProved(votes(one, two));
        two = voteFor(RIGHT);
        two.round++;
        nothingProved(votes(one, two));
        two = voteFor(RIGHT);
        two.height++;
        nothingProved(votes(one, two));
        two = voteFor(RIGHT);
        two.shard++;
        nothingProved(votes(one, two));
        two = voteFor(RIGHT);
        two.node = OTHER_NODE;
        nothingProved(votes(one, two));
    }

    function test_a_vote_is_held_against_its_signer_only() public {
        VoteOf memory one = voteFor(LEFT);
        VoteOf memory two = voteFor(RIGHT);
        bytes memory good = signed(one);
        notSigned(bytes.concat(hex"03", good, signed(two, secretOf(OTHER_NODE), NETWORK)));
        notSigned(bytes.concat(hex"03", signed(two, 1234, NETWORK), good));
        notSigned(bytes.concat(hex"03", good, signed(two, secretOf(NODE), sha256(""))));
        // The votes of one node under the number of another.
        one.node = two.node = OTHER_NODE;
        notSigned(
            bytes.concat(
                hex"03", signed(one, secretOf(NODE), NETWORK), signed(two, secretOf(NODE), NETWORK)
            )
        );
    }

    // Proposals

    function proposals(ProposalOf memory one, ProposalOf memory two)
        private
        pure
        returns (bytes memory)
    {
        return bytes.concat(hex"04", signed(one), signed(two));
    }

    function proposalDeed(ProposalOf memory of_) private pure returns (bytes memory) {
        return abi.encodePacked(uint8(4), of_.shard, of_.height, of_.round);
    }

    function test_two_proposals_in_one_round_convict() public {
        ProposalOf memory one = proposalOf(LEFT);
        ProposalOf memory two = proposalOf(RIGHT);
        equivocated(proposals(one, two), proposalDeed(one));
        two.hasValidRound = true;
        two.validRound = type(uint32).max;
        judgedAlready(proposals(one, two), proposalDeed(one));
        one.height = two.height = 77;
        equivocated(proposals(two, one), proposalDeed(one));
    }

    function test_one_block_proposed_twice_proves_nothing() public {
        ProposalOf memory one = proposalOf(LEFT);
        ProposalOf memory two = proposalOf(LEFT);
        nothingProved(proposals(one, two));
        two.hasValidRound = true;
        nothingProved(proposals(one, two));
    }

    function test_proposals_of_two_rounds_prove_nothing() public {
        ProposalOf memory one = proposalOf(LEFT);
        ProposalOf memory two = proposalOf(RIGHT);
        two.round++;
        nothingProved(proposals(one, two));
        two = proposalOf(RIGHT);
        two.height++;
        nothingProved(proposals(one, two));
        two = proposalOf(RIGHT);
        two.shard++;
        nothingProved(proposals(one, two));
        two = proposalOf(RIGHT);
        two.node = OTHER_NODE;
        nothingProved(proposals(one, two));
    }

    function test_a_proposal_is_held_against_its_signer_only() public {
        ProposalOf memory two = proposalOf(RIGHT);
        bytes memory good = signed(proposalOf(LEFT));
        notSigned(bytes.concat(hex"04", good, signed(two, secretOf(OTHER_NODE), NETWORK)));
        notSigned(bytes.concat(hex"04", signed(two, 1234, NETWORK), good));
        notSigned(bytes.concat(hex"04", good, signed(two, secretOf(NODE), sha256(""))));
        // The same bytes with another valid round were not signed.
        bytes memory signature = sign(secretOf(NODE), NETWORK, hashOf(two));
        two.hasValidRound = true;
        notSigned(bytes.concat(hex"04", good, encode(two), signature));
    }

    /// Statements of one kind are none of another, even where their bytes would decode.
    function test_a_vote_is_no_proposal() public {
        ProposalOf memory one = proposalOf(LEFT);
        bytes memory signature = sign(secretOf(NODE), NETWORK, hashOf(voteFor(LEFT)));
        notSigned(bytes.concat(hex"04", encode(one), signature, signed(proposalOf(RIGHT))));
    }

    // Form

    function test_kinds_that_do_not_exist_are_malformed() public {
        bytes memory statements = bytes.concat(signed(voteFor(LEFT)), signed(voteFor(RIGHT)));
        malformed("");
        malformed(bytes.concat(hex"00", statements));
        malformed(bytes.concat(hex"06", statements));
        malformed(bytes.concat(hex"ff", statements));
        malformed(bytes.concat(hex"01", statements));
    }

    function test_steps_and_presences_that_do_not_exist_are_malformed() public {
        VoteOf memory one = voteFor(LEFT);
        VoteOf memory two = voteFor(RIGHT);
        one.step = two.step = 3;
        malformed(votes(one, two));
        one.step = two.step = 0;
        malformed(votes(one, two));
        bytes memory evidence = votes(voteFor(LEFT), voteFor(RIGHT));
        uint256 presence = 1 + 4 + 2 + 8 + 4 + 1;
        equal(uint8(evidence[presence]), 1);
        evidence[presence] = 0x02;
        malformed(evidence);
        evidence = proposals(proposalOf(LEFT), proposalOf(RIGHT));
        presence = 1 + 4 + 2 + 8 + 4;
        equal(uint8(evidence[presence]), 0);
        evidence[presence] = 0x02;
        malformed(evidence);
    }

    function test_paths_in_another_form_are_malformed() public {
        bytes[] memory left = logOf(9, "history", 4, "left");
        bytes memory good = proofAt(logOf(9, "history", 4, "right"), 4, 7);
        bytes memory path = abi.encodePacked(auditPath(leavesOf(left), 4, 0, 7));
        bytes memory under = signed(checkpointAt(left, 7));
        equal(path.length, 96);
        bytes[5] memory lengths = [
            bytes(hex"80000060"), // four bytes where two do
            hex"c000000000000060", // eight
            hex"405f", // not whole
            hex"4061",
            hex"4820" // 65 hashes
        ];
        for (uint256 index = 0; index < lengths.length; index++) {
            bytes memory rest = bytes.concat(path, new bytes(2080 - path.length), under);
            malformed(entries(good, bytes.concat(left[4], lengths[index], path, under)));
            malformed(entries(good, bytes.concat(left[4], lengths[index], rest)));
        }
        bytes memory empty = bytes.concat(left[4], hex"4000", under);
        malformed(entries(good, empty));
        equivocated(entries(good, bytes.concat(left[4], hex"4060", path, under)), entryDeed(4));
    }

    function test_bytes_that_end_early_or_follow_are_malformed() public {
        _cutAndExtend(checkpoints(checkpointOf(5, LEFT), checkpointOf(5, RIGHT)));
        _cutAndExtend(votes(voteFor(LEFT), voteFor(RIGHT)));
        _cutAndExtend(votes(voteForNone(), voteFor(RIGHT)));
        _cutAndExtend(proposals(proposalOf(LEFT), proposalOf(RIGHT)));
        bytes[] memory left = logOf(9, "history", 4, "left");
        bytes[] memory right = logOf(9, "history", 4, "right");
        _cutAndExtend(entries(proofAt(left, 4, 7), proofAt(right, 4, 7)));
        _cutAndExtend(invalidEntry(goodEntry()));
    }

    function _cutAndExtend(bytes memory evidence) private {
        for (uint256 length = 0; length < evidence.length; length++) {
            bytes memory cut = new bytes(length);
            for (uint256 index = 0; index < length; index++) {
                cut[index] = evidence[index];
            }
            malformed(cut);
        }
        malformed(bytes.concat(evidence, hex"00"));
        malformed(bytes.concat(evidence, evidence));
    }
}
