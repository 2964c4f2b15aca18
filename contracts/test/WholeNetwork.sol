// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {EvidenceCourt} from "../src/EvidenceCourt.sol";
import {PayerVault} from "../src/PayerVault.sol";
import {UsageSettlement} from "../src/UsageSettlement.sol";
import {Epoch, NodeId, Period, PicoDollars, ShardId} from "../src/Types.sol";
import {Parameter} from "../src/generated/ParameterTable.sol";
import {IUsageSettlement} from "../src/interfaces/IUsageSettlement.sol";
import {ReportTrees} from "../src/lib/ReportTrees.sol";
import {Deployment} from "./Deployment.sol";
import {StableToken} from "./money/StableToken.sol";
import {UsageTree} from "./money/UsageTree.sol";

/// Every contract of the network, none of them a stand-in, with the parameters' first values; and
/// what nodes and payers do with them. The node with id `i` has the keys of the seed `i + 1`.
abstract contract WholeNetwork is Deployment {
    /// A report, and what is in its trees: sums since the shard began, in picodollars.
    struct Book {
        IUsageSettlement.UsageReport report;
        uint128[] billed;
        /// By node id; the last is the protocol's.
        uint128[] earned;
        IUsageSettlement.Measurement[] measured;
    }

    /// The only shard: the number of shards is one at first.
    ShardId internal constant ONLY_SHARD = ShardId.wrap(0);
    uint256 internal constant NODES = 4;
    /// A unit of the stable token, in picodollars.
    uint128 internal constant UNIT = 1_000_000;
    /// A dollar in units of the stable token.
    uint256 internal constant DOLLAR = 1e6;
    /// What a payer gives at first.
    uint256 internal constant DEPOSIT = 4000 * DOLLAR;
    /// The most that may be taken from a payer for a period: 3,600 dollars are kept for it.
    uint128 internal constant CAP = 5e6;

    address internal immutable alice = _account("alice");
    address internal immutable bob = _account("bob");

    StableToken internal dollars;
    PayerVault internal vault;
    UsageSettlement internal settlement;
    EvidenceCourt internal court;

    Book[] private _books;

    function _deployMore() internal override {
        address access = address(network.access);
        dollars = new StableToken();
        vault = new PayerVault(access, dollars, network.parameters, network.guardian);
        // The protocol's share goes where slashed bonds go: votes alone move it.
        settlement = new UsageSettlement(
            access,
            network.registry,
            network.parameters,
            vault,
            network.guardian,
            address(network.timelock)
        );
        court = new EvidenceCourt(network.registry, network.parameters);
        network.vault = address(vault);
        network.settlement = address(settlement);
        network.court = address(court);
    }

    function _wireMore() internal override {
        vault.setSettlement(address(settlement));
    }

    // Payers

    /// A payer with a deposit, a session key and a cap. The cap holds from the third period after
    /// the last reported one on if that report is fresh.
    function _payer(address payer) internal {
        dollars.mint(payer, DEPOSIT);
        vm.startPrank(payer);
        dollars.approve(address(vault), DEPOSIT);
        vault.deposit(payer, DEPOSIT);
        vault.setSessionKey(_sessionKeyOf(payer), uint64(block.timestamp + 1 days));
        vault.setCap(ONLY_SHARD, CAP);
        vm.stopPrank();
    }

    function _sessionKeyOf(address payer) internal pure returns (bytes32) {
        return keccak256(abi.encode("session", payer));
    }

    // Reports

    function _reportCount() internal view returns (uint256) {
        return _books.length;
    }

    function _reportAt(uint256 index) internal view returns (IUsageSettlement.UsageReport memory) {
        return _books[index].report;
    }

    /// The report after those that were submitted, through period `last`, of what alice and bob
    /// used in it. It is kept when it is submitted.
    function _make(uint64 last, uint128 ofAlice, uint128 ofBob)
        internal
        view
        returns (Book memory book)
    {
        IUsageSettlement.UsageReport memory report = book.report;
        Book memory before = _newest();
        report.previous = _books.length == 0 ? bytes32(0) : settlement.digest(before.report);
        report.shard = ONLY_SHARD;
        report.first = Period.wrap(Period.unwrap(before.report.last) + 1);
        report.last = Period.wrap(last);
        report.epoch = network.registry.epoch();
        report.ranges = keccak256(abi.encode("ranges", last));
        uint128 more = ofAlice + ofBob;
        report.billed = PicoDollars.wrap(PicoDollars.unwrap(before.report.billed) + more);
        book.billed = new uint128[](2);
        (book.billed[0], book.billed[1]) = (before.billed[0] + ofAlice, before.billed[1] + ofBob);
        _share(book, before, more);
        _plant(book);
    }

    /// What is before the next report: all zero before the first.
    function _newest() private view returns (Book memory book) {
        if (_books.length > 0) return _books[_books.length - 1];
        book.billed = new uint128[](2);
    }

    /// Gives each member of the committee its part of 95 percent of `more`, and the protocol what
    /// is left; says of each member that it served well.
    function _share(Book memory book, Book memory before, uint128 more) private view {
        (NodeId[] memory members,) = network.registry.committee(ONLY_SHARD, book.report.epoch);
        uint256 nodes = network.registry.nodeCount();
        book.earned = new uint128[](nodes + 1);
        uint256 known = before.earned.length;
        for (uint256 i = 0; i + 1 < known; ++i) {
            book.earned[i] = before.earned[i];
        }
        uint128 part = uint128(more * 95 / (100 * members.length));
        book.measured = new IUsageSettlement.Measurement[](members.length);
        for (uint256 i = 0; i < members.length; ++i) {
            book.earned[NodeId.unwrap(members[i])] += part;
            more -= part;
            book.measured[i] = IUsageSettlement.Measurement(members[i], 1000, 10, 1000, 1000);
        }
        book.earned[nodes] = (known == 0 ? 0 : before.earned[known - 1]) + more;
    }

    /// Computes the roots of a book's trees.
    function _plant(Book memory book) internal view {
        IUsageSettlement.UsageReport memory report = book.report;
        bool isEmpty = PicoDollars.unwrap(report.billed) == 0;
        report.usage = isEmpty ? bytes32(0) : UsageTree.root(_usageLeaves(book));
        report.earnings = isEmpty ? bytes32(0) : UsageTree.root(_earningsLeaves(book));
        report.measurements = UsageTree.root(_measurementLeaves(book));
    }

    /// Submits a report with the signatures of its whole committee.
    function _submit(Book memory book) internal returns (uint256 index) {
        return _submit(book, _everybody(book.report));
    }

    function _submit(Book memory book, uint256 signers) internal returns (uint256 index) {
        settlement.submit(book.report, signers, _signed(book.report, signers));
        index = _books.length;
        Book storage kept = _books.push();
        kept.report = book.report;
        kept.billed = book.billed;
        kept.earned = book.earned;
        for (uint256 i = 0; i < book.measured.length; ++i) {
            kept.measured.push(book.measured[i]);
        }
    }

    function _add(uint64 last, uint128 ofAlice, uint128 ofBob) internal returns (uint256 index) {
        return _submit(_make(last, ofAlice, ofBob));
    }

    /// Forgets the newest report, which was voided.
    function _forget() internal {
        _books.pop();
    }

    /// The bits of all members of a report's committee.
    function _everybody(IUsageSettlement.UsageReport memory report)
        internal
        view
        returns (uint256)
    {
        (NodeId[] memory members,) = network.registry.committee(report.shard, report.epoch);
        return 2 ** members.length - 1;
    }

    /// The signatures of those members of the registry's committee whose bits are set.
    function _signed(IUsageSettlement.UsageReport memory report, uint256 signers)
        internal
        view
        returns (bytes memory signatures)
    {
        bytes32 digest = settlement.digest(report);
        (NodeId[] memory members,) = network.registry.committee(report.shard, report.epoch);
        for (uint256 i = 0; i < members.length; ++i) {
            if (signers >> i & 1 == 1) {
                signatures = bytes.concat(signatures, _compact(_keyOf(members[i]), digest));
            }
        }
    }

    function _keyOf(NodeId id) internal pure returns (uint256) {
        return _signingKeyOf(uint256(NodeId.unwrap(id)) + 1);
    }

    // Settling

    /// Lets the newest report come of age.
    function _mature() internal {
        _pass(network.parameters.value(Parameter.ChallengeSeconds));
    }

    function _usage(uint256 index, uint256 place)
        internal
        view
        returns (IUsageSettlement.Usage memory)
    {
        bytes32[] memory leaves = _usageLeaves(_books[index]);
        return IUsageSettlement.Usage({
            payer: place == 0 ? alice : bob,
            cumulative: PicoDollars.wrap(_books[index].billed[place]),
            proof: UsageTree.proof(leaves, leaves[place])
        });
    }

    function _charge(uint256 index, uint256 place) internal returns (uint256) {
        return settlement.charge(_reportAt(index), index, _usage(index, place));
    }

    /// `earner` is a node, or `ReportTrees.PROTOCOL`.
    function _earnings(uint256 index, NodeId earner)
        internal
        view
        returns (IUsageSettlement.Earnings memory)
    {
        Book memory book = _books[index];
        bytes32[] memory leaves = _earningsLeaves(book);
        uint256 place =
            earner == ReportTrees.PROTOCOL ? leaves.length - 1 : uint256(NodeId.unwrap(earner));
        return IUsageSettlement.Earnings({
            node: earner,
            cumulative: PicoDollars.wrap(book.earned[place]),
            proof: UsageTree.proof(leaves, leaves[place])
        });
    }

    function _claim(uint256 index, NodeId earner) internal returns (uint256) {
        return settlement.claim(_reportAt(index), index, _earnings(index, earner));
    }

    function _claimPart(uint256 index, NodeId earner) internal returns (uint256) {
        return settlement.claimPart(
            _reportAt(index - 1),
            _reportAt(index),
            index,
            _earnings(index - 1, earner),
            _earnings(index, earner)
        );
    }

    function _reportMeasurement(uint256 index, uint256 place) internal {
        bytes32[] memory leaves = _measurementLeaves(_books[index]);
        settlement.reportMeasurement(
            _reportAt(index),
            index,
            _books[index].measured[place],
            UsageTree.proof(leaves, leaves[place])
        );
    }

    // Leaves

    function _usageLeaves(Book memory book) private view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](2);
        leaves[0] = ReportTrees.usageLeaf(alice, PicoDollars.wrap(book.billed[0]));
        leaves[1] = ReportTrees.usageLeaf(bob, PicoDollars.wrap(book.billed[1]));
    }

    function _earningsLeaves(Book memory book) private pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](book.earned.length);
        for (uint256 i = 0; i < leaves.length; ++i) {
            leaves[i] = ReportTrees.earningsLeaf(_earner(book, i), PicoDollars.wrap(book.earned[i]));
        }
    }

    function _earner(Book memory book, uint256 place) private pure returns (NodeId) {
        bool isProtocol = place + 1 == book.earned.length;
        // forge-lint: disable-next-line(unsafe-typecast)
        return isProtocol ? ReportTrees.PROTOCOL : NodeId.wrap(uint32(place));
    }

    function _measurementLeaves(Book memory book) private pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](book.measured.length);
        for (uint256 i = 0; i < leaves.length; ++i) {
            leaves[i] = ReportTrees.measurementLeaf(book.measured[i]);
        }
    }
}
