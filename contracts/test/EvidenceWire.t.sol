// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {
    CompactSignature,
    EvidenceStatements,
    SignedCheckpoint,
    SignedProposal,
    SignedVote
} from "../src/lib/EvidenceStatements.sol";
import {LabelledHash} from "../src/lib/LabelledHash.sol";
import {EntryHeader, LogEntries} from "../src/lib/LogEntries.sol";
import {MerkleLog} from "../src/lib/MerkleLog.sol";
import {NodeSignatures} from "../src/lib/NodeSignatures.sol";
import {BatchHeader, PayerEnvelope, PayerEnvelopes} from "../src/lib/PayerEnvelopes.sol";
import {WireReader} from "../src/lib/WireReader.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {EvidenceBuilder} from "./EvidenceBuilder.sol";

/// Calls the libraries with calldata.
contract WireProbe {
    using EvidenceStatements for SignedCheckpoint;
    using EvidenceStatements for SignedProposal;
    using EvidenceStatements for SignedVote;
    using EvidenceStatements for WireReader.Reader;
    using LogEntries for WireReader.Reader;
    using WireReader for WireReader.Reader;

    error Refused();

    function checkpoint(bytes calldata wire)
        external
        pure
        returns (SignedCheckpoint memory of_, bytes32 structHash)
    {
        WireReader.Reader memory reader = WireReader.open(wire, Refused.selector);
        of_ = reader.readCheckpoint();
        reader.close();
        structHash = of_.structHash();
    }

    function vote(bytes calldata wire)
        external
        pure
        returns (SignedVote memory of_, bytes32 structHash)
    {
        WireReader.Reader memory reader = WireReader.open(wire, Refused.selector);
        of_ = reader.readVote();
        reader.close();
        structHash = of_.structHash();
    }

    function proposal(bytes calldata wire)
        external
        pure
        returns (SignedProposal memory of_, bytes32 structHash)
    {
        WireReader.Reader memory reader = WireReader.open(wire, Refused.selector);
        of_ = reader.readProposal();
        reader.close();
        structHash = of_.structHash();
    }

    function header(bytes calldata wire) external pure returns (EntryHeader memory of_) {
        WireReader.Reader memory reader = WireReader.open(wire, Refused.selector);
        of_ = reader.readHeader();
        reader.close();
    }

    function payerEnvelope(bytes calldata wire) external view returns (PayerEnvelope memory) {
        return PayerEnvelopes.decode(wire, Refused.selector);
    }

    function vector(bytes calldata wire, uint256 max) external pure returns (bytes memory of_) {
        WireReader.Reader memory reader = WireReader.open(wire, Refused.selector);
        of_ = reader.vector(max);
        reader.close();
    }

    function words(bytes calldata wire, uint256 max) external pure returns (bytes32[] memory of_) {
        WireReader.Reader memory reader = WireReader.open(wire, Refused.selector);
        of_ = reader.words(max);
        reader.close();
    }

    function hashes(string calldata label, bytes calldata part)
        external
        view
        returns (bytes32 copied, bytes32 direct, bytes memory untouched)
    {
        untouched = "what is in memory stays";
        direct = LabelledHash.digestCalldata(label, part);
        copied = LabelledHash.digest(label, part);
    }
}

/// What is on the wire, as nodes write it: the vectors of spec/vectors, and every form of a vector.
contract EvidenceWireTest is EvidenceBuilder {
    WireProbe private _probe = new WireProbe();

    // Vectors of nodes

    function test_checkpoints_are_those_of_nodes() public view {
        string memory json = vm.readFile("../spec/vectors/envelopes/statements.json");
        bytes32 separator = NodeSignatures.domainSeparator(vm.parseJsonBytes32(json, ".network"));
        uint256 found;
        for (uint256 index = 0; has(json, index); index++) {
            if (!same(vm.parseJsonString(json, key(index, "kind")), "checkpoint")) {
                continue;
            }
            found++;
            bytes memory wire = vm.parseJsonBytes(json, key(index, "wire"));
            (SignedCheckpoint memory of_, bytes32 structHash) = _probe.checkpoint(wire);
            bytes32 digest = NodeSignatures.digest(separator, structHash);
            equal(digest, vm.parseJsonBytes32(json, key(index, "digest")));
            equal(
                NodeSignatures.recover(digest, of_.signature.r, of_.signature.vs),
                vm.parseJsonAddress(json, key(index, "signer"))
            );
            equal(of_.version, 1);
        }
        equal(found, 4);
    }

    /// The votes of blocks' certificates, of which each has one.
    function test_votes_are_those_of_nodes() public view {
        string memory json = vm.readFile("../spec/vectors/ordered/lane.json");
        bytes32 separator = NodeSignatures.domainSeparator(vm.parseJsonBytes32(json, ".network"));
        address signer = vm.parseJsonAddress(json, ".registry.nodes[0].signing");
        uint256 index;
        for (; has(json, index); index++) {
            bytes memory certified = vm.parseJsonBytes(json, key(index, "certified"));
            bytes memory signature = new bytes(64);
            for (uint256 place = 0; place < 64; place++) {
                signature[place] = certified[certified.length - 64 + place];
            }
            VoteOf memory of_;
            of_.node = 1;
            of_.height = SafeCast.toUint64(index + 1);
            of_.step = 2;
            of_.hasBlock = true;
            of_.blockHash = vm.parseJsonBytes32(json, key(index, "hash"));
            (SignedVote memory vote, bytes32 structHash) =
                _probe.vote(bytes.concat(encode(of_), signature));
            bytes32 digest = NodeSignatures.digest(separator, structHash);
            CompactSignature memory by = vote.signature;
            equal(NodeSignatures.recover(digest, by.r, by.vs), signer);
        }
        equal(index, 10);
    }

    function test_signers_are_those_of_nodes() public view {
        string memory json = vm.readFile("../spec/vectors/encoding/secp256k1.json");
        uint256 index;
        for (; has(json, index); index++) {
            bytes memory signature = vm.parseJsonBytes(json, key(index, "signature"));
            (bytes32 r, bytes32 vs) = abi.decode(signature, (bytes32, bytes32));
            bytes32 digest = vm.parseJsonBytes32(json, key(index, "digest"));
            address signer = NodeSignatures.recover(digest, r, vs);
            string memory expected = vm.parseJsonString(json, key(index, "signer"));
            if (same(expected, "null")) {
                equal(signer, address(0));
            } else {
                equal(signer, vm.parseJsonAddress(json, key(index, "signer")));
            }
        }
        equal(index, 10);
    }

    function test_domains_are_those_of_nodes() public view {
        string memory json = vm.readFile("../spec/vectors/encoding/networks.json");
        uint256 index;
        for (; has(json, index); index++) {
            equal(
                NodeSignatures.domainSeparator(vm.parseJsonBytes32(json, key(index, "network"))),
                vm.parseJsonBytes32(json, key(index, "domain_separator"))
            );
        }
        equal(index, 4);
    }

    function test_entries_are_those_of_nodes() public view {
        string memory json = vm.readFile("../spec/vectors/envelopes/entries.json");
        uint256 index;
        for (; has(json, index); index++) {
            EntryHeader memory of_ = _probe.header(vm.parseJsonBytes(json, key(index, "header")));
            equal(of_.leaf, vm.parseJsonBytes32(json, key(index, "hash")));
            equal(of_.envelopeId, vm.parseJsonBytes32(json, key(index, "envelope_id")));
            bytes memory payload = vm.parseJsonBytes(json, key(index, "payer_envelope"));
            equal(of_.payloadLength, payload.length);
            equal(of_.payloadHash, sha256(payload));
            PayerEnvelope memory envelope = _probe.payerEnvelope(payload);
            equal(envelope.body.id, of_.envelopeId);
            equal(envelope.body.topic.id, of_.topic.id);
            equal(envelope.body.payer, of_.payer);
            equal(envelope.body.retentionDays, of_.retentionDays);
            check(envelope.batch.maxFee >= of_.fee, "within the payer's maximum");
        }
        equal(index, 2);
    }

    /// Each client envelope with each batch makes a payer envelope.
    function test_envelopes_and_batches_are_those_of_nodes() public view {
        string memory clients = vm.readFile("../spec/vectors/envelopes/client.json");
        string memory batches = vm.readFile("../spec/vectors/envelopes/batches.json");
        uint256 pairs;
        for (uint256 one = 0; has(clients, one); one++) {
            bytes memory client = vm.parseJsonBytes(clients, key(one, "envelope"));
            for (uint256 two = 0; has(batches, two); two++) {
                bytes memory batch = vm.parseJsonBytes(batches, key(two, "batch"));
                bytes memory payload = bytes.concat(client, batch, hex"0000000700");
                PayerEnvelope memory envelope = _probe.payerEnvelope(payload);
                equal(envelope.body.id, vm.parseJsonBytes32(clients, key(one, "id")));
                equal(envelope.body.notAfter, vm.parseJsonUint(clients, key(one, "not_after")));
                BatchHeader memory header = envelope.batch;
                equal(header.root, vm.parseJsonBytes32(batches, key(two, "root")));
                equal(header.payer, vm.parseJsonAddress(batches, key(two, "payer")));
                equal(header.maxFee, vm.parseJsonUint(batches, key(two, "max_fee")));
                equal(header.notAfter, vm.parseJsonUint(batches, key(two, "not_after")));
                bytes memory target = header.forNode
                    ? abi.encodePacked(hex"01", header.target)
                    : abi.encodePacked(hex"02", uint16(header.target));
                equal(keccak256(target), keccak256(vm.parseJsonBytes(batches, key(two, "target"))));
                equal(envelope.index, 7);
                pairs++;
            }
        }
        equal(pairs, 40);
    }

    function test_inclusion_proofs_are_those_of_nodes() public view {
        string memory json = vm.readFile("../spec/vectors/merkle/inclusion.json");
        uint256 index;
        for (; has(json, index); index++) {
            string[] memory leaves = vm.parseJsonStringArray(json, key(index, "leaves"));
            uint256 place = vm.parseJsonUint(json, key(index, "index"));
            string memory leaf = place < leaves.length ? leaves[place] : "";
            bool holds = MerkleLog.covers(
                vm.parseJsonBytes32(json, key(index, "root")),
                MerkleLog.leafHash(vm.parseBytes(string.concat("0x", leaf))),
                place,
                leaves.length,
                vm.parseJsonBytes32Array(json, key(index, "path"))
            );
            check(holds == vm.parseJsonBool(json, key(index, "valid")), "another verdict");
        }
        equal(index, 40);
    }

    function has(string memory json, uint256 index) private view returns (bool) {
        return vm.keyExistsJson(json, string.concat(".cases[", vm.toString(index), "]"));
    }

    function key(uint256 index, string memory name) private pure returns (string memory) {
        return string.concat(".cases[", vm.toString(index), "].", name);
    }

    function same(string memory one, string memory two) private pure returns (bool) {
        return keccak256(bytes(one)) == keccak256(bytes(two));
    }

    // Statements

    function testFuzz_checkpoints_are_read_as_written(CheckpointOf memory of_) public view {
        bytes memory signature = abi.encodePacked(sha256("r"), sha256("vs"));
        bytes memory wire = bytes.concat(encode(of_), signature);
        (SignedCheckpoint memory found, bytes32 structHash) = _probe.checkpoint(wire);
        equal(structHash, hashOf(of_));
        equal(found.version, of_.version);
        equal(found.signature.r, sha256("r"));
        equal(found.signature.vs, sha256("vs"));
    }

    function testFuzz_votes_are_read_as_written(VoteOf memory of_) public view {
        of_.step = of_.step % 2 + 1;
        if (!of_.hasBlock) {
            of_.blockHash = 0;
        }
        bytes memory wire = bytes.concat(encode(of_), sha256("r"), sha256("vs"));
        (, bytes32 structHash) = _probe.vote(wire);
        equal(structHash, hashOf(of_));
    }

    function testFuzz_proposals_are_read_as_written(ProposalOf memory of_) public view {
        bytes memory wire = bytes.concat(encode(of_), sha256("r"), sha256("vs"));
        (, bytes32 structHash) = _probe.proposal(wire);
        equal(structHash, hashOf(of_));
    }

    // Lengths

    function testFuzz_vectors_are_read_as_written(uint256 length, uint256 seed) public view {
        bytes memory content = new bytes(bound(length, 0, 20_000));
        for (uint256 index = 0; index < content.length; index += 97) {
            content[index] = bytes32(seed)[index % 32];
        }
        bytes memory found = _probe.vector(vectorOf(content), 20_000);
        equal(keccak256(found), keccak256(content));
    }

    function test_lengths_are_in_the_shortest_form_at_every_edge() public {
        uint256[5] memory edges = [uint256(0), 63, 64, 16_383, 16_384];
        for (uint256 edge = 0; edge < edges.length; edge++) {
            uint256 length = edges[edge];
            bytes memory content = new bytes(length);
            equal(_probe.vector(bytes.concat(lengthOf(length), content), length).length, length);
            if (length >= 64) {
                _refused(bytes.concat(abi.encodePacked(SafeCast.toUint8(length & 0x3f)), content));
            } else {
                _refused(
                    bytes.concat(abi.encodePacked(SafeCast.toUint16(0x4000 + length)), content)
                );
            }
            if (length < 16_384) {
                _refused(
                    bytes.concat(abi.encodePacked(SafeCast.toUint32(0x80000000 + length)), content)
                );
            }
            _refused(
                bytes.concat(hex"c0000000", abi.encodePacked(SafeCast.toUint32(length)), content)
            );
        }
    }

    function test_lengths_over_the_bound_or_the_bytes_are_refused() public {
        bytes memory wire = vectorOf(bytes("twelve bytes"));
        equal(_probe.vector(wire, 12).length, 12);
        vm.expectRevert(WireProbe.Refused.selector);
        _probe.vector(wire, 11);
        _refused("");
        _refused(hex"01");
        _refused(hex"0200");
        _refused(hex"40");
        _refused(hex"800000");
        _refused(hex"bfffffff00");
        _refused(hex"ffffffffffffffff00");
        equal(_probe.words(vectorOf(new bytes32[](3)), 3).length, 3);
        vm.expectRevert(WireProbe.Refused.selector);
        _probe.words(vectorOf(new bytes32[](4)), 3);
        vm.expectRevert(WireProbe.Refused.selector);
        _probe.words(vectorOf(new bytes(33)), 3);
    }

    function _refused(bytes memory wire) private {
        vm.expectRevert(WireProbe.Refused.selector);
        _probe.vector(wire, type(uint256).max);
    }

    // Hashes

    function testFuzz_labels_are_hashed_alike_from_calldata(string memory label, bytes memory part)
        public
        view
    {
        (bytes32 copied, bytes32 direct, bytes memory untouched) = _probe.hashes(label, part);
        bytes32 expected = sha256(bytes.concat("Tidings 1.0 ", bytes(label), hex"00", part));
        equal(copied, expected);
        equal(direct, expected);
        equal(keccak256(untouched), keccak256("what is in memory stays"));
    }

    // Trees

    function test_every_path_leads_to_the_root_and_to_no_other_place() public pure {
        for (uint256 size = 1; size < 18; size++) {
            bytes32[] memory leaves = new bytes32[](size);
            for (uint256 index = 0; index < size; index++) {
                leaves[index] = MerkleLog.leafHash(abi.encodePacked(index));
            }
            bytes32 root = treeHash(leaves, 0, size);
            for (uint256 index = 0; index < size; index++) {
                bytes32[] memory path = auditPath(leaves, index, 0, size);
                for (uint256 place = 0; place <= size; place++) {
                    bool holds = MerkleLog.covers(root, leaves[index], place, size, path);
                    check(holds == (place == index), "one path, one place");
                }
            }
        }
    }

    function test_an_empty_tree_covers_nothing() public pure {
        check(!MerkleLog.covers(sha256(""), sha256(""), 0, 0, new bytes32[](0)), "empty");
    }

    function testFuzz_no_path_of_another_length_leads_to_the_root(
        uint64 index,
        uint64 size,
        bytes32[] memory path
    ) public pure {
        bytes32 leaf = leafOf("leaf");
        bool holds = MerkleLog.covers(leaf, leaf, index, size, path);
        check(holds == (index == 0 && size == 1 && path.length == 0), "another length");
    }
}
