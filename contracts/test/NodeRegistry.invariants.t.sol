// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Membership} from "../src/Membership.sol";
import {NodeRegistry} from "../src/NodeRegistry.sol";
import {Epoch, NodeId} from "../src/Types.sol";
import {Parameter} from "../src/generated/ParameterTable.sol";
import {INodeRegistry} from "../src/interfaces/INodeRegistry.sol";
import {Deployment} from "./Deployment.sol";

/// Does at random what operators, council, court, settlement and bystanders may do, and watches
/// each node's way after every step.
contract RegistryHandler is Deployment {
    uint256 private constant NODES_MAX = 14;
    uint256 private constant STATUSES = 7;

    /// What was bonded, slashed and paid back in all.
    uint256 public bonded;
    uint256 public slashed;
    uint256 public returned;
    /// The first broken rule; empty while all hold.
    string public broken;

    /// Of each node: its status after the step before.
    mapping(uint32 id => INodeRegistry.Status) private _before;
    /// Whether it was expelled from the current epoch.
    mapping(uint32 id => bool) private _expelled;
    mapping(uint256 fromAndTo => bool) private _legal;

    constructor() {
        _deploy();
        _allowMove(INodeRegistry.Status.None, INodeRegistry.Status.Candidate);
        _allowMove(INodeRegistry.Status.Candidate, INodeRegistry.Status.Probation);
        _allowMove(INodeRegistry.Status.Candidate, INodeRegistry.Status.Jailed);
        _allowMove(INodeRegistry.Status.Candidate, INodeRegistry.Status.Exiting);
        _allowMove(INodeRegistry.Status.Probation, INodeRegistry.Status.Active);
        _allowMove(INodeRegistry.Status.Probation, INodeRegistry.Status.Candidate);
        _allowMove(INodeRegistry.Status.Probation, INodeRegistry.Status.Jailed);
        _allowMove(INodeRegistry.Status.Probation, INodeRegistry.Status.Exiting);
        _allowMove(INodeRegistry.Status.Active, INodeRegistry.Status.Jailed);
        _allowMove(INodeRegistry.Status.Active, INodeRegistry.Status.Exiting);
        _allowMove(INodeRegistry.Status.Jailed, INodeRegistry.Status.Probation);
        _allowMove(INodeRegistry.Status.Jailed, INodeRegistry.Status.Candidate);
        _allowMove(INodeRegistry.Status.Jailed, INodeRegistry.Status.Exiting);
        _allowMove(INodeRegistry.Status.Exiting, INodeRegistry.Status.Gone);
    }

    /// Times are short here, so that random steps get somewhere.
    function _overrides()
        internal
        pure
        override
        returns (Parameter[] memory overridden, uint256[] memory values)
    {
        (overridden, values) = (new Parameter[](5), new uint256[](5));
        (overridden[0], values[0]) = (Parameter.ProbationSeconds, 10);
        (overridden[1], values[1]) = (Parameter.JailSeconds, 10);
        (overridden[2], values[2]) = (Parameter.UnbondingSeconds, 100);
        (overridden[3], values[3]) = (Parameter.EpochSeconds, 10);
        (overridden[4], values[4]) = (Parameter.EpochChurnMax, 2);
    }

    modifier watched() {
        _;
        _watch();
    }

    function join() external watched {
        if (count() >= NODES_MAX) return;
        bonded += _bondMin();
        _candidate(count() + 1);
    }

    function topUp(uint256 which, uint256 amount) external watched {
        amount = bound(amount, 0, 2 * _bondMin());
        NodeId id = _pick(which);
        uint256 before = registry().node(id).bond;
        // A call that reverts would leave the prank on.
        if (registry().node(id).status >= INodeRegistry.Status.Exiting) return;
        _bond(id, amount);
        bonded += amount;
        if (registry().node(id).bond != before + amount) broken = "a bond did not grow";
    }

    function admit(uint256 which) external watched {
        NodeId id = _pick(which, INodeRegistry.Status.Candidate);
        vm.prank(council);
        registry().admit(id);
    }

    function graduate(uint256 which) external watched {
        registry().graduate(_pick(which, INodeRegistry.Status.Probation));
    }

    /// Admits and graduates all that can be, so that there are members soon.
    function graduateAll() external watched {
        for (uint32 i = 0; i < count(); ++i) {
            vm.prank(council);
            try registry().admit(NodeId.wrap(i)) {} catch {}
        }
        _watch();
        _pass(10);
        for (uint32 i = 0; i < count(); ++i) {
            try registry().graduate(NodeId.wrap(i)) {} catch {}
        }
    }

    function jail(uint256 which) external watched {
        NodeId id = _pick(which, INodeRegistry.Status.Active);
        vm.prank(network.settlement);
        registry().jail(id);
        _expelled[NodeId.unwrap(id)] = _isMember(id, registry().epoch());
    }

    function slash(uint256 which, uint256 permille) external watched {
        NodeId id = _pick(which);
        uint256 before = registry().node(id).bond;
        vm.prank(network.court);
        uint256 taken =
            registry().slash(id, bound(permille, 0, 1000), keccak256("offence"), stranger);
        slashed += taken;
        _expelled[NodeId.unwrap(id)] = _isMember(id, registry().epoch());
        if (taken > before) broken = "more than the bond was taken";
    }

    function release(uint256 which) external watched {
        NodeId id = _pick(which, INodeRegistry.Status.Jailed);
        _pass(10);
        vm.prank(registry().node(id).operator);
        registry().release(id);
    }

    function exit(uint256 which) external watched {
        NodeId id = _pick(which);
        vm.prank(registry().node(id).operator);
        registry().exit(id);
    }

    function withdraw(uint256 which) external watched {
        NodeId id = _pick(which, INodeRegistry.Status.Exiting);
        INodeRegistry.Node memory node = registry().node(id);
        bool isMember = _isMember(id, registry().epoch());
        _pass(60);
        vm.prank(node.operator);
        registry().withdrawBond(id);
        returned += node.bond;
        if (isMember) broken = "a member got its bond back";
        // forge-lint: disable-next-line(block-timestamp)
        if (node.since + 100 > block.timestamp) broken = "a bond came back early";
    }

    function describe(uint256 which, uint256 weight) external watched {
        NodeId id = _pick(which);
        vm.prank(registry().node(id).operator);
        registry().describe(id, "n", "q", "h", uint32(bound(weight, 1, 16)));
    }

    function rotate(uint256 which, uint256 seed) external watched {
        NodeId id = _pick(which);
        INodeRegistry.Node memory node = registry().node(id);
        uint256 key = _signingKeyOf(bound(seed, 1000, type(uint256).max));
        bytes memory possession = _possession(key, node.operator, node.description.transport);
        vm.prank(node.operator);
        registry().rotateSigning(id, vm.addr(key), possession);
        if (!registry().isLiableKey(id, node.description.signing)) {
            broken = "a key in force is not liable";
        }
    }

    function advance() external watched {
        _pass(10);
        Epoch last = registry().epoch();
        registry().advanceEpoch();
        _watchChurn(last, registry().epoch());
        for (uint32 i = 0; i < count(); ++i) {
            _expelled[i] = false;
        }
    }

    function registry() public view returns (NodeRegistry) {
        return network.registry;
    }

    function count() public view returns (uint32) {
        return network.registry.nodeCount();
    }

    function tokens() external view returns (uint256 held, uint256 treasury, uint256 bounties) {
        held = network.token.balanceOf(address(network.registry));
        treasury = network.token.balanceOf(address(network.timelock));
        bounties = network.token.balanceOf(stranger);
    }

    function _allowMove(INodeRegistry.Status from, INodeRegistry.Status to) private {
        _legal[uint256(from) * STATUSES + uint256(to)] = true;
    }

    function _pick(uint256 which) private view returns (NodeId) {
        return NodeId.wrap(uint32(bound(which, 0, count() - 1)));
    }

    /// Mostly a node in the status `wanted`, if there is one, so that steps are seldom refused.
    function _pick(uint256 which, INodeRegistry.Status wanted) private view returns (NodeId) {
        uint32 first = NodeId.unwrap(_pick(which));
        for (uint32 i = 0; i < count() && which % 4 != 0; ++i) {
            NodeId id = NodeId.wrap((first + i) % count());
            if (registry().node(id).status == wanted) return id;
        }
        return NodeId.wrap(first);
    }

    /// Every node stayed where it was or went where it may.
    function _watch() private {
        for (uint32 i = 0; i < count(); ++i) {
            INodeRegistry.Status status = registry().node(NodeId.wrap(i)).status;
            INodeRegistry.Status before = _before[i];
            bool legal = status == before || _legal[uint256(before) * STATUSES + uint256(status)];
            if (!legal) broken = "an illegal transition";
            _before[i] = status;
        }
    }

    /// At most two changes but for the expelled, who are all out; into the first epoch any.
    function _watchChurn(Epoch last, Epoch opened) private {
        uint256 changes = 0;
        for (uint32 i = 0; i < count(); ++i) {
            NodeId id = NodeId.wrap(i);
            uint32 was = _weight(id, last);
            uint32 is_ = _weight(id, opened);
            if (is_ != 0 && _expelled[i]) broken = "an expelled node is a member";
            if (was != is_ && !_expelled[i]) ++changes;
            _watchMember(id, is_ != 0);
        }
        if (Epoch.unwrap(last) != 0 && changes > 2) broken = "too many changes at once";
    }

    /// What an epoch that just opened says of a node agrees with where the node stands.
    function _watchMember(NodeId id, bool isMember) private {
        INodeRegistry.Status status = registry().node(id).status;
        Membership.Seat seat = registry().seatOf(id);
        if (isMember != (seat == Membership.Seat.Member)) broken = "a seat without a member";
        bool may = status == INodeRegistry.Status.Active || status == INodeRegistry.Status.Exiting;
        if (isMember && !may) broken = "a member in a wrong status";
        if (status == INodeRegistry.Status.Active && !isMember && seat != Membership.Seat.Queued) {
            broken = "an active node neither joined nor waits";
        }
    }

    /// The weight of a member; 0 for who is none.
    function _weight(NodeId id, Epoch epoch) private view returns (uint32) {
        if (Epoch.unwrap(epoch) == 0) return 0;
        INodeRegistry.Member[] memory members = registry().members(epoch);
        for (uint256 i = 0; i < members.length; ++i) {
            if (members[i].id == id) return members[i].weight;
        }
        return 0;
    }

    function _isMember(NodeId id, Epoch epoch) private view returns (bool) {
        return _weight(id, epoch) != 0;
    }
}

/// What holds after any steps.
contract NodeRegistryInvariants is Deployment {
    RegistryHandler private _handler;

    function setUp() public override {
        _handler = new RegistryHandler();
        bytes4[] memory steps = new bytes4[](15);
        steps[0] = RegistryHandler.join.selector;
        steps[1] = RegistryHandler.join.selector;
        steps[2] = RegistryHandler.topUp.selector;
        steps[3] = RegistryHandler.admit.selector;
        steps[4] = RegistryHandler.graduate.selector;
        steps[5] = RegistryHandler.graduateAll.selector;
        steps[6] = RegistryHandler.jail.selector;
        steps[7] = RegistryHandler.slash.selector;
        steps[8] = RegistryHandler.release.selector;
        steps[9] = RegistryHandler.exit.selector;
        steps[10] = RegistryHandler.withdraw.selector;
        steps[11] = RegistryHandler.describe.selector;
        steps[12] = RegistryHandler.rotate.selector;
        steps[13] = RegistryHandler.advance.selector;
        steps[14] = RegistryHandler.advance.selector;
        target(address(_handler), steps);
        // Some nodes are there from the start.
        for (uint256 i = 0; i < 5; ++i) {
            _handler.join();
        }
        _handler.graduateAll();
        _handler.advance();
    }

    /// One invariant, so that one campaign of random steps serves all.
    function invariant_tokens_transitions_churn_and_seats() external view {
        check(bytes(_handler.broken()).length == 0, _handler.broken());
        _checkTokens();
        _checkQueue();
    }

    /// Bonds are what the registry holds, and no token is lost or made.
    function _checkTokens() private view {
        uint256 sum = 0;
        for (uint32 i = 0; i < _handler.count(); ++i) {
            sum += _handler.registry().node(NodeId.wrap(i)).bond;
        }
        (uint256 held, uint256 treasury, uint256 bounties) = _handler.tokens();
        equal(held, sum);
        equal(treasury + bounties, _handler.slashed());
        equal(held + _handler.slashed() + _handler.returned(), _handler.bonded());
        check(_handler.slashed() <= _handler.bonded(), "slashed at most what was bonded");
    }

    /// Who waits is active and no member; members stand by rising id.
    function _checkQueue() private view {
        NodeRegistry registry = _handler.registry();
        NodeId[] memory waiting = registry.queue();
        INodeRegistry.Member[] memory members = registry.members(registry.epoch());
        for (uint256 i = 0; i < waiting.length; ++i) {
            bool active = registry.node(waiting[i]).status == INodeRegistry.Status.Active;
            check(active, "who waits is active");
            check(registry.seatOf(waiting[i]) == Membership.Seat.Queued, "and seated so");
            for (uint256 j = 0; j < members.length; ++j) {
                check(!(members[j].id == waiting[i]), "and no member");
            }
        }
        check(members.length + waiting.length <= registry.MEMBERS_MAX(), "bounded");
        for (uint256 j = 1; j < members.length; ++j) {
            check(NodeId.unwrap(members[j - 1].id) < NodeId.unwrap(members[j].id), "rising");
        }
    }
}
