// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Membership} from "../src/Membership.sol";
import {NodeRegistry} from "../src/NodeRegistry.sol";
import {Epoch, NodeId, Period, PicoDollars} from "../src/Types.sol";
import {Parameter} from "../src/generated/ParameterTable.sol";
import {IEvidenceCourt} from "../src/interfaces/IEvidenceCourt.sol";
import {INodeRegistry} from "../src/interfaces/INodeRegistry.sol";
import {IUsageSettlement} from "../src/interfaces/IUsageSettlement.sol";
import {EvidenceBuilder} from "./EvidenceBuilder.sol";
import {WholeNetwork} from "./WholeNetwork.sol";

/// Who is in the committees of the whole network, and whose signatures its contracts take.
contract WholeNetworkCommitteesTest is WholeNetwork, EvidenceBuilder {
    /// The place of the node that cheats.
    uint256 private constant CHEAT = 2;

    NodeId[] private _nodes;

    function setUp() public override {
        super.setUp();
        _nodes = _openWith(NODES);
        _add(1, 0, 0);
        _payer(alice);
        _payer(bob);
    }

    // Signatures

    function test_forged_and_short_sets_of_signatures_are_refused() external {
        // covers: SET-002
        Book memory book = _make(6, UNIT, UNIT);
        _refused(book, 0x3, _quorumMissing(2));
        _refused(book, 0xc, _quorumMissing(2));
        _refused(book, 0, _quorumMissing(0));
        bytes memory three = _signed(book.report, 0x7);
        // The same three signatures, said to be of others.
        _refused(book.report, 0xb, three, _invalid(2));
        _refused(book.report, 0xe, three, _invalid(0));
        _refused(book.report, 0xf, three, _malformed(192, 256));
        _refused(book.report, 0x17, three, _unknownMember());
        // Signatures over another report.
        Book memory other = _make(6, UNIT, UNIT);
        other.report.billed = PicoDollars.wrap(3 * UNIT);
        _refused(book.report, 0x7, _signed(other.report, 0x7), _invalid(0));
        // Members' signatures as one who is not: a candidate with a key.
        _candidate(NODES + 1);
        bytes32 digest = settlement.digest(book.report);
        bytes memory forged =
            bytes.concat(_signed(book.report, 0x3), _compact(_signingKeyOf(NODES + 1), digest));
        _refused(book.report, 0x7, forged, _invalid(2));
        equal(_submit(book, 0x7), 1);
    }

    function test_replayed_overlapping_and_empty_reports_are_refused() external {
        // covers: SET-003
        _add(6, UNIT, UNIT);
        Book memory book;
        book.report = _reportAt(1);
        _refused(book, 0xf, _outOfOrder());
        book = _make(9, UNIT, UNIT);
        book.report.first = Period.wrap(6);
        _refused(book, 0xf, _outOfOrder());
        book.report.first = Period.wrap(8);
        _refused(book, 0xf, _outOfOrder());
        book.report.first = Period.wrap(7);
        book.report.last = Period.wrap(6);
        _refused(book, 0xf, abi.encodeWithSelector(IUsageSettlement.EmptyRange.selector));
        book.report.last = Period.wrap(9);
        bytes32 before = settlement.digest(_reportAt(1));
        book.report.previous = settlement.digest(_reportAt(0));
        _refused(book, 0xf, abi.encodeWithSelector(IUsageSettlement.WrongPrevious.selector, before));
        // A period in which nothing was used is reported like any other.
        _add(7, 0, 0);
        equal(Period.unwrap(settlement.lastPeriod(ONLY_SHARD)), 7);
        _mature();
        equal(_charge(2, 0), 1);
    }

    // Cheats

    function test_a_node_that_signs_two_histories_is_out() external {
        // covers: SET-017, SET-018, SET-019, SET-020
        _add(6, 40 * UNIT, 0);
        bytes memory evidence = _twoRoots(_signingKeyOf(CHEAT + 1));
        uint256 bond = network.registry.node(_nodes[CHEAT]).bond;
        vm.prank(stranger);
        bytes32 offence = court.judge(evidence);

        check(court.isJudged(offence), "judged");
        check(_status(_nodes[CHEAT]) == INodeRegistry.Status.Jailed, "jailed");
        equal(network.registry.node(_nodes[CHEAT]).bond, 0);
        equal(network.token.balanceOf(stranger), bond / 10);
        equal(network.token.balanceOf(address(network.timelock)), bond - bond / 10);
        vm.expectRevert(abi.encodeWithSelector(IEvidenceCourt.AlreadyJudged.selector, offence));
        court.judge(evidence);

        // Until the next epoch it still signs; from then on it does not.
        _add(7, 40 * UNIT, 0);
        _nextEpoch();
        _checkCommittee(2, "013");
        Book memory book = _make(8, 40 * UNIT, 0);
        bytes32 digest = settlement.digest(book.report);
        bytes memory forged =
            bytes.concat(_signed(book.report, 0x3), _compact(_signingKeyOf(CHEAT + 1), digest));
        _refused(book.report, 0x7, forged, _invalid(2));
        _refused(book, 0x3, _quorumMissing(2));
        uint256 index = _submit(book, 0x7);
        // What it earned before, it keeps.
        _mature();
        equal(_charge(index, 0), 120);
        equal(_claim(index, _nodes[CHEAT]), 19);
    }

    function test_nobody_is_convicted_by_a_key_of_another() external {
        // covers: SET-019
        bytes memory evidence = _twoRoots(_signingKeyOf(CHEAT));
        vm.expectRevert(IEvidenceCourt.NotSigned.selector);
        court.judge(evidence);
        check(_status(_nodes[CHEAT]) == INodeRegistry.Status.Active, "active");
    }

    function test_who_leaves_is_slashed_until_its_bond_is_free() external {
        // covers: SET-018
        vm.prank(_operatorOf(CHEAT + 1));
        network.registry.exit(_nodes[CHEAT]);
        _nextEpoch();
        _checkCommittee(2, "013");
        _pass(network.parameters.value(Parameter.UnbondingSeconds) - 1);
        court.judge(_twoRoots(_signingKeyOf(CHEAT + 1)));
        _pass(1);
        uint256 before = network.token.balanceOf(_operatorOf(CHEAT + 1));
        vm.prank(_operatorOf(CHEAT + 1));
        network.registry.withdrawBond(_nodes[CHEAT]);
        equal(network.token.balanceOf(_operatorOf(CHEAT + 1)), before);
    }

    // Changes

    function test_a_committee_that_changes_in_mid_period() external {
        // covers: SET-003, SET-017
        // The fifth node waits when the epoch ends, in the middle of period 6.
        NodeId fifth = _graduate(NODES + 1);
        _nextEpoch();
        check(network.registry.seatOf(fifth) == Membership.Seat.Member, "a member");
        // The old committee ends the period it began, since a newer one has not signed yet.
        Book memory book = _make(6, UNIT, 0);
        book.report.epoch = Epoch.wrap(1);
        _refused(book, 0x3, _quorumMissing(2));
        _submit(book, 0x7);
        // From the first report of the new committee on, only newer ones sign.
        _add(7, UNIT, 0);
        equal(Epoch.unwrap(_reportAt(2).epoch), 2);
        book = _make(8, UNIT, 0);
        book.report.epoch = Epoch.wrap(1);
        bytes memory reason =
            abi.encodeWithSelector(IUsageSettlement.EpochOutOfOrder.selector, Epoch.wrap(1));
        _refused(book, 0xf, reason);
        book.report.epoch = Epoch.wrap(3);
        reason = abi.encodeWithSelector(IUsageSettlement.EpochOutOfOrder.selector, Epoch.wrap(3));
        _refused(book.report, 0xf, new bytes(256), reason);
    }

    function test_a_rotated_key_signs_from_the_next_epoch_on_and_convicts_for_the_old() external {
        // covers: SET-016
        uint256 key = uint256(keccak256("another key")) >> 1;
        address operator = _operatorOf(CHEAT + 1);
        bytes memory possession = _possession(key, operator, _transportOf(CHEAT + 1));
        vm.prank(operator);
        network.registry.rotateSigning(_nodes[CHEAT], vm.addr(key), possession);
        _add(6, UNIT, 0);
        _nextEpoch();
        Book memory book = _make(7, UNIT, 0);
        bytes32 digest = settlement.digest(book.report);
        bytes memory two = _signed(book.report, 0x3);
        bytes memory old = bytes.concat(two, _compact(_signingKeyOf(CHEAT + 1), digest));
        _refused(book.report, 0x7, old, _invalid(2));
        settlement.submit(book.report, 0x7, bytes.concat(two, _compact(key, digest)));
        court.judge(_twoRoots(_signingKeyOf(CHEAT + 1)));
        check(_status(_nodes[CHEAT]) == INodeRegistry.Status.Jailed, "jailed");
    }

    function test_nodes_join_through_all_phases_by_votes() external {
        // covers: SET-021, SET-017
        NodeRegistry registry = network.registry;
        // The council's time: the fifth node joins with one more epoch.
        _graduate(5);
        _nextEpoch();
        equal(registry.members(registry.epoch()).length, 5);
        _add(6, UNIT, UNIT);

        // Token holders': a vote admits the sixth.
        _govern(address(registry), abi.encodeCall(NodeRegistry.advancePhase, ()));
        check(registry.phase() == INodeRegistry.Phase.TokenVote, "token holders vote");
        NodeId sixth = _candidate(6);
        vm.prank(council);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.NotAllowed.selector, council));
        registry.admit(sixth);
        _govern(address(registry), abi.encodeCall(NodeRegistry.admit, (sixth)));
        _joins(sixth);
        _add(7, UNIT, UNIT);

        // Everybody's: a bond and probation are enough.
        _govern(address(registry), abi.encodeCall(NodeRegistry.advancePhase, ()));
        check(registry.phase() == INodeRegistry.Phase.Open, "open");
        NodeId seventh = _candidate(7);
        vm.prank(stranger);
        registry.admit(seventh);
        _joins(seventh);
        equal(registry.members(registry.epoch()).length, 7);

        // All of it by committees of four out of those who are there.
        uint256 index = _add(8, UNIT, UNIT);
        _mature();
        equal(_charge(index, 0) + _charge(index, 1), 6);
        (NodeId[] memory members,) = registry.committee(ONLY_SHARD, registry.epoch());
        equal(members.length, 4);
    }

    /// Lets a node pass its probation, and the next epoch take it in.
    function _joins(NodeId id) private {
        _pass(network.parameters.value(Parameter.ProbationSeconds));
        network.registry.graduate(id);
        network.registry.advanceEpoch();
        check(network.registry.seatOf(id) == Membership.Seat.Member, "a member");
    }

    /// Two checkpoints of one size of the cheat's log with different roots, signed with `key`.
    function _twoRoots(uint256 key) private view returns (bytes memory) {
        CheckpointOf memory one = checkpointOf(5, sha256("left"));
        CheckpointOf memory two = checkpointOf(5, sha256("right"));
        (one.node, one.shard) = (NodeId.unwrap(_nodes[CHEAT]), 0);
        (two.node, two.shard) = (one.node, 0);
        bytes32 id = network.registry.networkId();
        return bytes.concat(hex"01", signed(one, key, id), signed(two, key, id));
    }

    /// `digits` are the ids of the members of the committee in `epoch`.
    function _checkCommittee(uint64 epoch, bytes memory digits) private view {
        (NodeId[] memory members,) = network.registry.committee(ONLY_SHARD, Epoch.wrap(epoch));
        equal(members.length, digits.length);
        for (uint256 i = 0; i < digits.length; ++i) {
            equal(NodeId.unwrap(members[i]), uint8(digits[i]) - 48);
        }
    }

    function _status(NodeId id) private view returns (INodeRegistry.Status) {
        return network.registry.node(id).status;
    }

    // Refusals

    function _refused(Book memory book, uint256 signers, bytes memory reason) private {
        _refused(book.report, signers, _signed(book.report, signers), reason);
    }

    function _refused(
        IUsageSettlement.UsageReport memory report,
        uint256 signers,
        bytes memory signatures,
        bytes memory reason
    ) private {
        vm.expectRevert(reason);
        settlement.submit(report, signers, signatures);
    }

    function _quorumMissing(uint256 given) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IUsageSettlement.QuorumMissing.selector, given, 3);
    }

    function _invalid(uint256 place) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IUsageSettlement.SignatureInvalid.selector, place);
    }

    function _malformed(uint256 length, uint256 expected) private pure returns (bytes memory) {
        return
            abi.encodeWithSelector(IUsageSettlement.SignaturesMalformed.selector, length, expected);
    }

    function _unknownMember() private pure returns (bytes memory) {
        return abi.encodeWithSelector(IUsageSettlement.UnknownMember.selector, NODES);
    }

    function _outOfOrder() private pure returns (bytes memory) {
        return
            abi.encodeWithSelector(IUsageSettlement.OutOfOrder.selector, ONLY_SHARD, Period.wrap(7));
    }
}
