// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {NodeId} from "../Types.sol";
import {ProtocolConstants} from "../generated/ProtocolConstants.sol";
import {LabelledHash} from "./LabelledHash.sol";
import {EntryHeader, Topic} from "./LogEntries.sol";
import {MerkleLog} from "./MerkleLog.sol";
import {BatchHeader, EnvelopeBody, PayerEnvelope, PayerEnvelopes} from "./PayerEnvelopes.sol";

/// What is wrong with an entry by its own bytes.
enum Fault {
    /// No rule that can be checked here is broken; its Ed25519 signatures may still be invalid.
    NoneFound,
    /// It is of a version that is not known here, which is no offence.
    VersionUnknown,
    /// It breaks a rule whatever any registry says.
    Found
}

/// The rules for entries that no registry and no Ed25519 signature has a part in (EVD-005).
/// They are applied in the order of the nodes' own code, since an unknown version ends them.
library EntryFaults {
    uint8 private constant GROUP = 0;
    uint8 private constant KEYS = 1;
    uint8 private constant MAILBOX = 2;
    uint8 private constant IDENTITY = 3;
    uint8 private constant BROADCAST = 0;
    uint8 private constant ORDERED = 1;

    /// What is wrong with an entry that `originator` put into its log, whose header was built over
    /// `payload`. Reverts with `refusal` when the payload is not in canonical encoding.
    ///
    /// To nodes that is a fault too. Here it is not, because nodes may learn of further kinds of
    /// topics and proofs within a version, and this code does not change with theirs.
    function find(
        EntryHeader memory header,
        bytes calldata payload,
        NodeId originator,
        bytes4 refusal
    ) internal view returns (Fault) {
        if (payload.length >= 2 && !_known(uint16(bytes2(payload[:2])))) {
            return Fault.VersionUnknown;
        }
        PayerEnvelope memory envelope = PayerEnvelopes.decode(payload, refusal);
        if (!_known(header.version)) {
            return Fault.VersionUnknown;
        }
        if (_breaksBodyRules(envelope)) {
            return Fault.Found;
        }
        if (!_known(envelope.batch.version)) {
            return Fault.VersionUnknown;
        }
        bool isFaulty = _disagrees(header, envelope) || _breaksBatchRules(header, envelope.batch)
            || !_isFor(envelope.batch, originator) || !_isCovered(envelope);
        return isFaulty ? Fault.Found : Fault.NoneFound;
    }

    function _known(uint16 version) private pure returns (bool) {
        return version == ProtocolConstants.PROTOCOL_VERSION;
    }

    /// Lane (TOP-001), retention (ENV-005), position (ENV-004), proof (ENV-002).
    function _breaksBodyRules(PayerEnvelope memory envelope) private pure returns (bool) {
        EnvelopeBody memory body = envelope.body;
        bool mayExpect = body.lane == ORDERED && body.topic.kind == GROUP;
        bool mayDepend = body.lane == BROADCAST;
        return !_allows(body.topic, body.lane)
            || body.retentionDays < ProtocolConstants.RETENTION_DAYS_MIN
            || body.retentionDays > ProtocolConstants.RETENTION_DAYS_MAX
            || (body.expectsPosition && !mayExpect) || (body.depends && !mayDepend)
            || !_hasRightProof(envelope);
    }

    function _allows(Topic memory topic, uint8 lane) private pure returns (bool) {
        if (topic.kind == KEYS || topic.kind == MAILBOX) {
            return lane == BROADCAST;
        }
        return topic.kind != IDENTITY || lane == ORDERED;
    }

    /// Whether the proof is of the topic's kind and the topic's id one that it can be for.
    function _hasRightProof(PayerEnvelope memory envelope) private pure returns (bool) {
        Topic memory topic = envelope.body.topic;
        if (topic.kind == MAILBOX) {
            // A bucket's number has four bytes (TOP-006).
            return envelope.proofKind == PayerEnvelopes.PROOF_FEE_STAMP
                && uint256(topic.id) <= type(uint32).max;
        }
        if (topic.kind == IDENTITY) {
            return envelope.proofKind == PayerEnvelopes.PROOF_SELF_AUTHENTICATING;
        }
        return envelope.proofKind == PayerEnvelopes.PROOF_KEY && _mayKey(topic, envelope.key);
    }

    /// Whether `key` may write to `topic` (TOP-002); whose keys write to `xmtp` topics, a registry
    /// says.
    function _mayKey(Topic memory topic, bytes32 key) private pure returns (bool) {
        if (topic.kind == GROUP) {
            return topic.id == LabelledHash.digest("group topic", abi.encodePacked(key));
        }
        if (topic.kind == KEYS) {
            return topic.id == LabelledHash.digest("keys topic", abi.encodePacked(key));
        }
        return true;
    }

    /// Whether header, envelope and batch are not of one and the same broadcast envelope.
    function _disagrees(EntryHeader memory header, PayerEnvelope memory envelope)
        private
        pure
        returns (bool)
    {
        EnvelopeBody memory body = envelope.body;
        return body.id != header.envelopeId || body.lane != BROADCAST
            || body.topic.kind != header.topic.kind || body.topic.id != header.topic.id
            || body.retentionDays != header.retentionDays || body.payer != header.payer
            || body.payer != envelope.batch.payer || !_isOnTime(body.notAfter, header.feePeriod);
    }

    /// Size (ENV-008), time (FEE-006), fee (FEE-005).
    function _breaksBatchRules(EntryHeader memory header, BatchHeader memory batch)
        private
        pure
        returns (bool)
    {
        return batch.count == 0 || batch.count > ProtocolConstants.BATCH_ENVELOPES_MAX
            || !_isOnTime(batch.notAfter, header.feePeriod) || header.fee > batch.maxFee;
    }

    /// Neither past in the period of the fee nor too far ahead of it (FEE-006).
    function _isOnTime(uint64 notAfter, uint64 feePeriod) private pure returns (bool) {
        return notAfter >= feePeriod
            && notAfter <= uint256(feePeriod) + ProtocolConstants.FEE_PERIODS_BEFORE_EXPIRY_MAX;
    }

    function _isFor(BatchHeader memory batch, NodeId originator) private pure returns (bool) {
        return batch.forNode && batch.target == NodeId.unwrap(originator);
    }

    /// Whether the batch's root covers the envelope (ENV-007).
    function _isCovered(PayerEnvelope memory envelope) private pure returns (bool) {
        bytes32 leaf = MerkleLog.leafHash(abi.encodePacked(envelope.body.id));
        return MerkleLog.covers(
            envelope.batch.root, leaf, envelope.index, envelope.batch.count, envelope.path
        );
    }
}
