// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Test} from "./Test.sol";

/// Encodes and signs what nodes do, after spec/ and without any code of the contracts.
abstract contract EvidenceBuilder is Test {
    bytes32 internal constant NETWORK = sha256("a network for tests");
    uint32 internal constant NODE = 7;
    uint16 internal constant SHARD = 3;
    uint64 internal constant PERIOD = 40;
    bytes32 internal constant WRITER = sha256("a writer's key");

    struct CheckpointOf {
        uint16 version;
        uint32 node;
        uint16 shard;
        uint32 incarnation;
        uint64 size;
        bytes32 root;
        uint64 period;
    }

    struct VoteOf {
        uint32 node;
        uint16 shard;
        uint64 height;
        uint32 round;
        uint8 step;
        bool hasBlock;
        bytes32 blockHash;
    }

    struct ProposalOf {
        uint32 node;
        uint16 shard;
        uint64 height;
        uint32 round;
        bool hasValidRound;
        uint32 validRound;
        bytes32 blockHash;
    }

    struct HeaderOf {
        uint16 version;
        bytes32 envelopeId;
        uint64 index;
        uint64 timestamp;
        uint8 topicKind;
        bytes32 topicId;
        uint64 topicIndex;
        bytes32 previous;
        address payer;
        bytes32 payloadHash;
        uint32 payloadLength;
        uint16 retentionDays;
        uint64 feePeriod;
        uint64 fee;
    }

    struct BodyOf {
        uint16 version;
        uint8 topicKind;
        bytes32 topicId;
        uint8 lane;
        address payer;
        uint64 notAfter;
        uint16 retentionDays;
        /// `optional<uint64>`, encoded.
        bytes expected;
        /// `optional<Dependency>`, encoded.
        bytes dependency;
        bytes ciphertext;
    }

    struct BatchOf {
        uint16 version;
        address payer;
        uint8 targetKind;
        uint32 target;
        uint64 notAfter;
        uint64 maxFee;
        uint32 count;
        bytes32 root;
    }

    struct EntryOf {
        BodyOf body;
        /// `WriteProof`, encoded.
        bytes proof;
        BatchOf batch;
        uint32 index;
        bytes32[] path;
        HeaderOf header;
    }

    // Signatures

    /// The secret of a node's key number `which`.
    function secretOf(uint32 node, uint256 which) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode("secret", node, which))) >> 1 | 1;
    }

    function secretOf(uint32 node) internal pure returns (uint256) {
        return secretOf(node, 0);
    }

    function domainOf(bytes32 network) internal pure returns (bytes32) {
        bytes32 domainType = keccak256("EIP712Domain(string name,string version,bytes32 salt)");
        return keccak256(abi.encode(domainType, keccak256("Tidings"), keccak256("1"), network));
    }

    function sign(uint256 secret, bytes32 network, bytes32 statement)
        internal
        pure
        returns (bytes memory)
    {
        bytes memory preimage = abi.encodePacked(hex"1901", domainOf(network), statement);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(secret, keccak256(preimage));
        return abi.encodePacked(r, uint256(s) | (uint256(v - 27) << 255));
    }

    // Statements

    function checkpointOf(uint64 size, bytes32 root) internal pure returns (CheckpointOf memory) {
        return CheckpointOf(1, NODE, SHARD, 2, size, root, PERIOD);
    }

    function hashOf(CheckpointOf memory of_) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "Checkpoint(uint32 node,uint16 shard,uint32 incarnation,uint64 size,bytes32 root,uint64 period)"
                ),
                of_.node,
                of_.shard,
                of_.incarnation,
                of_.size,
                of_.root,
                of_.period
            )
        );
    }

    function encode(CheckpointOf memory of_) internal pure returns (bytes memory) {
        return abi.encodePacked(
            of_.version, of_.node, of_.shard, of_.incarnation, of_.size, of_.root, of_.period
        );
    }

    function signed(CheckpointOf memory of_) internal pure returns (bytes memory) {
        return signed(of_, secretOf(of_.node), NETWORK);
    }

    function signed(CheckpointOf memory of_, uint256 secret, bytes32 network)
        internal
        pure
        returns (bytes memory)
    {
        return bytes.concat(encode(of_), sign(secret, network, hashOf(of_)));
    }

    function voteFor(bytes32 blockHash) internal pure returns (VoteOf memory) {
        return VoteOf(NODE, SHARD, 12, 5, 1, true, blockHash);
    }

    function voteForNone() internal pure returns (VoteOf memory) {
        return VoteOf(NODE, SHARD, 12, 5, 1, false, 0);
    }

    function hashOf(VoteOf memory of_) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("Vote(uint16 shard,uint64 height,uint32 round,uint8 step,bytes32 block)"),
                of_.shard,
                of_.height,
                of_.round,
                of_.step,
                of_.blockHash
            )
        );
    }

    function encode(VoteOf memory of_) internal pure returns (bytes memory) {
        bytes memory place =
            abi.encodePacked(of_.node, of_.shard, of_.height, of_.round, of_.step, of_.hasBlock);
        return of_.hasBlock ? abi.encodePacked(place, of_.blockHash) : place;
    }

    function signed(VoteOf memory of_) internal pure returns (bytes memory) {
        return signed(of_, secretOf(of_.node), NETWORK);
    }

    function signed(VoteOf memory of_, uint256 secret, bytes32 network)
        internal
        pure
        returns (bytes memory)
    {
        return bytes.concat(encode(of_), sign(secret, network, hashOf(of_)));
    }

    function proposalOf(bytes32 blockHash) internal pure returns (ProposalOf memory) {
        return ProposalOf(NODE, SHARD, 12, 5, false, 0, blockHash);
    }

    function hashOf(ProposalOf memory of_) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "Proposal(uint16 shard,uint64 height,uint32 round,int64 validRound,bytes32 block)"
                ),
                of_.shard,
                of_.height,
                of_.round,
                of_.hasValidRound ? int256(uint256(of_.validRound)) : int256(-1),
                of_.blockHash
            )
        );
    }

    function encode(ProposalOf memory of_) internal pure returns (bytes memory) {
        bytes memory valid = of_.hasValidRound
            ? abi.encodePacked(uint8(1), of_.validRound)
            : abi.encodePacked(uint8(0));
        return abi.encodePacked(of_.node, of_.shard, of_.height, of_.round, valid, of_.blockHash);
    }

    function signed(ProposalOf memory of_) internal pure returns (bytes memory) {
        return signed(of_, secretOf(of_.node), NETWORK);
    }

    function signed(ProposalOf memory of_, uint256 secret, bytes32 network)
        internal
        pure
        returns (bytes memory)
    {
        return bytes.concat(encode(of_), sign(secret, network, hashOf(of_)));
    }

    // Trees and logs

    /// RFC 6962 §2.1, by its definition, over leaves `from` to `to`, the latter excluded.
    function treeHash(bytes32[] memory leaves, uint256 from, uint256 to)
        internal
        pure
        returns (bytes32)
    {
        if (from == to) {
            return sha256("");
        }
        if (to - from == 1) {
            return leaves[from];
        }
        uint256 middle = from + split(to - from);
        return sha256(
            abi.encodePacked(hex"01", treeHash(leaves, from, middle), treeHash(leaves, middle, to))
        );
    }

    /// RFC 6962 §2.1.1, by its definition.
    function auditPath(bytes32[] memory leaves, uint256 index, uint256 from, uint256 to)
        internal
        pure
        returns (bytes32[] memory)
    {
        if (to - from == 1) {
            return new bytes32[](0);
        }
        uint256 middle = from + split(to - from);
        bool isLeft = from + index < middle;
        bytes32[] memory below = isLeft
            ? auditPath(leaves, index, from, middle)
            : auditPath(leaves, from + index - middle, middle, to);
        bytes32[] memory path = new bytes32[](below.length + 1);
        for (uint256 step = 0; step < below.length; step++) {
            path[step] = below[step];
        }
        path[below.length] = isLeft ? treeHash(leaves, middle, to) : treeHash(leaves, from, middle);
        return path;
    }

    /// The largest power of two below `count`.
    function split(uint256 count) private pure returns (uint256 power) {
        power = 1;
        while (power * 2 < count) {
            power *= 2;
        }
    }

    function leafOf(bytes memory leaf) internal pure returns (bytes32) {
        return sha256(bytes.concat(hex"00", leaf));
    }

    /// An entry header of which only its shape matters.
    function headerOf(uint64 index, bytes32 history) internal pure returns (HeaderOf memory) {
        bytes32 id = sha256(abi.encode("envelope", history, index));
        return
            HeaderOf(1, id, index, 99, 0, id, index, 0, address(0xA11CE), id, 512, 30, PERIOD, 88);
    }

    function encode(HeaderOf memory of_) internal pure returns (bytes memory) {
        bytes memory left = abi.encodePacked(
            of_.version,
            of_.envelopeId,
            of_.index,
            of_.timestamp,
            of_.topicKind,
            of_.topicId,
            of_.topicIndex
        );
        return bytes.concat(
            left,
            abi.encodePacked(
                of_.previous,
                of_.payer,
                of_.payloadHash,
                of_.payloadLength,
                of_.retentionDays,
                of_.feePeriod,
                of_.fee
            )
        );
    }

    /// A log of `size` entries that are the same for the same `history`, but for those from `fork`
    /// on, which are of `other`.
    function logOf(uint64 size, bytes32 history, uint64 fork, bytes32 other)
        internal
        pure
        returns (bytes[] memory headers)
    {
        headers = new bytes[](size);
        for (uint64 index = 0; index < size; index++) {
            headers[index] = encode(headerOf(index, index < fork ? history : other));
        }
    }

    function leavesOf(bytes[] memory headers) internal pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](headers.length);
        for (uint256 index = 0; index < headers.length; index++) {
            leaves[index] = leafOf(headers[index]);
        }
    }

    /// The signed checkpoint of the first `size` entries.
    function checkpointAt(bytes[] memory headers, uint64 size)
        internal
        pure
        returns (CheckpointOf memory)
    {
        return checkpointOf(size, treeHash(leavesOf(headers), 0, size));
    }

    /// The proof that the entry at `index` is under the checkpoint of the first `size` entries.
    function proofAt(bytes[] memory headers, uint64 index, uint64 size)
        internal
        pure
        returns (bytes memory)
    {
        return proofUnder(headers, index, checkpointAt(headers, size));
    }

    function proofUnder(bytes[] memory headers, uint64 index, CheckpointOf memory checkpoint)
        internal
        pure
        returns (bytes memory)
    {
        bytes32[] memory path = auditPath(leavesOf(headers), index, 0, checkpoint.size);
        return bytes.concat(headers[index], vectorOf(path), signed(checkpoint));
    }

    // Entries with payloads

    /// An entry that breaks no rule, but that its Ed25519 signatures are made up.
    function goodEntry() internal pure returns (EntryOf memory entry) {
        entry.body.version = 1;
        entry.body.topicId = sha256(abi.encodePacked("Tidings 1.0 group topic", hex"00", WRITER));
        entry.body.payer = address(0xA11CE);
        entry.body.notAfter = PERIOD + 1;
        entry.body.retentionDays = 30;
        entry.body.expected = hex"00";
        entry.body.dependency = hex"00";
        entry.body.ciphertext = "some padded ciphertext";
        entry.proof = bytes.concat(hex"01", WRITER, sha256("R"), sha256("s"));
        entry.batch = BatchOf(1, address(0xA11CE), 1, NODE, PERIOD + 1, 1e9, 0, 0);
        entry.header.version = 1;
        entry.header.index = 2;
        entry.header.feePeriod = PERIOD;
        entry.header.fee = 1e9;
        seal(entry);
    }

    /// Makes batch and header fit the envelope, as an originator and a payer would.
    function seal(EntryOf memory entry) internal pure {
        bytes32[] memory leaves = new bytes32[](3);
        leaves[0] = leafOf("another");
        leaves[1] = leafOf(abi.encodePacked(idOf(entry.body)));
        leaves[2] = leafOf("a third");
        entry.index = 1;
        entry.batch.count = 3;
        entry.batch.root = treeHash(leaves, 0, 3);
        entry.path = auditPath(leaves, 1, 0, 3);
        entry.header.envelopeId = idOf(entry.body);
        entry.header.topicKind = entry.body.topicKind;
        entry.header.topicId = entry.body.topicId;
        entry.header.payer = entry.body.payer;
        entry.header.retentionDays = entry.body.retentionDays;
        stamp(entry.header, encodePayload(entry));
    }

    /// Makes the header fit the payload, and no more.
    function stamp(HeaderOf memory header, bytes memory payload) internal pure {
        header.payloadHash = sha256(payload);
        header.payloadLength = SafeCast.toUint32(payload.length);
    }

    function idOf(BodyOf memory body) internal pure returns (bytes32) {
        return sha256(bytes.concat("Tidings 1.0 envelope id", hex"00", encode(body)));
    }

    function encode(BodyOf memory of_) internal pure returns (bytes memory) {
        return bytes.concat(
            abi.encodePacked(of_.version, of_.topicKind, of_.topicId, of_.lane, of_.payer),
            abi.encodePacked(of_.notAfter, of_.retentionDays, of_.expected, of_.dependency),
            vectorOf(of_.ciphertext)
        );
    }

    function encode(BatchOf memory of_) internal pure returns (bytes memory) {
        bytes memory target = of_.targetKind == 2
            ? abi.encodePacked(uint16(of_.target))
            : abi.encodePacked(of_.target);
        return bytes.concat(
            abi.encodePacked(of_.version, of_.payer, sha256("a session key"), of_.targetKind),
            target,
            abi.encodePacked(uint64(6), of_.notAfter, of_.maxFee, of_.count, of_.root)
        );
    }

    /// The encoded payer envelope.
    function encodePayload(EntryOf memory of_) internal pure returns (bytes memory) {
        return bytes.concat(
            encode(of_.body),
            of_.proof,
            encode(of_.batch),
            abi.encodePacked(sha256("batch R"), sha256("batch s")),
            abi.encodePacked(of_.index),
            vectorOf(of_.path)
        );
    }

    /// Evidence of kind 5 that puts the entry at its index into a log of five, its header as it is.
    function invalidEntry(EntryOf memory of_) internal pure returns (bytes memory) {
        return invalidEntry(of_.header, encodePayload(of_));
    }

    function invalidEntry(HeaderOf memory header, bytes memory payload)
        internal
        pure
        returns (bytes memory)
    {
        bytes[] memory headers = logOf(5, "honest", 5, 0);
        headers[header.index] = encode(header);
        bytes memory proof = proofAt(headers, header.index, 5);
        return bytes.concat(hex"05", proof, vectorOf(payload));
    }

    // Vectors

    function lengthOf(uint256 length) internal pure returns (bytes memory) {
        if (length < 0x40) {
            return abi.encodePacked(SafeCast.toUint8(length));
        }
        if (length < 0x4000) {
            return abi.encodePacked(SafeCast.toUint16(0x4000 + length));
        }
        return abi.encodePacked(SafeCast.toUint32(0x80000000 + length));
    }

    function vectorOf(bytes memory content) internal pure returns (bytes memory) {
        return bytes.concat(lengthOf(content.length), content);
    }

    function vectorOf(bytes32[] memory elements) internal pure returns (bytes memory) {
        return bytes.concat(lengthOf(elements.length * 32), abi.encodePacked(elements));
    }

    // Offences

    function offenceOf(uint32 node, bytes memory deed) internal pure returns (bytes32) {
        return sha256(abi.encodePacked("Tidings 1.0 offence", hex"00", node, deed));
    }
}
