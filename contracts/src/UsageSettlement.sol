// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Epoch, NodeId, Period, PicoDollars, ShardId} from "./Types.sol";
import {Parameter} from "./generated/ParameterTable.sol";
import {IGuardian} from "./interfaces/IGuardian.sol";
import {INetworkParameters} from "./interfaces/INetworkParameters.sol";
import {INodeRegistry} from "./interfaces/INodeRegistry.sol";
import {IPayerVault} from "./interfaces/IPayerVault.sol";
import {IUsageSettlement} from "./interfaces/IUsageSettlement.sol";
import {Money} from "./lib/Money.sol";
import {NodeSignatures} from "./lib/NodeSignatures.sol";
import {ReportTrees} from "./lib/ReportTrees.sol";
import {Waterline} from "./lib/Waterline.sol";

/// Accepts usage reports, lets anybody void wrong ones in time, and settles mature ones lazily:
/// charges payers through the vault and pays operators out of what was collected.
contract UsageSettlement is IUsageSettlement, AccessManaged, ReentrancyGuardTransient {
    using SafeCast for uint256;

    /// Where a shard stands.
    struct Head {
        /// How many reports stand; what is stored at and above this index is stale.
        uint64 count;
        /// The epoch of the newest.
        Epoch epoch;
    }

    bytes32 private constant REPORT_TYPE = keccak256(
        "UsageReport(uint16 shard,uint64 first,uint64 last,uint64 epoch,bytes32 previous,"
        "bytes32 ranges,bytes32 usage,bytes32 earnings,bytes32 measurements,uint128 billed)"
    );
    /// `r` and `vs`.
    uint256 private constant SIGNATURE_BYTES = 64;

    INodeRegistry public immutable registry;
    INetworkParameters public immutable parameters;
    IPayerVault public immutable vault;
    IGuardian public immutable guardian;
    bytes32 private immutable _separator;

    /// @inheritdoc IUsageSettlement
    address public treasury;

    mapping(ShardId shard => Head) private _heads;
    mapping(ShardId shard => mapping(uint256 index => Record)) private _records;
    mapping(bytes32 digest => bool) private _voided;
    mapping(ShardId shard => mapping(address payer => uint256)) private _charged;
    mapping(ShardId shard => uint256) private _collected;
    mapping(ShardId shard => mapping(NodeId node => uint256)) private _paid;
    mapping(bytes32 digest => mapping(NodeId node => bool)) private _reported;

    /// `authority` is the access manager; `treasury_` is paid the protocol's share. The registry
    /// knows its network already.
    constructor(
        address authority,
        INodeRegistry registry_,
        INetworkParameters parameters_,
        IPayerVault vault_,
        IGuardian guardian_,
        address treasury_
    ) AccessManaged(authority) {
        registry = registry_;
        parameters = parameters_;
        vault = vault_;
        guardian = guardian_;
        _separator = NodeSignatures.domainSeparator(registry_.networkId());
        _setTreasury(treasury_);
    }

    // Reports.

    /// @inheritdoc IUsageSettlement
    function submit(UsageReport calldata report, uint256 signers, bytes calldata signatures)
        external
    {
        // SET-002, SET-003.
        require(!guardian.isPaused(address(this)), Stopped());
        Head memory head = _heads[report.shard];
        Record memory before = _newest(report.shard);
        _requireFollows(report, before, head.epoch);
        bytes32 reportDigest = digest(report);
        require(!_voided[reportDigest], Voided(reportDigest));
        _requireQuorum(report, reportDigest, signers, signatures);

        _records[report.shard][head.count] = Record({
            digest: reportDigest,
            last: report.last,
            acceptedAt: block.timestamp.toUint40(),
            challengeSeconds: _challengeSeconds(before),
            billed: report.billed
        });
        _heads[report.shard] = Head(head.count + 1, report.epoch);
        emit ReportAccepted(report.shard, head.count, report.first, report.last, reportDigest);
    }

    /// @inheritdoc IUsageSettlement
    function challengeRegress(
        UsageReport calldata before,
        UsageReport calldata report,
        uint256 index,
        Usage calldata earlier,
        Usage calldata later
    ) external {
        // SET-012.
        _requireConsecutive(before, report, index);
        _requireUsage(before, earlier);
        _requireUsage(report, later);
        require(earlier.payer == later.payer, ProofInvalid());
        require(
            PicoDollars.unwrap(later.cumulative) < PicoDollars.unwrap(earlier.cumulative),
            NothingWrong()
        );
        _void(report, index, before.epoch);
    }

    // Settlement.

    /// @inheritdoc IUsageSettlement
    function charge(UsageReport calldata report, uint256 index, Usage calldata usage)
        external
        nonReentrant
        returns (uint256 taken)
    {
        // SET-013.
        _mature(report, index);
        taken = _charge(report, usage);
        require(taken > 0, NothingToDo());
        _collected[report.shard] += taken;
    }

    /// @inheritdoc IUsageSettlement
    function chargeMany(UsageReport calldata report, uint256 index, Usage[] calldata usages)
        external
        nonReentrant
        returns (uint256 taken)
    {
        _mature(report, index);
        for (uint256 i = 0; i < usages.length; ++i) {
            taken += _charge(report, usages[i]);
        }
        _collected[report.shard] += taken;
    }

    /// @inheritdoc IUsageSettlement
    function claim(UsageReport calldata report, uint256 index, Earnings calldata earnings)
        external
        nonReentrant
        returns (uint256)
    {
        // SET-014.
        _mature(report, index);
        _requireEarnings(report, earnings);
        PicoDollars none = PicoDollars.wrap(0);
        PicoDollars billedBefore = index == 0 ? none : _records[report.shard][index - 1].billed;
        PicoDollars collected = _requireCollected(report.shard, billedBefore);
        // A node that earned before is due more, by what it earned then times the part that is not
        // collected; who can show that takes `claimPart`. So this pays nobody too much.
        return _pay(
            report.shard,
            earnings.node,
            Waterline.due(collected, billedBefore, report.billed, none, earnings.cumulative)
        );
    }

    /// @inheritdoc IUsageSettlement
    function claimPart(
        UsageReport calldata before,
        UsageReport calldata report,
        uint256 index,
        Earnings calldata earlier,
        Earnings calldata later
    ) external nonReentrant returns (uint256) {
        _requireConsecutive(before, report, index);
        _mature(report, index);
        _requireEarnings(before, earlier);
        _requireEarnings(report, later);
        require(
            earlier.node == later.node
                && PicoDollars.unwrap(earlier.cumulative) <= PicoDollars.unwrap(later.cumulative),
            ProofInvalid()
        );
        PicoDollars collected = _requireCollected(report.shard, before.billed);
        return _pay(
            report.shard,
            later.node,
            Waterline.due(
                collected, before.billed, report.billed, earlier.cumulative, later.cumulative
            )
        );
    }

    /// @inheritdoc IUsageSettlement
    function reportMeasurement(
        UsageReport calldata report,
        uint256 index,
        Measurement calldata measurement,
        bytes32[] calldata proof
    ) external nonReentrant {
        Record memory record = _mature(report, index);
        NodeId node = measurement.node;
        require(
            ReportTrees.holds(report.measurements, ReportTrees.measurementLeaf(measurement), proof),
            ProofInvalid()
        );
        require(!_reported[record.digest][node], AlreadyReported(node));
        require(_isBad(measurement), ServiceGood(node));
        // A node that came back is not judged by what it did before. Periods of this report began
        // when the report before it was made, or later.
        uint64 since = registry.node(node).since;
        uint256 begun =
            index == 0 ? record.acceptedAt : _records[report.shard][index - 1].acceptedAt;
        require(begun >= since, MeasuredBefore(node, since));
        // A fault that all have alike, or that a majority makes up, must not end the network.
        require(registry.canSpare(node), CannotSpare(node));

        _reported[record.digest][node] = true;
        emit ServiceBad(report.shard, node, record.digest);
        registry.jail(node);
    }

    /// @inheritdoc IUsageSettlement
    function setTreasury(address treasury_) external restricted {
        _setTreasury(treasury_);
    }

    // Views.

    /// @inheritdoc IUsageSettlement
    function digest(UsageReport calldata report) public view returns (bytes32) {
        return NodeSignatures.digest(_separator, keccak256(abi.encode(REPORT_TYPE, report)));
    }

    /// @inheritdoc IUsageSettlement
    function reportCount(ShardId shard) external view returns (uint256) {
        return _heads[shard].count;
    }

    /// @inheritdoc IUsageSettlement
    function maturedCount(ShardId shard) external view returns (uint256) {
        uint256 low = 0;
        uint256 high = _heads[shard].count;
        // Reports below `low` are mature, those from `high` on are not.
        while (low < high) {
            uint256 middle = Math.average(low, high);
            // forge-lint: disable-next-line(block-timestamp)
            if (_maturesAt(_records[shard][middle]) <= block.timestamp) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return low;
    }

    /// @inheritdoc IUsageSettlement
    function reportAt(ShardId shard, uint256 index) external view returns (Record memory) {
        require(index < _heads[shard].count, UnknownReport(shard, index));
        return _records[shard][index];
    }

    /// @inheritdoc IUsageSettlement
    function isVoided(bytes32 reportDigest) external view returns (bool) {
        return _voided[reportDigest];
    }

    /// @inheritdoc IUsageSettlement
    function lastPeriod(ShardId shard) external view returns (Period) {
        return _newest(shard).last;
    }

    /// @inheritdoc IUsageSettlement
    function lastAcceptedAt(ShardId shard) external view returns (uint64) {
        return _newest(shard).acceptedAt;
    }

    /// @inheritdoc IUsageSettlement
    function chargedOf(ShardId shard, address payer) external view returns (uint256) {
        return _charged[shard][payer];
    }

    /// @inheritdoc IUsageSettlement
    function collectedOf(ShardId shard) external view returns (uint256) {
        return _collected[shard];
    }

    /// @inheritdoc IUsageSettlement
    function paidOf(ShardId shard, NodeId node) external view returns (uint256) {
        return _paid[shard][node];
    }

    // Helpers for reports.

    function _requireFollows(UsageReport calldata report, Record memory before, Epoch epochBefore)
        private
        view
    {
        uint64 first = Period.unwrap(before.last) + 1;
        require(Period.unwrap(report.first) == first, OutOfOrder(report.shard, Period.wrap(first)));
        require(Period.unwrap(report.last) >= first, EmptyRange());
        require(report.previous == before.digest, WrongPrevious(before.digest));
        uint64 epoch = Epoch.unwrap(report.epoch);
        require(
            epoch >= 1 && epoch >= Epoch.unwrap(epochBefore)
                && epoch <= Epoch.unwrap(registry.epoch()),
            EpochOutOfOrder(report.epoch)
        );
        require(
            PicoDollars.unwrap(report.billed) >= PicoDollars.unwrap(before.billed),
            BilledTooLittle(before.billed)
        );
    }

    function _requireQuorum(
        UsageReport calldata report,
        bytes32 reportDigest,
        uint256 signers,
        bytes calldata signatures
    ) private view {
        // Who they are does not matter: their order is that of the bits.
        // slither-disable-next-line unused-return
        (, address[] memory committee) = registry.committee(report.shard, report.epoch);
        uint256 members = committee.length;
        require(signers >> members == 0, UnknownMember(members));
        uint256 given = 0;
        for (uint256 i = 0; i < members; ++i) {
            given += signers >> i & 1;
        }
        uint256 needed = 2 * members / 3 + 1;
        require(given >= needed, QuorumMissing(given, needed));
        require(
            signatures.length == given * SIGNATURE_BYTES,
            SignaturesMalformed(signatures.length, given * SIGNATURE_BYTES)
        );

        uint256 next = 0;
        for (uint256 i = 0; i < members; ++i) {
            if (signers >> i & 1 == 1) {
                bytes calldata signature = signatures[next * SIGNATURE_BYTES:];
                address signer = NodeSignatures.recover(
                    reportDigest, bytes32(signature[:32]), bytes32(signature[32:64])
                );
                require(signer != address(0) && signer == committee[i], SignatureInvalid(next));
                next += 1;
            }
        }
    }

    /// The time for challenges, stretched so that no report matures before the one before it.
    function _challengeSeconds(Record memory before) private view returns (uint24) {
        uint256 governed = parameters.value(Parameter.ChallengeSeconds);
        uint256 left = Math.saturatingSub(_maturesAt(before), block.timestamp);
        return Math.max(governed, left).toUint24();
    }

    /// `before` and `report` stand one after the other, `report` at `index`.
    function _requireConsecutive(
        UsageReport calldata before,
        UsageReport calldata report,
        uint256 index
    ) private view {
        require(
            index > 0 && ShardId.unwrap(before.shard) == ShardId.unwrap(report.shard),
            UnknownReport(before.shard, index)
        );
        _standing(before, index - 1);
    }

    /// Drops a report that is not mature, and all after it, in constant time.
    function _void(UsageReport calldata report, uint256 index, Epoch epochBefore) private {
        Record memory record = _standing(report, index);
        uint64 matures = _maturesAt(record);
        // forge-lint: disable-next-line(block-timestamp)
        require(block.timestamp < matures, Matured(matures));
        // It is still signed, and would be the next report again. Those after it would not.
        _voided[record.digest] = true;
        _heads[report.shard] = Head(index.toUint64(), epochBefore);
        emit ReportVoided(report.shard, index, record.digest);
    }

    // Helpers for settlement.

    function _charge(UsageReport calldata report, Usage calldata usage)
        private
        returns (uint256 taken)
    {
        _requireUsage(report, usage);
        uint256 charged = _charged[report.shard][usage.payer];
        uint256 owed = Math.saturatingSub(Money.unitsRoundedDown(usage.cumulative), charged);
        if (owed == 0) {
            return 0;
        }
        // The vault says what it took, so what follows from it can only be written afterwards; the
        // callers' guard keeps everybody out meanwhile, and a payer at fault takes 0, not a revert.
        // slither-disable-next-line reentrancy-no-eth,reentrancy-benign,calls-loop
        taken = vault.collect(usage.payer, report.shard, owed, report.last);
        if (taken > 0) {
            _charged[report.shard][usage.payer] = charged + taken;
            emit Charged(report.shard, usage.payer, taken);
        }
    }

    /// What was collected for a shard, which fills the reports up to the sum `billed`.
    function _requireCollected(ShardId shard, PicoDollars billed)
        private
        view
        returns (PicoDollars collected)
    {
        collected = Money.picoDollars(_collected[shard]);
        require(
            PicoDollars.unwrap(collected) >= PicoDollars.unwrap(billed),
            NotYetCollected(collected, billed)
        );
    }

    /// Pays `node` up to `due` in all, as far as the shard's pool goes.
    function _pay(ShardId shard, NodeId node, PicoDollars due) private returns (uint256 amount) {
        // SET-015.
        uint256 before = _paid[shard][node];
        amount = Math.min(
            Math.saturatingSub(Money.unitsRoundedDown(due), before),
            vault.poolOf(address(this), shard)
        );
        require(amount > 0, NothingToDo());
        address to = node == ReportTrees.PROTOCOL ? treasury : registry.node(node).payout;
        require(to != address(0), NoPayout(node));
        _paid[shard][node] = before + amount;
        emit Claimed(shard, node, to, amount);
        vault.pay(shard, to, amount);
    }

    function _isBad(Measurement calldata measurement) private view returns (bool) {
        return measurement.reachabilityPermille
                < parameters.value(Parameter.ReachabilityPermilleMin)
            || measurement.acknowledgementMs > parameters.value(Parameter.AcknowledgementMsMax)
            || measurement.cadencePermille < parameters.value(Parameter.CadencePermilleMin)
            || measurement.servedPermille < parameters.value(Parameter.ServedPermilleMin);
    }

    function _setTreasury(address treasury_) private {
        require(treasury_ != address(0), TreasuryZero());
        treasury = treasury_;
        emit TreasurySet(treasury_);
    }

    // Helpers for both.

    function _newest(ShardId shard) private view returns (Record memory newest) {
        uint256 count = _heads[shard].count;
        return count == 0 ? newest : _records[shard][count - 1];
    }

    function _standing(UsageReport calldata report, uint256 index)
        private
        view
        returns (Record memory record)
    {
        require(index < _heads[report.shard].count, UnknownReport(report.shard, index));
        record = _records[report.shard][index];
        require(record.digest == digest(report), UnknownReport(report.shard, index));
    }

    function _mature(UsageReport calldata report, uint256 index)
        private
        view
        returns (Record memory record)
    {
        record = _standing(report, index);
        uint64 matures = _maturesAt(record);
        // forge-lint: disable-next-line(block-timestamp)
        require(block.timestamp >= matures, NotMatured(matures));
    }

    function _maturesAt(Record memory record) private pure returns (uint64) {
        return uint64(record.acceptedAt) + record.challengeSeconds;
    }

    function _requireUsage(UsageReport calldata report, Usage calldata usage) private pure {
        bytes32 leaf = ReportTrees.usageLeaf(usage.payer, usage.cumulative);
        require(ReportTrees.holds(report.usage, leaf, usage.proof), ProofInvalid());
    }

    function _requireEarnings(UsageReport calldata report, Earnings calldata earnings)
        private
        pure
    {
        bytes32 leaf = ReportTrees.earningsLeaf(earnings.node, earnings.cumulative);
        require(ReportTrees.holds(report.earnings, leaf, earnings.proof), ProofInvalid());
    }
}
