// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Epoch, NodeId, Period, PicoDollars, ShardId} from "../Types.sol";

/// Usage reports of shards: what payers owe and operators earned, and its settlement.
/// Reports of a shard are numbered from 0 in the order of their periods. Calls about a report
/// carry it in full, because only its digest is stored.
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

    /// A payer's leaf in a report's usage tree, and its proof.
    struct Usage {
        address payer;
        /// Billed since the shard began.
        PicoDollars cumulative;
        bytes32[] proof;
    }

    /// A node's leaf in a report's earnings tree, and its proof.
    struct Earnings {
        NodeId node;
        /// Earned since the shard began.
        PicoDollars cumulative;
        bytes32[] proof;
    }

    /// What is stored of a report.
    struct Record {
        bytes32 digest;
        Period last;
        /// In seconds since 1970.
        uint40 acceptedAt;
        /// How long after it the report can be voided; no report matures before an earlier one.
        uint24 challengeSeconds;
        PicoDollars billed;
    }

    event ReportAccepted(
        ShardId indexed shard, uint256 indexed index, Period first, Period last, bytes32 digest
    );
    /// The report at `index` and all after it no longer stand.
    event ReportVoided(ShardId indexed shard, uint256 indexed index, bytes32 digest);
    event Charged(ShardId indexed shard, address indexed payer, uint256 amount);
    event Claimed(ShardId indexed shard, NodeId indexed node, address to, uint256 amount);
    /// The measurement of `node` in a report is below what is asked, and it was reported.
    event ServiceBad(ShardId indexed shard, NodeId indexed node, bytes32 digest);
    event TreasurySet(address indexed treasury);

    error OutOfOrder(ShardId shard, Period expected);
    error EmptyRange();
    error WrongPrevious(bytes32 expected);
    error EpochOutOfOrder(Epoch epoch);
    error BilledTooLittle(PicoDollars before);
    /// The report was proved wrong before.
    error Voided(bytes32 digest);
    error QuorumMissing(uint256 signatures, uint256 needed);
    /// The bitmap names members that the committee does not have.
    error UnknownMember(uint256 members);
    error SignaturesMalformed(uint256 length, uint256 expected);
    /// The signature at `index` is not that of the member it stands for.
    error SignatureInvalid(uint256 index);
    error UnknownReport(ShardId shard, uint256 index);
    error NotMatured(uint64 from);
    error Matured(uint64 since);
    error ProofInvalid();
    /// The leaves show nothing wrong with the report.
    error NothingWrong();
    error NothingToDo();
    error NotYetCollected(PicoDollars collected, PicoDollars billed);
    error NoPayout(NodeId node);
    error ServiceGood(NodeId node);
    /// The node's measurement in this report was reported before.
    error AlreadyReported(NodeId node);
    /// The report's periods began before the node came into its status at `since`.
    error MeasuredBefore(NodeId node, uint64 since);
    /// Too few members would stay.
    error CannotSpare(NodeId node);
    error TreasuryZero();
    error Stopped();

    /// Takes a shard's next report. `signers` has a bit for each member of the epoch's committee
    /// by rising id, the first in the lowest bit; `signatures` are those of the members whose bit
    /// is set, in that order, 64 bytes each (EIP-2098). More than two thirds must sign.
    function submit(UsageReport calldata report, uint256 signers, bytes calldata signatures)
        external;
    /// Voids a report in which a payer was billed less than in `before`, the report before it.
    ///
    /// A sum above the payer's caps voids nothing: an honest one may be, since what is taken in after
    /// members have spoken is billed a period later, and the vault takes no more than caps allow.
    function challengeRegress(
        UsageReport calldata before,
        UsageReport calldata report,
        uint256 index,
        Usage calldata earlier,
        Usage calldata later
    ) external;

    /// Takes from a payer what it owes by a mature report, as far as its caps and its balance
    /// allow; the rest stays owed. Anybody may call.
    function charge(UsageReport calldata report, uint256 index, Usage calldata usage)
        external
        returns (uint256 taken);
    /// The same for many payers; those who owe nothing are passed over.
    function chargeMany(UsageReport calldata report, uint256 index, Usage[] calldata usages)
        external
        returns (uint256 taken);
    /// Pays a node what it earned through a mature report that is collected in full. Of one that
    /// is being filled, the collected part of all that the node ever earned is paid, which is what
    /// is due to a node that earned nothing before; others have more by `claimPart`. Anybody may
    /// call.
    function claim(UsageReport calldata report, uint256 index, Earnings calldata earnings)
        external
        returns (uint256 paid);
    /// Pays a node what it earned through `before`, and of the report after it the part that is
    /// collected.
    function claimPart(
        UsageReport calldata before,
        UsageReport calldata report,
        uint256 index,
        Earnings calldata earlier,
        Earnings calldata later
    ) external returns (uint256 paid);
    /// Has a node jailed whose measurement in a mature report is below what is asked.
    function reportMeasurement(
        UsageReport calldata report,
        uint256 index,
        Measurement calldata measurement,
        bytes32[] calldata proof
    ) external;
    /// Names who is paid the protocol's share; governance only.
    function setTreasury(address treasury_) external;

    /// The digest that committee members sign.
    function digest(UsageReport calldata report) external view returns (bytes32);
    /// How many reports of `shard` stand.
    function reportCount(ShardId shard) external view returns (uint256);
    /// How many of them are mature: those with a lower index.
    function maturedCount(ShardId shard) external view returns (uint256);
    /// What is stored of a standing report.
    function reportAt(ShardId shard, uint256 index) external view returns (Record memory);
    /// Whether a report was proved wrong.
    function isVoided(bytes32 reportDigest) external view returns (bool);
    /// The last period that a report covers; zero before the first.
    function lastPeriod(ShardId shard) external view returns (Period);
    /// When the shard's newest report was accepted, in seconds since 1970; zero before.
    function lastAcceptedAt(ShardId shard) external view returns (uint64);
    /// What was taken from a payer, in units.
    function chargedOf(ShardId shard, address payer) external view returns (uint256);
    /// What was taken from all payers of a shard, in units.
    function collectedOf(ShardId shard) external view returns (uint256);
    /// What a node was paid, in units.
    function paidOf(ShardId shard, NodeId node) external view returns (uint256);
    /// Who is paid the protocol's share.
    function treasury() external view returns (address);
}
