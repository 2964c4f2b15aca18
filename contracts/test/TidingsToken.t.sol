// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Deployment} from "./Deployment.sol";
import {TidingsToken} from "../src/TidingsToken.sol";

contract TidingsTokenTest is Deployment {
    function test_the_supply_is_minted_once_to_the_recipient() external {
        TidingsToken token = new TidingsToken(stranger);
        equal(token.totalSupply(), 1e27);
        equal(token.balanceOf(stranger), 1e27);
        equal(keccak256(bytes(token.symbol())), keccak256("TIDE"));
        equal(keccak256(bytes(token.name())), keccak256("Tidings"));
    }

    function test_votes_are_counted_by_time() external {
        equal(network.token.clock(), block.timestamp);
        equal(keccak256(bytes(network.token.CLOCK_MODE())), keccak256("mode=timestamp"));
        vm.prank(holder);
        network.token.delegate(stranger);
        uint256 before = block.timestamp;
        _pass(10);
        vm.prank(holder);
        network.token.transfer(council, 5);
        equal(network.token.getPastVotes(stranger, before), 1e27);
        equal(network.token.getVotes(stranger), 1e27 - 5);
    }

    function test_a_permit_allows_without_a_transaction_of_the_holder() external {
        uint256 key = 77;
        address owner = vm.addr(key);
        bytes32 permit = keccak256(
            abi.encode(
                keccak256(
                    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
                ),
                owner,
                stranger,
                uint256(9),
                network.token.nonces(owner),
                block.timestamp
            )
        );
        bytes32 digest =
            keccak256(abi.encodePacked(hex"1901", network.token.DOMAIN_SEPARATOR(), permit));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        network.token.permit(owner, stranger, 9, block.timestamp, v, r, s);
        equal(network.token.allowance(owner, stranger), 9);
        equal(network.token.nonces(owner), 1);
    }
}
