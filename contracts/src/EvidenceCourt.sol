// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {NodeId, ShardId} from "./Types.sol";
import {Parameter} from "./generated/ParameterTable.sol";
import {ProtocolConstants} from "./generated/ProtocolConstants.sol";
import {IEvidenceCourt} from "./interfaces/IEvidenceCourt.sol";
import {INetworkParameters} from "./interfaces/INetworkParameters.sol";
import {INodeRegistry} from "./interfaces/INodeRegistry.sol";
import {EntryFaults, Fault} from "./lib/EntryFaults.sol";
import {
    CompactSignature,
    EvidenceStatements,
    LogId,
    SignedCheckpoint,
    SignedProposal,
    SignedVote
} from "./lib/EvidenceStatements.sol";
import {LabelledHash} from "./lib/LabelledHash.sol";
import {EntryHeader, InclusionProof, LogEntries} from "./lib/LogEntries.sol";
import {NodeSignatures} from "./lib/NodeSignatures.sol";
import {WireReader} from "./lib/WireReader.sol";

/// Judges evidence, slashes at once, and convicts of each offence once.
///
/// What convicts here convicts among nodes too (EVD-001), but not the other way round: a fault
/// that takes an Ed25519 signature or the nodes' own decoder to see is left to them.
///
/// Nobody can stop the court, change it, or take anything from it. It holds no money. It relies on
/// the registry to never let a key be of two nodes, since votes and proposals are signed without
/// the node's number, and to let nobody register a key without a signature by it. A node may
/// change its key as often as it likes: whatever its keys sign, it must not contradict itself.
///
/// The reporter is whoever calls; evidence is public once it is sent, so others can be faster.
contract EvidenceCourt is IEvidenceCourt {
    using EvidenceStatements for LogId;
    using EvidenceStatements for SignedCheckpoint;
    using EvidenceStatements for SignedProposal;
    using EvidenceStatements for SignedVote;
    using EvidenceStatements for WireReader.Reader;
    using LogEntries for EntryHeader;
    using LogEntries for InclusionProof;
    using LogEntries for WireReader.Reader;
    using WireReader for WireReader.Reader;

    /// The kinds of evidence, by their numbers on the wire.
    uint8 private constant CHECKPOINTS = 1;
    uint8 private constant ENTRIES = 2;
    uint8 private constant VOTES = 3;
    uint8 private constant PROPOSALS = 4;
    uint8 private constant INVALID_ENTRY = 5;

    /// Who the accused is, whose keys its statements are signed with, and who slashes.
    INodeRegistry public immutable registry;
    /// What share of the bond an offence costs.
    INetworkParameters public immutable parameters;
    /// The EIP-712 domain of the registry's network.
    bytes32 private immutable _separator;

    mapping(bytes32 offence => bool) private _judged;

    constructor(INodeRegistry registry_, INetworkParameters parameters_) {
        registry = registry_;
        parameters = parameters_;
        _separator = NodeSignatures.domainSeparator(registry_.networkId());
    }

    /// @inheritdoc IEvidenceCourt
    function judge(bytes calldata evidence) external returns (bytes32 offence) {
        // SET-019, SET-020.
        WireReader.Reader memory reader = WireReader.open(evidence, Malformed.selector);
        uint8 kind = reader.choice(CHECKPOINTS, INVALID_ENTRY);
        (NodeId accused, bytes memory deed) = _prove(kind, reader);
        offence = LabelledHash.digest("offence", abi.encodePacked(accused, kind, deed));
        require(!_judged[offence], AlreadyJudged(offence));
        _judged[offence] = true;
        // The offence is marked as judged above, and the event tells what was taken.
        // slither-disable-next-line reentrancy-events
        uint256 taken = registry.slash(accused, _permille(kind), offence, msg.sender);
        emit Convicted(accused, offence, msg.sender, taken);
    }

    /// @inheritdoc IEvidenceCourt
    function isJudged(bytes32 offence) external view returns (bool) {
        return _judged[offence];
    }

    /// Reads the statements, all of the reader's bytes, and reverts unless they prove an offence.
    /// Returns by whom, and what of it makes it this offence and no other (EVD-002).
    function _prove(uint8 kind, WireReader.Reader memory reader)
        private
        view
        returns (NodeId, bytes memory)
    {
        if (kind == CHECKPOINTS) {
            return _proveCheckpoints(reader);
        }
        if (kind == ENTRIES) {
            return _proveEntries(reader);
        }
        if (kind == VOTES) {
            return _proveVotes(reader);
        }
        if (kind == PROPOSALS) {
            return _proveProposals(reader);
        }
        return _proveInvalidEntry(reader);
    }

    /// Two checkpoints of one log and size with different roots (LOG-008).
    function _proveCheckpoints(WireReader.Reader memory reader)
        private
        view
        returns (NodeId, bytes memory)
    {
        SignedCheckpoint memory one = reader.readCheckpoint();
        SignedCheckpoint memory two = reader.readCheckpoint();
        reader.close();
        bool samePlace = _isSameLog(one.log, two.log) && one.size == two.size;
        require(samePlace && one.root != two.root, NothingProved());
        _demandSigned(one);
        _demandSigned(two);
        return (one.log.node, abi.encodePacked(one.log.encode(), one.size));
    }

    /// Two different entries at one index of one log (LOG-008).
    function _proveEntries(WireReader.Reader memory reader)
        private
        view
        returns (NodeId, bytes memory)
    {
        InclusionProof memory one = reader.readProof();
        InclusionProof memory two = reader.readProof();
        reader.close();
        LogId memory log = one.checkpoint.log;
        bool samePlace = _isSameLog(log, two.checkpoint.log) && one.header.index == two.header.index;
        require(samePlace && one.header.leaf != two.header.leaf, NothingProved());
        require(one.holds() && two.holds(), NothingProved());
        _demandSigned(one.checkpoint);
        _demandSigned(two.checkpoint);
        return (log.node, abi.encodePacked(log.encode(), one.header.index));
    }

    /// Two votes in one step of one round (EVD-003).
    function _proveVotes(WireReader.Reader memory reader)
        private
        view
        returns (NodeId, bytes memory)
    {
        SignedVote memory one = reader.readVote();
        SignedVote memory two = reader.readVote();
        reader.close();
        require(!one.isForZeros && !two.isForZeros, NothingProved());
        bool sameStep = _isSameShard(one.shard, two.shard) && one.height == two.height
            && one.round == two.round && one.step == two.step;
        bool sameVoter = one.node == two.node;
        require(sameVoter && sameStep && one.blockHash != two.blockHash, NothingProved());
        _demandSigned(one.node, one.structHash(), one.signature);
        _demandSigned(two.node, two.structHash(), two.signature);
        // The vote with no block: the last byte says that there is none.
        uint8 absent = 0;
        return (one.node, abi.encodePacked(one.shard, one.height, one.round, one.step, absent));
    }

    /// Two proposals of different blocks in one round (EVD-004).
    function _proveProposals(WireReader.Reader memory reader)
        private
        view
        returns (NodeId, bytes memory)
    {
        SignedProposal memory one = reader.readProposal();
        SignedProposal memory two = reader.readProposal();
        reader.close();
        bool sameRound = _isSameShard(one.shard, two.shard) && one.height == two.height
            && one.round == two.round;
        bool sameProposer = one.node == two.node;
        require(sameProposer && sameRound && one.blockHash != two.blockHash, NothingProved());
        _demandSigned(one.node, one.structHash(), one.signature);
        _demandSigned(two.node, two.structHash(), two.signature);
        return (one.node, abi.encodePacked(one.shard, one.height, one.round));
    }

    /// An entry that is invalid by its own bytes (EVD-005), as far as can be seen here.
    function _proveInvalidEntry(WireReader.Reader memory reader)
        private
        view
        returns (NodeId, bytes memory)
    {
        InclusionProof memory proof = reader.readProof();
        bytes calldata payload = reader.vector(ProtocolConstants.ENTRY_PAYLOAD_BYTES_MAX);
        reader.close();
        EntryHeader memory header = proof.header;
        LogId memory log = proof.checkpoint.log;
        require(proof.holds() && header.matches(payload), NothingProved());
        _demandSigned(proof.checkpoint);
        Fault fault = EntryFaults.find(header, payload, log.node, NotJudgedHere.selector);
        require(fault != Fault.VersionUnknown, NothingProved());
        require(fault == Fault.Found, NotJudgedHere());
        return (log.node, abi.encodePacked(log.encode(), header.index));
    }

    /// A checkpoint of another version is none that anybody signed (LOG-005).
    function _demandSigned(SignedCheckpoint memory checkpoint) private view {
        require(checkpoint.version == ProtocolConstants.PROTOCOL_VERSION, NotSigned());
        _demandSigned(checkpoint.log.node, checkpoint.structHash(), checkpoint.signature);
    }

    function _demandSigned(NodeId node, bytes32 structHash, CompactSignature memory signature)
        private
        view
    {
        bytes32 digest = NodeSignatures.digest(_separator, structHash);
        address signer = NodeSignatures.recover(digest, signature.r, signature.vs);
        require(signer != address(0) && registry.isLiableKey(node, signer), NotSigned());
    }

    function _permille(uint8 kind) private view returns (uint256) {
        return parameters.value(
            kind == INVALID_ENTRY
                ? Parameter.InvalidEntrySlashPermille
                : Parameter.EquivocationSlashPermille
        );
    }

    function _isSameLog(LogId memory one, LogId memory two) private pure returns (bool) {
        return one.node == two.node && _isSameShard(one.shard, two.shard)
            && one.incarnation == two.incarnation;
    }

    function _isSameShard(ShardId one, ShardId two) private pure returns (bool) {
        return ShardId.unwrap(one) == ShardId.unwrap(two);
    }
}
