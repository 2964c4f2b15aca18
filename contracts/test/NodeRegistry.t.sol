// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";

import {NodeRegistry} from "../src/NodeRegistry.sol";
import {NodeId} from "../src/Types.sol";
import {Parameter} from "../src/generated/ParameterTable.sol";
import {IGuardian} from "../src/interfaces/IGuardian.sol";
import {INodeRegistry} from "../src/interfaces/INodeRegistry.sol";
import {Deployment} from "./Deployment.sol";

/// Registration, keys, bonds, and where a node may go from where it stands.
contract NodeRegistryTest is Deployment {
    bytes32 private constant OFFENCE = keccak256("offence");

    NodeRegistry private _registry;

    function setUp() public override {
        super.setUp();
        _registry = network.registry;
    }

    // Registration

    function test_a_registered_node_is_a_candidate_as_described() external {
        NodeId id = _register(5);
        equal(NodeId.unwrap(id), 0);
        equal(_registry.nodeCount(), 1);
        INodeRegistry.Node memory node = _registry.node(id);
        equal(node.operator, _operatorOf(5));
        equal(node.payout, _operatorOf(5));
        _checkStatus(id, INodeRegistry.Status.Candidate);
        equal(node.since, block.timestamp);
        equal(node.bond, 0);
        equal(keccak256(abi.encode(node.description)), keccak256(abi.encode(_description(5))));
        check(_registry.isLiableKey(id, vm.addr(_signingKeyOf(5))), "its key");
        check(!_registry.isLiableKey(id, vm.addr(_signingKeyOf(6))), "no other");
        equal(NodeId.unwrap(_register(6)), 1);
    }

    function test_what_an_operator_says_has_bounds() external {
        string memory long = string(new bytes(33));
        string memory longer = string(new bytes(129));
        for (uint256 field = 0; field < 8; ++field) {
            INodeRegistry.Description memory description = _description(1);
            if (field == 0) description.name = "";
            if (field == 1) description.name = long;
            if (field == 2) description.quic = "";
            if (field == 3) description.quic = longer;
            if (field == 4) description.http = "";
            if (field == 5) description.http = longer;
            if (field == 6) description.weight = 0;
            if (field == 7) description.weight = 17;
            _registerRefused(description, INodeRegistry.DescriptionOutOfBounds.selector);
            if (field == 6 || field == 7) continue;
            NodeId id = _register(100 + field);
            vm.expectRevert(INodeRegistry.DescriptionOutOfBounds.selector);
            vm.prank(_operatorOf(100 + field));
            _registry.describe(id, description.name, description.quic, description.http, 1);
        }
        INodeRegistry.Description memory edge = _description(1);
        edge.name = string(new bytes(32));
        edge.quic = string(new bytes(128));
        edge.http = string(new bytes(128));
        edge.weight = 16;
        _register(_operatorOf(1), edge, 1);
    }

    function test_a_transport_key_is_not_zero() external {
        INodeRegistry.Description memory description = _description(1);
        description.transport = 0;
        _registerRefused(description, INodeRegistry.DescriptionOutOfBounds.selector);
    }

    function test_a_payout_address_is_not_zero() external {
        NodeId id = _register(1);
        vm.expectRevert(INodeRegistry.AddressZero.selector);
        vm.prank(_operatorOf(1));
        _registry.setPayout(id, address(0));
    }

    function test_the_signing_key_must_sign_its_registration() external {
        // covers: SET-016
        INodeRegistry.Description memory description = _description(1);
        address operator = _operatorOf(1);
        bytes memory good = _possession(_signingKeyOf(1), operator, description.transport);
        bytes[6] memory forged;
        forged[0] = _possession(_signingKeyOf(2), operator, description.transport);
        forged[1] = _possession(_signingKeyOf(1), stranger, description.transport);
        forged[2] = _possession(_signingKeyOf(1), operator, _transportOf(2));
        forged[3] = new bytes(64);
        forged[4] = abi.encodePacked(good, bytes1(0));
        forged[5] = _withHighS(good);
        for (uint256 i = 0; i < forged.length; ++i) {
            vm.expectRevert(INodeRegistry.NotTheSigner.selector);
            vm.prank(operator);
            _registry.register(description, operator, forged[i]);
        }
        // Nobody else can use it either.
        vm.expectRevert(INodeRegistry.NotTheSigner.selector);
        vm.prank(stranger);
        _registry.register(description, operator, good);
        description.signing = address(0);
        vm.expectRevert(INodeRegistry.NotTheSigner.selector);
        vm.prank(operator);
        _registry.register(description, operator, new bytes(64));
        vm.prank(operator);
        _registry.register(_description(1), operator, good);
    }

    function test_a_key_once_used_is_never_free_again() external {
        // covers: SET-016
        NodeId id = _register(1);
        _rotateSigning(id, 1, 50);
        _rotateTransport(id, 1, 50);
        // Both the old and the new keys are taken, for this node and for any other.
        uint256[2] memory taken = [uint256(1), 50];
        for (uint256 i = 0; i < taken.length; ++i) {
            INodeRegistry.Description memory description = _description(2);
            description.transport = _transportOf(taken[i]);
            _registerRefused(description, INodeRegistry.KeyTaken.selector);
            _rotateRefused(id, taken[i]);
            vm.expectRevert(INodeRegistry.KeyTaken.selector);
            _rotateTransport(id, 1, taken[i]);
        }
        _exitAndWithdraw(id, 1);
        for (uint256 i = 0; i < taken.length; ++i) {
            INodeRegistry.Description memory description = _description(taken[i]);
            description.transport = _transportOf(60 + i);
            bytes memory possession =
                _possession(_signingKeyOf(taken[i]), stranger, description.transport);
            vm.expectRevert(INodeRegistry.KeyTaken.selector);
            vm.prank(stranger);
            _registry.register(description, stranger, possession);
        }
    }

    function test_only_the_operator_changes_a_node() external {
        NodeId id = _probationer(1);
        bytes memory refused = abi.encodeWithSelector(INodeRegistry.NotTheOperator.selector, id);
        vm.startPrank(stranger);
        vm.expectRevert(refused);
        _registry.describe(id, "n", "q", "h", 1);
        vm.expectRevert(refused);
        _registry.setPayout(id, stranger);
        vm.expectRevert(refused);
        _registry.rotateTransport(id, bytes32(uint256(1)));
        vm.expectRevert(refused);
        _registry.rotateSigning(id, stranger, "");
        vm.expectRevert(refused);
        _registry.release(id);
        vm.expectRevert(refused);
        _registry.exit(id);
        vm.expectRevert(refused);
        _registry.withdrawBond(id);
        vm.stopPrank();
    }

    function test_an_operator_changes_what_it_says() external {
        NodeId id = _register(1);
        vm.startPrank(_operatorOf(1));
        _registry.describe(id, "other", "quic:1", "http://h", 3);
        _registry.setPayout(id, stranger);
        _registry.rotateTransport(id, _transportOf(9));
        vm.stopPrank();
        INodeRegistry.Node memory node = _registry.node(id);
        equal(node.payout, stranger);
        equal(node.description.transport, _transportOf(9));
        equal(node.description.weight, 3);
        equal(keccak256(bytes(node.description.name)), keccak256("other"));
        equal(keccak256(bytes(node.description.quic)), keccak256("quic:1"));
        equal(keccak256(bytes(node.description.http)), keccak256("http://h"));
    }

    // Keys

    function test_a_rotated_key_stays_liable_until_the_unbonding_time_after_it_stopped() external {
        // covers: SET-016
        NodeId id = _openWith(1)[0];
        _rotateSigning(id, 1, 50);
        (address old, address young) = (vm.addr(_signingKeyOf(1)), vm.addr(_signingKeyOf(50)));
        equal(_registry.node(id).description.signing, old);
        _pass(100 days);
        check(_registry.isLiableKey(id, old), "it signs until the epoch ends");
        check(_registry.isLiableKey(id, young), "the next is liable at once");
        _registry.advanceEpoch();
        equal(_registry.node(id).description.signing, young);
        uint256 unbonding = network.parameters.value(Parameter.UnbondingSeconds);
        _pass(unbonding);
        check(_registry.isLiableKey(id, old), "to the last second");
        _pass(1);
        check(!_registry.isLiableKey(id, old), "no longer");
        check(_registry.isLiableKey(id, young), "the new one is");
        check(!_registry.isLiableKey(NodeId.wrap(7), young), "of no other node");
    }

    function test_a_key_replaced_before_it_signed_leaves_the_first_in_force() external {
        NodeId id = _openWith(1)[0];
        _rotateSigning(id, 1, 50);
        _rotateSigning(id, 1, 51);
        equal(_registry.node(id).description.signing, vm.addr(_signingKeyOf(1)));
        _nextEpoch();
        equal(_registry.node(id).description.signing, vm.addr(_signingKeyOf(51)));
        _pass(network.parameters.value(Parameter.UnbondingSeconds) + 1);
        check(!_registry.isLiableKey(id, vm.addr(_signingKeyOf(1))), "the first");
        check(!_registry.isLiableKey(id, vm.addr(_signingKeyOf(50))), "the one between");
    }

    // Bonds

    function test_fuzz_anyone_adds_to_a_bond(uint256 one, uint256 other) external {
        one = bound(one, 0, 1e26);
        other = bound(other, 0, 1e26);
        NodeId id = _register(1);
        _bond(id, one);
        _bond(id, other);
        equal(_registry.node(id).bond, one + other);
        equal(network.token.balanceOf(address(_registry)), one + other);
    }

    function test_a_leaving_node_takes_no_bond() external {
        NodeId id = _candidate(1);
        vm.prank(_operatorOf(1));
        _registry.exit(id);
        _expectWrong(id, INodeRegistry.Status.Exiting);
        _registry.bond(id, 1);
        _expectWrong(NodeId.wrap(9), INodeRegistry.Status.None);
        _registry.bond(NodeId.wrap(9), 1);
    }

    function test_a_bond_comes_back_after_the_unbonding_time() external {
        // covers: SET-018
        NodeId id = _candidate(1);
        vm.prank(_operatorOf(1));
        _registry.exit(id);
        uint256 from = block.timestamp + 21 days;
        vm.warp(from - 1);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.TooEarly.selector, from));
        vm.prank(_operatorOf(1));
        _registry.withdrawBond(id);
        vm.warp(from);
        vm.prank(_operatorOf(1));
        _registry.withdrawBond(id);
        equal(network.token.balanceOf(_operatorOf(1)), _bondMin());
        equal(_registry.node(id).bond, 0);
        _checkStatus(id, INodeRegistry.Status.Gone);
    }

    function test_no_vote_keeps_the_bond_of_who_is_leaving_for_longer() external {
        // covers: SET-018
        // For less, a vote may.
        uint256[2] memory voted = [uint256(60 days), 1 days];
        uint256[2] memory waited = [uint256(21 days), 1 days];
        for (uint256 i = 0; i < 2; ++i) {
            NodeId id = _candidate(i + 1);
            vm.prank(_operatorOf(i + 1));
            _registry.exit(id);
            vm.prank(address(network.timelock));
            network.parameters.set(Parameter.UnbondingSeconds, voted[i]);
            _pass(waited[i]);
            vm.prank(_operatorOf(i + 1));
            _registry.withdrawBond(id);
            _checkStatus(id, INodeRegistry.Status.Gone);
        }
    }

    function test_the_unbonding_time_of_a_member_runs_from_its_last_epoch() external {
        NodeId id = _openWith(2)[1];
        vm.startPrank(_operatorOf(2));
        _registry.exit(id);
        _pass(30 days);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.StillMember.selector, id));
        _registry.withdrawBond(id);
        vm.stopPrank();
        _nextEpoch();
        uint256 from = block.timestamp + 21 days;
        vm.startPrank(_operatorOf(2));
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.TooEarly.selector, from));
        _registry.withdrawBond(id);
        vm.warp(from);
        _registry.withdrawBond(id);
        vm.stopPrank();
    }

    function test_a_jailed_member_cannot_leave_before_its_last_epoch_ends() external {
        NodeId id = _openWith(2)[1];
        _jail(id);
        vm.startPrank(_operatorOf(2));
        _registry.exit(id);
        _pass(90 days);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.StillMember.selector, id));
        _registry.withdrawBond(id);
        vm.stopPrank();
    }

    // Slashing

    function test_fuzz_a_slash_conserves_tokens(uint256 amount, uint256 permille) external {
        NodeId id = _register(1);
        amount = bound(amount, 0, 1e26);
        permille = bound(permille, 0, 2000);
        _bond(id, amount);
        uint256 effective = permille > 1000 ? 1000 : permille;
        uint256 taken = _slash(id, permille);
        uint256 bounty = taken * 100 / 1000;
        equal(taken, amount * effective / 1000);
        equal(_registry.node(id).bond, amount - taken);
        equal(network.token.balanceOf(address(_registry)), amount - taken);
        equal(network.token.balanceOf(stranger), bounty);
        equal(network.token.balanceOf(address(network.timelock)), taken - bounty);
    }

    function test_a_slash_without_a_reporter_goes_to_the_treasury() external {
        NodeId id = _candidate(1);
        vm.expectEmit(true, true, true, true);
        emit INodeRegistry.Slashed(id, OFFENCE, _bondMin(), 0);
        vm.prank(network.court);
        _registry.slash(id, 1000, OFFENCE, address(0));
        equal(network.token.balanceOf(address(network.timelock)), _bondMin());
    }

    function test_a_slash_reaches_the_bond_of_who_leaves_and_shortens_nothing() external {
        // covers: SET-018
        NodeId id = _candidate(1);
        vm.prank(_operatorOf(1));
        _registry.exit(id);
        uint64 since = _registry.node(id).since;
        _pass(1 days);
        equal(_slash(id, 500), _bondMin() / 2);
        _checkStatus(id, INodeRegistry.Status.Exiting);
        equal(_registry.node(id).since, since);
        _pass(20 days);
        vm.prank(_operatorOf(1));
        _registry.withdrawBond(id);
        equal(network.token.balanceOf(_operatorOf(1)), _bondMin() / 2);
        equal(_slash(id, 1000), 0);
        _checkStatus(id, INodeRegistry.Status.Gone);
    }

    function test_a_slashed_node_returns_with_a_full_bond_only() external {
        NodeId id = _openWith(2)[1];
        _slash(id, 1000);
        _checkStatus(id, INodeRegistry.Status.Jailed);
        _pass(1 days);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.BondTooSmall.selector, 0, _bondMin()));
        vm.prank(_operatorOf(2));
        _registry.release(id);
        _bond(id, _bondMin());
        vm.prank(_operatorOf(2));
        _registry.release(id);
        _checkStatus(id, INodeRegistry.Status.Probation);
    }

    function test_being_slashed_is_no_way_past_admission() external {
        NodeId id = _candidate(1);
        _slash(id, 10);
        _bond(id, _bondMin());
        _pass(1 days);
        vm.prank(_operatorOf(1));
        _registry.release(id);
        _checkStatus(id, INodeRegistry.Status.Candidate);
        // Nor for a node that failed its probation.
        NodeId failed = _probationer(2);
        _jail(failed);
        _slash(failed, 10);
        _bond(failed, _bondMin());
        _pass(1 days);
        vm.prank(_operatorOf(2));
        _registry.release(failed);
        _checkStatus(failed, INodeRegistry.Status.Candidate);
    }

    function test_nobody_but_the_court_slashes_and_the_settlement_jails() external {
        NodeId id = _probationer(1);
        address[5] memory others =
            [stranger, council, keeper, network.settlement, address(network.timelock)];
        for (uint256 i = 0; i < others.length; ++i) {
            bytes memory refused = abi.encodeWithSelector(
                IAccessManaged.AccessManagedUnauthorized.selector, others[i]
            );
            vm.startPrank(others[i]);
            vm.expectRevert(refused);
            _registry.slash(id, 1, OFFENCE, others[i]);
            if (others[i] != network.settlement) {
                vm.expectRevert(refused);
                _registry.jail(id);
            }
            vm.stopPrank();
        }
    }

    // Where a node may go

    /// Every call in every status: it brings the status expected, or is refused for the status.
    function test_each_call_moves_only_from_the_statuses_that_it_may() external {
        // By status None … Gone: where admit, graduate, jail, release, exit, withdraw, slash lead;
        // None says that the call is refused.
        uint8[8][7] memory leads = [
            [0, 2, 0, 0, 0, 0, 0, 0],
            [0, 0, 3, 0, 0, 0, 0, 0],
            [0, 0, 1, 4, 0, 0, 0, 0],
            [0, 0, 0, 0, 2, 0, 0, 0],
            [0, 5, 5, 5, 5, 0, 0, 0],
            [0, 0, 0, 0, 0, 6, 0, 0],
            [0, 4, 4, 4, 4, 5, 6, 0]
        ];
        _openWith(1);
        uint256 seed = 100;
        for (uint256 status = 1; status <= 6; ++status) {
            for (uint256 call = 0; call < 7; ++call) {
                NodeId id = _inStatus(INodeRegistry.Status(status), ++seed);
                _checkStatus(id, INodeRegistry.Status(status));
                uint256 to = leads[call][status];
                if (to == 0) _expectWrong(id, INodeRegistry.Status(status));
                _call(call, id, seed);
                _checkStatus(id, INodeRegistry.Status(to == 0 ? status : to));
            }
        }
    }

    function test_unknown_nodes_are_refused() external {
        NodeId id = NodeId.wrap(77);
        _expectWrong(id, INodeRegistry.Status.None);
        vm.prank(council);
        _registry.admit(id);
        _expectWrong(id, INodeRegistry.Status.None);
        _registry.graduate(id);
        _expectWrong(id, INodeRegistry.Status.None);
        _jail(id);
        vm.startPrank(network.court);
        _expectWrong(id, INodeRegistry.Status.None);
        _registry.slash(id, 1, OFFENCE, stranger);
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.NotTheOperator.selector, id));
        _registry.exit(id);
    }

    function test_admission_needs_the_bond() external {
        NodeId id = _register(1);
        _bond(id, _bondMin() - 1);
        vm.expectRevert(
            abi.encodeWithSelector(INodeRegistry.BondTooSmall.selector, _bondMin() - 1, _bondMin())
        );
        vm.prank(council);
        _registry.admit(id);
        _bond(id, 1);
        vm.prank(council);
        _registry.admit(id);
    }

    function test_probation_and_jail_last_their_time() external {
        NodeId id = _probationer(1);
        uint256 from = block.timestamp + 7 days;
        vm.warp(from - 1);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.TooEarly.selector, from));
        _registry.graduate(id);
        vm.warp(from);
        _registry.graduate(id);
        _jail(id);
        from = block.timestamp + 1 days;
        vm.startPrank(_operatorOf(1));
        vm.warp(from - 1);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.TooEarly.selector, from));
        _registry.release(id);
        vm.warp(from);
        _registry.release(id);
        vm.stopPrank();
    }

    function test_a_raised_bond_holds_up_who_has_less() external {
        NodeId id = _probationer(1);
        vm.prank(address(network.timelock));
        network.parameters.set(Parameter.BondMin, 200_000);
        _pass(7 days);
        vm.expectPartialRevert(INodeRegistry.BondTooSmall.selector);
        _registry.graduate(id);
    }

    function test_without_a_probation_time_graduation_is_at_once() external {
        vm.prank(address(network.timelock));
        network.parameters.set(Parameter.ProbationSeconds, 0);
        NodeId id = _probationer(1);
        _registry.graduate(id);
        _checkStatus(id, INodeRegistry.Status.Active);
    }

    // The guardian

    function test_the_guardian_stops_entry_and_money_but_no_punishment_nor_leaving() external {
        NodeId[] memory ids = _openWith(3);
        NodeId candidate = _candidate(50);
        vm.prank(keeper);
        network.guardian.pause(address(_registry));
        _checkStops(candidate);
        // All else goes on.
        _slash(ids[0], 10);
        _jail(ids[1]);
        vm.startPrank(_operatorOf(3));
        _registry.rotateTransport(ids[2], _transportOf(99));
        _registry.exit(ids[2]);
        vm.stopPrank();
        _nextEpoch();
        // And it ends by itself.
        _pass(7 days);
        vm.prank(council);
        _registry.admit(candidate);
    }

    function test_governance_replaces_the_guardian_or_does_without() external {
        vm.expectRevert(
            abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, keeper)
        );
        vm.prank(keeper);
        _registry.setGuardian(IGuardian(keeper));
        vm.prank(keeper);
        network.guardian.pause(address(_registry));
        vm.prank(address(network.timelock));
        _registry.setGuardian(IGuardian(address(0)));
        _candidate(1);
    }

    function _checkStops(NodeId candidate) private {
        INodeRegistry.Description memory description = _description(51);
        bytes memory possession = _possession(_signingKeyOf(51), stranger, description.transport);
        vm.expectRevert(INodeRegistry.Stopped.selector);
        vm.prank(stranger);
        _registry.register(description, stranger, possession);
        vm.expectRevert(INodeRegistry.Stopped.selector);
        _registry.bond(candidate, 1);
        vm.expectRevert(INodeRegistry.Stopped.selector);
        vm.prank(council);
        _registry.admit(candidate);
        vm.expectRevert(INodeRegistry.Stopped.selector);
        _registry.graduate(candidate);
        vm.startPrank(_operatorOf(50));
        vm.expectRevert(INodeRegistry.Stopped.selector);
        _registry.release(candidate);
        vm.expectRevert(INodeRegistry.Stopped.selector);
        _registry.withdrawBond(candidate);
        vm.stopPrank();
    }

    // Helpers

    /// A node that stands as asked, and may go on in time.
    function _inStatus(INodeRegistry.Status status, uint256 seed) private returns (NodeId id) {
        if (status == INodeRegistry.Status.Candidate) return _candidate(seed);
        if (status == INodeRegistry.Status.Active) return _graduate(seed);
        id = _probationer(seed);
        _pass(7 days);
        if (status == INodeRegistry.Status.Probation) return id;
        if (status == INodeRegistry.Status.Jailed) {
            _registry.graduate(id);
            _jail(id);
            _pass(1 days);
            return id;
        }
        vm.prank(_operatorOf(seed));
        _registry.exit(id);
        _pass(21 days);
        if (status == INodeRegistry.Status.Exiting) return id;
        vm.prank(_operatorOf(seed));
        _registry.withdrawBond(id);
    }

    function _call(uint256 which, NodeId id, uint256 seed) private {
        address[7] memory callers = [
            council,
            stranger,
            network.settlement,
            _operatorOf(seed),
            _operatorOf(seed),
            _operatorOf(seed),
            network.court
        ];
        vm.prank(callers[which]);
        if (which == 0) _registry.admit(id);
        if (which == 1) _registry.graduate(id);
        if (which == 2) _registry.jail(id);
        if (which == 3) _registry.release(id);
        if (which == 4) _registry.exit(id);
        if (which == 5) _registry.withdrawBond(id);
        if (which == 6) _registry.slash(id, 0, OFFENCE, stranger);
    }

    function _checkStatus(NodeId id, INodeRegistry.Status expected) private view {
        equal(uint256(_registry.node(id).status), uint256(expected));
    }

    function _expectWrong(NodeId id, INodeRegistry.Status status) private {
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.WrongStatus.selector, id, status));
    }

    function _registerRefused(INodeRegistry.Description memory description, bytes4 reason) private {
        bytes memory possession = _possession(_signingKeyOf(1), stranger, description.transport);
        vm.expectRevert(reason);
        vm.prank(stranger);
        _registry.register(description, stranger, possession);
    }

    function _rotateSigning(NodeId id, uint256 seed, uint256 keySeed) private {
        bytes memory possession = _possession(
            _signingKeyOf(keySeed), _operatorOf(seed), _registry.node(id).description.transport
        );
        vm.prank(_operatorOf(seed));
        _registry.rotateSigning(id, vm.addr(_signingKeyOf(keySeed)), possession);
    }

    function _rotateRefused(NodeId id, uint256 keySeed) private {
        bytes memory possession = _possession(
            _signingKeyOf(keySeed), _operatorOf(1), _registry.node(id).description.transport
        );
        address signing = vm.addr(_signingKeyOf(keySeed));
        vm.expectRevert(INodeRegistry.KeyTaken.selector);
        vm.prank(_operatorOf(1));
        _registry.rotateSigning(id, signing, possession);
    }

    function _rotateTransport(NodeId id, uint256 seed, uint256 keySeed) private {
        vm.prank(_operatorOf(seed));
        _registry.rotateTransport(id, _transportOf(keySeed));
    }

    function _exitAndWithdraw(NodeId id, uint256 seed) private {
        vm.startPrank(_operatorOf(seed));
        _registry.exit(id);
        _pass(21 days);
        _registry.withdrawBond(id);
        vm.stopPrank();
    }

    function _jail(NodeId id) private {
        vm.prank(network.settlement);
        _registry.jail(id);
    }

    function _slash(NodeId id, uint256 permille) private returns (uint256) {
        vm.prank(network.court);
        return _registry.slash(id, permille, OFFENCE, stranger);
    }

    /// The signature with the highest s that the compact form has room for, above half the order.
    function _withHighS(bytes memory compact) private pure returns (bytes memory) {
        bytes memory forged = abi.encodePacked(compact);
        for (uint256 i = 32; i < 64; ++i) {
            forged[i] = i == 32 ? bytes1(0x7f) : bytes1(0xff);
        }
        return forged;
    }
}
