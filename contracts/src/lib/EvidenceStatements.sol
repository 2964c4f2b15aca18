// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {NodeId, ShardId} from "../Types.sol";
import {WireReader} from "./WireReader.sol";

/// A signature in the compact form of EIP-2098.
struct CompactSignature {
    bytes32 r;
    bytes32 vs;
}

/// Names a log: one start of one node, for one shard.
struct LogId {
    NodeId node;
    ShardId shard;
    uint32 incarnation;
}

/// What an originator says its log holds.
struct SignedCheckpoint {
    /// Of the structure; it is not signed.
    uint16 version;
    LogId log;
    /// Entries.
    uint64 size;
    bytes32 root;
    uint64 period;
    CompactSignature signature;
}

/// What a committee member says in one step of one round.
struct SignedVote {
    /// Who votes; it is not signed.
    NodeId node;
    ShardId shard;
    uint64 height;
    uint32 round;
    /// 1 to prevote, 2 to precommit.
    uint8 step;
    /// For which block; zero for none. What is signed does not tell a block with the hash zero
    /// from none, so nothing here may.
    bytes32 blockHash;
    /// Whether it names 32 zero bytes as its block, which no vote does (ORD-023).
    bool isForZeros;
    CompactSignature signature;
}

/// What a round's proposer asks the committee to vote on.
struct SignedProposal {
    /// Who proposes; it is not signed.
    NodeId node;
    ShardId shard;
    uint64 height;
    uint32 round;
    /// −1 for none.
    int64 validRound;
    bytes32 blockHash;
    CompactSignature signature;
}

/// The statements of nodes that can contradict each other: their encoding (spec/03-envelopes.md,
/// spec/06-ordered-lane.md), and the EIP-712 hashes that are signed.
library EvidenceStatements {
    using WireReader for WireReader.Reader;

    bytes32 private constant CHECKPOINT_TYPE = keccak256(
        "Checkpoint(uint32 node,uint16 shard,uint32 incarnation,uint64 size,bytes32 root,uint64 period)"
    );
    bytes32 private constant VOTE_TYPE =
        keccak256("Vote(uint16 shard,uint64 height,uint32 round,uint8 step,bytes32 block)");
    bytes32 private constant PROPOSAL_TYPE = keccak256(
        "Proposal(uint16 shard,uint64 height,uint32 round,int64 validRound,bytes32 block)"
    );

    function readCheckpoint(WireReader.Reader memory reader)
        internal
        pure
        returns (SignedCheckpoint memory checkpoint)
    {
        checkpoint.version = reader.u16();
        checkpoint.log.node = NodeId.wrap(reader.u32());
        checkpoint.log.shard = ShardId.wrap(reader.u16());
        checkpoint.log.incarnation = reader.u32();
        checkpoint.size = reader.u64();
        checkpoint.root = reader.word();
        checkpoint.period = reader.u64();
        checkpoint.signature = _readSignature(reader);
    }

    function readVote(WireReader.Reader memory reader)
        internal
        pure
        returns (SignedVote memory vote)
    {
        vote.node = NodeId.wrap(reader.u32());
        vote.shard = ShardId.wrap(reader.u16());
        vote.height = reader.u64();
        vote.round = reader.u32();
        vote.step = reader.choice(1, 2);
        if (reader.presence()) {
            vote.blockHash = reader.word();
            vote.isForZeros = vote.blockHash == 0;
        }
        vote.signature = _readSignature(reader);
    }

    function readProposal(WireReader.Reader memory reader)
        internal
        pure
        returns (SignedProposal memory proposal)
    {
        proposal.node = NodeId.wrap(reader.u32());
        proposal.shard = ShardId.wrap(reader.u16());
        proposal.height = reader.u64();
        proposal.round = reader.u32();
        proposal.validRound = reader.presence() ? int64(uint64(reader.u32())) : int64(-1);
        proposal.blockHash = reader.word();
        proposal.signature = _readSignature(reader);
    }

    /// What an originator signs (LOG-005).
    function structHash(SignedCheckpoint memory checkpoint) internal pure returns (bytes32) {
        LogId memory log = checkpoint.log;
        return keccak256(
            abi.encode(
                CHECKPOINT_TYPE,
                log.node,
                log.shard,
                log.incarnation,
                checkpoint.size,
                checkpoint.root,
                checkpoint.period
            )
        );
    }

    /// What a voter signs (ORD-003).
    function structHash(SignedVote memory vote) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(VOTE_TYPE, vote.shard, vote.height, vote.round, vote.step, vote.blockHash)
        );
    }

    /// What a proposer signs (ORD-018).
    function structHash(SignedProposal memory proposal) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                PROPOSAL_TYPE,
                proposal.shard,
                proposal.height,
                proposal.round,
                proposal.validRound,
                proposal.blockHash
            )
        );
    }

    /// The encoding of a log's name, ten bytes.
    function encode(LogId memory log) internal pure returns (bytes memory) {
        return abi.encodePacked(log.node, log.shard, log.incarnation);
    }

    function _readSignature(WireReader.Reader memory reader)
        private
        pure
        returns (CompactSignature memory)
    {
        bytes32 r = reader.word();
        return CompactSignature({r: r, vs: reader.word()});
    }
}
