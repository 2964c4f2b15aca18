// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {EvidenceCourt} from "../src/EvidenceCourt.sol";
import {NodeId} from "../src/Types.sol";
import {Parameter} from "../src/generated/ParameterTable.sol";
import {IEvidenceCourt} from "../src/interfaces/IEvidenceCourt.sol";
import {INetworkParameters} from "../src/interfaces/INetworkParameters.sol";
import {INodeRegistry} from "../src/interfaces/INodeRegistry.sol";
import {EvidenceBuilder} from "./EvidenceBuilder.sol";

/// Stands in for the registry: knows keys and records what is slashed.
contract RegistryStandIn {
    struct Slash {
        NodeId node;
        uint256 permille;
        bytes32 offence;
        address reporter;
    }

    uint256 public constant TAKEN = 4321;

    bytes32 public immutable networkId;
    mapping(NodeId id => mapping(address key => bool)) public isLiableKey;
    Slash[] private _slashes;

    constructor(bytes32 networkId_) {
        networkId = networkId_;
    }

    function addKey(uint32 id, address key) external {
        isLiableKey[NodeId.wrap(id)][key] = true;
    }

    function slash(NodeId id, uint256 permille, bytes32 offence, address reporter)
        external
        returns (uint256)
    {
        _slashes.push(Slash(id, permille, offence, reporter));
        return TAKEN;
    }

    function slashCount() external view returns (uint256) {
        return _slashes.length;
    }

    function lastSlash() external view returns (Slash memory) {
        return _slashes[_slashes.length - 1];
    }
}

/// Stands in for the parameters.
contract ParametersStandIn {
    uint256 public constant EQUIVOCATION = 901;
    uint256 public constant INVALID_ENTRY = 155;

    error NotAsked();

    function value(Parameter parameter) external pure returns (uint256) {
        if (parameter == Parameter.EquivocationSlashPermille) {
            return EQUIVOCATION;
        }
        require(parameter == Parameter.InvalidEntrySlashPermille, NotAsked());
        return INVALID_ENTRY;
    }
}

/// A court with its surroundings, and how it answers.
abstract contract CourtTest is EvidenceBuilder {
    address internal constant REPORTER = address(0xBEEF);
    uint32 internal constant OTHER_NODE = 8;

    RegistryStandIn internal registry;
    EvidenceCourt internal court;

    function setUp() public virtual {
        registry = new RegistryStandIn(NETWORK);
        registry.addKey(NODE, vm.addr(secretOf(NODE)));
        registry.addKey(OTHER_NODE, vm.addr(secretOf(OTHER_NODE)));
        court = new EvidenceCourt(
            INodeRegistry(address(registry)), INetworkParameters(address(new ParametersStandIn()))
        );
    }

    /// The error that `evidence` is refused with, zero for none, and its first argument, or the
    /// offence.
    function answer(bytes memory evidence) internal returns (bytes4 refusal, bytes32 what) {
        vm.prank(REPORTER);
        try court.judge(evidence) returns (bytes32 offence) {
            what = offence;
        } catch (bytes memory reason) {
            check(reason.length >= 4, "a refusal says why");
            assembly ("memory-safe") {
                refusal := and(mload(add(reason, 0x20)), shl(224, 0xffffffff))
                if gt(mload(reason), 4) { what := mload(add(reason, 0x24)) }
            }
        }
    }

    function refused(bytes memory evidence, bytes4 expected) internal {
        uint256 before = registry.slashCount();
        (bytes4 refusal,) = answer(evidence);
        equal(bytes32(refusal), bytes32(expected));
        equal(registry.slashCount(), before);
    }

    function nothingProved(bytes memory evidence) internal {
        refused(evidence, IEvidenceCourt.NothingProved.selector);
    }

    function notSigned(bytes memory evidence) internal {
        refused(evidence, IEvidenceCourt.NotSigned.selector);
    }

    function malformed(bytes memory evidence) internal {
        refused(evidence, IEvidenceCourt.Malformed.selector);
    }

    function notJudgedHere(bytes memory evidence) internal {
        refused(evidence, IEvidenceCourt.NotJudgedHere.selector);
    }

    function convicted(bytes memory evidence, bytes32 offence, uint256 permille) internal {
        uint256 before = registry.slashCount();
        check(!court.isJudged(offence), "not judged yet");
        vm.expectEmit(true, true, false, true);
        emit IEvidenceCourt.Convicted(NodeId.wrap(NODE), offence, REPORTER, registry.TAKEN());
        (bytes4 refusal, bytes32 found) = answer(evidence);
        equal(bytes32(refusal), 0);
        equal(found, offence);
        check(court.isJudged(offence), "judged now");
        equal(registry.slashCount(), before + 1);
        RegistryStandIn.Slash memory slash = registry.lastSlash();
        equal(NodeId.unwrap(slash.node), NODE);
        equal(slash.offence, offence);
        equal(slash.permille, permille);
        equal(slash.reporter, REPORTER);
    }

    function equivocated(bytes memory evidence, bytes memory deed) internal {
        convicted(evidence, offenceOf(NODE, deed), 901);
    }

    function judgedAlready(bytes memory evidence, bytes memory deed) internal {
        uint256 before = registry.slashCount();
        (bytes4 refusal, bytes32 offence) = answer(evidence);
        equal(bytes32(refusal), bytes32(IEvidenceCourt.AlreadyJudged.selector));
        equal(offence, offenceOf(NODE, deed));
        equal(registry.slashCount(), before);
    }
}
