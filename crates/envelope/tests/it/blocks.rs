//! Blocks and certificates: what is final, and what only looks like it.

use proptest::prelude::*;
use tidings_envelope::*;
use tidings_types::*;

use crate::network::{Network, PERIOD, node_key};

/// A block of `count` markers at height 3 of shard 0.
fn block(network: &Network, count: u64) -> Block {
    let decided = |period| DecidedOperation {
        operation: Operation::PeriodMarker(PeriodMarker::new(Period(period))),
        outcome: Outcome::Applied { position: Position(period) },
    };
    let operations: Vec<_> = (0..count).map(decided).collect();
    let header = BlockHeader {
        version: 1,
        shard: ShardId(0),
        height: Height(3),
        parent: BlockHash([2; 32]),
        period: PERIOD,
        chain_reference: None,
        registry_epoch: network.registry.epoch,
        next_epoch: network.registry.epoch,
        next_committee: network.registry.committee_hash(ShardId(0)),
        operations_count: u32::try_from(count).unwrap(),
        operations_root: merkle::root(&Block::leaves(&operations)),
        state_root: [4; 32],
    };
    Block { header, operations: operations.try_into().unwrap() }
}

fn votes(network: &Network, header: &BlockHeader, round: Round, by: &[u32]) -> Certificate {
    let vote = |node: &u32| {
        let (node, key) = (NodeId(*node), node_key(NodeId(*node)));
        CommitSignature::sign(node, header, round, &key, network.id)
    };
    let votes = BoundedVec::new(by.iter().map(vote).collect()).unwrap();
    Certificate { round, signatures: votes }
}

fn certified(network: &Network, count: u64) -> CertifiedBlock {
    let block = block(network, count);
    let certificate = votes(network, &block.header, Round(0), &[1, 2, 3]);
    CertifiedBlock { block, certificate }
}

fn check(certificate: &Certificate, header: &BlockHeader, network: &Network, expected: bool) {
    let verdict = certificate.verify(header, network.id, &network.registry);
    assert_eq!(verdict.is_ok(), expected);
}

#[test]
fn more_than_two_thirds_of_the_committee_make_a_block_final() {
    // covers: ORD-003
    // covers: TOP-008
    for (nodes, quorum) in [(1, 1), (2, 2), (3, 3), (4, 3), (7, 5), (10, 7)] {
        let network = Network::new(nodes, 1, 31);
        let header = block(&network, 1).header;
        let all: Vec<u32> = (1..=nodes).collect();
        for count in 0..=all.len() {
            let certificate = votes(&network, &header, Round(0), &all[..count]);
            check(&certificate, &header, &network, count >= quorum);
        }
    }
}

#[test]
fn a_voter_counts_once() {
    // covers: ORD-003
    let network = Network::new(4, 1, 4);
    let header = block(&network, 1).header;
    for by in [&[1, 2, 2][..], &[1, 2, 3, 3], &[1, 1, 1, 1]] {
        check(&votes(&network, &header, Round(0), by), &header, &network, false);
    }
}

#[test]
fn a_foreign_vote_spoils_a_certificate() {
    // covers: ORD-003
    let network = Network::new(8, 1, 4);
    let header = block(&network, 1).header;
    let committee: Vec<u32> =
        network.registry.committee(ShardId(0)).iter().map(|node| node.0).collect();
    let outside = (1..=8).find(|node| !committee.contains(node)).unwrap();
    let by = [&committee[..], &[outside]].concat();
    check(&votes(&network, &header, Round(0), &committee), &header, &network, true);
    check(&votes(&network, &header, Round(0), &by), &header, &network, false);
    let by = [&committee[..], &[99]].concat();
    check(&votes(&network, &header, Round(0), &by), &header, &network, false);
}

#[test]
fn a_vote_is_for_one_block_in_one_round_of_one_network() {
    // covers: ORD-003
    let network = Network::new(4, 1, 4);
    let header = block(&network, 1).header;
    let certificate = votes(&network, &header, Round(0), &[1, 2, 3]);
    check(&certificate, &header, &network, true);
    let changes: [fn(&mut BlockHeader); 6] = [
        |header| header.version = 2,
        |header| header.height = Height(4),
        |header| header.parent = BlockHash([3; 32]),
        |header| header.period = Period(6),
        |header| header.operations_count = 2,
        |header| header.state_root = [5; 32],
    ];
    for change in changes {
        let mut other = header;
        change(&mut other);
        check(&certificate, &other, &network, false);
    }
    let later = Certificate { round: Round(1), ..certificate.clone() };
    check(&later, &header, &network, false);
    let verdict = certificate.verify(&header, NetworkId([9; 32]), &network.registry);
    assert!(verdict.is_err());
}

#[test]
fn a_signature_under_another_name_spoils_a_certificate() {
    // covers: ORD-003
    let network = Network::new(4, 1, 4);
    let header = block(&network, 1).header;
    let certificate = votes(&network, &header, Round(0), &[1, 2, 3]);
    let mut renamed: Vec<CommitSignature> = certificate.signatures.to_vec();
    renamed[2].node = NodeId(4);
    let forged = Certificate { signatures: renamed.try_into().unwrap(), ..certificate };
    check(&forged, &header, &network, false);
}

#[test]
fn header_and_operations_belong_together() {
    // covers: ORD-011
    let network = Network::new(4, 1, 4);
    let good = block(&network, 3);
    assert!(good.is_consistent());
    assert!(block(&network, 0).is_consistent());
    let altered = |change: fn(&mut Block)| {
        let mut block = good.clone();
        change(&mut block);
        block.is_consistent()
    };
    assert!(!altered(|block| block.header.version = 2));
    assert!(!altered(|block| block.header.operations_count = 2));
    assert!(!altered(|block| block.header.operations_root = [0; 32]));
    assert!(!altered(|block| block.operations = BoundedVec::default()));
    assert!(!altered(|block| {
        let mut operations = block.operations.to_vec();
        operations.swap(0, 1);
        block.operations = operations.try_into().unwrap();
    }));
    assert!(!altered(|block| {
        let mut operations = block.operations.to_vec();
        operations[1].outcome = Outcome::Conflict { position: Position(1) };
        block.operations = operations.try_into().unwrap();
    }));
}

#[test]
fn every_operation_has_a_receipt() {
    // covers: ORD-003
    let network = Network::new(4, 1, 4);
    for count in 1..9 {
        let certified = certified(&network, count);
        for index in 0..u32::try_from(count).unwrap() {
            let receipt = certified.receipt(index).unwrap();
            assert_eq!(receipt.verify(network.id, &network.registry), Ok(()));
            assert_eq!(receipt.position(), Some(Position(index.into())));
        }
        assert_eq!(certified.receipt(u32::try_from(count).unwrap()), None);
        assert_eq!(certified.receipt(u32::MAX), None);
    }
}

#[test]
fn a_receipt_is_for_the_operation_it_names() {
    // covers: ORD-003
    let network = Network::new(4, 1, 4);
    let certified = certified(&network, 5);
    let receipt = certified.receipt(2).unwrap();
    let check = |receipt: &OrderedReceipt, expected| {
        assert_eq!(receipt.verify(network.id, &network.registry), Err(expected));
    };
    let mut moved = receipt.clone();
    moved.index = 3;
    check(&moved, ReceiptInvalid::Path);
    let mut other = receipt.clone();
    other.decided = certified.block.operations[3].clone();
    check(&other, ReceiptInvalid::Path);
    let mut refused = receipt.clone();
    refused.decided.outcome = Outcome::Refused { code: ErrorCode::Conflict };
    assert_eq!(refused.position(), None);
    check(&refused, ReceiptInvalid::Path);
    let mut alone = receipt;
    alone.certificate = votes(&network, &alone.header, Round(0), &[1, 2]);
    check(&alone, ReceiptInvalid::Certificate);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn no_bit_of_an_ordered_receipt_can_be_changed(place: prop::sample::Index, bit in 0u8..8) {
        // covers: ORD-003
        let network = Network::new(4, 1, 4);
        let mut bytes = certified(&network, 5).receipt(2).unwrap().to_wire();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        if let Ok(changed) = OrderedReceipt::from_wire(&bytes) {
            prop_assert!(changed.verify(network.id, &network.registry).is_err());
        }
    }
}

#[test]
fn an_incarnation_is_opened_by_its_own_node() {
    // covers: ORD-005
    let network = Network::new(4, 1, 4);
    let key = node_key(NodeId(2));
    let open = |key| {
        IncarnationRequest::sign(NodeId(2), ShardId(0), Incarnation(4), [6; 32], key, network.id)
    };
    let request = open(&key);
    let check = |request: &IncarnationRequest, expected| {
        assert_eq!(request.verify(network.id, &network.registry).is_ok(), expected);
    };
    check(&request, true);
    check(&open(&node_key(NodeId(3))), false);
    let changes: [fn(&mut IncarnationRequest); 5] = [
        |request| request.node = NodeId(3),
        |request| request.node = NodeId(99),
        |request| request.shard = ShardId(1),
        |request| request.previous = Incarnation(5),
        |request| request.nonce = [7; 32],
    ];
    for change in changes {
        let mut other = request;
        change(&mut other);
        check(&other, false);
    }
    assert!(request.verify(NetworkId([9; 32]), &network.registry).is_err());
}

#[test]
fn a_registry_must_be_fit_to_compute_with() {
    // covers: TOP-007
    use tidings_envelope::registry::RegistryInvalid;
    let check = |change: fn(&mut Registry), expected| {
        let mut registry = Network::new(4, 2, 4).registry;
        change(&mut registry);
        assert_eq!(registry.validate(), expected);
    };
    check(|_| {}, Ok(()));
    check(|registry| registry.shard_count = 3, Err(RegistryInvalid::ShardCount(3)));
    check(|registry| registry.shard_count = 0, Err(RegistryInvalid::ShardCount(0)));
    let repeated = Err(RegistryInvalid::RepeatedNode(NodeId(1)));
    check(|registry| registry.nodes[1].id = NodeId(1), repeated);
    let shared = Err(RegistryInvalid::RepeatedSigner(NodeId(2)));
    check(|registry| registry.nodes[1].signing = registry.nodes[0].signing, shared);
    check(|registry| registry.replication_factor = 32, Err(RegistryInvalid::Replication(32)));
    let nobody = Err(RegistryInvalid::NoNode);
    check(|registry| registry.replication_factor = 0, nobody);
    check(|registry| registry.epoch = RegistryEpoch(0), Err(RegistryInvalid::Epoch));
    check(|registry| registry.nodes.iter_mut().for_each(|node| node.active = false), nobody);
    check(|registry| registry.period_ms = 0, Err(RegistryInvalid::Zero));
    check(|registry| registry.mailbox_buckets = 0, Err(RegistryInvalid::Zero));
}
