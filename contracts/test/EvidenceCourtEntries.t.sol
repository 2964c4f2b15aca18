// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {CourtTest} from "./CourtTest.sol";

/// Entries that are invalid by their own bytes, and those that are not, or not for sure.
contract EvidenceCourtEntriesTest is CourtTest {
    uint8 private constant GROUP = 0;
    uint8 private constant KEYS = 1;
    uint8 private constant MAILBOX = 2;
    uint8 private constant IDENTITY = 3;
    uint8 private constant XMTP = 4;
    bytes private constant FEE_STAMP = hex"02";
    bytes private constant SELF_AUTHENTICATING = hex"03";

    /// Every entry has its own index here, as each makes an offence of its own.
    uint64 private _index;

    /// Convicts of the entry, its header as it is but for index and payload.
    function faulty(EntryOf memory entry) private {
        stamp(entry.header, encodePayload(entry));
        entry.header.index = _index++ % 5;
        bytes memory log = abi.encodePacked(NODE, SHARD, uint32(2));
        bytes memory deed = abi.encodePacked(uint8(5), log, entry.header.index);
        convicted(invalidEntry(entry), offenceOf(NODE, deed), 155);
    }

    /// Finds nothing wrong with the entry.
    function faultless(EntryOf memory entry) private {
        stamp(entry.header, encodePayload(entry));
        notJudgedHere(invalidEntry(entry));
    }

    /// Makes the envelope one of `kind`, with the proof that goes with it.
    function become(EntryOf memory entry, uint8 kind) private pure {
        entry.body.topicKind = kind;
        if (kind == KEYS) {
            entry.body.topicId = sha256(abi.encodePacked("Tidings 1.0 keys topic", hex"00", WRITER));
        } else if (kind == MAILBOX) {
            entry.body.topicId = bytes32(uint256(0xffffffff));
            entry.proof = FEE_STAMP;
        } else if (kind == IDENTITY) {
            entry.proof = SELF_AUTHENTICATING;
        }
        seal(entry);
    }

    // Nothing wrong

    function test_a_good_entry_is_left_alone() public {
        faultless(goodEntry());
    }

    function test_good_entries_of_all_kinds_are_left_alone() public {
        uint8[4] memory kinds = [GROUP, KEYS, MAILBOX, XMTP];
        for (uint256 index = 0; index < kinds.length; index++) {
            EntryOf memory entry = goodEntry();
            become(entry, kinds[index]);
            faultless(entry);
            entry.body.dependency = abi.encodePacked(uint8(1), uint8(3), sha256("id"), uint64(9));
            seal(entry);
            faultless(entry);
        }
    }

    function test_ciphertexts_of_all_lengths_are_left_alone() public {
        uint256[6] memory lengths = [uint256(0), 1, 63, 64, 16_383, 16_384];
        for (uint256 index = 0; index < lengths.length; index++) {
            EntryOf memory entry = goodEntry();
            entry.body.ciphertext = new bytes(lengths[index]);
            seal(entry);
            faultless(entry);
        }
    }

    function test_bounds_are_included() public {
        EntryOf memory entry = goodEntry();
        entry.body.retentionDays = 1;
        seal(entry);
        faultless(entry);
        entry.body.retentionDays = 365;
        seal(entry);
        faultless(entry);
        entry.header.feePeriod = entry.body.notAfter;
        faultless(entry);
        entry.header.feePeriod = entry.body.notAfter - 2;
        faultless(entry);
        entry.batch.maxFee = entry.header.fee = type(uint64).max;
        faultless(entry);
    }

    /// Nodes add to a period without going over the largest one, and nothing here wraps either.
    function test_the_last_periods_are_left_alone() public {
        EntryOf memory entry = goodEntry();
        entry.body.notAfter = entry.batch.notAfter = type(uint64).max;
        seal(entry);
        for (uint64 before = 0; before < 7; before++) {
            entry.header.feePeriod = type(uint64).max - before;
            faultless(entry);
        }
        entry.header.feePeriod = type(uint64).max - 7;
        faulty(entry);
    }

    function test_a_batch_of_one_and_of_many_is_left_alone() public {
        EntryOf memory entry = goodEntry();
        bytes32[] memory leaves = new bytes32[](1024);
        for (uint256 index = 0; index < leaves.length; index++) {
            leaves[index] = leafOf(abi.encodePacked(index));
        }
        leaves[1000] = leafOf(abi.encodePacked(entry.header.envelopeId));
        entry.index = 1000;
        entry.batch.count = 1024;
        entry.batch.root = treeHash(leaves, 0, 1024);
        entry.path = auditPath(leaves, 1000, 0, 1024);
        faultless(entry);
        entry.index = 0;
        entry.batch.count = 1;
        entry.batch.root = leaves[1000];
        entry.path = new bytes32[](0);
        faultless(entry);
    }

    // The envelope

    function test_lanes_that_a_kind_does_not_have_convict() public {
        EntryOf memory entry = goodEntry();
        become(entry, KEYS);
        entry.body.lane = 1;
        seal(entry);
        faulty(entry);
        entry = goodEntry();
        become(entry, MAILBOX);
        entry.body.lane = 1;
        seal(entry);
        faulty(entry);
        entry = goodEntry();
        become(entry, IDENTITY);
        faulty(entry);
    }

    /// They have a lane that their kinds allow, and it is not that of logs.
    function test_ordered_envelopes_in_a_log_convict() public {
        uint8[3] memory kinds = [GROUP, XMTP, IDENTITY];
        for (uint256 index = 0; index < kinds.length; index++) {
            EntryOf memory entry = goodEntry();
            become(entry, kinds[index]);
            entry.body.lane = 1;
            seal(entry);
            faulty(entry);
        }
    }

    function test_retention_out_of_range_convicts() public {
        EntryOf memory entry = goodEntry();
        entry.body.retentionDays = 0;
        seal(entry);
        faulty(entry);
        entry.body.retentionDays = 366;
        seal(entry);
        faulty(entry);
    }

    function test_an_expected_position_in_a_log_convicts() public {
        EntryOf memory entry = goodEntry();
        entry.body.expected = abi.encodePacked(uint8(1), uint64(0));
        seal(entry);
        faulty(entry);
    }

    function test_proofs_that_a_kind_does_not_have_convict() public {
        EntryOf memory entry = goodEntry();
        bytes memory key = entry.proof;
        bytes[3] memory proofs = [FEE_STAMP, SELF_AUTHENTICATING, key];
        uint8[4] memory kinds = [GROUP, KEYS, XMTP, MAILBOX];
        for (uint256 index = 0; index < kinds.length; index++) {
            for (uint256 proof = 0; proof < proofs.length; proof++) {
                entry = goodEntry();
                become(entry, kinds[index]);
                entry.proof = proofs[proof];
                bool isRight = kinds[index] == MAILBOX ? proof == 0 : proof == 2;
                if (isRight) {
                    faultless(entry);
                } else {
                    _freshCourt();
                    faulty(entry);
                }
            }
        }
    }

    function test_a_key_that_is_not_the_topics_convicts() public {
        EntryOf memory entry = goodEntry();
        entry.proof[1] ^= 0x01;
        faulty(entry);
        entry = goodEntry();
        become(entry, KEYS);
        entry.proof[32] ^= 0x80;
        faulty(entry);
        // The id of the other kind's topic.
        entry = goodEntry();
        entry.body.topicKind = KEYS;
        seal(entry);
        faulty(entry);
        // Whose keys write to these topics, only a registry says.
        entry = goodEntry();
        become(entry, XMTP);
        entry.proof[1] ^= 0x01;
        faultless(entry);
    }

    function test_mailboxes_that_are_no_bucket_convict() public {
        EntryOf memory entry = goodEntry();
        become(entry, MAILBOX);
        entry.body.topicId = bytes32(uint256(1) << 32);
        seal(entry);
        faulty(entry);
        entry.body.topicId = bytes32(uint256(1) << 255);
        seal(entry);
        faulty(entry);
    }

    // The header

    function test_headers_that_disagree_with_the_envelope_convict() public {
        EntryOf memory entry = goodEntry();
        entry.header.envelopeId ^= bytes32(uint256(1));
        faulty(entry);
        entry = goodEntry();
        entry.header.topicKind = XMTP;
        faulty(entry);
        entry = goodEntry();
        entry.header.topicId ^= bytes32(uint256(1));
        faulty(entry);
        entry = goodEntry();
        entry.header.retentionDays++;
        faulty(entry);
        entry = goodEntry();
        entry.header.payer = address(0xB0B);
        faulty(entry);
    }

    function test_fields_that_only_other_entries_decide_are_left_alone() public {
        EntryOf memory entry = goodEntry();
        entry.header.timestamp = type(uint64).max;
        entry.header.topicIndex = 12;
        entry.header.previous = sha256("none");
        faultless(entry);
    }

    function test_fee_periods_past_expiry_or_too_early_convict() public {
        EntryOf memory entry = goodEntry();
        entry.header.feePeriod = entry.body.notAfter + 1;
        faulty(entry);
        entry.header.feePeriod = entry.body.notAfter - 7;
        faulty(entry);
        entry = goodEntry();
        entry.body.notAfter = PERIOD - 1;
        seal(entry);
        faulty(entry);
        entry.body.notAfter = PERIOD + 7;
        seal(entry);
        faulty(entry);
    }

    // The batch

    function test_batches_past_expiry_or_too_early_convict() public {
        EntryOf memory entry = goodEntry();
        entry.batch.notAfter = PERIOD - 1;
        faulty(entry);
        entry.batch.notAfter = PERIOD + 7;
        faulty(entry);
        entry.batch.notAfter = PERIOD + 6;
        faultless(entry);
    }

    function test_batches_of_another_payer_convict() public {
        EntryOf memory entry = goodEntry();
        entry.batch.payer = address(0xB0B);
        faulty(entry);
        // Header and batch agree, and the envelope was another payer's.
        entry.header.payer = address(0xB0B);
        faulty(entry);
    }

    function test_batches_for_others_convict() public {
        EntryOf memory entry = goodEntry();
        entry.batch.target = OTHER_NODE;
        faulty(entry);
        entry = goodEntry();
        entry.batch.targetKind = 2;
        entry.batch.target = SHARD;
        faulty(entry);
        entry.batch.target = NODE;
        faulty(entry);
    }

    function test_batches_of_no_or_too_many_envelopes_convict() public {
        EntryOf memory entry = goodEntry();
        entry.batch.count = 0;
        faulty(entry);
        // A tree of which everything holds but the count.
        entry = goodEntry();
        bytes32[] memory leaves = new bytes32[](1025);
        leaves[0] = leafOf(abi.encodePacked(entry.header.envelopeId));
        entry.index = 0;
        entry.batch.count = 1025;
        entry.batch.root = treeHash(leaves, 0, 1025);
        entry.path = auditPath(leaves, 0, 0, 1025);
        faulty(entry);
    }

    function test_batches_that_do_not_cover_the_envelope_convict() public {
        EntryOf memory entry = goodEntry();
        entry.batch.root ^= bytes32(uint256(1));
        faulty(entry);
        entry = goodEntry();
        entry.path[0] ^= bytes32(uint256(1));
        faulty(entry);
        entry = goodEntry();
        entry.index = 0;
        faulty(entry);
        entry = goodEntry();
        entry.index = 3;
        faulty(entry);
        entry = goodEntry();
        entry.path = new bytes32[](0);
        faulty(entry);
    }

    function test_a_fee_above_the_payers_maximum_convicts() public {
        EntryOf memory entry = goodEntry();
        entry.header.fee = entry.batch.maxFee + 1;
        faulty(entry);
    }

    // What proves nothing

    function test_unknown_versions_prove_nothing() public {
        EntryOf memory entry = goodEntry();
        entry.header.version = 2;
        entry.header.fee = type(uint64).max;
        nothingProved(invalidEntry(entry));
        entry = goodEntry();
        entry.body.version = 2;
        entry.body.retentionDays = 0;
        seal(entry);
        nothingProved(invalidEntry(entry));
        entry = goodEntry();
        entry.batch.version = 0;
        entry.batch.maxFee = 0;
        stamp(entry.header, encodePayload(entry));
        nothingProved(invalidEntry(entry));
    }

    /// The rules for envelopes come first and stand without the batch.
    function test_an_unknown_version_of_the_batch_excuses_no_envelope() public {
        EntryOf memory entry = goodEntry();
        entry.batch.version = 2;
        entry.body.retentionDays = 0;
        seal(entry);
        faulty(entry);
    }

    /// Where the ordered lane has a position is a rule of its own, which shows when the batch's
    /// version ends the judging before the lane is asked for.
    function test_positions_belong_to_commits_of_groups_only() public {
        EntryOf memory entry = goodEntry();
        entry.batch.version = 2;
        entry.body.lane = 1;
        entry.body.expected = abi.encodePacked(uint8(1), uint64(0));
        seal(entry);
        nothingProved(invalidEntry(entry));
        become(entry, XMTP);
        faulty(entry);
        entry.body.expected = hex"00";
        seal(entry);
        stamp(entry.header, encodePayload(entry));
        nothingProved(invalidEntry(entry));
        entry.body.dependency = abi.encodePacked(uint8(1), uint8(0), sha256("id"), uint64(9));
        seal(entry);
        faulty(entry);
    }

    function test_a_payload_of_an_unknown_version_proves_nothing_whatever_follows() public {
        bytes memory payload = hex"0002";
        HeaderOf memory header = goodEntry().header;
        stamp(header, payload);
        nothingProved(invalidEntry(header, payload));
        payload = hex"ffff00112233445566";
        stamp(header, payload);
        nothingProved(invalidEntry(header, payload));
    }

    function test_a_foreign_payload_proves_nothing() public {
        EntryOf memory entry = goodEntry();
        entry.header.fee = type(uint64).max;
        bytes memory payload = encodePayload(entry);
        nothingProved(invalidEntry(entry.header, "anything"));
        payload[payload.length - 1] ^= 0x01;
        nothingProved(invalidEntry(entry.header, payload));
        payload[payload.length - 1] ^= 0x01;
        entry.header.payloadLength++;
        nothingProved(invalidEntry(entry.header, payload));
        entry.header.payloadLength -= 2;
        nothingProved(invalidEntry(entry.header, payload));
    }

    function test_an_entry_that_is_not_in_the_log_proves_nothing() public {
        EntryOf memory entry = goodEntry();
        entry.header.fee = type(uint64).max;
        bytes memory payload = vectorOf(encodePayload(entry));
        bytes[] memory log = logOf(5, "honest", 5, 0);
        bytes32[] memory path = auditPath(leavesOf(log), entry.header.index, 0, 5);
        bytes memory under = signed(checkpointAt(log, 5));
        nothingProved(bytes.concat(hex"05", encode(entry.header), vectorOf(path), under, payload));
    }

    function test_an_invalid_entry_under_a_checkpoint_of_others_is_not_signed() public {
        EntryOf memory entry = goodEntry();
        entry.header.fee = type(uint64).max;
        bytes memory payload = vectorOf(encodePayload(entry));
        bytes[] memory log = logOf(5, "honest", 5, 0);
        log[2] = encode(entry.header);
        bytes32[] memory path = auditPath(leavesOf(log), 2, 0, 5);
        CheckpointOf memory of_ = checkpointAt(log, 5);
        bytes memory proof = bytes.concat(hex"05", log[2], vectorOf(path));
        notSigned(bytes.concat(proof, signed(of_, 1234, NETWORK), payload));
        notSigned(bytes.concat(proof, signed(of_, secretOf(NODE), sha256("")), payload));
        of_.version = 2;
        notSigned(bytes.concat(proof, signed(of_), payload));
        of_.version = 1;
        of_.node = OTHER_NODE;
        notSigned(bytes.concat(proof, signed(of_, secretOf(NODE), NETWORK), payload));
    }

    // What is left to nodes

    function test_a_payload_that_does_not_decode_is_not_judged_here() public {
        EntryOf memory entry = goodEntry();
        bytes memory good = encodePayload(entry);
        for (uint256 length = 0; length < good.length; length++) {
            bytes memory cut = new bytes(length);
            for (uint256 index = 0; index < length; index++) {
                cut[index] = good[index];
            }
            stamp(entry.header, cut);
            notJudgedHere(invalidEntry(entry.header, cut));
        }
        bytes memory longer = bytes.concat(good, hex"00");
        stamp(entry.header, longer);
        notJudgedHere(invalidEntry(entry.header, longer));
    }

    /// Such values may come to mean something.
    function test_unknown_kinds_are_not_judged_here() public {
        EntryOf memory entry = goodEntry();
        entry.body.topicKind = 5;
        _undecodable(entry);
        entry = goodEntry();
        entry.body.lane = 2;
        _undecodable(entry);
        entry = goodEntry();
        entry.body.expected = hex"02";
        _undecodable(entry);
        entry = goodEntry();
        entry.body.dependency = hex"ff";
        _undecodable(entry);
        entry = goodEntry();
        entry.body.dependency = abi.encodePacked(uint8(1), uint8(5), sha256("id"), uint64(9));
        _undecodable(entry);
        entry = goodEntry();
        entry.proof = hex"00";
        _undecodable(entry);
        entry = goodEntry();
        entry.proof = hex"04";
        _undecodable(entry);
        entry = goodEntry();
        entry.batch.targetKind = 0;
        _undecodable(entry);
        entry = goodEntry();
        entry.batch.targetKind = 3;
        _undecodable(entry);
        entry = goodEntry();
        entry.path = new bytes32[](65);
        _undecodable(entry);
    }

    function test_lengths_in_a_longer_form_than_needed_are_not_judged_here() public {
        EntryOf memory entry = goodEntry();
        bytes memory good = encodePayload(entry);
        uint256 place = encode(entry.body).length - entry.body.ciphertext.length - 1;
        equal(uint8(good[place]), entry.body.ciphertext.length);
        bytes memory head = new bytes(place);
        bytes memory tail = new bytes(good.length - place - 1);
        for (uint256 index = 0; index < place; index++) {
            head[index] = good[index];
        }
        for (uint256 index = 0; index < tail.length; index++) {
            tail[index] = good[place + 1 + index];
        }
        bytes memory longer = bytes.concat(head, abi.encodePacked(uint16(0x4000 + 22)), tail);
        equal(entry.body.ciphertext.length, 22);
        stamp(entry.header, longer);
        notJudgedHere(invalidEntry(entry.header, longer));
    }

    /// The header's topic is of the evidence itself.
    function test_a_header_of_an_unknown_kind_of_topic_is_malformed() public {
        EntryOf memory entry = goodEntry();
        entry.header.topicKind = 5;
        malformed(invalidEntry(entry));
    }

    function test_payloads_over_the_bound_are_malformed() public {
        bytes memory payload = new bytes(1_054_721);
        payload[1] = 0x01;
        HeaderOf memory header = goodEntry().header;
        stamp(header, payload);
        malformed(invalidEntry(header, payload));
        payload = new bytes(1_054_720);
        payload[1] = 0x01;
        stamp(header, payload);
        notJudgedHere(invalidEntry(header, payload));
    }

    function test_a_ciphertext_over_the_bound_is_not_judged_here() public {
        EntryOf memory entry = goodEntry();
        entry.header.fee = type(uint64).max;
        entry.body.ciphertext = new bytes(1_048_577);
        seal(entry);
        notJudgedHere(invalidEntry(entry));
    }

    function test_the_longest_ciphertext_is_judged() public {
        EntryOf memory entry = goodEntry();
        entry.header.fee = type(uint64).max;
        entry.body.ciphertext = new bytes(1_048_576);
        seal(entry);
        faulty(entry);
    }

    /// Refuses an entry that everything else is wrong with, too.
    function _undecodable(EntryOf memory entry) private {
        entry.header.fee = type(uint64).max;
        entry.header.envelopeId = 0;
        stamp(entry.header, encodePayload(entry));
        notJudgedHere(invalidEntry(entry));
    }

    function _freshCourt() private {
        setUp();
    }
}
