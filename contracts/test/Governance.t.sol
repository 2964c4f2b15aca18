// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

import {NodeRegistry} from "../src/NodeRegistry.sol";
import {Roles} from "../src/Roles.sol";
import {TidingsTimelock} from "../src/TidingsTimelock.sol";
import {NodeId} from "../src/Types.sol";
import {Parameter} from "../src/generated/ParameterTable.sol";
import {IGuardian} from "../src/interfaces/IGuardian.sol";
import {INetworkParameters} from "../src/interfaces/INetworkParameters.sol";
import {INodeRegistry} from "../src/interfaces/INodeRegistry.sol";
import {Deployment} from "./Deployment.sol";

/// Who may do what after deployment, and the phases, by real votes.
contract GovernanceTest is Deployment {
    NodeRegistry private _registry;

    function setUp() public override {
        super.setUp();
        _registry = network.registry;
    }

    function test_the_timelock_alone_administers_after_deployment() external view {
        // covers: SET-022
        (bool isAdmin, uint32 delay) =
            network.access.hasRole(Roles.ADMIN, address(network.timelock));
        check(isAdmin && delay == 0, "the timelock is");
        address[6] memory others =
            [address(this), council, keeper, holder, address(network.governor), network.court];
        for (uint256 i = 0; i < others.length; ++i) {
            (isAdmin,) = network.access.hasRole(Roles.ADMIN, others[i]);
            check(!isAdmin, "no other is");
            check(!network.timelock.hasRole(bytes32(0), others[i]), "nor of the timelock");
        }
        check(network.timelock.hasRole(bytes32(0), address(network.timelock)), "but itself");
        bytes32 proposer = network.timelock.PROPOSER_ROLE();
        check(
            network.timelock.hasRole(proposer, address(network.governor)), "the governor proposes"
        );
        check(!network.timelock.hasRole(proposer, address(this)), "the deployer does not");
        check(
            network.timelock.hasRole(network.timelock.EXECUTOR_ROLE(), address(0)),
            "anyone executes"
        );
    }

    function test_who_disagrees_can_leave_before_a_decision_takes_effect() external view {
        uint256 delay = network.timelock.getMinDelay();
        check(delay > network.parameters.value(Parameter.UnbondingSeconds), "unbonding");
        check(delay > network.parameters.value(Parameter.WithdrawalSeconds), "withdrawal");
    }

    function test_no_vote_makes_decisions_come_before_who_disagrees_can_leave() external {
        // covers: SET-022
        TidingsTimelock timelock = network.timelock;
        uint256 margin = timelock.marginSeconds();
        uint256 unbonding = network.parameters.value(Parameter.UnbondingSeconds);
        equal(unbonding + margin, TIMELOCK_SECONDS);
        _govern(address(timelock), abi.encodeCall(timelock.updateDelay, (0)));
        equal(timelock.getMinDelay(), unbonding + margin);
        // What takes longer makes decisions wait longer.
        for (uint256 i = 0; i < 2; ++i) {
            Parameter leaving = i == 0 ? Parameter.UnbondingSeconds : Parameter.WithdrawalSeconds;
            uint256 longer = unbonding + (i + 1) * 1 days;
            _govern(
                address(network.parameters),
                abi.encodeCall(network.parameters.set, (leaving, longer))
            );
            equal(timelock.getMinDelay(), longer + margin);
        }
        (address[] memory targets, uint256[] memory values, bytes[] memory calls) =
            _single(address(_registry), abi.encodeCall(NodeRegistry.advancePhase, ()));
        bytes32 description = _vote(targets, values, calls);
        network.governor.queue(targets, values, calls, description);
        _pass(unbonding + 2 days + margin - 1);
        vm.expectPartialRevert(TimelockController.TimelockUnexpectedOperationState.selector);
        network.governor.execute(targets, values, calls, description);
        _pass(1);
        network.governor.execute(targets, values, calls, description);
    }

    function test_no_vote_makes_others_wait_for_ever() external {
        TidingsTimelock timelock = network.timelock;
        _govern(address(timelock), abi.encodeCall(timelock.updateDelay, (type(uint256).max)));
        equal(timelock.getMinDelay(), timelock.DELAY_SECONDS_MAX());
        _govern(address(timelock), abi.encodeCall(timelock.updateDelay, (0)));
        check(timelock.getMinDelay() < 365 days, "and the next vote ends it");
    }

    function test_leaving_takes_less_than_decisions_wait_at_first() external {
        INetworkParameters from = network.parameters;
        uint256 leaving = from.value(Parameter.UnbondingSeconds);
        address[] memory nobody = new address[](0);
        vm.expectRevert(
            abi.encodeWithSelector(TidingsTimelock.DelayTooShort.selector, leaving, leaving)
        );
        new TidingsTimelock(from, leaving, nobody, nobody, address(this));
    }

    function test_the_phases_are_walked_through_by_votes_and_never_back() external {
        // covers: SET-021
        // Council: the council admits, nobody else.
        NodeId first = _candidate(1);
        _checkRefuses(first, stranger);
        _checkRefuses(first, address(network.timelock));
        vm.prank(council);
        _registry.admit(first);

        // Token vote: a vote admits, the council does not.
        NodeId second = _candidate(2);
        _govern(address(_registry), abi.encodeCall(NodeRegistry.advancePhase, ()));
        equal(uint256(_registry.phase()), uint256(INodeRegistry.Phase.TokenVote));
        _checkRefuses(second, council);
        _checkRefuses(second, stranger);
        _checkRefuses(second, address(this));
        _govern(address(_registry), abi.encodeCall(NodeRegistry.admit, (second)));
        equal(uint256(_registry.node(second).status), uint256(INodeRegistry.Status.Probation));

        // Open: anyone with a bond.
        _govern(address(_registry), abi.encodeCall(NodeRegistry.advancePhase, ()));
        equal(uint256(_registry.phase()), uint256(INodeRegistry.Phase.Open));
        NodeId third = _candidate(3);
        vm.prank(stranger);
        _registry.admit(third);
        equal(uint256(_registry.node(third).status), uint256(INodeRegistry.Status.Probation));

        vm.expectRevert(
            abi.encodeWithSelector(INodeRegistry.WrongPhase.selector, INodeRegistry.Phase.Open)
        );
        vm.prank(address(network.timelock));
        _registry.advancePhase();
    }

    function test_no_key_of_deployer_or_council_governs() external {
        // covers: SET-022
        address[4] memory others = [address(this), council, keeper, holder];
        for (uint256 i = 0; i < others.length; ++i) {
            bytes memory refused = abi.encodeWithSelector(
                IAccessManaged.AccessManagedUnauthorized.selector, others[i]
            );
            vm.startPrank(others[i]);
            vm.expectRevert(refused);
            _registry.advancePhase();
            vm.expectRevert(refused);
            _registry.setGuardian(network.guardian);
            vm.expectRevert(refused);
            network.parameters.set(Parameter.BondMin, 0);
            vm.expectRevert(
                abi.encodeWithSelector(
                    IAccessManager.AccessManagerUnauthorizedAccount.selector, others[i], Roles.ADMIN
                )
            );
            network.access.grantRole(Roles.COURT, others[i], 0);
            if (others[i] != keeper) {
                vm.expectRevert(IGuardian.NotTheKeeper.selector);
                network.guardian.pause(address(_registry));
            }
            vm.stopPrank();
        }
    }

    function test_a_council_member_with_a_delay_does_not_admit() external {
        vm.prank(address(network.timelock));
        network.access.grantRole(Roles.COUNCIL, stranger, 1 days);
        _checkRefuses(_candidate(1), stranger);
    }

    function test_a_decision_waits_for_the_timelock() external {
        (address[] memory targets, uint256[] memory values, bytes[] memory calls) =
            _single(address(_registry), abi.encodeCall(NodeRegistry.advancePhase, ()));
        bytes32 description = _vote(targets, values, calls);
        network.governor.queue(targets, values, calls, description);
        _pass(TIMELOCK_SECONDS - 1);
        vm.expectPartialRevert(TimelockController.TimelockUnexpectedOperationState.selector);
        network.governor.execute(targets, values, calls, description);
        _pass(1);
        vm.prank(stranger);
        network.governor.execute(targets, values, calls, description);
        equal(uint256(_registry.phase()), uint256(INodeRegistry.Phase.TokenVote));
    }

    function test_a_proposal_needs_the_threshold_and_the_quorum() external {
        (address[] memory targets, uint256[] memory values, bytes[] memory calls) =
            _single(address(_registry), abi.encodeCall(NodeRegistry.advancePhase, ()));
        vm.expectPartialRevert(IGovernor.GovernorInsufficientProposerVotes.selector);
        vm.prank(stranger);
        network.governor.propose(targets, values, calls, "because");
        // With three percent of the supply a proposal can be made, but not carried.
        vm.prank(holder);
        network.token.transfer(stranger, 3e25);
        vm.startPrank(stranger);
        network.token.delegate(stranger);
        _pass(1);
        uint256 proposal = network.governor.propose(targets, values, calls, "because");
        _pass(VOTING_DELAY_SECONDS + 1);
        network.governor.castVote(proposal, 1);
        vm.stopPrank();
        _pass(VOTING_PERIOD_SECONDS + 1);
        equal(uint256(network.governor.state(proposal)), uint256(IGovernor.ProposalState.Defeated));
        equal(network.governor.quorum(block.timestamp - 1), 4e25);
        check(network.governor.proposalNeedsQueuing(proposal), "every decision waits");
    }

    function test_treasury_funds_move_by_vote_only() external {
        vm.prank(holder);
        network.token.transfer(address(network.timelock), 5);
        _govern(address(network.token), abi.encodeCall(network.token.transfer, (stranger, 5)));
        equal(network.token.balanceOf(stranger), 5);
    }

    function _checkRefuses(NodeId id, address caller) private {
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.NotAllowed.selector, caller));
        vm.prank(caller);
        _registry.admit(id);
    }
}
