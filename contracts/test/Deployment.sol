// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AccessManager} from "@openzeppelin/contracts/access/manager/AccessManager.sol";

import {Guardian} from "../src/Guardian.sol";
import {NetworkParameters} from "../src/NetworkParameters.sol";
import {NodeRegistry} from "../src/NodeRegistry.sol";
import {Roles} from "../src/Roles.sol";
import {TidingsGovernor} from "../src/TidingsGovernor.sol";
import {TidingsTimelock} from "../src/TidingsTimelock.sol";
import {TidingsToken} from "../src/TidingsToken.sol";
import {NodeId} from "../src/Types.sol";
import {Parameter} from "../src/generated/ParameterTable.sol";
import {INodeRegistry} from "../src/interfaces/INodeRegistry.sol";
import {NodeSignatures} from "../src/lib/NodeSignatures.sol";
import {Test} from "./Test.sol";

/// A whole network, deployed and wired as for production: the timelock alone governs at the end.
///
/// Contracts that this base does not know are added by overriding `_deployMore`, which runs after
/// the registry is deployed and before roles are granted, and `_wireMore`, which runs while the
/// deployer still is admin of the access manager.
abstract contract Deployment is Test {
    struct Network {
        TidingsToken token;
        AccessManager access;
        TidingsTimelock timelock;
        TidingsGovernor governor;
        Guardian guardian;
        NetworkParameters parameters;
        NodeRegistry registry;
        address vault;
        /// Has the role SETTLEMENT.
        address settlement;
        /// Has the role COURT.
        address court;
    }

    uint64 internal constant DEPLOYED_AT = 1_750_000_000;
    bytes32 internal constant SALT = keccak256("salt");
    /// Longer than the 21 days of unbonding and the 7 of withdrawals.
    uint256 internal constant TIMELOCK_SECONDS = 22 days;
    uint48 internal constant VOTING_DELAY_SECONDS = 1 days;
    uint32 internal constant VOTING_PERIOD_SECONDS = 7 days;
    uint256 internal constant TOKEN = 1e18;

    address internal immutable holder = _account("holder");
    address internal immutable council = _account("council");
    address internal immutable keeper = _account("keeper");
    address internal immutable stranger = _account("stranger");

    Network internal network;

    function setUp() public virtual {
        _deploy();
    }

    function _deploy() internal {
        vm.warp(DEPLOYED_AT);
        network.token = new TidingsToken(holder);
        network.access = new AccessManager(address(this));
        (Parameter[] memory overridden, uint256[] memory values) = _overrides();
        network.parameters = new NetworkParameters(address(network.access), overridden, values);
        _deployGovernance();
        network.guardian = new Guardian(keeper, DEPLOYED_AT + 365 days);
        network.registry = new NodeRegistry(
            address(network.access),
            network.token,
            network.parameters,
            address(network.timelock),
            network.guardian,
            SALT
        );
        _deployMore();
        _wire();
        _wireMore();
        network.access.grantRole(Roles.ADMIN, address(network.timelock), 0);
        network.access.renounceRole(Roles.ADMIN, address(this));
    }

    /// Parameters that do not begin with the table's value.
    function _overrides()
        internal
        virtual
        returns (Parameter[] memory overridden, uint256[] memory values)
    {}

    /// Deploys vault, settlement and court; here two accounts stand for those that have roles.
    function _deployMore() internal virtual {
        network.settlement = _account("settlement");
        network.court = _account("court");
    }

    /// Grants the roles and wires what `_deployMore` deployed.
    function _wireMore() internal virtual {}

    function _deployGovernance() private {
        address[] memory anyone = new address[](1);
        // The deployer administers the timelock until the governor, which needs its address, is in.
        network.timelock = new TidingsTimelock(
            network.parameters, TIMELOCK_SECONDS, new address[](0), anyone, address(this)
        );
        network.governor = new TidingsGovernor(
            network.token,
            network.timelock,
            TidingsGovernor.Settings({
                votingDelaySeconds: VOTING_DELAY_SECONDS,
                votingPeriodSeconds: VOTING_PERIOD_SECONDS,
                proposalThreshold: 1_000_000 * TOKEN,
                quorumPercent: 4
            })
        );
        TidingsTimelock timelock = network.timelock;
        timelock.grantRole(timelock.PROPOSER_ROLE(), address(network.governor));
        timelock.grantRole(timelock.CANCELLER_ROLE(), address(network.governor));
        timelock.renounceRole(timelock.DEFAULT_ADMIN_ROLE(), address(this));
    }

    function _wire() private {
        _allow(address(network.registry), NodeRegistry.slash.selector, Roles.COURT);
        _allow(address(network.registry), NodeRegistry.jail.selector, Roles.SETTLEMENT);
        network.access.grantRole(Roles.COUNCIL, council, 0);
        network.access.grantRole(Roles.COURT, network.court, 0);
        network.access.grantRole(Roles.SETTLEMENT, network.settlement, 0);
    }

    /// Lets a role call a restricted function; all others are governance's.
    function _allow(address contract_, bytes4 selector, uint64 role) internal {
        bytes4[] memory selectors = new bytes4[](1);
        selectors[0] = selector;
        network.access.setTargetFunctionRole(contract_, selectors, role);
    }

    // Nodes. A node's seed gives its keys; its operator is an account of its own.

    function _operatorOf(uint256 seed) internal pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("operator", seed)))));
    }

    function _signingKeyOf(uint256 seed) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode("signing", seed))) >> 1;
    }

    function _transportOf(uint256 seed) internal pure returns (bytes32) {
        return keccak256(abi.encode("transport", seed));
    }

    function _description(uint256 seed) internal pure returns (INodeRegistry.Description memory) {
        return INodeRegistry.Description({
            name: "node",
            signing: vm.addr(_signingKeyOf(seed)),
            transport: _transportOf(seed),
            quic: "node.example:4433",
            http: "https://node.example",
            weight: 1
        });
    }

    /// That the holder of `key` wants it to sign for a node of `operator`.
    function _possession(uint256 key, address operator, bytes32 transport)
        internal
        view
        returns (bytes memory)
    {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("NodeRegistration(address operator,address signing,bytes32 transport)"),
                operator,
                vm.addr(key),
                transport
            )
        );
        bytes32 domain = NodeSignatures.domainSeparator(network.registry.networkId());
        return _compact(key, NodeSignatures.digest(domain, structHash));
    }

    /// A compact signature (EIP-2098).
    function _compact(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, bytes32((uint256(v - 27) << 255) | uint256(s)));
    }

    function _register(uint256 seed) internal returns (NodeId) {
        return _register(_operatorOf(seed), _description(seed), seed);
    }

    function _register(address operator, INodeRegistry.Description memory description, uint256 seed)
        internal
        returns (NodeId)
    {
        bytes memory possession = _possession(_signingKeyOf(seed), operator, description.transport);
        vm.prank(operator);
        return network.registry.register(description, operator, possession);
    }

    /// Adds to a node's bond from the holder's tokens.
    function _bond(NodeId id, uint256 amount) internal {
        vm.startPrank(holder);
        network.token.approve(address(network.registry), amount);
        network.registry.bond(id, amount);
        vm.stopPrank();
    }

    function _bondMin() internal view returns (uint256) {
        return network.parameters.value(Parameter.BondMin) * TOKEN;
    }

    /// A candidate with the least bond.
    function _candidate(uint256 seed) internal returns (NodeId id) {
        id = _register(seed);
        _bond(id, _bondMin());
    }

    /// A node in probation, admitted by the council.
    function _probationer(uint256 seed) internal returns (NodeId id) {
        id = _candidate(seed);
        vm.prank(council);
        network.registry.admit(id);
    }

    /// An active node that waits to join.
    function _graduate(uint256 seed) internal returns (NodeId id) {
        id = _probationer(seed);
        _pass(network.parameters.value(Parameter.ProbationSeconds));
        network.registry.graduate(id);
    }

    /// Opens the first epoch with members of the seeds 1 to `count`.
    function _openWith(uint256 count) internal returns (NodeId[] memory ids) {
        ids = new NodeId[](count);
        for (uint256 i = 0; i < count; ++i) {
            ids[i] = _probationer(i + 1);
        }
        _pass(network.parameters.value(Parameter.ProbationSeconds));
        for (uint256 i = 0; i < count; ++i) {
            network.registry.graduate(ids[i]);
        }
        network.registry.advanceEpoch();
    }

    /// Lets the current epoch last, and opens the next.
    function _nextEpoch() internal {
        _pass(network.parameters.value(Parameter.EpochSeconds));
        network.registry.advanceEpoch();
    }

    // Time and votes

    function _pass(uint256 secs) internal {
        vm.warp(block.timestamp + secs);
    }

    /// Carries out a call as governance does: proposed, voted, queued, executed.
    function _govern(address contract_, bytes memory call) internal {
        (address[] memory targets, uint256[] memory values, bytes[] memory calls) =
            _single(contract_, call);
        bytes32 description = _vote(targets, values, calls);
        network.governor.queue(targets, values, calls, description);
        _pass(network.timelock.getMinDelay());
        network.governor.execute(targets, values, calls, description);
    }

    function _single(address contract_, bytes memory call)
        internal
        pure
        returns (address[] memory targets, uint256[] memory values, bytes[] memory calls)
    {
        (targets, values, calls) = (new address[](1), new uint256[](1), new bytes[](1));
        (targets[0], calls[0]) = (contract_, call);
    }

    /// Proposes and wins a vote. Returns the hash of the description, which differs each time so
    /// that one call can be voted on twice.
    function _vote(address[] memory targets, uint256[] memory values, bytes[] memory calls)
        internal
        returns (bytes32)
    {
        string memory description = vm.toString(block.timestamp);
        vm.startPrank(holder);
        network.token.delegate(holder);
        _pass(1);
        uint256 proposal = network.governor.propose(targets, values, calls, description);
        _pass(VOTING_DELAY_SECONDS + 1);
        network.governor.castVote(proposal, 1);
        vm.stopPrank();
        _pass(VOTING_PERIOD_SECONDS + 1);
        return keccak256(bytes(description));
    }

    function _account(string memory name) internal pure returns (address) {
        return address(uint160(uint256(keccak256(bytes(name)))));
    }
}
