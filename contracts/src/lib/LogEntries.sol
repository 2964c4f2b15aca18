// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ProtocolConstants} from "../generated/ProtocolConstants.sol";
import {EvidenceStatements, SignedCheckpoint} from "./EvidenceStatements.sol";
import {MerkleLog} from "./MerkleLog.sol";
import {WireReader} from "./WireReader.sol";

/// What an envelope is written to.
struct Topic {
    /// 0 group, 1 keys, 2 mailbox, 3 identity, 4 xmtp.
    uint8 kind;
    bytes32 id;
}

/// The part of an entry that its leaf covers, but for what nothing here asks for.
struct EntryHeader {
    uint16 version;
    bytes32 envelopeId;
    /// The entry's place in its log, from 0.
    uint64 index;
    Topic topic;
    address payer;
    /// SHA-256 of the payload.
    bytes32 payloadHash;
    /// Bytes.
    uint32 payloadLength;
    /// Days.
    uint16 retentionDays;
    uint64 feePeriod;
    /// Picodollars.
    uint64 fee;
    /// The hash of the whole header (LOG-001).
    bytes32 leaf;
}

/// An entry's header and where a signed checkpoint puts it.
struct InclusionProof {
    EntryHeader header;
    /// From the header's leaf to the checkpoint's root.
    bytes32[] path;
    SignedCheckpoint checkpoint;
}

/// Entries of logs (spec/04-log.md).
library LogEntries {
    using EvidenceStatements for WireReader.Reader;
    using WireReader for WireReader.Reader;

    uint8 internal constant LAST_TOPIC_KIND = 4;

    function readProof(WireReader.Reader memory reader)
        internal
        pure
        returns (InclusionProof memory proof)
    {
        proof.header = readHeader(reader);
        proof.path = reader.words(ProtocolConstants.MERKLE_PATH_HASHES_MAX);
        proof.checkpoint = reader.readCheckpoint();
    }

    function readHeader(WireReader.Reader memory reader)
        internal
        pure
        returns (EntryHeader memory header)
    {
        uint256 start = reader.next;
        header.version = reader.u16();
        header.envelopeId = reader.word();
        header.index = reader.u64();
        reader.u64(); // timestamp
        header.topic = readTopic(reader);
        reader.u64(); // topic_index
        reader.word(); // previous
        header.payer = reader.account();
        header.payloadHash = reader.word();
        header.payloadLength = reader.u32();
        header.retentionDays = reader.u16();
        header.feePeriod = reader.u64();
        header.fee = reader.u64();
        header.leaf = MerkleLog.leafHash(reader.since(start));
    }

    function readTopic(WireReader.Reader memory reader) internal pure returns (Topic memory) {
        uint8 kind = reader.choice(0, LAST_TOPIC_KIND);
        return Topic({kind: kind, id: reader.word()});
    }

    /// Whether the checkpoint covers the header at the header's index (LOG-009, LOG-010).
    function holds(InclusionProof memory proof) internal pure returns (bool) {
        SignedCheckpoint memory checkpoint = proof.checkpoint;
        EntryHeader memory header = proof.header;
        return
            MerkleLog.covers(
                checkpoint.root, header.leaf, header.index, checkpoint.size, proof.path
            );
    }

    /// Whether `payload` is the one that the header was built over (LOG-004).
    function matches(EntryHeader memory header, bytes calldata payload)
        internal
        pure
        returns (bool)
    {
        return payload.length == header.payloadLength && sha256(payload) == header.payloadHash;
    }
}
