// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {EvidenceCourt} from "../src/EvidenceCourt.sol";
import {IEvidenceCourt} from "../src/interfaces/IEvidenceCourt.sol";
import {INetworkParameters} from "../src/interfaces/INetworkParameters.sol";
import {INodeRegistry} from "../src/interfaces/INodeRegistry.sol";
import {CourtTest, ParametersStandIn, RegistryStandIn} from "./CourtTest.sol";

/// Evidence as bytes, and what becomes of it: the court and nodes read the same files.
contract EvidenceVectorsTest is CourtTest {
    /// In the form of the suite `evidence`, by this test's own encoder.
    string private constant SAMPLE = "test/evidence-sample.json";

    struct Case {
        string name;
        bytes32 networkId;
        address signer;
        uint32 node;
        bytes evidence;
        bytes32 offence;
        string outcome;
    }

    function test_the_sample_is_judged_as_it_says() public {
        // covers: SET-019
        equal(_judgeAll(SAMPLE), 12);
    }

    function test_the_evidence_of_nodes_is_judged_as_they_judge_it() public {
        // covers: EVD-001, EVD-002, SET-019
        check(_judgeAll("../spec/vectors/evidence/judged.json") > 40, "cases are missing");
    }

    /// Judges every case of the file, each in a court of its own; returns how many there are.
    function _judgeAll(string memory path) private returns (uint256 count) {
        string memory json = vm.readFile(path);
        check(_same(vm.parseJsonString(json, ".suite"), "evidence"), "another suite");
        for (; vm.keyExistsJson(json, _key(count, "")); count++) {
            _judge(_read(json, count));
        }
    }

    function _read(string memory json, uint256 index) private pure returns (Case memory case_) {
        case_.name = vm.parseJsonString(json, _key(index, ".name"));
        case_.networkId = vm.parseJsonBytes32(json, _key(index, ".network_id"));
        case_.signer = vm.parseJsonAddress(json, _key(index, ".signer"));
        uint256 node = vm.parseJsonUint(json, _key(index, ".node"));
        check(node <= type(uint32).max, case_.name);
        // forge-lint: disable-next-line(unsafe-typecast)
        case_.node = uint32(node);
        string memory hex_ = vm.parseJsonString(json, _key(index, ".evidence"));
        case_.evidence = vm.parseBytes(string.concat("0x", hex_));
        case_.offence = vm.parseJsonBytes32(json, _key(index, ".offence"));
        case_.outcome = vm.parseJsonString(json, _key(index, ".outcome"));
    }

    function _judge(Case memory case_) private {
        registry = new RegistryStandIn(case_.networkId);
        registry.addKey(case_.node, case_.signer);
        court = new EvidenceCourt(
            INodeRegistry(address(registry)), INetworkParameters(address(new ParametersStandIn()))
        );
        (bytes4 refusal, bytes32 offence) = answer(case_.evidence);
        if (_same(case_.outcome, "convicted")) {
            check(refusal == 0 && offence == case_.offence, case_.name);
        } else if (_same(case_.outcome, "refused")) {
            check(
                refusal == IEvidenceCourt.Malformed.selector
                    || refusal == IEvidenceCourt.NothingProved.selector
                    || refusal == IEvidenceCourt.NotSigned.selector,
                case_.name
            );
        } else {
            check(_same(case_.outcome, "not-judged-here"), "an outcome that does not exist");
            check(refusal == IEvidenceCourt.NotJudgedHere.selector, case_.name);
        }
    }

    function _key(uint256 index, string memory name) private pure returns (string memory) {
        return string.concat(".cases[", vm.toString(index), "]", name);
    }

    function _same(string memory one, string memory two) private pure returns (bool) {
        return keccak256(bytes(one)) == keccak256(bytes(two));
    }
}
