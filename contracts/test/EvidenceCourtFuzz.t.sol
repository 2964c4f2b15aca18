// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IEvidenceCourt} from "../src/interfaces/IEvidenceCourt.sol";
import {CourtTest} from "./CourtTest.sol";

/// No input makes the court convict the honest, or anybody of what they did not do.
contract EvidenceCourtFuzzTest is CourtTest {
    uint64 private constant LOG_SIZE = 8;

    /// Everything that an honest node has said: one log under a checkpoint of every size, and at
    /// every step of every round at most one vote and one proposal.
    bytes[] private _checkpoints;
    bytes[] private _proofs;
    bytes[] private _votes;
    bytes[] private _proposals;
    bytes[] private _payloads;

    function setUp() public override {
        super.setUp();
        _sayWhatNodesSay();
    }

    function _sayWhatNodesSay() private {
        bytes[] memory headers = logOf(LOG_SIZE, "history", LOG_SIZE, 0);
        for (uint64 index = 0; index < LOG_SIZE; index += 3) {
            EntryOf memory entry = goodEntry();
            entry.body.ciphertext = abi.encodePacked("ciphertext", index);
            entry.header.index = index;
            seal(entry);
            headers[index] = encode(entry.header);
            _payloads.push(encodePayload(entry));
        }
        for (uint64 size = 1; size <= LOG_SIZE; size++) {
            CheckpointOf memory of_ = checkpointAt(headers, size);
            _checkpoints.push(signed(of_));
            // The key changes, and the period too.
            of_.period++;
            registry.addKey(NODE, vm.addr(secretOf(NODE, 1)));
            _checkpoints.push(signed(of_, secretOf(NODE, 1), NETWORK));
            for (uint64 index = 0; index < size; index++) {
                _proofs.push(proofUnder(headers, index, of_));
            }
        }
        for (uint16 place = 0; place < 16; place++) {
            VoteOf memory vote = voteFor(sha256(abi.encode(place)));
            vote.shard = place & 1;
            vote.height = place >> 1 & 1;
            vote.round = place >> 2 & 1;
            vote.step = place >> 3 == 0 ? 1 : 2;
            if (place % 3 == 0) {
                vote.hasBlock = false;
                vote.blockHash = 0;
            }
            _votes.push(signed(vote));
            // What was signed for no block, said to be for block zero.
            if (!vote.hasBlock) {
                bytes memory signature = sign(secretOf(NODE), NETWORK, hashOf(vote));
                vote.hasBlock = true;
                _votes.push(bytes.concat(encode(vote), signature));
            }
            ProposalOf memory proposal = proposalOf(sha256(abi.encode(place >> 3)));
            proposal.shard = vote.shard;
            proposal.height = vote.height;
            proposal.round = vote.round;
            proposal.hasValidRound = place >> 3 == 1;
            proposal.blockHash = sha256(abi.encode(place & 7));
            _proposals.push(signed(proposal));
        }
    }

    function _innocent(bytes memory evidence) private {
        (bytes4 refusal,) = answer(evidence);
        check(refusal != 0, "convicted");
        equal(registry.slashCount(), 0);
    }

    function _pick(bytes[] storage from, uint256 seed) private view returns (bytes memory) {
        return from[seed % from.length];
    }

    function test_no_two_statements_of_an_honest_node_convict_it() public {
        // covers: SET-019
        _checkAllPairs(hex"01", _checkpoints);
        _checkAllPairs(hex"03", _votes);
        _checkAllPairs(hex"04", _proposals);
    }

    function _checkAllPairs(bytes memory kind, bytes[] storage statements) private {
        for (uint256 one = 0; one < statements.length; one++) {
            for (uint256 two = 0; two < statements.length; two++) {
                nothingProved(bytes.concat(kind, statements[one], statements[two]));
            }
        }
    }

    function testFuzz_no_two_entries_of_an_honest_node_convict_it(uint256 one, uint256 two) public {
        nothingProved(bytes.concat(hex"02", _pick(_proofs, one), _pick(_proofs, two)));
    }

    function testFuzz_no_entry_of_an_honest_node_convicts_it(uint256 one, uint256 two) public {
        _innocent(bytes.concat(hex"05", _pick(_proofs, one), vectorOf(_pick(_payloads, two))));
    }

    /// Statements under other kinds than their own, too.
    function testFuzz_no_mixture_of_what_an_honest_node_said_convicts_it(
        uint8 kind,
        uint256 one,
        uint256 two,
        uint256 pools
    ) public {
        kind %= 7;
        _innocent(
            bytes.concat(bytes1(kind), _pick(_pool(pools), one), _pick(_pool(pools >> 128), two))
        );
    }

    function _pool(uint256 seed) private view returns (bytes[] storage) {
        if (seed % 5 == 0) return _checkpoints;
        if (seed % 5 == 1) return _proofs;
        if (seed % 5 == 2) return _votes;
        if (seed % 5 == 3) return _proposals;
        return _payloads;
    }

    function testFuzz_no_garbled_statement_of_an_honest_node_convicts_it(
        uint8 kind,
        uint256 one,
        uint256 two,
        uint256 place,
        uint8 mask
    ) public {
        kind = uint8(bound(kind, 1, 5));
        bytes[] storage pool =
            kind == 1 ? _checkpoints : kind == 3 ? _votes : kind == 4 ? _proposals : _proofs;
        bytes memory second = kind == 5 ? vectorOf(_pick(_payloads, two)) : _pick(pool, two);
        bytes memory evidence = bytes.concat(bytes1(kind), _pick(pool, one), second);
        place %= evidence.length;
        evidence[place] ^= bytes1(mask);
        _innocent(evidence);
    }

    function testFuzz_random_bytes_never_convict(bytes memory evidence) public {
        _innocent(evidence);
    }

    function testFuzz_random_bytes_of_every_kind_never_convict(uint8 kind, uint256 seed) public {
        uint16[5] memory lengths = [248, 640, 232, 230, 900];
        kind = uint8(bound(kind, 1, 5));
        bytes memory evidence = new bytes(lengths[kind - 1] + 1);
        for (uint256 index = 0; index < evidence.length; index++) {
            evidence[index] = keccak256(abi.encode(seed, index))[0];
        }
        evidence[0] = bytes1(kind);
        _innocent(evidence);
    }

    // Every bit of evidence that convicts

    function test_no_bit_of_two_checkpoints_can_be_changed() public {
        bytes memory one = signed(checkpointOf(5, sha256("left")));
        bytes memory two = signed(checkpointOf(5, sha256("right")));
        _flipEveryBit(bytes.concat(hex"01", one, two));
    }

    function test_no_bit_of_two_entries_can_be_changed() public {
        bytes[] memory left = logOf(3, "history", 1, "left");
        bytes[] memory right = logOf(3, "history", 1, "right");
        _flipEveryBit(bytes.concat(hex"02", proofAt(left, 1, 2), proofAt(right, 1, 3)));
    }

    function test_no_bit_of_two_votes_can_be_changed() public {
        bytes memory one = signed(voteFor(sha256("left")));
        _flipEveryBit(bytes.concat(hex"03", one, signed(voteFor(sha256("right")))));
        setUp();
        _flipEveryBit(bytes.concat(hex"03", one, signed(voteForNone())));
    }

    function test_no_bit_of_two_proposals_can_be_changed() public {
        ProposalOf memory two = proposalOf(sha256("right"));
        two.hasValidRound = true;
        two.validRound = 2;
        _flipEveryBit(bytes.concat(hex"04", signed(proposalOf(sha256("left"))), signed(two)));
    }

    function test_no_bit_of_an_invalid_entry_can_be_changed() public {
        EntryOf memory entry = goodEntry();
        entry.header.fee = entry.batch.maxFee + 1;
        _flipEveryBit(invalidEntry(entry));
    }

    /// Convicts by `evidence`, and then by nothing that differs from it in one bit.
    function _flipEveryBit(bytes memory evidence) private {
        (bytes4 refusal,) = answer(evidence);
        equal(bytes32(refusal), 0);
        uint256 convictions = registry.slashCount();
        for (uint256 index = 0; index < evidence.length; index++) {
            bytes1 good = evidence[index];
            for (bytes1 bit = 0x80; bit != 0; bit >>= 1) {
                evidence[index] = good ^ bit;
                (refusal,) = answer(evidence);
                bool isRefused = refusal == IEvidenceCourt.Malformed.selector
                    || refusal == IEvidenceCourt.NothingProved.selector
                    || refusal == IEvidenceCourt.NotSigned.selector;
                check(isRefused, "a bit is not bound");
            }
            evidence[index] = good;
        }
        equal(registry.slashCount(), convictions);
    }
}
