// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Membership} from "./Membership.sol";
import {Roles} from "./Roles.sol";
import {Epoch, NodeId} from "./Types.sol";
import {Parameter} from "./generated/ParameterTable.sol";
import {IGuardian} from "./interfaces/IGuardian.sol";
import {INetworkParameters} from "./interfaces/INetworkParameters.sol";
import {INodeRegistry} from "./interfaces/INodeRegistry.sol";
import {Genesis} from "./lib/Genesis.sol";
import {NodeSignatures} from "./lib/NodeSignatures.sol";

/// Operators' nodes, their bonds and keys, and who is in the committees of each epoch.
///
/// A node is registered as a candidate, admitted into probation, graduates to active, and joins the
/// committees with the next epoch that has room for it. The guardian can stop what lets nodes in
/// and money out or in; leaving, rotating keys, slashing and epochs go on meanwhile.
contract NodeRegistry is Membership, AccessManaged, ReentrancyGuardTransient {
    using SafeCast for uint256;
    using SafeERC20 for IERC20;

    struct SigningKey {
        NodeId node;
        /// The first epoch in which the key no longer signs; 0 while it does.
        Epoch until;
        bool used;
    }

    uint256 private constant NAME_BYTES_MAX = 32;
    uint256 private constant ADDRESS_BYTES_MAX = 128;
    uint256 private constant COMPACT_SIGNATURE_BYTES = 64;
    uint256 private constant PERMILLE = 1000;
    uint256 private constant TOKEN = 1e18;
    bytes32 private constant REGISTRATION_TYPE =
        keccak256("NodeRegistration(address operator,address signing,bytes32 transport)");

    /// @inheritdoc INodeRegistry
    bytes32 public immutable networkId;
    /// What bonds are made of.
    IERC20 public immutable token;
    /// Who gets what is slashed, but for the reporter's share: the timelock of governance.
    address public immutable treasury;
    bytes32 private immutable _domain;

    /// Who can stop this contract; nobody when zero.
    IGuardian public guardian;
    /// @inheritdoc INodeRegistry
    Phase public phase;
    /// @inheritdoc INodeRegistry
    uint32 public nodeCount;

    mapping(address key => SigningKey) private _signingKeys;
    mapping(bytes32 key => bool) private _transportUsed;

    modifier unlessStopped() {
        _checkStopped();
        _;
    }

    /// @param authority Who says who may call what.
    /// @param salt Tells apart networks that share chain and address.
    constructor(
        address authority,
        IERC20 token_,
        INetworkParameters parameters_,
        address treasury_,
        IGuardian guardian_,
        bytes32 salt
    ) Membership(parameters_) AccessManaged(authority) {
        require(treasury_ != address(0), AddressZero());
        (token, treasury) = (token_, treasury_);
        networkId = Genesis.networkId(block.chainid.toUint64(), address(this), salt);
        _domain = NodeSignatures.domainSeparator(networkId);
        _setGuardian(guardian_);
    }

    // Operators

    /// Registers a node of the caller; anyone may.
    /// @param payout Who is paid.
    /// @param possession Compact signature (EIP-2098) by `description.signing` over the typed data
    /// `NodeRegistration` with the caller as operator.
    function register(Description calldata description, address payout, bytes calldata possession)
        external
        unlessStopped
        returns (NodeId id)
    {
        // SET-016.
        // Counting fails before the last number, which stands for the protocol in reports.
        id = NodeId.wrap(nodeCount++);
        Record storage record = _records[id];
        record.operator = msg.sender;
        emit NodeRegistered(id, msg.sender);
        _setDescription(record, description.name, description.quic, description.http);
        _setWeight(record, description.weight);
        _setPayout(id, record, payout);
        _takeTransport(record, description.transport);
        _takeSigning(id, record, description.signing, possession);
        record.signingFrom = epoch();
        emit SigningKeyAdded(id, description.signing, epoch());
        _setStatus(id, record, Status.Candidate);
    }

    /// Changes what a node says of itself; the operator only. A member's weight follows with one of
    /// the next epochs, as the bound of changes in an epoch allows.
    function describe(
        NodeId id,
        string calldata name,
        string calldata quic,
        string calldata http,
        uint32 weight
    ) external {
        Record storage record = _operated(id);
        _setDescription(record, name, quic, http);
        _setWeight(record, weight);
        emit NodeDescribed(id);
    }

    /// Sets who is paid; the operator only.
    function setPayout(NodeId id, address payout) external {
        _setPayout(id, _operated(id), payout);
    }

    /// Gives a node another transport key, at once; the operator only.
    function rotateTransport(NodeId id, bytes32 transport) external {
        _takeTransport(_operated(id), transport);
        emit NodeDescribed(id);
    }

    /// Gives a node another signing key from the next epoch on; the operator only. The node stays
    /// liable for the old one until `UnbondingSeconds` after it stopped.
    /// @param possession As for `register`, by the new key, with the node's transport key.
    function rotateSigning(NodeId id, address signing, bytes calldata possession) external {
        Record storage record = _operated(id);
        Epoch next = _nextEpoch();
        _signingKeys[record.signing].until = next;
        // A key that was to sign from the next epoch on is replaced before it ever did.
        if (Epoch.unwrap(record.signingFrom) != Epoch.unwrap(next)) {
            record.previousSigning = record.signing;
            record.signingFrom = next;
        }
        _takeSigning(id, record, signing, possession);
        emit SigningKeyAdded(id, signing, next);
    }

    /// Adds `amount`, in token units of 10⁻¹⁸, to a node's bond; anyone may.
    function bond(NodeId id, uint256 amount) external unlessStopped nonReentrant {
        Record storage record = _records[id];
        Status status = record.status;
        bool takes = status == Status.Candidate || status == Status.Probation
            || status == Status.Active || status == Status.Jailed;
        require(takes, WrongStatus(id, status));
        record.bond += amount.toUint128();
        emit Bonded(id, amount);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// Lets a candidate into probation; the phase says who may.
    function admit(NodeId id) external unlessStopped {
        _checkMayAdmit();
        Record storage record = _records[id];
        require(record.status == Status.Candidate, WrongStatus(id, record.status));
        _checkBond(record);
        record.admitted = true;
        _setStatus(id, record, Status.Probation);
    }

    /// Ends a node's probation once it lasted `ProbationSeconds`; anyone may. The node then waits
    /// to join the committees.
    function graduate(NodeId id) external unlessStopped {
        Record storage record = _records[id];
        require(record.status == Status.Probation, WrongStatus(id, record.status));
        _checkTime(record.since + _seconds(Parameter.ProbationSeconds));
        _checkBond(record);
        _enqueue(id, record);
        _setStatus(id, record, Status.Active);
    }

    /// Ends a node's time in jail after `JailSeconds`; the operator only, with a bond that is
    /// enough. It goes back to probation, or to the candidates if it was never admitted: to be
    /// slashed is no way in.
    function release(NodeId id) external unlessStopped {
        Record storage record = _operated(id);
        require(record.status == Status.Jailed, WrongStatus(id, record.status));
        _checkTime(record.since + _seconds(Parameter.JailSeconds));
        _checkBond(record);
        _setStatus(id, record, record.admitted ? Status.Probation : Status.Candidate);
    }

    /// Takes a node out for good; the operator only. A member stays in the committees until an
    /// epoch lets it go.
    function exit(NodeId id) external {
        Record storage record = _operated(id);
        require(record.status != Status.Exiting, WrongStatus(id, record.status));
        if (record.seat == Seat.Queued) _dequeue(id, record);
        record.unbondingSeconds = SafeCast.toUint32(_seconds(Parameter.UnbondingSeconds));
        _setStatus(id, record, Status.Exiting);
    }

    /// Pays the bond back to the operator, who alone may ask, `UnbondingSeconds` after the node
    /// asked to leave and was in no committee any more: as many as then or as now, if that is less.
    function withdrawBond(NodeId id) external unlessStopped nonReentrant {
        // SET-018.
        Record storage record = _operated(id);
        require(record.status == Status.Exiting, WrongStatus(id, record.status));
        require(record.seat == Seat.None, StillMember(id));
        uint64 left = record.since > record.leftAt ? record.since : record.leftAt;
        // No vote keeps the bond of who is leaving for longer.
        uint64 governed = _seconds(Parameter.UnbondingSeconds);
        _checkTime(left + (governed < record.unbondingSeconds ? governed : record.unbondingSeconds));
        uint256 amount = record.bond;
        record.bond = 0;
        _setStatus(id, record, Status.Gone);
        emit BondWithdrawn(id, amount);
        token.safeTransfer(record.operator, amount);
    }

    // The court and the settlement

    /// @inheritdoc INodeRegistry
    function slash(NodeId id, uint256 permille, bytes32 offence, address reporter)
        external
        restricted
        nonReentrant
        returns (uint256 taken)
    {
        // SET-018.
        Record storage record = _records[id];
        Status status = record.status;
        require(status != Status.None, WrongStatus(id, status));
        if (status == Status.Gone) return 0;
        taken = record.bond * Math.min(permille, PERMILLE) / PERMILLE;
        // A share of what was taken, which is rounded already.
        // slither-disable-next-line divide-before-multiply
        uint256 bounty = reporter == address(0)
            ? 0
            : taken * parameters.value(Parameter.ReporterSharePermille) / PERMILLE;
        record.bond -= taken.toUint128();
        _expel(id, record);
        if (status != Status.Exiting && status != Status.Jailed) {
            _setStatus(id, record, Status.Jailed);
        }
        emit Slashed(id, offence, taken, bounty);
        if (bounty > 0) token.safeTransfer(reporter, bounty);
        token.safeTransfer(treasury, taken - bounty);
    }

    /// @inheritdoc INodeRegistry
    function jail(NodeId id) external restricted {
        Record storage record = _records[id];
        if (record.status == Status.Probation) {
            record.admitted = false;
            return _setStatus(id, record, Status.Candidate);
        }
        require(record.status == Status.Active, WrongStatus(id, record.status));
        _expel(id, record);
        _setStatus(id, record, Status.Jailed);
    }

    // Governance

    /// Moves to the next phase of admission, from which there is no way back; governance only.
    function advancePhase() external restricted {
        // SET-021.
        require(phase != Phase.Open, WrongPhase(phase));
        phase = phase == Phase.Council ? Phase.TokenVote : Phase.Open;
        emit PhaseAdvanced(phase);
    }

    /// Sets who can stop this contract, or nobody with zero; governance only.
    function setGuardian(IGuardian guardian_) external restricted {
        _setGuardian(guardian_);
    }

    // Views

    /// @inheritdoc INodeRegistry
    function node(NodeId id) external view returns (Node memory) {
        Record storage record = _records[id];
        return Node({
            operator: record.operator,
            payout: record.payout,
            status: record.status,
            since: record.since,
            bond: record.bond,
            description: Description({
                name: record.name,
                signing: _hasBegun(record.signingFrom) ? record.signing : record.previousSigning,
                transport: record.transport,
                quic: record.quic,
                http: record.http,
                weight: record.weight
            })
        });
    }

    /// @inheritdoc INodeRegistry
    function isLiableKey(NodeId id, address key) external view returns (bool) {
        // SET-016.
        SigningKey memory signing = _signingKeys[key];
        if (!signing.used || !(signing.node == id)) return false;
        if (Epoch.unwrap(signing.until) == 0 || !_hasBegun(signing.until)) return true;
        uint256 last = _startOf(signing.until) + _seconds(Parameter.UnbondingSeconds);
        // forge-lint: disable-next-line(block-timestamp)
        return block.timestamp <= last;
    }

    // What a node is

    function _setStatus(NodeId id, Record storage record, Status status) private {
        record.status = status;
        record.since = uint64(block.timestamp);
        emit StatusChanged(id, status);
    }

    function _setDescription(
        Record storage record,
        string calldata name,
        string calldata quic,
        string calldata http
    ) private {
        _checkLength(name, NAME_BYTES_MAX);
        _checkLength(quic, ADDRESS_BYTES_MAX);
        _checkLength(http, ADDRESS_BYTES_MAX);
        record.name = name;
        record.quic = quic;
        record.http = http;
    }

    function _setWeight(Record storage record, uint32 weight) private {
        require(
            weight >= 1 && weight <= parameters.value(Parameter.WeightMax), DescriptionOutOfBounds()
        );
        record.weight = weight;
    }

    function _setPayout(NodeId id, Record storage record, address payout) private {
        require(payout != address(0), AddressZero());
        record.payout = payout;
        emit PayoutSet(id, payout);
    }

    function _takeTransport(Record storage record, bytes32 transport) private {
        require(transport != 0, DescriptionOutOfBounds());
        require(!_transportUsed[transport], KeyTaken());
        _transportUsed[transport] = true;
        record.transport = transport;
    }

    /// Makes `signing` the node's newest key; its holder must have signed for that.
    function _takeSigning(
        NodeId id,
        Record storage record,
        address signing,
        bytes calldata possession
    ) private {
        require(!_signingKeys[signing].used, KeyTaken());
        bytes32 registration =
            keccak256(abi.encode(REGISTRATION_TYPE, record.operator, signing, record.transport));
        _checkPossession(registration, signing, possession);
        _signingKeys[signing] = SigningKey({node: id, until: Epoch.wrap(0), used: true});
        record.signing = signing;
    }

    function _setGuardian(IGuardian guardian_) private {
        guardian = guardian_;
        emit GuardianSet(address(guardian_));
    }

    // Checks

    /// The record of a node that is not gone, for its operator only.
    function _operated(NodeId id) private view returns (Record storage record) {
        record = _records[id];
        require(record.operator == msg.sender, NotTheOperator(id));
        require(record.status != Status.Gone, WrongStatus(id, Status.Gone));
    }

    function _checkMayAdmit() private view {
        if (phase == Phase.Open) return;
        uint64 role = phase == Phase.Council ? Roles.COUNCIL : Roles.ADMIN;
        (bool isMember, uint32 delay) = IAccessManager(authority()).hasRole(role, msg.sender);
        // Who may act only after a delay cannot be made to wait here, so may not act.
        require(isMember && delay == 0, NotAllowed(msg.sender));
    }

    function _checkBond(Record storage record) private view {
        uint256 min = parameters.value(Parameter.BondMin) * TOKEN;
        require(record.bond >= min, BondTooSmall(record.bond, min));
    }

    function _checkStopped() private view {
        IGuardian current = guardian;
        require(address(current) == address(0) || !current.isPaused(address(this)), Stopped());
    }

    function _checkPossession(bytes32 structHash, address signing, bytes calldata possession)
        private
        view
    {
        require(
            signing != address(0) && possession.length == COMPACT_SIGNATURE_BYTES, NotTheSigner()
        );
        address signer = NodeSignatures.recover(
            NodeSignatures.digest(_domain, structHash),
            bytes32(possession[:32]),
            bytes32(possession[32:])
        );
        require(signer == signing, NotTheSigner());
    }

    function _checkLength(string calldata text, uint256 max) private pure {
        uint256 length = bytes(text).length;
        require(length >= 1 && length <= max, DescriptionOutOfBounds());
    }
}
