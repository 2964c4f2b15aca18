// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ProtocolConstants} from "../generated/ProtocolConstants.sol";
import {LabelledHash} from "./LabelledHash.sol";
import {LogEntries, Topic} from "./LogEntries.sol";
import {WireReader} from "./WireReader.sol";

/// What a client signs, but for the ciphertext.
struct EnvelopeBody {
    uint16 version;
    Topic topic;
    /// 0 broadcast, 1 ordered.
    uint8 lane;
    address payer;
    /// A period.
    uint64 notAfter;
    /// Days.
    uint16 retentionDays;
    /// Whether it has an `expected_position`.
    bool expectsPosition;
    /// Whether it has a `depends_on`.
    bool depends;
    /// The hash that names the envelope (ENV-003).
    bytes32 id;
}

/// What a payer signs.
struct BatchHeader {
    uint16 version;
    address payer;
    /// Whether the batch is for a node, not for a shard.
    bool forNode;
    /// The number of that node or shard.
    uint32 target;
    /// A period.
    uint64 notAfter;
    /// Picodollars.
    uint64 maxFee;
    /// Envelopes.
    uint32 count;
    bytes32 root;
}

/// A client envelope with the proof that its payer signed for it; the payload of an entry.
struct PayerEnvelope {
    EnvelopeBody body;
    /// 1 key, 2 fee stamp, 3 self-authenticating.
    uint8 proofKind;
    /// The writer's Ed25519 key, if the proof is one.
    bytes32 key;
    BatchHeader batch;
    /// The envelope's place in the batch, from 0.
    uint32 index;
    /// From the envelope's id to the batch's root.
    bytes32[] path;
}

/// Payer envelopes of version 1 (spec/03-envelopes.md).
library PayerEnvelopes {
    using LogEntries for WireReader.Reader;
    using WireReader for WireReader.Reader;

    uint8 internal constant PROOF_KEY = 1;
    uint8 internal constant PROOF_FEE_STAMP = 2;
    uint8 internal constant PROOF_SELF_AUTHENTICATING = 3;

    /// Decodes `payload`, or reverts with `refusal`.
    function decode(bytes calldata payload, bytes4 refusal)
        internal
        view
        returns (PayerEnvelope memory envelope)
    {
        WireReader.Reader memory reader = WireReader.open(payload, refusal);
        envelope.body = _readBody(reader);
        envelope.proofKind = reader.choice(PROOF_KEY, PROOF_SELF_AUTHENTICATING);
        if (envelope.proofKind == PROOF_KEY) {
            envelope.key = reader.word();
            _passSignature(reader);
        }
        envelope.batch = _readBatch(reader);
        _passSignature(reader);
        envelope.index = reader.u32();
        envelope.path = reader.words(ProtocolConstants.MERKLE_PATH_HASHES_MAX);
        reader.close();
    }

    function _readBody(WireReader.Reader memory reader)
        private
        view
        returns (EnvelopeBody memory body)
    {
        uint256 start = reader.next;
        body.version = reader.u16();
        body.topic = reader.readTopic();
        body.lane = reader.choice(0, 1);
        body.payer = reader.account();
        body.notAfter = reader.u64();
        body.retentionDays = reader.u16();
        body.expectsPosition = reader.presence();
        if (body.expectsPosition) {
            reader.u64();
        }
        body.depends = reader.presence();
        if (body.depends) {
            reader.readTopic();
            reader.u64();
        }
        reader.vector(ProtocolConstants.ENVELOPE_PAYLOAD_BYTES_MAX);
        body.id = LabelledHash.digestCalldata("envelope id", reader.since(start));
    }

    function _readBatch(WireReader.Reader memory reader)
        private
        pure
        returns (BatchHeader memory batch)
    {
        batch.version = reader.u16();
        batch.payer = reader.account();
        reader.word(); // session_key
        batch.forNode = reader.choice(1, 2) == 1;
        batch.target = batch.forNode ? reader.u32() : reader.u16();
        reader.u64(); // registry_epoch
        batch.notAfter = reader.u64();
        batch.maxFee = reader.u64();
        batch.count = reader.u32();
        batch.root = reader.word();
    }

    /// An Ed25519 signature, which nothing here can check.
    function _passSignature(WireReader.Reader memory reader) private pure {
        reader.word();
        reader.word();
    }
}
