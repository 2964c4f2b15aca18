// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {FeeFormula} from "../src/lib/FeeFormula.sol";
import {Test} from "./Test.sol";

/// FEE-001 and FEE-003, by the vectors that Rust reads too.
contract FeeFormulaTest is Test {
    string private vectors;

    function setUp() public {
        vectors = vm.readFile("../spec/vectors/fees/formula.json");
    }

    function test_every_vector() public {
        // covers: FEE-001
        uint256 count = 0;
        while (vm.keyExistsJson(vectors, path(count, ""))) {
            checkVector(count);
            count += 1;
        }
        check(count >= 18, "vectors are missing");
    }

    function testFuzz_the_fee_is_rounded_up_once(
        uint64 base,
        uint64 byteDay,
        uint32 length,
        uint16 retentionDays,
        uint32 class,
        uint32 congestion
    ) public {
        uint256 plain = base + uint256(byteDay) * length * retentionDays;
        uint256 exact = plain * class * congestion;
        uint256 rounded = exact / 1e6 + (exact % 1e6 == 0 ? 0 : 1);
        if (plain * class > type(uint128).max || rounded > type(uint64).max) {
            vm.expectRevert(FeeFormula.FeeOverflow.selector);
            this.fee(base, byteDay, length, retentionDays, class, congestion);
        } else {
            equal(this.fee(base, byteDay, length, retentionDays, class, congestion), rounded);
        }
    }

    function fee(
        uint64 base,
        uint64 byteDay,
        uint32 length,
        uint16 retentionDays,
        uint32 classPermille,
        uint32 congestionPermille
    ) external pure returns (uint64) {
        return FeeFormula.fee(
            base, byteDay, length, retentionDays, classPermille, congestionPermille
        );
    }

    function checkVector(uint256 index) private {
        // A fee of null is no number: the formula must refuse.
        try this.number(index, ".fee") returns (uint256 expected) {
            equal(compute(index), expected);
        } catch {
            vm.expectRevert(FeeFormula.FeeOverflow.selector);
            compute(index);
        }
    }

    function compute(uint256 index) private view returns (uint64) {
        uint64 base = uint64(number(index, ".schedule.base"));
        uint64 byteDay = uint64(number(index, ".schedule.byte_day"));
        uint32 length = uint32(number(index, ".bytes"));
        uint16 retentionDays = uint16(number(index, ".retention_days"));
        uint32 class = permilleOf(index);
        uint32 congestion = uint32(number(index, ".schedule.congestion_permille"));
        return this.fee(base, byteDay, length, retentionDays, class, congestion);
    }

    function permilleOf(uint256 index) private view returns (uint32) {
        bytes32 class = keccak256(bytes(vm.parseJsonString(vectors, path(index, ".class"))));
        if (class == keccak256("broadcast")) {
            return 1000;
        }
        check(class == keccak256("ordered") || class == keccak256("stamped"), "unknown class");
        return uint32(
            number(
                index,
                class == keccak256("ordered")
                    ? ".schedule.ordered_permille"
                    : ".schedule.stamp_permille"
            )
        );
    }

    function number(uint256 index, string memory field) public view returns (uint256) {
        return vm.parseJsonUint(vectors, path(index, field));
    }

    function path(uint256 index, string memory field) private pure returns (string memory) {
        return string.concat(".cases[", vm.toString(index), "]", field);
    }
}
