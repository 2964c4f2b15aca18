// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Epoch, NodeId, Period, PicoDollars, ShardId} from "../Types.sol";

/// Usage reports of shards: what payers owe and operators earned, and its settlement.
interface IUsageSettlement {
    /// What a committee attests of a shard, from `first` to `last`, both included.
    /// All amounts below the roots are sums since the shard began, so that a claim of the
    /// difference settles any number of periods at once.
    struct UsageReport {
        ShardId shard;
        Period first;
        Period last;
        /// Whose committee signs.
        Epoch epoch;
        /// Digest of the shard's report before; zero for the first.
        bytes32 previous;
        /// Hash of the pinned log ranges and blocks that the report is computed from.
        bytes32 ranges;
        /// Over (payer, billed).
        bytes32 usage;
        /// Over (node, earned); the protocol's share is under node 2³² − 1.
        bytes32 earnings;
        /// Over (node, reachability, acknowledgement, cadence, served).
        bytes32 measurements;
        /// What all payers were billed, since the shard began.
        PicoDollars billed;
    }

    /// Medians of what a node's peers measured of it in the periods of a report.
    struct Measurement {
        NodeId node;
        /// Attempts that reached it, in thousandths.
        uint32 reachabilityPermille;
        /// How long it took to acknowledge, in milliseconds.
        uint32 acknowledgementMs;
        /// Checkpoints that came when due, in thousandths.
        uint32 cadencePermille;
        /// Asked-for ranges that it served, in thousandths.
        uint32 servedPermille;
    }

    event ReportAccepted(
        ShardId indexed shard, uint256 indexed index, Period first, Period last, bytes32 digest
    );
    event ReportVoided(ShardId indexed shard, uint256 indexed index, bytes32 digest);
    event Charged(ShardId indexed shard, address indexed payer, uint256 amount);
    event Claimed(ShardId indexed shard, NodeId indexed node, address to, uint256 amount);

    error OutOfOrder(ShardId shard, Period expected);
    error EmptyRange();
    error WrongPrevious(bytes32 expected);
    error EpochOutOfOrder(Epoch epoch);
    error BilledTooLittle(PicoDollars before);
    error QuorumMissing(uint256 signatures, uint256 needed);
    error SignatureInvalid(uint256 index);
    error UnknownReport(ShardId shard, uint256 index);
    error NotMatured(uint64 from);
    error Matured(uint64 since);
    error ProofInvalid();
    error NothingToDo();
    error NotYetCollected(PicoDollars collected, PicoDollars billed);
    error ServiceGood(NodeId node);
    error Stopped();

    /// The digest that committee members sign.
    function digest(UsageReport calldata report) external view returns (bytes32);
    /// How many reports of `shard` stand.
    function reportCount(ShardId shard) external view returns (uint256);
    /// The last period that a report covers; zero before the first.
    function lastPeriod(ShardId shard) external view returns (Period);
    /// When the shard's newest report was accepted, in seconds since 1970; zero before.
    function lastAcceptedAt(ShardId shard) external view returns (uint64);
}
